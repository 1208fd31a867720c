//! `songs` of `../lancedb`, with LanceDB 0.41 and without an override: the store is handed to
//! LanceDB in a session. All there is to that is in [`store`].

mod lance;
#[path = "../../lancedb/src/program/mod.rs"]
mod program;
mod store;

fn main() -> anyhow::Result<()> {
    program::main()
}
