//! What the stores do on a mount: upstream's of each minor, and this crate's.

#![allow(
    clippy::duplicate_mod,
    reason = "one source, compiled against the types of three crates"
)]

mod verdict;

use std::future::Future;
use std::path::Path;
use std::thread;

use serde::Serialize;

use super::errno;
use super::pace::{Pace, Part, TOO_SLOW};
use super::place::Place;
use crate::error::Result;
use crate::interrupt;

pub(super) use verdict::{Outcome, Verdict};

macro_rules! minor {
    ($minor:ident, $object_store:ident) => {
        #[path = "."]
        mod $minor {
            use $object_store as object_store;

            #[path = "operations.rs"]
            pub(super) mod operations;

            pub(super) fn upstream(
                dir: &std::path::Path,
            ) -> Result<impl object_store::ObjectStore, String> {
                object_store::local::LocalFileSystem::new_with_prefix(dir)
                    .map_err(|e| e.to_string())
            }
        }
    };
}

minor!(v0_12, object_store_0_12);
minor!(v0_13, object_store_0_13);
minor!(v0_14, object_store_0_14);

/// What a store can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    PutOverwrite,
    PutCreate,
    PutMultipart,
    Get,
    GetRanges,
    Head,
    List,
    ListWithOffset,
    ListWithDelimiter,
    Copy,
    CopyIfNotExists,
    Rename,
    RenameIfNotExists,
    Delete,
    DeleteStream,
}

use Operation::*;

const ALL: [Operation; 15] = [
    PutOverwrite,
    PutCreate,
    PutMultipart,
    Get,
    GetRanges,
    Head,
    List,
    ListWithOffset,
    ListWithDelimiter,
    Copy,
    CopyIfNotExists,
    Rename,
    RenameIfNotExists,
    Delete,
    DeleteStream,
];

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            PutOverwrite => "put overwrite",
            PutCreate => "put create",
            PutMultipart => "put_multipart",
            Get => "get",
            GetRanges => "get_ranges",
            Head => "head",
            List => "list",
            ListWithOffset => "list_with_offset",
            ListWithDelimiter => "list_with_delimiter",
            Copy => "copy",
            CopyIfNotExists => "copy_if_not_exists",
            Rename => "rename",
            RenameIfNotExists => "rename_if_not_exists",
            Delete => "delete",
            DeleteStream => "delete_stream",
        }
    }

    /// The folder it is made in, with a store of that name.
    fn folder(self, store: &str) -> String {
        format!("{store}-{}", self.name().replace(' ', "-"))
    }
}

/// What the stores did when they were asked for one operation.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) operation: Operation,
    /// How this crate goes about it on this mount.
    pub(super) by: Option<String>,
    pub(super) upstream_0_12: Verdict,
    pub(super) upstream_0_13: Verdict,
    pub(super) upstream_0_14: Verdict,
    pub(super) this: Verdict,
}

impl Row {
    /// Each store's verdict, by the name of the store.
    pub(super) fn verdicts(&self) -> [(&'static str, &Verdict); 4] {
        [
            ("upstream 0.12", &self.upstream_0_12),
            ("upstream 0.13", &self.upstream_0_13),
            ("upstream 0.14", &self.upstream_0_14),
            ("this", &self.this),
        ]
    }
}

macro_rules! ask {
    ($place:expr, $pace:expr, $name:literal, $minor:ident, $make:expr) => {
        || -> Result<Vec<Verdict>> {
            let store = $make($place.path());
            let mut verdicts = Vec::new();
            for operation in ALL {
                if !$pace.allows(Part::Stores)? {
                    verdicts.push(Verdict::not_tried(TOO_SLOW));
                    continue;
                }
                $pace.say(format!("asking the stores: {}", operation.name()));
                verdicts.push(match &store {
                    Ok(store) => {
                        let below = operation.folder($name);
                        match $place.folder(&below) {
                            // Dropped, it is removed.
                            Ok(_folder) => {
                                let root = $place.path();
                                let run =
                                    $minor::operations::run(store, operation, root, &below, $pace);
                                block_on(run).unwrap_or_else(Verdict::not_tried)
                            }
                            Err(e) => Verdict::not_tried(format!("mkdir: {}", errno::told(&e))),
                        }
                    }
                    Err(e) => Verdict::fails(e.clone()),
                });
            }
            // What it stopped for in the midst of a trial.
            interrupt::check()?;
            Ok(verdicts)
        }
    };
}

/// Makes every operation on every store, each in a folder of its own; the stores side by side.
pub(super) fn all(place: &Place, pace: &Pace) -> Result<Vec<Row>> {
    let verdicts: Result<Vec<_>> = thread::scope(|scope| {
        let threads = [
            scope.spawn(ask!(place, pace, "0.12", v0_12, v0_12::upstream)),
            scope.spawn(ask!(place, pace, "0.13", v0_13, v0_13::upstream)),
            scope.spawn(ask!(place, pace, "0.14", v0_14, v0_14::upstream)),
            scope.spawn(ask!(place, pace, "this", v0_14, this)),
        ];
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<Verdict>>>| match thread.join()
        {
            Ok(verdicts) => verdicts.map(Vec::into_iter),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    });
    let mut verdicts = verdicts?;
    let mut rows = Vec::new();
    for operation in ALL {
        let row: Vec<_> = verdicts.iter_mut().filter_map(Iterator::next).collect();
        let Ok([upstream_0_12, upstream_0_13, upstream_0_14, this]) = <[Verdict; 4]>::try_from(row)
        else {
            break;
        };
        rows.push(Row {
            operation,
            by: None,
            upstream_0_12,
            upstream_0_13,
            upstream_0_14,
            this,
        });
    }
    Ok(rows)
}

fn this(dir: &Path) -> Result<object_store_localfs::v0_14::LocalFileSystem, String> {
    object_store_localfs::v0_14::LocalFileSystem::new_with_prefix(dir).map_err(|e| e.to_string())
}

/// Runs to the end, and waits for what was begun and dropped: the one blocking thread takes its
/// tasks in turn.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .map_err(|e| format!("cannot start the runtime: {}", errno::told(&e)))?;
    Ok(runtime.block_on(async {
        let done = work.await;
        let _ = tokio::task::spawn_blocking(|| ()).await;
        done
    }))
}
