//! Properties of the path lock alone: exclusion, the order of two, no growth.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use object_store_localfs_engine::testing::{lock_key, lock_keys, paths_in_lock_table};
use proptest::prelude::*;

/// Which keys a thread locks, one after another: alone or in pairs.
type Script = Vec<(u64, Option<u64>)>;

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let step = (0..4_u64, prop::option::of(0..4_u64));
    prop::collection::vec(prop::collection::vec(step, 1..40), 2..6)
}

/// One test, since the table is the process's: its emptiness can only be seen while nobody else
/// locks.
#[test]
fn holders_exclude_each_other_never_wait_in_a_circle_and_leave_nothing() {
    proptest!(ProptestConfig::with_cases(64), |(scripts in scripts())| {
        run(&scripts);
    });

    // As large as what is locked now, not as what ever was.
    for key in 0..100_000_u64 {
        drop(lock_key(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    assert_eq!(paths_in_lock_table(), 0);
    let held: Vec<_> = (0..1000).map(lock_key).collect();
    assert_eq!(paths_in_lock_table(), 1000);
    drop(held);
    assert_eq!(paths_in_lock_table(), 0);
}

fn run(scripts: &[Script]) {
    let owned: Arc<Vec<AtomicBool>> = Arc::new((0..4).map(|_| AtomicBool::new(false)).collect());
    let start = Arc::new(Barrier::new(scripts.len()));
    let threads: Vec<_> = scripts
        .iter()
        .cloned()
        .map(|script| {
            let (owned, start) = (Arc::clone(&owned), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for (a, b) in script {
                    let _guard = match b {
                        Some(b) => lock_keys(a, b),
                        None => lock_key(a),
                    };
                    let keys = || [Some(a), b.filter(|b| *b != a)].into_iter().flatten();
                    for key in keys() {
                        let alone = !owned[key as usize].swap(true, SeqCst);
                        assert!(alone, "two hold {key}");
                    }
                    thread::yield_now();
                    for key in keys() {
                        owned[key as usize].store(false, SeqCst);
                    }
                }
            })
        })
        .collect();
    // A circle would be a test that does not end.
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(paths_in_lock_table(), 0);
}
