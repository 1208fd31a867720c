//! Several processes at once: this test binary starts itself again as their workers.

#[cfg(feature = "mount-tests")]
mod quirkfs;

use std::io::Read;
use std::ops::Range;
use std::path::Path as Dir;
use std::process::{Child, Command, Stdio};
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
    let [kind, dir, first, end, every, start] = job.split('|').collect::<Vec<_>>()[..] else {
        panic!("{job}");
    };
    let rounds: Range<usize> = first.parse().unwrap()..end.parse().unwrap();
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    for round in rounds {
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
                "create large" => {
                    let create = PutOptions::from(PutMode::Create);
                    let data = large(std::process::id(), round).into();
                    store.put_opts(&to, data, create).await.map(|_| ())
                }
                "go on" => {
                    let neighbour = Path::from(format!("to{round}.neighbour"));
                    let create = PutOptions::from(PutMode::Create);
                    let put = store.put_opts(&neighbour, "new".into(), create).await;
                    assert!(put.is_ok(), "{put:?}");
                    store.put(&to, "over".into()).await.map(|_| ())
                }
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

/// An object that tells who wrote it, in each of its lines.
fn large(process: u32, round: usize) -> String {
    format!("{process} wrote object {round}\n").repeat(2000)
}

/// Killed when dropped: where one test fails nobody goes on.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(kind: &str, dir: &Dir, rounds: Range<usize>, every: u64, at: u128) -> Worker {
    let (first, end) = (rounds.start, rounds.end);
    let job = format!("{kind}|{}|{first}|{end}|{every}|{at}", dir.display());
    let worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture"])
        .env(JOB, job)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Worker(worker)
}

/// What came of one round: which processes were told that they did it.
type Winners = Vec<Vec<u32>>;

/// Starts a process for each of `kinds`; each does its operation once a round, all at one moment.
fn race(kinds: &[&str], dir: &Dir, rounds: usize, every: u64) -> Winners {
    for round in 0..rounds {
        std::fs::write(dir.join(format!("from{round}")), "data").unwrap();
    }
    let at = micros() + 1_500_000;
    let workers: Vec<_> = kinds
        .iter()
        .map(|kind| start(kind, dir, 0..rounds, every, at))
        .collect();
    let mut winners = vec![Vec::new(); rounds];
    let mut answers = 0;
    for mut worker in workers {
        answers += read_answers(&mut worker, &mut winners);
        assert!(worker.0.wait().unwrap().success());
    }
    assert_eq!(answers, kinds.len() * rounds);
    winners
}

