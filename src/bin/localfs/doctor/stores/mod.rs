//! What the stores do on a mount: upstream's of each minor, and this crate's.

#![allow(
    clippy::duplicate_mod,
    reason = "one source, compiled against the types of three crates"
)]

mod verdict;

use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::errno;
use super::place::Place;
use crate::error::{Error, Result};
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

    /// The folder it is made in.
    fn folder(self) -> String {
        self.name().replace(' ', "-")
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
    ($place:expr, $folder:literal, $minor:ident, $make:expr) => {{
        let dir = folder($place, $folder)?;
        let store = $make(dir.as_path());
        let mut verdicts = Vec::new();
        for operation in ALL {
            interrupt::check()?;
            verdicts.push(match &store {
                Ok(store) => {
                    let below = operation.folder();
                    match errno::steadily(|| fs::create_dir_all(dir.join(&below))) {
                        Ok(()) => {
                            block_on($minor::operations::run(store, operation, &dir, &below))?
                        }
                        Err(e) => Verdict::fails(format!("mkdir: {}", errno::told(&e))),
                    }
                }
                Err(e) => Verdict::fails(e.clone()),
            });
        }
        verdicts.into_iter()
    }};
}

/// Makes every operation on every store, each in a folder of its own.
pub(super) fn all(place: &Place) -> Result<Vec<Row>> {
    let mut first = ask!(place, "upstream-0.12", v0_12, v0_12::upstream);
    let mut second = ask!(place, "upstream-0.13", v0_13, v0_13::upstream);
    let mut third = ask!(place, "upstream-0.14", v0_14, v0_14::upstream);
    let mut ours = ask!(place, "this", v0_14, this);
    let mut next = || Some([first.next()?, second.next()?, third.next()?, ours.next()?]);
    let mut rows = Vec::new();
    for operation in ALL {
        let Some([upstream_0_12, upstream_0_13, upstream_0_14, this]) = next() else {
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

fn folder(place: &Place, name: &str) -> Result<std::path::PathBuf> {
    let io = |e: io::Error| Error::io("make the folder of a store below", place.path(), &e);
    place.folder(name).map_err(io)
}

/// Runs to the end, and waits for what was begun and dropped: the one blocking thread takes its
/// tasks in turn.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .map_err(|e| Error::new("cannot start the runtime").why(e))?;
    Ok(runtime.block_on(async {
        let done = work.await;
        let _ = tokio::task::spawn_blocking(|| ()).await;
        done
    }))
}
