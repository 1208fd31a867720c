//! Updates by e_tag against everybody else who writes: a counter, and histories of all operations
//! that are checked for an order which explains them. Each by threads, processes and, in a VM, by
//! two hosts that mount one share.

#![cfg(target_os = "linux")]
#![allow(
    clippy::duplicate_mod,
    reason = "one client, compiled against the types of three crates"
)]

#[path = "cas/history.rs"]
mod history;
#[path = "cas/parties.rs"]
mod parties;
#[cfg(feature = "mount-tests")]
#[path = "cas/two_hosts.rs"]
mod two_hosts;
#[cfg(feature = "mount-tests")]
mod vm;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use history::fault;
use object_store_localfs::Exclusion;
use parties::{Party, Random, Worker, client};
use v0_14::client::{Client, store};

macro_rules! minor {
    ($minor:ident, $object_store:ident) => {
        #[path = "cas"]
        #[allow(dead_code, reason = "not every minor's is asked for everything")]
        mod $minor {
            pub(crate) use object_store_localfs::$minor::LocalFileSystem;
            pub(crate) use $object_store as object_store;

            pub(crate) mod client;
        }
    };
}

minor!(v0_12, object_store_0_12);
minor!(v0_13, object_store_0_13);
minor!(v0_14, object_store_0_14);

const SCOPES: [Exclusion; 3] = [
    Exclusion::OtherThreads,
    Exclusion::OtherProcesses,
    Exclusion::OtherHosts,
];

type Parties = Vec<Box<dyn Party>>;

fn threads(dir: &Path, exclusion: Exclusion) -> Parties {
    (0..4).map(|n| client(n, dir, exclusion)).collect()
}

fn processes(dir: &Path, exclusion: Exclusion) -> Parties {
    (0..4)
        .map(|n| Box::new(Worker::start(&[], n, dir, exclusion)) as Box<dyn Party>)
        .collect()
}

/// Each adds one so many times; what the object says then is how often that was done.
fn assert_counts(mut parties: Parties, dir: &Path, times: usize) {
    let counter = Client::new(Arc::new(store(dir, Exclusion::OtherHosts)), 0);
    futures::executor::block_on(counter.start_count("counter"));
    let parties_are = parties.len();
    thread::scope(|scope| {
        for party in &mut parties {
            scope.spawn(move || (0..times).for_each(|_| assert!(party.increment("counter"))));
        }
    });
    let counted = futures::executor::block_on(counter.counted("counter"));
    assert_eq!(counted as usize, parties_are * times);
}

/// The faults of so many histories, each of an object of its own.
fn faults(parties: &mut Parties, rounds: usize) -> Vec<String> {
    let rounds = (0..rounds).filter_map(|round| {
        let at = format!("object{round}");
        let events = thread::scope(|scope| {
            let at = at.as_str();
            let threads: Vec<_> = parties
                .iter_mut()
                .map(|party| scope.spawn(move || party.history(at, 8)))
                .collect();
            let events = threads.into_iter().flat_map(|t| t.join().unwrap());
            events.collect::<Vec<_>>()
        });
        Some(format!("{at}: {}", fault(events)?))
    });
    rounds.collect()
}

fn assert_linearizable(mut parties: Parties, rounds: usize) {
    let faults = faults(&mut parties, rounds);
    let first = faults.first();
    assert!(
        faults.is_empty(),
        "{} of {rounds}, the first: {}",
        faults.len(),
        first.unwrap()
    );
}

#[test]
fn four_tasks_count() {
    for exclusion in SCOPES {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(store(dir.path(), exclusion));
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(4).build().unwrap();
        runtime.block_on(async {
            let first = Client::new(shared, 0);
            first.start_count("counter").await;
            let tasks = (0..4).map(|_| {
                let mut client = first.clone();
                tokio::spawn(async move {
                    for _ in 0..100 {
                        client.add_one("counter").await;
                    }
                })
            });
            futures::future::try_join_all(tasks.collect::<Vec<_>>())
                .await
                .unwrap();
            assert_eq!(first.counted("counter").await, 400, "{exclusion:?}");
        });
    }
}

#[test]
fn four_threads_with_a_store_each_count() {
    for exclusion in SCOPES {
        let dir = tempfile::tempdir().unwrap();
        assert_counts(threads(dir.path(), exclusion), dir.path(), 100);
    }
}

#[test]
fn four_processes_count() {
    for exclusion in [Exclusion::OtherProcesses, Exclusion::OtherHosts] {
        let dir = tempfile::tempdir().unwrap();
        assert_counts(processes(dir.path(), exclusion), dir.path(), 100);
    }
}

