//! Doing it: the change, its proof, and what is said about it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::Metadata;

use super::cargo::{self, Limits};
use super::copy::{self, Engine};
use super::graph::{self, Found, Verdict};
use super::journal::{Journal, Swap};
use super::manifest::{self, Wanted, copied_version, copy_name};
use super::survey::{self, Survey, is_ours};
use super::{Workspace, in_one, journal, lock, recipe};
use crate::Outcome;
use crate::error::{Error, Result};
use crate::interrupt;

/// Makes what is wanted of the workspace, whatever it is like now.
pub(super) fn patch(workspace: &Workspace, survey: Survey, limits: Limits) -> Result<Outcome> {
    let Survey { graph, to_do, .. } = survey;
    let report = in_one(workspace, |journal| {
        // From what the graph would be without us, so that it comes out the same every time.
        let bare = match graph {
            Some(graph) if workspace.entries.is_empty() => graph,
            _ => without_us(workspace, journal, limits)?,
        };
        let found = graph::object_stores(&bare);
        let plan = Plan::new(workspace, &bare, &found)?;
        let swaps = stage(workspace, journal, &plan)?;
        let mut report = Report::new(workspace, &found, &plan, &swaps);

        journal.swap(&swaps)?;
        let manifest = &workspace.files.manifest;
        let manifest = manifest::with(manifest, &workspace.entries, &plan.wanted)?;
        journal.write_manifest(&manifest)?;
        let graph = resolve(workspace, limits).map_err(|error| {
            error.help(
                "the workspace resolves without the copies, but not with them; if a glob in \
                 `members` is in the way, `exclude = [\"patches\"]` or another `--dir` helps",
            )
        })?;
        report.brought = prove(workspace, &bare, &graph, &plan)?;
        let lock = fs::read_to_string(&workspace.files.lock_path).ok();
        if limits.locked && lock != workspace.files.lock {
            return Err(locked(&to_do));
        }
        Ok(report)
    })?;
    report.print();
    if report.copies == 0 && report.left_alone > 0 {
        return Err(
            Error::new("no object_store in the graph can be overridden any more")
                .help("what localfs had put in has been taken out"),
        );
    }
    Ok(Outcome::Fine)
}

/// The error where Cargo.lock would change and must not.
pub(super) fn locked(to_do: &[String]) -> Error {
    Error::new("Cargo.lock would have to change, and --locked does not allow that")
        .why(to_do.join("\n"))
        .help("run without --locked")
}

/// Takes everything of ours out of the workspace.
pub(super) fn unpatch(workspace: &Workspace, offline: bool) -> Result<Outcome> {
    let limits = Limits {
        locked: false,
        offline,
    };
    let swaps = in_one(workspace, |journal| {
        let swaps: Vec<_> = survey::ours_on_disk(workspace)
            .into_iter()
            .filter(|dir| !journal::is_staging(dir))
            .map(|place| Swap { place, new: None })
            .collect();
        // Without an entry of ours, something else may use what we made.
        let graph = match workspace.entries.is_empty() {
            false => Some(without_us(workspace, journal, limits)?),
            true => resolve(workspace, limits).ok(),
        };
        if let Some(graph) = graph {
            let gone = |dir: &Path| swaps.iter().any(|swap| swap.place == dir);
            if let Some(found) = graph::object_stores(&graph).iter().find(|it| gone(&it.dir)) {
                return Err(Error::new(format!(
                    "{} is used by something else than our entry in Cargo.toml",
                    found.dir.display()
                )));
            }
            if workspace.files.lock.is_none() {
                workspace.files.restore_lock()?;
            }
        }
        journal.staging()?;
        journal.swap(&swaps)?;
        Ok(swaps)
    })?;
    for version in workspace
        .entries
        .iter()
        .filter_map(|it| copied_version(&it.dir))
    {
        println!("object_store {version} comes from crates.io again");
    }
    for swap in &swaps {
        println!("removed {}", workspace.name(&swap.place));
    }
    println!("`localfs patch` puts them in again");
    Ok(Outcome::Fine)
}

