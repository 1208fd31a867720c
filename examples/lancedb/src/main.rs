//! `songs` with the LanceDB that is asked for: `--features lancedb-0_41`, `lancedb-0_38` or
//! `lancedb-0_26`. What differs between them is in one file each.

#[cfg_attr(feature = "lancedb-0_26", path = "lance/v0_26.rs")]
#[cfg_attr(feature = "lancedb-0_38", path = "lance/v0_38.rs")]
#[cfg_attr(feature = "lancedb-0_41", path = "lance/v0_41.rs")]
mod lance;
mod program;

fn main() -> anyhow::Result<()> {
    program::main()
}
