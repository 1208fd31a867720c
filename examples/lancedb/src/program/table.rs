//! The table `songs`: each call is one commit, or one read.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;

use super::song::{self, Song, Summary};
use crate::lance;
use crate::lance::arrow_array::{RecordBatch, RecordBatchIterator};
use crate::lance::lancedb::Table;
use crate::lance::lancedb::query::{ExecutableQuery, QueryBase, Select};
use crate::lance::lancedb::table::{CompactionOptions, Duration, OptimizeAction};

const NAME: &str = "songs";

pub struct Songs {
    table: Table,
}

impl Songs {
    /// Fails if there is such a table already.
    pub async fn create(database: &str) -> Result<Self> {
        let db = lance::connect(database).await?;
        let names = db.table_names().execute().await?;
        if names.iter().any(|name| name == NAME) {
            bail!("{database} has a table `{NAME}` already: remove it, or choose another path");
        }
        let table = db
            .create_empty_table(NAME, song::schema())
            .execute()
            .await?;
        Ok(Self { table })
    }

    /// Through a connection of its own, which remembers nothing.
    pub async fn open(database: &str) -> Result<Self> {
        let db = lance::connect(database).await?;
        let table = db.open_table(NAME).execute().await?;
        Ok(Self { table })
    }

    pub async fn version(&self) -> Result<u64> {
        Ok(self.table.version().await?)
    }

    /// Inserts or updates `songs`, of which `new` are not in the table yet.
    pub async fn upsert(&self, songs: &[Song], new: usize) -> Result<()> {
        let mut merge = self.table.merge_insert(&["id"]);
        merge
            .when_matched_update_all(None)
            .when_not_matched_insert_all();
        let batch = song::to_batch(songs)?;
        let schema = batch.schema();
        let reader = RecordBatchIterator::new([Ok(batch)], schema);
        let result = merge.execute(Box::new(reader)).await?;
        let found = (result.num_inserted_rows, result.num_updated_rows);
        let expected = (new as u64, (songs.len() - new) as u64);
        ensure!(
            found == expected,
            "inserted and updated {found:?} rows, not {expected:?}"
        );
        Ok(())
    }

    pub async fn append(&self, songs: &[Song]) -> Result<()> {
        Ok(lance::append(&self.table, song::to_batch(songs)?).await?)
    }

    pub async fn delete(&self, predicate: &str) -> Result<()> {
        self.table.delete(predicate).await?;
        Ok(())
    }

    /// Searches for the vector of song `id`, which must be found first.
    pub async fn search(&self, id: i64, summary: &Summary) -> Result<usize> {
        let batches: Vec<RecordBatch> = self
            .table
            .query()
            .nearest_to(summary.vector.as_slice())?
            .limit(3)
            .select(Select::columns(&["id", "title"]))
            .execute()
            .await?
            .try_collect()
            .await?;
        let found = ids(&batches)?;
        ensure!(
            found.first() == Some(&id),
            "song {id} is not the nearest to itself, of songs {found:?}"
        );
        Ok(found.len())
    }

    pub async fn compact(&self) -> Result<()> {
        let stats = self
            .table
            .optimize(OptimizeAction::Compact {
                options: CompactionOptions::default(),
                remap_options: None,
            })
            .await?;
        let compaction = stats.compaction.context("no word of a compaction")?;
        ensure!(
            compaction.fragments_removed > 0,
            "nothing was compacted: {compaction:?}"
        );
        Ok(())
    }

    /// Removes all versions but the newest, and the files that only they use.
    pub async fn prune(&self) -> Result<()> {
        let stats = self
            .table
            .optimize(OptimizeAction::Prune {
                older_than: Some(Duration::zero()),
                // Nobody else writes to the table.
                delete_unverified: Some(true),
                error_if_tagged_old_versions: None,
            })
            .await?;
        let prune = stats.prune.context("no word of a pruning")?;
        ensure!(prune.old_versions > 0, "nothing was pruned: {prune:?}");
        Ok(())
    }

    /// Counts the rows, which must be those of `catalog`, each once.
    pub async fn count(&self, catalog: &BTreeMap<i64, Summary>) -> Result<usize> {
        let rows = self.table.count_rows(None).await?;
        let batches: Vec<RecordBatch> = self
            .table
            .query()
            .select(Select::columns(&["id"]))
            .execute()
            .await?
            .try_collect()
            .await?;
        let mut found = ids(&batches)?;
        found.sort_unstable();
        let expected: Vec<i64> = catalog.keys().copied().collect();
        ensure!(
            rows == expected.len() && found == expected,
            "{rows} rows, of songs {found:?}, where there must be {} rows, of songs {expected:?}",
            expected.len()
        );
        Ok(rows)
    }

    /// Reads song `id` whole; it must be the `expected` one.
    pub async fn read(&self, id: i64, expected: &Summary) -> Result<()> {
        let query = self.table.query().only_if(format!("id = {id}"));
        let batches: Vec<RecordBatch> = query.execute().await?.try_collect().await?;
        let found = summaries(&batches)?;
        ensure!(
            found.len() == 1 && found[0].1 == *expected,
            "song {id} is not what was written: {found:?}, not {expected:?}"
        );
        Ok(())
    }

    /// Reads all songs at once; they must be those of `catalog`, each once.
    pub async fn read_all(&self, catalog: &BTreeMap<i64, Summary>) -> Result<()> {
        let batches: Vec<RecordBatch> = self.table.query().execute().await?.try_collect().await?;
        let found = summaries(&batches)?;
        let rows = found.len();
        let found: BTreeMap<i64, Summary> = found.into_iter().collect();
        ensure!(
            rows == catalog.len() && found == *catalog,
            "{rows} songs are not what was written: {found:?}, not {catalog:?}"
        );
        Ok(())
    }
}

fn summaries(batches: &[RecordBatch]) -> Result<Vec<(i64, Summary)>> {
    let mut found = Vec::new();
    for batch in batches {
        found.extend(song::ids(batch)?.into_iter().zip(song::summaries(batch)?));
    }
    Ok(found)
}

fn ids(batches: &[RecordBatch]) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for batch in batches {
        found.extend(song::ids(batch)?);
    }
    Ok(found)
}
