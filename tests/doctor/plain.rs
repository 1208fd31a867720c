//! On a plain directory, and where there is none.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Report, doctor, folders, said, text, tree};

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_local_disk_is_fine() {
    let dir = temporary();
    let report = Report::of(dir.path());
    assert_eq!((report.status(), report.verdict()), (0, "fine"));
    assert_eq!(report.failing(), [""; 0]);
    assert_eq!(report.by("rename"), "rename");
    assert_eq!(report.outcome("copy", "upstream_0_14"), "leaves_a_file");
    report.finds("upstream", "note");

    let (text, status) = text(dir.path());
    assert_eq!(status, Some(0));
    assert!(text.contains("Fine: all operations hold"), "{text}");
}

#[test]
fn what_it_did_not_make_is_as_it_was() {
    let dir = temporary();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("table/_versions")).unwrap();
    fs::write(at("table/_versions/1.manifest"), "1").unwrap();
    fs::write(at("table/data#1"), "a staging file").unwrap();
    fs::write(at(".hidden"), "").unwrap();
    fs::write(at("object"), "an object").unwrap();
    fs::hard_link(at("object"), at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink(at("table"), at(".localfs-doctor-table")).unwrap();
    fs::set_permissions(at("object"), fs::Permissions::from_mode(0o400)).unwrap();

    let before = tree(dir.path());
    let report = Report::of(dir.path());
    assert_eq!(report.status(), 0);
    assert_eq!(before, tree(dir.path()));
}

#[test]
fn a_directory_that_is_missing_is_told() {
    let dir = temporary();
    let report = Report::of(&dir.path().join("nowhere"));
    assert_eq!((report.status(), report.problem()), (2, "missing"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let (text, status) = text(&dir.path().join("nowhere"));
    assert_eq!(status, Some(2));
    assert!(text.contains("there is no directory"), "{text}");
}

#[test]
fn a_file_in_the_place_of_the_directory_is_told() {
    let dir = temporary();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let report = Report::of(&path);
        assert_eq!((report.status(), report.problem()), (2, "not_a_directory"));
    }
}

#[test]
fn a_directory_that_only_others_may_write_is_told() {
    let home = temporary();
    let dir = home.path().join("dir");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write anywhere, and others may not be let to where the tests are built.
    let copy = home.path().join("localfs");
    fs::copy(env!("CARGO_BIN_EXE_localfs"), &copy).unwrap();
    let mut command = std::process::Command::new(copy);
    command.arg("doctor").arg(&dir).arg("--json");
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65_534).gid(65_534);
    }
    let report = Report::from_run(&mut command);
    assert_eq!((report.status(), report.problem()), (2, "not_permitted"));
}

/// Examines a directory, and ends the run as soon as it is seen to work in this folder below its
/// own. Each is there for a moment only, so it may take some runs.
fn signalled_at(folder: &str, signal: i32, dir: &Path) -> std::process::Output {
    for _ in 0..100 {
        let mut command = doctor(dir, &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = command.spawn().unwrap();
        let mut is_over = false;
        while !is_over && !folders(dir).iter().any(|it| it.join(folder).exists()) {
            is_over = run.try_wait().unwrap().is_some();
            std::thread::yield_now();
        }
        // SAFETY: a signal to a child that was not waited for.
        let signalled = !is_over && unsafe { libc::kill(run.id() as i32, signal) } == 0;
        let output = run.wait_with_output().unwrap();
        if signalled {
            return output;
        }
    }
    panic!("it was never seen in {folder}");
}

#[test]
fn interrupted_it_leaves_nothing() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        for folder in ["locks_exclude_processes-1", "this-put_multipart", "latency"] {
            let dir = temporary();
            fs::write(dir.path().join("object"), "an object").unwrap();
            let before = tree(dir.path());
            let output = signalled_at(folder, signal, dir.path());
            assert_eq!(output.status.code(), Some(130), "{folder}: {output:?}");
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(errors.contains("interrupted"), "{errors}");
            assert_eq!(before, tree(dir.path()), "{folder}");
        }
    }
}

#[test]
fn what_a_killed_run_left_is_named_and_not_touched() {
    let dir = temporary();
    signalled_at("", libc::SIGKILL, dir.path());
    let left = folders(dir.path());
    assert_eq!(left.len(), 1);
    let before = tree(dir.path());

    let report = Report::of(dir.path());
    report.finds("left_over", "note");
    assert_eq!(report.status(), 0);
    let findings = report.0["findings"].to_string();
    assert!(findings.contains(left[0].to_str().unwrap()), "{findings}");
    assert_eq!(before, tree(dir.path()));
}

#[test]
fn a_pipe_gets_no_colour_unless_it_is_forced() {
    let dir = temporary();
    let colours = |variable: &str| {
        let (text, _) = said(doctor(dir.path(), &[]).env(variable, "1").output().unwrap());
        text.contains('\u{1b}')
    };
    assert!(!colours("ANY"));
    assert!(!colours("NO_COLOR"));
    assert!(colours("CLICOLOR_FORCE"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = temporary();
    let mut command = doctor(dir.path(), &[]);
    let mut run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(run.stdout.take());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let dir = temporary();
    for arguments in [&[][..], &["--json"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = doctor(dir.path(), arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("ENOSPC"), "{errors}");
    }
}

#[test]
fn what_there_is_no_time_for_is_told() {
    let dir = temporary();
    let report = Report::from_run(&mut doctor(dir.path(), &["--json", "--within", "0s"]));
    report.finds("too_slow", "weaker");
    assert_eq!((report.status(), report.verdict()), (1, "weaker"));
    assert_eq!(report.evidence("rename"), "not tried: too slow");
    for store in ["this", "upstream_0_14"] {
        assert_eq!(report.outcome("put_overwrite", store), "not_tried");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Nothing can be made there by anybody, and it is there.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_takes_nothing_is_not_missing() {
    let report = Report::of(Path::new("/proc"));
    assert_eq!((report.status(), report.problem()), (2, "other"));
}

/// `mount.source`, `capabilities[].id`: every key of a report, with where it stands.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let at = match at {
                    "" => key.clone(),
                    _ => format!("{at}.{key}"),
                };
                found.insert(at.clone());
                keys(value, &at, found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                keys(entry, &format!("{at}[]"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_keys_of_the_report_are_those_that_are_documented() {
    let page = fs::read_to_string("docs/doctor.md").unwrap();
    let (_, table) = page.split_once("| key |").expect("the table of keys");
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let documented: BTreeSet<_> = rows
        .map(|row| row.split('`').nth(1).unwrap().to_string())
        .collect();

    let dir = temporary();
    let mut found = BTreeSet::new();
    for path in [dir.path().to_path_buf(), PathBuf::from("/nowhere/at/all")] {
        keys(&Report::of(&path).0, "", &mut found);
    }
    // The answer of a capability is a word, or an amount with its unit.
    assert_eq!(documented, found);
}
