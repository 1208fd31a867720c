//! What the store itself has learned of the mount, and by which rung it therefore goes.

use std::path::Path;

use object_store_localfs::v0_14::LocalFileSystem;
use object_store_localfs::{Known, MountFacts};
use rustix::fs::{major, minor};
use serde::Serialize;

use super::probe::{Answer, Capability};
use super::stores::{self, Operation, Row};

/// What the mount is.
#[derive(Debug, Default, Serialize)]
pub(super) struct Mount {
    /// `major:minor`.
    pub(super) device: String,
    /// As the kernel names it.
    pub(super) file_system: Option<String>,
    pub(super) source: Option<String>,
    pub(super) options: Option<String>,
    pub(super) mount_point: Option<String>,
    /// A local disk, on which nothing needs a second look.
    pub(super) is_local: bool,
}

/// What a store of `dir` knows of its mount, by what was done there so far; nothing is written.
pub(super) fn of(dir: &Path) -> Result<MountFacts, String> {
    let store = LocalFileSystem::new_with_prefix(dir).map_err(|e| e.to_string())?;
    let facts = stores::block_on(store.mount_facts())?;
    facts.map_err(|e| e.to_string())
}

impl From<&MountFacts> for Mount {
    fn from(facts: &MountFacts) -> Self {
        let device = facts.device as rustix::fs::Dev;
        Self {
            device: format!("{}:{}", major(device), minor(device)),
            file_system: facts.fs_type.clone(),
            source: facts.source.clone(),
            options: facts.options.clone(),
            mount_point: facts
                .mount_point
                .as_ref()
                .map(|path| path.display().to_string()),
            is_local: facts.is_local,
        }
    }
}

/// Says of each operation by which rung this crate made it: the first that the mount does not
/// refuse, to the store or, where that had no need of it, to the doctor.
pub(super) fn tell_rungs(rows: &mut [Row], facts: &MountFacts, capabilities: &[Capability]) {
    let can = |id| {
        let mut all = capabilities.iter();
        all.any(|it| it.id == id && it.answer == Answer::Yes)
    };
    let has = |fact, id| match fact {
        Known::Unknown => can(id),
        known => known == Known::Yes,
    };
    // That an error stands in the way of renames does not have the store do without.
    let renames = match facts.rename {
        Known::Unknown => !capabilities
            .iter()
            .any(|it| it.id == "rename" && it.answer == Answer::No),
        known => known == Known::Yes,
    };
    let links = has(facts.hard_links, "hard_links");
    let data = if can("reflink") {
        "reflink"
    } else if can("copy_file_range") {
        "copy_file_range"
    } else {
        "read and write"
    };
    let (replace, create) = if !renames {
        ("spool, one pass", "spool, exclusive open")
    } else if has(facts.exclusive_rename, "exclusive_rename") {
        ("rename", "exclusive rename")
    } else if links {
        ("rename", "link")
    } else {
        ("rename", "lock, look, rename")
    };
    let (copy, copy_new, rename, rename_new) = match (renames, links) {
        (true, true) => ("link, rename".into(), "link".into(), "rename", create),
        (true, false) => (
            format!("{data}, rename"),
            format!("{data}, {create}"),
            "rename",
            create,
        ),
        (false, true) => (
            replace.into(),
            "link".to_string(),
            "copy, remove",
            "link, remove",
        ),
        (false, false) => (
            replace.into(),
            create.into(),
            "copy, remove",
            "copy, remove",
        ),
    };
    for row in rows {
        row.by = match row.operation {
            Operation::PutOverwrite | Operation::PutMultipart => Some(replace.into()),
            Operation::PutCreate => Some(create.into()),
            Operation::Copy => Some(copy.clone()),
            Operation::CopyIfNotExists => Some(copy_new.clone()),
            Operation::Rename => Some(rename.into()),
            Operation::RenameIfNotExists => Some(rename_new.into()),
            _ => None,
        };
    }
}
