//! LanceDB 0.41, on object_store 0.14.

pub use lancedb_0_41 as lancedb;

pub use lancedb::arrow::{arrow_array, arrow_schema};

use arrow_array::RecordBatch;
use lancedb::{Connection, Result, Table};

pub async fn connect(database: &str) -> Result<Connection> {
    lancedb::connect(database).execute().await
}

pub async fn append(table: &Table, batch: RecordBatch) -> Result<()> {
    table.add(batch).execute().await.map(|_| ())
}
