//! The two stores, and a SlateDB on one of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slatedb::config::{
    CompactionWorkerOptions, CompactorOptions, GarbageCollectorDirectoryOptions,
    GarbageCollectorOptions, Settings,
};
use slatedb::object_store::ObjectStore;
use slatedb::object_store::local::LocalFileSystem as Upstream;
use slatedb::{Db, Error};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Upstream,
    Ours,
}

impl Store {
    pub(crate) fn of(name: &str) -> Store {
        match name {
            "Upstream" => Store::Upstream,
            "Ours" => Store::Ours,
            _ => panic!("{name}"),
        }
    }

    pub(crate) fn at(self, dir: &Path) -> Arc<dyn ObjectStore> {
        match self {
            Store::Upstream => {
                let store = Upstream::new_with_prefix(dir).unwrap();
                Arc::new(store.with_fsync(true))
            }
            Store::Ours => {
                let store = object_store_localfs::LocalFileSystem::new_with_prefix(dir).unwrap();
                Arc::new(store.with_fsync(true))
            }
        }
    }

    pub(crate) async fn open(self, dir: &Path) -> Result<Db, Error> {
        let db = Db::builder("db", self.at(dir)).with_settings(settings());
        db.build().await
    }
}

/// In a second as much flushing, compaction and collection as else in an hour.
fn settings() -> Settings {
    let collected = |min_age| {
        Some(GarbageCollectorDirectoryOptions {
            interval: Some(Duration::from_millis(200)),
            min_age,
            dry_run: false,
        })
    };
    // Longer than it takes from the upload of a table to the manifest that names it.
    let tables = Duration::from_secs(5);
    Settings {
        flush_interval: Some(Duration::from_millis(5)),
        manifest_poll_interval: Duration::from_millis(100),
        l0_sst_size_bytes: 32 * 1024,
        compactor_options: Some(CompactorOptions {
            poll_interval: Duration::from_millis(50),
            commit_compacted_interval: Duration::from_millis(50),
            worker: Some(CompactionWorkerOptions {
                compactions_poll_interval: Duration::from_millis(50),
                ..CompactionWorkerOptions::default()
            }),
            ..CompactorOptions::default()
        }),
        garbage_collector_options: Some(GarbageCollectorOptions {
            manifest_options: collected(Duration::from_millis(100)),
            compactions_options: collected(Duration::from_millis(100)),
            wal_options: collected(tables),
            compacted_options: collected(tables),
            ..GarbageCollectorOptions::default()
        }),
        // By default it goes on for ever, also where nothing can come of it.
        object_store_max_retries: Some(3),
        ..Settings::default()
    }
}
