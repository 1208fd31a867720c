//! Runs `songs`, and says in few words what came of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::mounts::Mount;
use super::quirkfs::{Mounted, Op, QuirkFs, Recipe, is_staging_file};

// As small as shows it: a song above 5 MB is a multipart upload to LanceDB, and has several parts
// above 10 MB.
const SONGS: usize = 6;
const SIZE_MB: &str = "6..12";
const APPENDS: usize = 10;

/// How often each of two processes appends.
const APPENDS_OF_EACH: usize = 50;

/// A program, and how it is told where the database is: a column of the table.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) program: String,
    pub(crate) uri: fn(&Path) -> String,
    /// On each of the mounts: that is what this crate promises.
    pub(crate) works_everywhere: bool,
}

/// What LanceDB takes for `file://`.
pub(crate) fn by_path(database: &Path) -> String {
    database.display().to_string()
}

pub(crate) fn by_uri(database: &Path) -> String {
    format!("file-object-store://{}", database.display())
}

/// A cell of the table.
pub(crate) struct Outcome {
    pub(crate) told: String,
    /// What to show of it when it had to work.
    pub(crate) failure: Option<String>,
}

/// The whole job of `songs`.
pub(crate) fn complete(way: &Way, mount: &Mount) -> Outcome {
    let place = Place::new(mount);
    let output = run_songs(&way.program, &(way.uri)(&place.database()));
    // The program deletes every song whose id leaves 2 when divided by 4.
    let rows = (1..=SONGS + APPENDS).filter(|id| id % 4 != 2).count();
    outcome(&output, rows, &place, "works")
}

/// Two processes that append to one table at once.
pub(crate) fn two_writers(way: &Way, mount: &Mount) -> Outcome {
    let place = Place::new(mount);
    let output = command(&way.program, &(way.uri)(&place.database()))
        .args(["--writers", "2"])
        .args(["--appends", &APPENDS_OF_EACH.to_string()])
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", way.program));
    let rows = 2 * APPENDS_OF_EACH;
    outcome(&output, rows, &place, &format!("{rows} of {rows} appends"))
}

/// Which files the store never sees: told by the names under which they come to be.
pub(crate) fn reach(way: &Way, mount: &Mount) -> Outcome {
    let place = Place::new(mount);
    let output = run_songs(&way.program, &(way.uri)(&place.database()));
    assert!(output.status.success(), "{}", said(&output));
    let mount = place.mount.as_ref().expect("a mount that counts");
    // `tempfile` calls them `.tmpXXXXXX`, object_store `name#1`.
    let by_lance = mount.calls_named(Op::Create, |name| name.starts_with(".tmp"));
    let by_store = mount.calls_named(Op::Create, is_staging_file);
    let manifests = mount.calls_named(Op::Create, |name| name.contains(".manifest#"));
    let told = match by_lance {
        0 => "nothing",
        _ if by_store == manifests => "all but the manifests",
        _ => "some of it",
    };
    Outcome {
        failure: (by_lance > 0).then(|| format!("{by_lance} files were not written by the store")),
        told: told.to_owned(),
    }
}

pub(crate) fn run_songs(program: &str, uri: &str) -> Output {
    command(program, uri)
        .args(["--songs", &SONGS.to_string()])
        .args(["--size-mb", SIZE_MB])
        .args(["--appends", &APPENDS.to_string()])
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

fn command(program: &str, uri: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(uri).env_remove("RUST_BACKTRACE");
    command
}

/// A fault that never struck proves nothing.
#[track_caller]
pub(crate) fn assert_fired(mount: &Mounted, op: Op) {
    assert_ne!(mount.faults_fired_on(op), 0, "no {op:?} was hit");
}

/// A fresh mount, or a plain directory.
struct Place {
    mount: Option<Mounted>,
    plain: TempDir,
    has_faults: bool,
}

impl Place {
    fn new(mount: &Mount) -> Place {
        let misbehaving = |recipe| mount.faults.iter().cloned().fold(recipe, Recipe::fault);
        Place {
            has_faults: !mount.faults.is_empty(),
            mount: mount.recipe.clone().map(misbehaving).map(QuirkFs::mount),
            plain: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> &Path {
        match &self.mount {
            Some(mount) => mount.path(),
            None => self.plain.path(),
        }
    }

    fn database(&self) -> PathBuf {
        self.dir().join("music")
    }

    /// Whether what had to go wrong did.
    fn was_hit(&self) -> bool {
        !self.has_faults || self.mount.as_ref().is_some_and(|m| m.faults_fired() > 0)
    }
}

fn outcome(output: &Output, rows: usize, place: &Place, works: &str) -> Outcome {
    let said = said(output);
    let told = if !output.status.success() {
        in_few_words(&said)
    } else {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let verdict = stdout.lines().last().unwrap_or_default();
        assert!(
            verdict.starts_with(&format!("{rows} rows ")) && verdict.ends_with("as written"),
            "not {rows} rows: {verdict}"
        );
        assert!(place.was_hit(), "it works, and no fault struck: {said}");
        match files_left(place.dir()).as_slice() {
            [] => works.to_owned(),
            left => format!("{works}, leaves {} files", left.len()),
        }
    };
    Outcome {
        failure: (told != works).then_some(said),
        told,
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Why the program failed: the error of the system, or what it found by itself.
fn in_few_words(said: &str) -> String {
    if let Some((expected, made)) = commits(said) {
        return match made > expected {
            true => "commits twice".to_owned(),
            false => "loses commits".to_owned(),
        };
    }
    let errno = said
        .rsplit_once("(os error ")
        .and_then(|(_, after)| after.split_once(')'))
        .and_then(|(errno, _)| errno.parse().ok());
    let name = match errno {
        Some(libc::EPERM) => "EPERM",
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::EEXIST) => "EEXIST",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::ENOSYS) => "ENOSYS",
        Some(libc::ESTALE) => "ESTALE",
        // LanceDB's own words for ENOSYS, which it hides.
        None if said.contains("LanceDBError: not supported") => "not supported",
        _ => panic!("an unknown failure: {said}"),
    };
    format!("fails: {name}")
}

/// How many commits had to be made and were, if that is what the program complains about.
fn commits(said: &str) -> Option<(u64, u64)> {
    let line = said.lines().find(|line| line.contains("not every one"))?;
    // "1 commits made 2 versions: ..."
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// What object_store or LanceDB began to write, and nobody removed.
fn files_left(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(files_left(&entry.path()));
        } else if is_staging_file(&name) || name.starts_with(".tmp") {
            found.push(name);
        }
    }
    found
}
