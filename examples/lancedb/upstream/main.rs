//! `songs` with LanceDB 0.26 on upstream's object_store.

#[path = "../src/lance/v0_26.rs"]
mod lance;
#[path = "../src/program/mod.rs"]
mod program;

fn main() -> anyhow::Result<()> {
    program::main()
}
