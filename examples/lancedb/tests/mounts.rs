//! LanceDB on mounts that misbehave: with the override it completes, without it does not.
//!
//! `songs` must have been overridden (`localfs patch`), `SONGS_UPSTREAM` must name the program
//! that is not. README.md has the commands.

#[allow(
    clippy::manual_is_multiple_of,
    reason = "the crate's MSRV is older than the method"
)]
#[path = "../../../tests/quirkfs/mod.rs"]
mod quirkfs;

use std::path::Path;
use std::process::{Command, Output};

use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe, is_staging_file};

const PATCHED: &str = env!("CARGO_BIN_EXE_songs");

const SONGS: usize = 10;
const APPENDS: usize = 20;

#[test]
fn completes_on_a_plain_directory() {
    let dir = tempfile::tempdir().unwrap();
    assert_completes(PATCHED, dir.path());
}

#[test]
fn completes_on_drvfs() {
    let mount = QuirkFs::mount(Recipe::drvfs());
    assert_completes(PATCHED, mount.path());
}

#[test]
fn completes_on_drvfs_when_replies_to_rename_are_lost() {
    let lost = Fault::on(Op::Rename).errno(libc::ESTALE).every(3);
    let mount = QuirkFs::mount(Recipe::drvfs().fault(lost.after_effect()));
    assert_completes(PATCHED, mount.path());
    assert_fired(&mount, Op::Rename);
}

#[test]
fn completes_on_drvfs_when_replies_to_link_are_lost() {
    let lost = Fault::on(Op::Link).errno(libc::EEXIST).every(2);
    let mount = QuirkFs::mount(Recipe::drvfs().fault(lost.after_effect()));
    assert_completes(PATCHED, mount.path());
    assert_fired(&mount, Op::Link);
}

#[test]
fn upstream_completes_on_a_plain_directory() {
    let dir = tempfile::tempdir().unwrap();
    assert_completes(&upstream(), dir.path());
}

#[test]
fn upstream_fails_on_drvfs() {
    let mount = QuirkFs::mount(Recipe::drvfs());

    let output = run(&upstream(), mount.path());

    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it completed");
    let of_a_staging_file = errors
        .split("Unable to access metadata for ")
        .skip(1)
        .filter_map(|after| after.split(": ").next())
        .any(|path| path.ends_with("#1"));
    assert!(of_a_staging_file, "it failed otherwise: {errors}");
}

/// Why the count must be exact; and the program notices when it is not.
#[test]
fn upstream_commits_twice_when_replies_to_link_are_lost() {
    let lost = Fault::on(Op::Link).errno(libc::EEXIST).every(2);
    let mount = QuirkFs::mount(Recipe::plain().fault(lost.after_effect()));

    let output = run(&upstream(), mount.path());

    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it completed");
    assert!(
        errors.contains("not every one was made once"),
        "it failed otherwise: {errors}"
    );
    assert_fired(&mount, Op::Link);
}

/// The program that was not overridden.
fn upstream() -> String {
    std::env::var("SONGS_UPSTREAM").unwrap_or_else(|_| {
        panic!("SONGS_UPSTREAM must name the program built in `upstream/`, see README.md")
    })
}

/// Runs `program` in `dir`; it must succeed, have every row once, and leave no staging file.
#[track_caller]
fn assert_completes(program: &str, dir: &Path) {
    let output = run(program, dir);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");

    // The program deletes every song whose id leaves 2 when divided by 4.
    let rows = (1..=SONGS + APPENDS).filter(|id| id % 4 != 2).count();
    let verdict = said.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with(&format!("{rows} rows ")) && verdict.ends_with("exactly as written"),
        "not {rows} rows: {verdict}"
    );

    let left = staging_files(dir);
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// A fault that never struck proves nothing.
#[track_caller]
fn assert_fired(mount: &Mounted, op: Op) {
    assert_ne!(mount.faults_fired_on(op), 0, "no {op:?} was hit");
}

fn run(program: &str, dir: &Path) -> Output {
    Command::new(program)
        .arg(dir.join("music"))
        .args(["--songs", &SONGS.to_string()])
        .args(["--appends", &APPENDS.to_string()])
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

fn staging_files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(staging_files(&path));
        } else if is_staging_file(&path.to_string_lossy()) {
            found.push(path.display().to_string());
        }
    }
    found
}
