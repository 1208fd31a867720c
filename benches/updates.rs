//! What it costs to keep others out of updates: overwrites of 4 KiB, with and without a condition, by
//! who is excluded.
//!
//! ```text
//! BENCH_DIR=/dev/shm cargo bench --bench updates       # tmpfs
//! BENCH_DIR=target cargo bench --bench updates         # the file system the repository lies on
//! ```
//!
//! Takes about a minute, and ends with a table in Markdown: the median time of one write, and its
//! ratio to a put that excludes other threads only.
//! As in the bench `stores`, all ways of writing take turns, write by write, in [`ROUNDS`] rounds; a
//! ratio is that of the medians of a round.
//!
//! For all hosts it is the price on a local disk. On a share a write takes about ten requests to the
//! server more.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use object_store_0_14 as object_store;
use object_store_0_14::path::Path;
use object_store_0_14::{ObjectStore, PutMode, PutPayload, UpdateVersion};
use object_store_localfs::{Exclusion, LocalFileSystem};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ROUNDS: usize = 7;
const LEN: usize = 4 << 10;

/// Who is excluded, by upstream's store if nobody is, and whether there is a condition.
const WAYS: [(&str, Option<Exclusion>, bool); 7] = [
    ("put, other threads", Some(Exclusion::OtherThreads), false),
    ("update, other threads", Some(Exclusion::OtherThreads), true),
    (
        "put, other processes (default)",
        Some(Exclusion::OtherProcesses),
        false,
    ),
    (
        "update, other processes (default)",
        Some(Exclusion::OtherProcesses),
        true,
    ),
    ("put, other hosts", Some(Exclusion::OtherHosts), false),
    ("update, other hosts", Some(Exclusion::OtherHosts), true),
    ("put, upstream 0.14", None, false),
];

/// A store in a directory of its own, and the version that is there.
struct Bed {
    store: Box<dyn ObjectStore>,
    is_update: bool,
    e_tag: RefCell<Option<String>>,
    _dir: TempDir,
}

impl Bed {
    fn new(exclusion: Option<Exclusion>, is_update: bool) -> Self {
        let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(parent).expect("BENCH_DIR is a writable directory");
        let store: Box<dyn ObjectStore> = match exclusion {
            Some(exclusion) => {
                let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
                Box::new(store.with_update_exclusion(exclusion).unwrap())
            }
            None => {
                let store = object_store::local::LocalFileSystem::new_with_prefix(dir.path());
                Box::new(store.unwrap())
            }
        };
        Self {
            store,
            is_update,
            e_tag: RefCell::default(),
            _dir: dir,
        }
    }

    /// Writes once, and says how long it took.
    fn once(&self, runtime: &Runtime, payload: &PutPayload) -> Duration {
        let e_tag = self.e_tag.borrow_mut().take();
        let mode = match self.is_update && e_tag.is_some() {
            true => PutMode::Update(UpdateVersion {
                e_tag,
                version: None,
            }),
            false => PutMode::Overwrite,
        };
        let (object, payload) = (&Path::from("object"), payload.clone());
        let begin = Instant::now();
        let put = runtime.block_on(self.store.put_opts(object, payload, mode.into()));
        let took = begin.elapsed();
        *self.e_tag.borrow_mut() = put.expect("nobody else writes there").e_tag;
        took
    }
}

type Times = [Vec<Duration>; WAYS.len()];

/// What `way` took of `iterations` in which all of them were gone.
fn measure(
    runtime: &Runtime,
    beds: &[Bed],
    times: &mut Times,
    way: usize,
    iterations: u64,
) -> Duration {
    let payload = PutPayload::from(vec![b'x'; LEN]);
    let mut sum = Duration::ZERO;
    for iteration in 0..iterations as usize {
        for turn in 0..WAYS.len() {
            let turn = (turn + iteration) % WAYS.len();
            let took = beds[turn].once(runtime, &payload);
            times[turn].push(took);
            if turn == way {
                sum += took;
            }
        }
    }
    sum
}

fn main() {
    let runtime = Runtime::new().expect("threads can be spawned");
    // Without `cargo bench`, criterion makes everything once.
    let measures = std::env::args().any(|arg| arg == "--bench");
    let rounds = if measures { ROUNDS } else { 1 };
    let mut medians = Vec::new();
    for round in 1..=rounds {
        let beds = WAYS.map(|(_, exclusion, is_update)| Bed::new(exclusion, is_update));
        let mut times = Times::default();
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(50))
            .measurement_time(Duration::from_millis(600))
            .nresamples(2000)
            .configure_from_args()
            .save_baseline(format!("round-{round}"));
        let mut group = criterion.benchmark_group("overwrite 4 KiB");
        group.sampling_mode(SamplingMode::Flat);
        for (way, (name, ..)) in WAYS.iter().enumerate() {
            group.bench_function(*name, |bencher| {
                bencher.iter_custom(|n| measure(&runtime, &beds, &mut times, way, n));
            });
        }
        group.finish();
        if times.iter().all(|times| !times.is_empty()) {
            medians.push(times.map(|times| median(times.iter().map(micros))));
        }
    }
    if measures && !medians.is_empty() {
        print_table(&medians);
    }
}

fn micros(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn print_table(rounds: &[[f64; WAYS.len()]]) {
    println!("\n| write of 4 KiB | µs | ratio | least and greatest |");
    println!("| --- | ---: | ---: | ---: |");
    for (way, (name, ..)) in WAYS.iter().enumerate() {
        let ratios = || rounds.iter().map(|medians| medians[way] / medians[0]);
        println!(
            "| {name} | {:.1} | {:.2} | {:.2} to {:.2} |",
            median(rounds.iter().map(|medians| medians[way])),
            median(ratios()),
            ratios().fold(f64::INFINITY, f64::min),
            ratios().fold(0.0, f64::max),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}
