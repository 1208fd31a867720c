//! Several processes at once: this test binary starts itself again as their workers.

#[cfg(feature = "mount-tests")]
mod quirkfs;

use std::path::Path as Dir;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use object_store_0_14 as object_store;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use object_store_localfs::LocalFileSystem;

/// Where a worker finds what it is to do; without it the test `worker` is not one.
const JOB: &str = "LOCALFS_TEST_JOB";

/// One round every so many milliseconds, at which all processes meet.
fn wait_for_round(round: usize, every: u64, start: u128) {
    let at = start + round as u128 * u128::from(every) * 1000;
    loop {
        let now = micros();
        if now >= at {
            return;
        }
        if at - now > 2000 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn micros() -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_micros()
}

#[test]
fn worker() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let [kind, dir, rounds, every, start] = job.split('|').collect::<Vec<_>>()[..] else {
        panic!("{job}");
    };
    let rounds: usize = rounds.parse().unwrap();
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    for round in 0..rounds {
        wait_for_round(round, every.parse().unwrap(), start.parse().unwrap());
        let (from, to) = (
            Path::from(format!("from{round}")),
            Path::from(format!("to{round}")),
        );
        let me = std::process::id().to_string();
        let done = futures::executor::block_on(async {
            match kind {
                "create" => {
                    let create = PutOptions::from(PutMode::Create);
                    let put = store.put_opts(&to, me.into(), create).await;
                    put.map(|_| ())
                }
                "copy" => store.copy(&from, &to).await,
                "copy if absent" => store.copy_if_not_exists(&from, &to).await,
                "rename" => store.rename(&from, &to).await,
                "rename if absent" => store.rename_if_not_exists(&from, &to).await,
                _ => panic!("{kind}"),
            }
        });
        let answer = match done {
            Ok(()) => "done".into(),
            Err(Error::AlreadyExists { .. } | Error::NotFound { .. }) => "lost".into(),
            Err(e) => format!("failed {e}"),
        };
        println!("\nround {round} {} {answer}", std::process::id());
    }
}

/// What came of one round: which processes were told that they did it.
type Winners = Vec<Vec<u32>>;

/// Starts a process for each of `kinds`; each does its operation once a round, all at one moment.
fn race(kinds: &[&str], dir: &Dir, rounds: usize, every: u64) -> Winners {
    for round in 0..rounds {
        std::fs::write(dir.join(format!("from{round}")), "data").unwrap();
    }
    let start = micros() + 1_500_000;
    let workers: Vec<_> = kinds
        .iter()
        .map(|kind| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "worker", "--nocapture"])
                .env(
                    JOB,
                    format!("{kind}|{}|{rounds}|{every}|{start}", dir.display()),
                )
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut winners = vec![Vec::new(); rounds];
    let mut answers = 0;
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut words = line.split(' ');
            if words.next() != Some("round") {
                continue;
            }
            let round: usize = words.next().unwrap().parse().unwrap();
            let process: u32 = words.next().unwrap().parse().unwrap();
            answers += 1;
            match words.next().unwrap() {
                "done" => winners[round].push(process),
                "lost" => {}
                _ => panic!("{line}"),
            }
        }
    }
    assert_eq!(answers, kinds.len() * rounds);
    winners
}

fn assert_one_wins(kind: &str, dir: &Dir, rounds: usize, every: u64) {
    let winners = race(&[kind; 16], dir, rounds, every);
    for (round, winners) in winners.iter().enumerate() {
        assert_eq!(winners.len(), 1, "{kind}, round {round}: {winners:?}");
        let to = std::fs::read_to_string(dir.join(format!("to{round}"))).unwrap();
        match kind {
            "create" => assert_eq!(to, winners[0].to_string()),
            _ => assert_eq!(to, "data"),
        }
    }
    assert_eq!(staging_files(dir), 0, "{kind}");
    if kind.starts_with("rename") {
        assert_eq!(sources(dir), 0, "{kind}");
    }
}

fn count(dir: &Dir, is_meant: impl Fn(&str) -> bool) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .filter(|entry| is_meant(entry.as_ref().unwrap().file_name().to_str().unwrap()))
        .count()
}

fn staging_files(dir: &Dir) -> usize {
    count(dir, |name| name.contains('#'))
}

fn sources(dir: &Dir) -> usize {
    count(dir, |name| name.starts_with("from"))
}

#[test]
fn of_sixteen_processes_one_wins() {
    for kind in ["create", "copy if absent", "rename if absent", "rename"] {
        let dir = tempfile::tempdir().unwrap();
        assert_one_wins(kind, dir.path(), 100, 10);
    }
}

#[test]
fn processes_that_make_one_copy_leave_no_staging_file() {
    let dir = tempfile::tempdir().unwrap();
    race(&["copy"; 16], dir.path(), 100, 10);
    assert_eq!(staging_files(dir.path()), 0);
}

/// A rename does nothing where the other has just linked the two names.
#[test]
fn a_rename_against_copies_moves_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    race(&["rename", "copy", "copy", "copy"], dir.path(), 200, 5);
    assert_eq!((sources(dir.path()), staging_files(dir.path())), (0, 0));
}

/// Without rename flags: links decide.
#[cfg(feature = "mount-tests")]
#[test]
fn of_sixteen_processes_on_drvfs_one_wins() {
    for kind in ["create", "copy if absent", "rename if absent"] {
        let mount = quirkfs::QuirkFs::mount(quirkfs::Recipe::drvfs());
        assert_one_wins(kind, mount.path(), 40, 100);
    }
}
