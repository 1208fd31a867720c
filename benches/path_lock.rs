//! The path lock by itself, without a file system where there can be none.
//!
//! ```text
//! cargo bench --bench path_lock
//! ```
//!
//! Contended measurements give the time in which every thread had the lock once. Takes about a
//! minute.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use object_store_localfs_engine::Engine;
use object_store_localfs_engine::testing::{lock_key, lock_keys, paths_in_lock_table};

const MILLION: u64 = 1_000_000;

/// Keys are hashes: spread over all bits.
fn key(n: u64) -> u64 {
    n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn assert_all_unlocked() {
    assert_eq!(paths_in_lock_table(), 0, "the table grows with use");
}

fn uncontended(c: &mut Criterion) {
    let mut group = c.benchmark_group("path lock, uncontended");
    group.bench_function("one key", |b| b.iter(|| lock_key(black_box(key(1)))));
    group.bench_function("two keys", |b| {
        b.iter(|| lock_keys(black_box(key(1)), black_box(key(2))));
    });

    // With the statx of the directory by which the file is known.
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let (engine, path) = (Engine::new(), dir.path().join("object"));
    group.bench_function("a path", |b| {
        b.iter(|| {
            engine
                .lock(black_box(&path))
                .expect("its directory is there")
        });
    });
    group.finish();
    assert_all_unlocked();
}

fn contended(c: &mut Criterion) {
    let mut group = c.benchmark_group("path lock, contended");
    for threads in [2, 4] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(format!("one key, {threads} threads"), |b| {
            b.iter_custom(|iterations| in_parallel(threads, iterations, |_| key(1)));
        });
        group.bench_function(format!("different keys, {threads} threads"), |b| {
            b.iter_custom(|iterations| in_parallel(threads, iterations, key));
        });
    }
    group.finish();
    assert_all_unlocked();
}

/// From when all threads are there to when the last one has locked and unlocked its key
/// `iterations` times.
fn in_parallel(threads: u64, iterations: u64, key_of: impl Fn(u64) -> u64) -> Duration {
    let ready = &Barrier::new(threads as usize);
    let times = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let key = key_of(thread);
                scope.spawn(move || {
                    ready.wait();
                    let begin = Instant::now();
                    for _ in 0..iterations {
                        drop(lock_key(black_box(key)));
                    }
                    (begin, Instant::now())
                })
            })
            .collect();
        let join = |h: std::thread::ScopedJoinHandle<'_, _>| h.join().expect("it locks only");
        handles.into_iter().map(join).collect::<Vec<_>>()
    });
    let begin = times.iter().map(|(begin, _)| *begin).min();
    let end = times.iter().map(|(_, end)| *end).max();
    match (begin, end) {
        (Some(begin), Some(end)) => end - begin,
        _ => Duration::ZERO,
    }
}

fn a_million_paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("path lock, a million paths one after another");
    group.sample_size(10);
    group.throughput(Throughput::Elements(MILLION));
    group.bench_function("keys", |b| {
        b.iter(|| (0..MILLION).for_each(|n| drop(lock_key(black_box(key(n))))));
    });
    assert_all_unlocked();

    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let engine = Engine::new();
    let paths: Vec<PathBuf> = (0..MILLION)
        .map(|n| dir.path().join(format!("object-{n}")))
        .collect();
    group.bench_function("paths", |b| {
        b.iter(|| {
            for path in &paths {
                drop(engine.lock(path).expect("its directory is there"));
            }
        });
    });
    group.finish();
    assert_all_unlocked();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50)
        .configure_from_args();
    uncontended(&mut criterion);
    contended(&mut criterion);
    a_million_paths(&mut criterion);
    criterion.final_summary();
}
