//! Stands in for the LanceDB that nobody asked for.

compile_error!("which LanceDB? one of --features lancedb-0_41, lancedb-0_38, lancedb-0_26");
