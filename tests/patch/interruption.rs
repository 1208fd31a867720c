//! `localfs` killed or interrupted half way.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use tempfile::TempDir;

use crate::workspace::{Run, Workspace, assert_same};
use crate::{ONE, TWO};

/// A `cargo` that does something to the localfs that runs it, at its nth call.
struct Cargo {
    dir: TempDir,
    nth: usize,
}

impl Cargo {
    fn new(nth: usize, before: &str, after: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\n\
             echo >> {dir}/calls\n\
             if [ $(wc -l < {dir}/calls) = {nth} ]; then\n\
             {before}\n{cargo} \"$@\"; status=$?\n{after}\nexit $status\n\
             fi\n\
             exec {cargo} \"$@\"\n",
            dir = dir.path().display(),
            cargo = env!("CARGO"),
        );
        let cargo = Self { dir, nth };
        fs::write(cargo.path(), script).unwrap();
        fs::set_permissions(cargo.path(), fs::Permissions::from_mode(0o755)).unwrap();
        cargo
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("cargo")
    }

    /// Whether it was asked as often as that.
    fn reached(&self) -> bool {
        let calls = fs::read_to_string(self.dir.path().join("calls")).unwrap();
        calls.len() >= self.nth
    }

    fn run(&self, command: &mut Command) -> Run {
        command.env("CARGO", self.path()).output().unwrap().into()
    }
}

/// Runs the test with a cargo that takes this action, before and after each of its calls.
fn each_call(action: &str, mut test: impl FnMut(&Cargo)) {
    for nth in 1..10 {
        let (before, after) = (Cargo::new(nth, action, ""), Cargo::new(nth, "", action));
        test(&before);
        test(&after);
        if !before.reached() && !after.reached() {
            assert!(nth > 2, "cargo is asked twice at least");
            return;
        }
    }
    panic!("cargo is asked all the time");
}

const KILL: &str = "kill -9 $PPID; sleep 0.1";
const INTERRUPT: &str = "kill -INT $PPID; sleep 0.1";

#[test]
fn after_a_kill_at_any_call_of_cargo_a_second_run_patches() {
    let before = Workspace::locked(TWO);
    let patched = Workspace::of(TWO);
    patched.write("Cargo.lock", &before.read("Cargo.lock"));
    patched.localfs(&["patch"]).ok();

    each_call(KILL, |cargo| {
        let workspace = Workspace::of(TWO);
        workspace.write("Cargo.lock", &before.read("Cargo.lock"));
        let killed = cargo.run(&mut workspace.command(&["patch"]));
        assert_eq!(killed.status.is_none(), cargo.reached(), "{killed:?}");
        workspace.localfs(&["patch"]).ok();
        assert_same(&patched.tree(), &workspace.tree());
    });
}

#[test]
fn after_a_kill_at_any_call_of_cargo_unpatch_gives_back_the_tree() {
    let workspace = Workspace::locked(TWO);
    let before = workspace.tree();
    for command in ["patch", "unpatch"] {
        each_call(KILL, |cargo| {
            if command == "unpatch" {
                workspace.localfs(&["patch"]).ok();
            }
            let killed = cargo.run(&mut workspace.command(&[command]));
            assert_eq!(killed.status.is_none(), cargo.reached(), "{killed:?}");
            workspace.localfs(&["unpatch"]).ok();
            assert_same(&before, &workspace.tree());
        });
    }
}

#[test]
fn after_a_kill_the_workspace_still_builds_or_a_run_repairs_it() {
    let workspace = Workspace::locked(ONE);
    let cargo = Cargo::new(3, KILL, "");
    cargo.run(&mut workspace.command(&["patch"]));
    // The manifest is written, the lock is not.
    assert!(workspace.read("Cargo.toml").contains("localfs patch"));
    assert!(workspace.cargo(&["metadata", "--format-version=1"]).status == Some(0));
    let check = workspace.localfs(&["patch", "--check"]);
    assert_eq!(check.status, Some(1));
    check.says(&["interrupted run"]);
    let patch = workspace.localfs(&["patch"]).ok();
    patch.says(&["put back what an interrupted run had changed"]);
}

#[test]
fn what_was_edited_after_a_kill_is_not_put_back() {
    let workspace = Workspace::locked(ONE);
    Cargo::new(3, KILL, "").run(&mut workspace.command(&["patch"]));
    let edited = format!(
        "{}\n[profile.dev]\ndebug = 0\n",
        workspace.read("Cargo.toml")
    );
    workspace.write("Cargo.toml", &edited);
    workspace.localfs(&["patch"]).ok();
    assert_eq!(workspace.read("Cargo.toml"), edited);
    assert_eq!(
        workspace.object_stores(),
        ["0.14.2 patches/object_store-0.14.2"]
    );
}

#[test]
fn an_interrupted_run_leaves_the_tree_as_it_was() {
    let workspace = Workspace::locked(ONE);
    for (command, back) in [("patch", "unpatch"), ("unpatch", "patch")] {
        if command == "unpatch" {
            workspace.localfs(&["patch"]).ok();
        }
        let before = workspace.tree();
        each_call(INTERRUPT, |cargo| {
            let run = cargo.run(&mut workspace.command(&[command]));
            if cargo.reached() {
                assert_eq!(run.status, Some(130), "{run:?}");
                assert!(run.err.contains("interrupted"), "{run:?}");
                assert_same(&before, &workspace.tree());
            } else {
                // It was done: once more from the start.
                workspace.localfs(&[back]).ok();
            }
        });
        workspace.localfs(&["unpatch"]).ok();
    }
}

#[test]
fn cargo_that_fails_at_the_proof_leaves_the_tree_as_it_was() {
    let workspace = Workspace::locked(ONE);
    let before = workspace.tree();
    let cargo = Cargo::new(3, "echo 'error: no luck' >&2; exit 101", "");
    let run = cargo.run(&mut workspace.command(&["patch"]));
    run.refused(&["no luck", "everything is as it was before"]);
    assert_same(&before, &workspace.tree());
}

#[test]
fn after_a_kill_at_any_time_a_second_run_patches() {
    let workspace = Workspace::locked(TWO);
    let before = workspace.tree();
    workspace.localfs(&["patch"]).ok();
    let patched = workspace.tree();
    workspace.localfs(&["unpatch"]).ok();

    let kill = |command: &str, delay| {
        let mut command = workspace.command(&[command]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        // A cargo that it had started may still be writing.
        thread::sleep(Duration::from_millis(300));
    };
    for delay in (0..600).step_by(60) {
        kill("patch", delay);
        workspace.localfs(&["patch"]).ok();
        assert_same(&patched, &workspace.tree());

        kill("unpatch", delay / 2);
        workspace.localfs(&["unpatch"]).ok();
        assert_same(&before, &workspace.tree());
    }
}