/// Kills them at any moment while they count, and starts others in their place: the object says how
/// often that was done, give or take those that were killed before they could tell. A kill comes
/// `at_most` so long after the last one was worked off.
fn assert_counts_while_killed(
    start: &(dyn Fn(usize) -> Worker + Sync),
    workers: usize,
    counter: &Client,
    (kills, at_most): (usize, Duration),
) {
    futures::executor::block_on(counter.start_count("counter"));
    let (told, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    // Zero while there is none.
    let ids: Vec<_> = (0..workers).map(|_| AtomicI32::new(0)).collect();
    thread::scope(|scope| {
        for (n, id) in ids.iter().enumerate() {
            let (told, is_over) = (&told, &is_over);
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    let mut worker = start(n);
                    id.store(worker.id(), SeqCst);
                    while !is_over.load(SeqCst) && worker.increment("counter") {
                        told.fetch_add(1, SeqCst);
                    }
                }
            });
        }
        let mut random = Random::of(0);
        for kill in 0..kills {
            // However slow the machine is, they get something done between two kills.
            let before = told.load(SeqCst);
            while told.load(SeqCst) < before + 2 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(at_most.mul_f64(random.below(1000) as f64 / 1000.0));
            let mut id = 0;
            while id == 0 {
                id = ids[kill % workers].swap(0, SeqCst);
                thread::sleep(Duration::from_millis(1));
            }
            // SAFETY: no memory is involved; its parent waits for it when it is dead.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
        is_over.store(true, SeqCst);
    });
    let told = told.into_inner();
    let counted = futures::executor::block_on(counter.counted("counter"));
    assert!(
        (told..=told + kills as u64).contains(&counted),
        "{told} were told, {kills} killed, {counted} counted"
    );
}

#[test]
fn processes_that_are_killed_count_and_leave_nothing_locked() {
    for exclusion in [Exclusion::OtherProcesses, Exclusion::OtherHosts] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let start = move |n| Worker::start(&[], n, dir, exclusion);
        let counter = Client::new(Arc::new(store(dir, exclusion)), 0);
        assert_counts_while_killed(&start, 4, &counter, (40, Duration::from_millis(50)));
    }
}

#[test]
fn what_threads_do_has_an_order() {
    for exclusion in SCOPES {
        let dir = tempfile::tempdir().unwrap();
        assert_linearizable(threads(dir.path(), exclusion), 100);
    }
}

#[test]
fn what_processes_do_has_an_order() {
    for exclusion in [Exclusion::OtherProcesses, Exclusion::OtherHosts] {
        let dir = tempfile::tempdir().unwrap();
        assert_linearizable(processes(dir.path(), exclusion), 100);
    }
}

/// That the checker finds what there is to find: compares and puts, with nothing to exclude others.
#[test]
fn an_update_that_excludes_nobody_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let client = |n| {
        let store = Arc::new(store(dir.path(), Exclusion::OtherThreads));
        Box::new(Client::new(store, n).broken()) as Box<dyn Party>
    };
    let mut parties: Parties = (0..4).map(client).collect();
    assert!(!faults(&mut parties, 300).is_empty());
}

/// That it does so for processes too: whoever excludes only threads loses updates of processes.
#[test]
fn processes_that_exclude_only_threads_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut parties = processes(dir.path(), Exclusion::OtherThreads);
    assert!(!faults(&mut parties, 300).is_empty());
}

/// That histories which cannot be are told from those that can.
#[test]
fn what_cannot_have_happened_is_found() {
    // Client, call, answer.
    let cases = [
        (true, "0,1,2,write 1,a\n1,3,4,read 1,a"),
        (false, "0,1,2,write 1,a\n1,3,4,nothing,"),
        (true, "0,1,4,write 1,a\n1,2,3,nothing,"),
        // Two updates of one version.
        (
            false,
            "0,1,2,write 1,a\n0,3,6,update 1 2 true,b\n1,4,5,update 1 3 true,c",
        ),
        (
            true,
            "0,1,2,write 1,a\n0,3,6,update 1 2 true,b\n1,4,5,update 1 3 false,",
        ),
        // It was at that version all the time.
        (
            false,
            "0,1,2,write 1,a\n0,3,6,update 1 2 false,\n1,4,5,read 1,a",
        ),
        // An overwrite that an update swallowed.
        (
            false,
            "0,1,2,write 1,a\n0,3,4,write 2,b\n1,5,6,update 1 3 true,c",
        ),
        // Two creators, two deleters.
        (false, "0,1,3,create 1 true,a\n1,2,4,create 2 true,b"),
        (
            false,
            "0,1,2,write 1,a\n0,3,6,delete true,\n1,4,5,delete true,",
        ),
        (
            true,
            "0,1,2,write 1,a\n0,3,6,delete true,\n1,4,5,delete false,",
        ),
        // One e_tag, two versions.
        (false, "0,1,2,write 1,a\n1,3,4,write 2,a"),
        // A read that went back.
        (
            false,
            "0,1,2,write 1,a\n0,3,9,write 2,b\n1,4,5,read 2,b\n1,6,7,read 1,a",
        ),
    ];
    for (is_possible, lines) in cases {
        let events: Vec<_> = lines.lines().map(history::Event::from_line).collect();
        for (event, line) in events.iter().zip(lines.lines()) {
            assert_eq!(event.to_line(), line);
        }
        assert_eq!(fault(events).is_none(), is_possible, "{lines}");
    }
}
