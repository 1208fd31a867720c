//! LanceDB as `songs` uses it, with our session.

pub use lancedb;
pub use lancedb::arrow::{arrow_array, arrow_schema};

use arrow_array::RecordBatch;
use lancedb::{Connection, Result, Table};

use crate::store;

/// `file-object-store:///path` goes through our store, a plain path as it goes without us.
pub async fn connect(database: &str) -> Result<Connection> {
    lancedb::connect(database)
        .session(store::session())
        .execute()
        .await
}

pub async fn append(table: &Table, batch: RecordBatch) -> Result<()> {
    table.add(batch).execute().await.map(|_| ())
}