/// Takes in what a worker prints until it ends, and says how many answers that were.
fn read_answers(worker: &mut Worker, winners: &mut Winners) -> usize {
    let mut printed = Vec::new();
    let mut stdout = worker.0.stdout.take().unwrap();
    stdout.read_to_end(&mut printed).unwrap();
    let mut answers = 0;
    for line in String::from_utf8_lossy(&printed).lines() {
        let words: Vec<_> = line.split(' ').collect();
        let ["round", round, process, answer, ..] = words[..] else {
            continue;
        };
        answers += 1;
        match answer {
            "done" => winners[round.parse::<usize>().unwrap()].push(process.parse().unwrap()),
            "lost" => {}
            _ => panic!("{line}"),
        }
    }
    answers
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

/// Where an advisory lock decides.
#[cfg(feature = "mount-tests")]
mod without_links_and_exclusive_rename {
    use std::collections::HashSet;

    use super::*;
    use quirkfs::{Fault, Op, QuirkFs, Recipe};

    const OBJECTS: usize = 200;

    fn neither() -> Recipe {
        Recipe::plain().no_rename_flags().no_hard_links(libc::EPERM)
    }

    /// What no minor of upstream may list: staging files, lock files, whatever is ours.
    fn assert_only_objects_are_listed(dir: &Dir, are_objects: impl Fn(&str) -> bool) {
        use futures::{StreamExt, TryStreamExt, executor::block_on};

        macro_rules! listed {
            ($object_store:ident) => {{
                use $object_store::ObjectStore;
                let store = $object_store::local::LocalFileSystem::new_with_prefix(dir).unwrap();
                let all = store.list(None).map_ok(|meta| meta.location.to_string());
                let all: Vec<_> = block_on(all.map(Result::unwrap).collect());
                let flat = block_on(store.list_with_delimiter(None)).unwrap();
                let prefixes = flat.common_prefixes.iter().map(|p| p.to_string());
                let flat = flat.objects.iter().map(|meta| meta.location.to_string());
                for name in all.into_iter().chain(flat).chain(prefixes) {
                    assert!(are_objects(&name), "{}: {name}", stringify!($object_store));
                }
            }};
        }
        listed!(object_store_0_12);
        listed!(object_store_0_13);
        listed!(object_store_0_14);
    }

    fn is_object(name: &str) -> bool {
        ["from", "to"].into_iter().any(|kind| {
            let digits = name.strip_prefix(kind).unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        })
    }

    fn of_sixteen_one_creates(recipe: Recipe) {
        let mount = QuirkFs::mount(recipe);
        assert_one_wins("create", mount.path(), OBJECTS, 100);
        assert_only_objects_are_listed(mount.path(), is_object);
    }

    #[test]
    fn of_sixteen_processes_one_creates() {
        of_sixteen_one_creates(neither());
    }

    #[test]
    fn of_sixteen_processes_one_creates_where_inodes_change() {
        of_sixteen_one_creates(neither().inodes_change());
    }

    #[test]
    fn of_sixteen_processes_one_copies_and_one_renames() {
        for kind in ["copy if absent", "rename if absent"] {
            let mount = QuirkFs::mount(neither());
            assert_one_wins(kind, mount.path(), 40, 150);
            assert_only_objects_are_listed(mount.path(), is_object);
        }
    }

    /// Nothing but the names tells who it was, where there are no links.
    #[test]
    fn of_sixteen_processes_one_renames_by_an_exclusive_rename() {
        let mount = QuirkFs::mount(Recipe::plain().no_hard_links(libc::EPERM));
        assert_one_wins("rename if absent", mount.path(), 40, 150);
    }

    /// Longer than any answer takes; a process that waits for the lock of a dead one never ends.
    fn finish(worker: &mut Worker) {
        for _ in 0..60_000 {
            if let Some(status) = worker.0.try_wait().unwrap() {
                assert!(status.success());
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("a process hangs");
    }

    fn create_while_processes_are_killed(recipe: Recipe) {
        const EVERY: u64 = 50;

        // A rename takes a while, so that some are killed with the lock held: before it, in it and
        // right after.
        let slow = Fault::delay(Op::Rename, Duration::from_millis(3));
        let mount = QuirkFs::mount(recipe.fault(slow));
        let (dir, at) = (mount.path(), micros() + 1_500_000);
        let start = |first| start("create large", dir, first..OBJECTS, EVERY, at);
        let mut workers: Vec<_> = (0..16).map(|_| start(0)).collect();
        let mut winners = vec![Vec::new(); OBJECTS];
        let mut killed = HashSet::new();
        for kill in 0..OBJECTS {
            wait_for_round(kill, EVERY, at);
            // Not at the same moment of each round.
            std::thread::sleep(Duration::from_micros(500 * (kill as u64 % 40)));
            let worker = &mut workers[kill % 16];
            // SIGKILL. What it printed fits the pipe.
            worker.0.kill().unwrap();
            killed.insert(worker.0.id());
            let mut dead = std::mem::replace(worker, start(kill + 1));
            read_answers(&mut dead, &mut winners);
        }
        // On a busy machine a round may have passed with nobody alive for it.
        workers.extend((0..4).map(|_| start(0)));
        for mut worker in workers {
            finish(&mut worker);
            read_answers(&mut worker, &mut winners);
        }

        for (round, winners) in winners.iter().enumerate() {
            let found = std::fs::read_to_string(dir.join(format!("to{round}"))).unwrap();
            let writer: u32 = found.split(' ').next().unwrap().parse().unwrap();
            assert!(found == large(writer, round), "object {round} is not whole");
            match winners[..] {
                [winner] => assert_eq!(writer, winner, "object {round}"),
                // It was killed before it could say so.
                [] => assert!(killed.contains(&writer), "object {round}"),
                _ => panic!("object {round}: {winners:?}"),
            }
        }
        let told = winners.iter().filter(|winners| !winners.is_empty()).count();
        assert!(told > OBJECTS / 2, "{told} winners lived to tell");
        assert_only_objects_are_listed(dir, is_object);

        // Nothing stays locked: a fresh process goes on with all of them at once.
        let mut worker = super::start("go on", dir, 0..OBJECTS, 0, 0);
        finish(&mut worker);
        let mut winners = vec![Vec::new(); OBJECTS];
        assert_eq!(read_answers(&mut worker, &mut winners), OBJECTS);
        for round in 0..OBJECTS {
            let read = |name: String| std::fs::read_to_string(dir.join(name)).unwrap();
            assert_eq!(read(format!("to{round}")), "over");
            assert_eq!(read(format!("to{round}.neighbour")), "new");
        }
        assert_only_objects_are_listed(dir, |name| {
            is_object(name.strip_suffix(".neighbour").unwrap_or(name))
        });
    }

    #[test]
    fn one_creates_and_nothing_stays_locked_where_processes_are_killed() {
        create_while_processes_are_killed(neither());
    }

    #[test]
    fn one_creates_and_nothing_stays_locked_where_processes_are_killed_and_inodes_change() {
        create_while_processes_are_killed(neither().inodes_change());
    }

    /// The rung above the lock.
    #[test]
    fn one_creates_where_processes_are_killed_and_links_decide() {
        create_while_processes_are_killed(Recipe::plain().no_rename_flags());
    }
}
