//! `localfs sweep`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::minors::files;
use crate::worker::Worker;
use crate::{DAY, is_link, modify, on_disk, write};

fn command(dir: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_localfs"));
    command.arg("sweep").arg(dir).args(options);
    command
}

/// The exit status, and what was written to where.
fn run(dir: &Path, options: &[&str]) -> (i32, String, String) {
    let output = command(dir, options).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    (output.status.code().unwrap(), out, err)
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

/// A staging file of upstream's, in use by nobody.
fn left_over() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("a/x#1"), &"x".repeat(2048));
    dir
}

#[test]
fn it_lists_and_removes_what_is_old_and_not_in_use() {
    let dir = left_over();
    let worker = Worker::start("ours", dir.path());
    let freed = HumanBytes(on_disk([dir.path().join("a/x#1")]));
    let (status, out, err) = run(dir.path(), &["--older-than", "0s"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    says(&out, &["removed", "/a/x#1 (2.00 KiB, ", " old)\n"]);
    let pid = worker.id();
    says(&out, &["kept", &format!("process {pid} is writing it\n")]);
    says(
        &out,
        &[&format!(
            "13 found: 1 removed ({freed}), 12 in use, 0 too young"
        )],
    );
    worker.kill();

    let (status, out, _) = run(dir.path(), &["--older-than=1h"]);
    says(&out, &["kept", ", a link, ", "younger than 1h\n"]);
    says(&out, &["12 found: 0 removed (0 B), 0 in use, 12 too young"]);
    assert_eq!(status, 0);
    let left = files(dir.path())
        .into_iter()
        .map(|name| dir.path().join(name));
    let left = left.filter(|path| path.to_str().unwrap().contains('#') && !is_link(path));
    let freed = HumanBytes(on_disk(left));
    let (status, out, _) = run(dir.path(), &["--older-than", "0s"]);
    says(&out, &[&format!("12 found: 12 removed ({freed})")]);
    assert_eq!(status, 0);
    let (status, out, _) = run(dir.path(), &[]);
    says(&out, &["nothing to sweep"]);
    assert_eq!((status, out.lines().count()), (0, 1));
}

#[test]
fn a_day_is_what_it_takes_unless_told_otherwise() {
    let dir = left_over();
    let (status, out, _) = run(dir.path(), &[]);
    says(&out, &["younger than 1day\n", "1 too young"]);
    assert_eq!(status, 0);
    modify(dir.path().join("a/x#1"), SystemTime::now() + DAY);
    let (_, out, _) = run(dir.path(), &["--older-than", "0s"]);
    says(&out, &["of unknown age", "in the future\n"]);
    assert_eq!(files(dir.path()), ["a/x#1"]);
}

#[test]
fn a_dry_run_says_what_would_be() {
    let dir = left_over();
    let freed = HumanBytes(on_disk([dir.path().join("a/x#1")]));
    let (status, out, err) = run(dir.path(), &["--dry-run", "--older-than", "0s"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    says(
        &out,
        &[
            "would remove ",
            &format!("1 found: 1 would be removed ({freed})"),
        ],
    );
    assert_eq!(files(dir.path()), ["a/x#1"]);
}

#[test]
fn for_programs_it_is_json() {
    let dir = left_over();
    write(dir.path().join("b#2"), "");
    modify(dir.path().join("b#2"), SystemTime::now() + DAY);
    let freed = on_disk([dir.path().join("a/x#1")]);
    let (status, out, err) = run(dir.path(), &["--json", "--older-than", "0s"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let mut out: Value = serde_json::from_str(&out).unwrap();
    let mut all = out["files"].take();
    let age = all[0]["age_seconds"].take();
    assert!(age.as_f64().is_some_and(|age| age >= 0.0), "{age}");
    let root = dir.path().canonicalize().unwrap();
    assert_eq!(
        all,
        json!([
            {
                "path": root.join("a/x#1"), "size": 2048, "age_seconds": null,
                "has_other_names": false, "verdict": "removed", "why": null,
            },
            {
                "path": root.join("b#2"), "size": 0, "age_seconds": null,
                "has_other_names": false, "verdict": "young",
                "why": "its age is not known, or its time is in the future",
            },
        ])
    );
    // As whom this runs decides.
    out["unseen_processes"].take();
    assert_eq!(
        out,
        json!({
            "dir": dir.path(), "older_than_seconds": 0.0, "dry_run": false, "interrupted": false,
            "found": 2, "removed": 1, "bytes_freed": freed, "in_use": 0, "young": 1,
            "vanished": 0, "failed": [], "other_file_systems": [], "unseen_processes": null,
            "files": null,
        })
    );
}

#[test]
fn what_is_no_directory_is_an_error() {
    let dir = left_over();
    let (status, out, err) = run(&dir.path().join("nothing"), &[]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    says(&err, &["error: cannot look at", "nothing", "No such file"]);
    let (status, out, err) = run(&dir.path().join("a/x#1"), &["--older-than", "0s"]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    says(&err, &["x#1 is not a directory"]);
    assert_eq!(files(dir.path()), ["a/x#1"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    let dir = left_over();
    for options in [
        &["--older-than", "soon"][..],
        &["--older-than", "-1d"],
        &["--force"],
    ] {
        let (status, _, err) = run(dir.path(), options);
        assert_eq!(status, 2, "{err}");
    }
    let mut none = Command::new(env!("CARGO_BIN_EXE_localfs"));
    assert_eq!(none.arg("sweep").output().unwrap().status.code(), Some(2));
    assert_eq!(files(dir.path()), ["a/x#1"]);
}

/// A directory with so many left-overs that a pipe does not hold the lines about them.
fn many() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..2000 {
        write(dir.path().join(format!("{}{n:04}#1", "x".repeat(100))), "");
    }
    dir
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_it_between_two_files() {
    let dir = many();
    let mut sweep = command(dir.path(), &["--older-than", "0s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(sweep.stdout.take().unwrap());
    let mut lines = String::new();
    out.read_line(&mut lines).unwrap();
    // It waits for the rest to be read.
    // SAFETY: it is our child, and nobody has waited for it.
    assert_eq!(unsafe { libc::kill(sweep.id() as i32, libc::SIGINT) }, 0);
    std::thread::sleep(std::time::Duration::from_millis(300));
    out.read_to_string(&mut lines).unwrap();
    assert_eq!(sweep.wait().unwrap().code(), Some(130));
    let removed = lines
        .lines()
        .filter(|line| line.starts_with("removed "))
        .count();
    assert!((1..2000).contains(&removed), "{removed}");
    assert_eq!(files(dir.path()).len(), 2000 - removed);
    says(&lines, &["2,000 found: ", "interrupted: "]);
}

#[test]
fn who_does_not_read_on_stops_it() {
    let dir = many();
    let mut sweep = command(dir.path(), &["--older-than", "0s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(sweep.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let output = sweep.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    says(
        &String::from_utf8(output.stderr).unwrap(),
        &["cannot write", "pipe"],
    );
    let left = files(dir.path()).len();
    assert!((1..2000).contains(&left), "{left}");
}

/// In a terminal, as script(1) makes one.
#[cfg(all(target_os = "linux", feature = "mount-tests"))]
#[test]
fn a_terminal_shows_progress() {
    let dir = left_over();
    let sweep = format!(
        "{} sweep --dry-run --older-than 0s {}",
        env!("CARGO_BIN_EXE_localfs"),
        dir.path().display()
    );
    let output = Command::new("script")
        .args(["-qec", &sweep, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let out = String::from_utf8(output.stdout).unwrap();
    says(
        &out,
        &[
            "0 found, looking in ",
            "would remove ",
            "1 found: 1 would be removed",
        ],
    );
}

#[test]
fn a_link_is_not_followed_but_the_directory_may_be_one() {
    let dir = left_over();
    let other = tempfile::tempdir().unwrap();
    let link = other.path().join("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    #[cfg(windows)]
    std::os::windows::fs::symlink_dir(dir.path(), &link).unwrap();
    let (status, out, _) = run(other.path(), &["--older-than", "0s"]);
    says(&out, &["nothing to sweep"]);
    assert_eq!(status, 0);
    let (status, out, _) = run(&link, &["--older-than", "0s"]);
    says(&out, &["1 found: 1 removed"]);
    assert_eq!(status, 0);
    assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
}
