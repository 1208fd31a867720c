//! `localfs patch` and `localfs unpatch`: the override, without a fork.

mod apply;
mod cargo;
mod copy;
mod graph;
mod journal;
mod lock;
mod manifest;
mod paths;
mod recipe;
mod stamp;
mod survey;
mod turn;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::error::{Error, Result};
use cargo::Limits;
use journal::{Files, Journal};
use manifest::Entry;
use survey::Survey;

/// Where the copies go, in the workspace's root.
const DIR: &str = "patches";

#[derive(Args)]
pub(crate) struct PatchArgs {
    #[command(flatten)]
    place: Place,
    /// Change nothing; exit with 1 if something is to do
    #[arg(long)]
    check: bool,
    /// Refuse to change Cargo.lock
    #[arg(long)]
    locked: bool,
}

#[derive(Args)]
pub(crate) struct UnpatchArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// A manifest of the workspace, its root's or a member's [default: the one cargo finds]
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
    /// Where the copies are, in the workspace's root [default: where they are, else `patches`]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run without the network
    #[arg(long)]
    offline: bool,
}

/// A workspace, before it is changed.
struct Workspace {
    root: PathBuf,
    files: Files,
    /// Our entries in its manifest.
    entries: Vec<Entry>,
    /// Where the copies are, or will be.
    dir: PathBuf,
}

impl Workspace {
    fn open(root_manifest: &Path, chosen: Option<&Path>) -> Result<Self> {
        let root = root_of(root_manifest).to_path_buf();
        let files = Files::read(root_manifest)?;
        let entries = manifest::entries(&files.manifest, &root)?;
        let now = || entries.first().and_then(|entry| entry.dir.parent());
        let dir = match chosen.or_else(now) {
            Some(dir) => root.join(dir),
            None => root.join(DIR),
        };
        let dir = paths::plain(&dir);
        if chosen.is_some() && !dir.starts_with(paths::plain(&root)) {
            return Err(Error::new(format!("{} is outside of the workspace", dir.display()))
                .why("another workspace might keep its copies there too, and each removes what it does not need")
                .help("choose a directory in the workspace with `--dir`"));
        }
        Ok(Self {
            root,
            files,
            entries,
            dir,
        })
    }

    /// A path as people of this workspace name it.
    fn name(&self, path: &Path) -> String {
        paths::from(&self.root, path)
    }
}

fn root_of(root_manifest: &Path) -> &Path {
    root_manifest.parent().unwrap_or(root_manifest)
}

pub(crate) fn patch(args: &PatchArgs) -> Result<Outcome> {
    let root_manifest = cargo::root_manifest(args.place.manifest_path.as_deref())?;
    let _alone = turn::take(root_of(&root_manifest))?;
    if args.check && journal::interrupted(root_of(&root_manifest)) {
        println!("to do: an interrupted run is to be put back");
        return Ok(Outcome::Work);
    }
    recover(root_of(&root_manifest))?;
    let workspace = Workspace::open(&root_manifest, args.place.dir.as_deref())?;
    let limits = Limits {
        locked: args.locked,
        offline: args.place.offline,
    };

    // Cargo may write Cargo.lock when it is asked; unless we go on, that is put back.
    let mut wrote = false;
    let survey = survey::survey(&workspace, limits, &mut wrote);
    let settled = match survey {
        Ok(survey) if survey.to_do.is_empty() => settled(&workspace, &survey),
        Ok(survey) if args.check => {
            survey.to_do.iter().for_each(|it| println!("to do: {it}"));
            Ok(Outcome::Work)
        }
        Ok(survey) if args.locked && workspace.entries.is_empty() => {
            Err(apply::locked(&survey.to_do).after(Ok(())))
        }
        Ok(survey) => return apply::patch(&workspace, survey, limits),
        Err(error) => Err(error),
    };
    if wrote {
        workspace.files.restore_lock()?;
    }
    settled
}

/// Nothing is to do: says how things are.
fn settled(workspace: &Workspace, survey: &Survey) -> Result<Outcome> {
    if survey.left_alone.is_empty() && survey.taken.is_empty() {
        println!("nothing to do: no object_store is in the graph");
        return Ok(Outcome::Fine);
    }
    if survey.taken.is_empty() {
        // Whoever relies on the override has to hear that there is none.
        return Err(Error::new("no object_store in the graph can be overridden")
            .why(survey.left_alone.join("\n"))
            .help("nothing was changed"));
    }
    println!("nothing to do");
    for dir in &survey.taken {
        println!("  {} is in use", workspace.name(dir));
    }
    survey.left_alone.iter().for_each(|it| println!("  {it}"));
    Ok(Outcome::Fine)
}

pub(crate) fn unpatch(args: &UnpatchArgs) -> Result<Outcome> {
    let root_manifest = cargo::root_manifest(args.place.manifest_path.as_deref())?;
    let _alone = turn::take(root_of(&root_manifest))?;
    recover(root_of(&root_manifest))?;
    let workspace = Workspace::open(&root_manifest, args.place.dir.as_deref())?;
    if workspace.entries.is_empty() && survey::ours_on_disk(&workspace).is_empty() {
        println!("nothing to undo: no patch of localfs is in this workspace");
        return Ok(Outcome::Fine);
    }
    apply::unpatch(&workspace, args.place.offline)
}

fn recover(root: &Path) -> Result<()> {
    if journal::recover(root)? {
        println!("put back what an interrupted run had changed");
    }
    Ok(())
}

/// Runs `change` so that it is done or not, nothing in between.
fn in_one<T>(workspace: &Workspace, change: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
    let mut journal = Journal::begin(&workspace.root, workspace.files.clone(), &workspace.dir)
        .map_err(|error| error.after(Ok(())))?;
    match change(&mut journal) {
        Ok(done) => {
            journal.commit()?;
            Ok(done)
        }
        Err(error) => Err(error.after(journal.roll_back())),
    }
}
