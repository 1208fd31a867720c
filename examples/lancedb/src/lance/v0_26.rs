//! LanceDB 0.26, on object_store 0.12.

pub use lancedb_0_26 as lancedb;

// This LanceDB does not hand on its Arrow.
pub use {arrow_array, arrow_schema};

use arrow_array::{RecordBatch, RecordBatchIterator};
use lancedb::{Connection, Result, Table};

pub async fn connect(database: &str) -> Result<Connection> {
    lancedb::connect(database).execute().await
}

pub async fn append(table: &Table, batch: RecordBatch) -> Result<()> {
    let schema = batch.schema();
    // It takes a reader, the newer ones the batch itself.
    let reader = RecordBatchIterator::new([Ok(batch)], schema);
    table.add(reader).execute().await.map(|_| ())
}
