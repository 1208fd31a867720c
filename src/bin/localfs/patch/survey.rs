//! How a workspace stands: what takes the override, and what is to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::Metadata;

use super::cargo::{self, Limits};
use super::graph::{self, Verdict};
use super::manifest::copied_version;
use super::stamp::{Stamp, State};
use super::{Workspace, journal, recipe};
use crate::error::Result;

pub(super) struct Survey {
    /// None if cargo does not resolve the workspace with our entries as they are.
    pub(super) graph: Option<Metadata>,
    /// What is to do, for people.
    pub(super) to_do: Vec<String>,
    /// Copies in use.
    pub(super) taken: Vec<PathBuf>,
    /// What stays as it is and why, for people.
    pub(super) left_alone: Vec<String>,
}

/// Says in `wrote` whether cargo may have written Cargo.lock.
pub(super) fn survey(workspace: &Workspace, limits: Limits, wrote: &mut bool) -> Result<Survey> {
    let mut survey = Survey {
        graph: None,
        to_do: Vec::new(),
        taken: Vec::new(),
        left_alone: Vec::new(),
    };
    let manifest = &workspace.files.manifest_path;
    // In most cases the lock is right, and nothing is written.
    let locked = Limits {
        locked: true,
        ..limits
    };
    let asked = cargo::metadata(manifest, locked).or_else(|error| {
        if limits.locked {
            return Err(error);
        }
        *wrote = true;
        cargo::metadata(manifest, limits)
    });
    match asked {
        Ok(graph) => {
            survey.look_at(workspace, &graph);
            survey.graph = Some(graph);
        }
        // Without us it may resolve: a copy is gone, or the engine came in by another way.
        Err(error) if !workspace.entries.is_empty() && !limits.locked => {
            let why = "cargo does not resolve the workspace with the copies as they are";
            survey.to_do.push(format!("{why}\n{error}"));
        }
        Err(error) => return Err(error),
    }
    Ok(survey)
}

impl Survey {
    fn look_at(&mut self, workspace: &Workspace, graph: &Metadata) {
        let ours: BTreeSet<_> = workspace.entries.iter().map(|it| it.dir.clone()).collect();
        let mut used = BTreeSet::new();
        for found in graph::object_stores(graph) {
            match found.verdict {
                Verdict::Takes(_) => {
                    self.to_do.push(format!(
                        "object_store {} comes from crates.io",
                        found.version
                    ));
                }
                Verdict::Local { .. } if ours.contains(&found.dir) => {
                    self.check(workspace, &found.dir);
                    used.insert(found.dir.clone());
                    self.taken.push(found.dir);
                }
                verdict => self
                    .left_alone
                    .extend(left_alone(&found.version, &found.dir, &verdict)),
            }
        }
        for dir in &ours {
            if !used.contains(dir) {
                let name = workspace.name(dir);
                self.to_do
                    .push(format!("{name} is in Cargo.toml, and not in use"));
            } else if dir.parent() != Some(&workspace.dir) {
                let (from, to) = (workspace.name(dir), workspace.name(&workspace.dir));
                self.to_do.push(format!("{from} is to move to {to}"));
            }
        }
        let engine = workspace.dir.join(recipe::ENGINE_NAME);
        let needed = !used.is_empty()
            && match graph::engine_dir(graph) {
                Some(dir) => dir == engine,
                // Nobody uses the feature `fs`.
                None => !recipe::ENGINE.is_empty(),
            };
        if needed {
            self.check(workspace, &engine);
        }
        let taken: Vec<_> = graph::object_stores(graph);
        for dir in ours_on_disk(workspace) {
            let in_use = ours.contains(&dir)
                || (needed && dir == engine)
                || taken.iter().any(|found| found.dir == dir);
            if !in_use {
                self.to_do
                    .push(format!("{} is left over", workspace.name(&dir)));
            }
        }
    }

    fn check(&mut self, workspace: &Workspace, dir: &Path) {
        let state = match Stamp::read(dir) {
            Some(stamp) => stamp.state(dir),
            None => State::Stale("its stamp is gone".to_string()),
        };
        if let State::Stale(why) = state {
            let name = workspace.name(dir);
            self.to_do.push(format!("{name} is to be made anew: {why}"));
        }
    }
}

/// Why an object_store stays as it is, for people.
pub(super) fn left_alone(
    version: &cargo_metadata::semver::Version,
    dir: &Path,
    verdict: &Verdict,
) -> Option<String> {
    let why = match verdict {
        Verdict::Takes(_) => return None,
        Verdict::Local { patched: true } => format!("it is patched already, to {}", dir.display()),
        Verdict::Local { patched: false } => format!("it comes by path, {}", dir.display()),
        Verdict::LeftAlone(why) => why.clone(),
    };
    Some(format!("object_store {version} is left alone: {why}"))
}

/// Directories that carry our stamp, or were on their way to it, where the copies are.
pub(super) fn ours_on_disk(workspace: &Workspace) -> Vec<PathBuf> {
    let mut dirs: BTreeSet<&Path> = BTreeSet::from([workspace.dir.as_path()]);
    dirs.extend(
        workspace
            .entries
            .iter()
            .filter_map(|entry| entry.dir.parent()),
    );
    let entries = dirs
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_ours(path) || journal::is_staging(path))
        .collect();
    found.sort();
    found
}

/// Whether we made this directory: it has our stamp, and the name that we gave it.
pub(super) fn is_ours(dir: &Path) -> bool {
    Stamp::read(dir).is_some_and(|stamp| match stamp.package.as_str() {
        "object_store" => copied_version(dir).is_some_and(|it| it.to_string() == stamp.version),
        recipe::ENGINE_NAME => dir.ends_with(recipe::ENGINE_NAME),
        _ => false,
    })
}