/// Takes our entries out of manifest and lock, and resolves that.
fn without_us(workspace: &Workspace, journal: &mut Journal, limits: Limits) -> Result<Metadata> {
    let versions = workspace
        .entries
        .iter()
        .filter_map(|it| copied_version(&it.dir));
    let versions: Vec<_> = versions.collect();
    // The lock first: if we are killed between the two, cargo takes the patch into it again.
    if let Some(lock) = &workspace.files.lock {
        journal.write_lock(&lock::from_registry(lock, &versions))?;
    }
    let text = manifest::without(&workspace.files.manifest, &workspace.entries)?;
    journal.write_manifest(&text)?;
    resolve(workspace, limits)
}

fn resolve(workspace: &Workspace, limits: Limits) -> Result<Metadata> {
    let limits = Limits {
        locked: false,
        ..limits
    };
    cargo::metadata(&workspace.files.manifest_path, limits)
}

/// What the workspace shall have.
struct Plan {
    wanted: Vec<Wanted>,
    copies: Vec<Copy>,
    engine: Engine,
}

struct Copy {
    wanted: Wanted,
    upstream: PathBuf,
    minor: &'static recipe::Minor,
}

impl Plan {
    fn new(workspace: &Workspace, bare: &Metadata, found: &[Found]) -> Result<Self> {
        let copies: Vec<_> = found
            .iter()
            .filter_map(|found| match found.verdict {
                Verdict::Takes(minor) => Some(Copy {
                    wanted: Wanted {
                        version: found.version.clone(),
                        path: workspace.name(&workspace.dir.join(copy_name(&found.version))),
                    },
                    upstream: found.dir.clone(),
                    minor,
                }),
                _ => None,
            })
            .collect();
        Ok(Self {
            wanted: copies.iter().map(|copy| copy.wanted.clone()).collect(),
            copies,
            engine: graph::engine(bare, &workspace.dir)?,
        })
    }
}

/// Makes the copies, and says what has to be put where. What is there and right stays.
fn stage(workspace: &Workspace, journal: &Journal, plan: &Plan) -> Result<Vec<Swap>> {
    let staging = journal.staging()?;
    let mut staged = Vec::new();
    for copy in &plan.copies {
        interrupt::check()?;
        let name = copy_name(&copy.wanted.version);
        let new = staging.join(&name);
        copy::object_store(
            &copy.upstream,
            &copy.wanted.version,
            copy.minor,
            &plan.engine,
            &new,
        )?;
        staged.push(name);
    }
    if plan.engine == Engine::Beside && !plan.copies.is_empty() {
        copy::engine(&staging.join(recipe::ENGINE_NAME))?;
        staged.push(recipe::ENGINE_NAME.to_string());
    }
    let mut swaps = Vec::new();
    for name in &staged {
        let (place, new) = (workspace.dir.join(name), staging.join(name));
        if same(&place, &new) {
            continue;
        }
        if place.exists() && !is_ours(&place) {
            return Err(Error::new(format!("{} is in the way", place.display()))
                .why("a copy would go there, and it was not made by localfs")
                .help("move it away, or choose another place with `--dir`"));
        }
        swaps.push(Swap {
            place,
            new: Some(new),
        });
    }
    let kept: BTreeSet<_> = staged.iter().map(|name| workspace.dir.join(name)).collect();
    for place in survey::ours_on_disk(workspace) {
        if !kept.contains(&place) && !journal::is_staging(&place) {
            swaps.push(Swap { place, new: None });
        }
    }
    Ok(swaps)
}

/// Whether what is in place is what would be put there.
fn same(place: &Path, new: &Path) -> bool {
    use super::stamp::{Stamp, State};
    match (Stamp::read(place), Stamp::read(new)) {
        (Some(now), Some(new)) => now == new && matches!(now.state(place), State::Fresh),
        _ => false,
    }
}

/// Checks that the graph takes the copies, and that nothing else moved.
///
/// Answers with what came in beside the copies: what the engine needs and nobody had.
fn prove(
    workspace: &Workspace,
    bare: &Metadata,
    graph: &Metadata,
    plan: &Plan,
) -> Result<Vec<String>> {
    let found = graph::object_stores(graph);
    for Wanted { version, .. } in &plan.wanted {
        let place = workspace.dir.join(copy_name(version));
        let taken = found.iter().any(|it| it.dir == place);
        if !taken
            || found
                .iter()
                .any(|it| it.version == *version && it.dir != place)
        {
            return Err(Error::new(format!(
                "cargo does not take the copy of object_store {version}"
            ))
            .why("the resolved graph still has the one from crates.io")
            .help(
                "a table `[patch.\"https://github.com/rust-lang/crates.io-index\"]` hides \
                 `[patch.crates-io]`: if there is one, move its entries there",
            ));
        }
    }
    let ours = |(name, version, _): &graph::Id| {
        let mut wanted = plan.wanted.iter();
        name == "object_store" && wanted.any(|it| it.version.to_string() == *version)
    };
    let named = |(name, version, _): &graph::Id| format!("{name} {version}");
    let (before, after) = (graph::packages(bare), graph::packages(graph));
    let lost: Vec<_> = before
        .difference(&after)
        .filter(|it| !ours(it))
        .map(named)
        .collect();
    if !lost.is_empty() {
        return Err(Error::new("other packages would move with the patch")
            .why(format!("no longer in the graph: {}", lost.join(", "))));
    }
    Ok(after
        .difference(&before)
        .filter(|it| !ours(it))
        .map(named)
        .collect())
}

/// What was done, for people.
struct Report {
    lines: Vec<String>,
    copies: usize,
    left_alone: usize,
    /// Packages that came into the graph with the engine.
    brought: Vec<String>,
    had_lock: bool,
}

impl Report {
    fn new(workspace: &Workspace, found: &[Found], plan: &Plan, swaps: &[Swap]) -> Self {
        let mut lines = Vec::new();
        let swapped = |place: &Path| swaps.iter().any(|it| it.new.is_some() && it.place == place);
        for copy in &plan.copies {
            let place = workspace.dir.join(copy_name(&copy.wanted.version));
            let how = match (place.exists(), swapped(&place)) {
                (_, false) => "as it was",
                (true, true) => "made anew",
                (false, true) => "made",
            };
            lines.push(format!(
                "object_store {} comes from {} ({how})",
                copy.wanted.version, copy.wanted.path
            ));
        }
        if !plan.copies.is_empty() {
            let engine = match &plan.engine {
                Engine::Beside => workspace.name(&workspace.dir.join(recipe::ENGINE_NAME)),
                Engine::Path(_) => "the directory it has in the graph already".to_string(),
                Engine::Git { url, .. } => url.clone(),
                Engine::Registry => "the registry".to_string(),
            };
            lines.push(format!("its engine comes from {engine}"));
        }
        let removed = swaps.iter().filter(|swap| swap.new.is_none());
        lines.extend(removed.map(|swap| format!("removed {}", workspace.name(&swap.place))));
        let left = |it: &Found| survey::left_alone(&it.version, &it.dir, &it.verdict);
        lines.extend(found.iter().filter_map(left));
        Self {
            lines,
            copies: plan.copies.len(),
            left_alone: found.iter().filter_map(left).count(),
            brought: Vec::new(),
            had_lock: workspace.files.lock.is_some(),
        }
    }

    fn print(&self) {
        self.lines.iter().for_each(|line| println!("{line}"));
        if !self.had_lock {
            println!("Cargo.lock was not there: cargo wrote it");
        }
        match self.brought.as_slice() {
            _ if self.copies == 0 => return,
            [] => println!("checked: the resolved graph takes it, and nothing else moved"),
            brought => println!(
                "checked: the resolved graph takes it, and nothing else moved; new in it: {}",
                brought.join(", ")
            ),
        }
        println!("to undo: localfs unpatch");
    }
}
