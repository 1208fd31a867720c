//! Our store and upstream's 0.14, operation by operation.
//!
//! ```text
//! BENCH_DIR=/dev/shm cargo bench --bench stores        # tmpfs
//! BENCH_DIR=target cargo bench --bench stores          # the file system the repository lies on
//! cargo bench --bench stores -- rename                 # some operations, in the temporary directory
//! ```
//!
//! Takes about three minutes, and ends with a table in Markdown: the median time of one operation for
//! each store, and the ratio of the two.
//!
//! No machine is quiet, so what is compared lies close together in time: whichever store criterion
//! asks for, both make every operation in turn, and each one is timed by itself. There are
//! [`ROUNDS`] rounds through all operations; a ratio is that of the two medians of a round, and the
//! table has the median ratio, and the least and the greatest, which tell how much of it is noise.
//!
//! Every round begins with new directories. What an operation needs is made before it, and what it
//! leaves is removed after it, outside of the time. Both stores run on one tokio runtime.
//!
//! Dev-dependencies switch the engine's fault seam on: one atomic load for each of its system calls,
//! which programs do not have.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use futures::{StreamExt, TryStreamExt, stream};
use object_store_0_14 as object_store;
use object_store_0_14::path::Path;
use object_store_0_14::{
    CopyMode, CopyOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RenameOptions,
    RenameTargetMode,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ROUNDS: usize = 7;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const PARTS: usize = 16;
const LISTED: usize = 1000;

const OPERATIONS: &[(&str, Operation)] = &[
    ("put over an object, 4 KiB", Operation::PutOver(4 * KIB)),
    ("put over an object, 1 MiB", Operation::PutOver(MIB)),
    (
        "put a new object, 4 KiB",
        Operation::PutNew(4 * KIB, PutMode::Overwrite),
    ),
    (
        "put a new object, 1 MiB",
        Operation::PutNew(MIB, PutMode::Overwrite),
    ),
    ("create, 4 KiB", Operation::PutNew(4 * KIB, PutMode::Create)),
    ("create, 1 MiB", Operation::PutNew(MIB, PutMode::Create)),
    (
        "multipart, 16 of 64 KiB in turn",
        Operation::Multipart(64 * KIB, 1),
    ),
    (
        "multipart, 16 of 64 KiB, four at once",
        Operation::Multipart(64 * KIB, 4),
    ),
    (
        "multipart, 16 of 1 MiB in turn",
        Operation::Multipart(MIB, 1),
    ),
    (
        "multipart, 16 of 1 MiB, four at once",
        Operation::Multipart(MIB, 4),
    ),
    ("get, 4 KiB", Operation::Get(4 * KIB)),
    ("get, 1 MiB", Operation::Get(MIB)),
    ("get_ranges, 8 of 4 KiB", Operation::GetRanges),
    ("head", Operation::Head),
    ("list 1,000 objects", Operation::List),
    (
        "copy to a new name",
        Operation::CopyNew(CopyMode::Overwrite),
    ),
    ("copy over another version", Operation::CopyOver),
    ("copy if not exists", Operation::CopyNew(CopyMode::Create)),
    (
        "rename to a new name",
        Operation::RenameNew(RenameTargetMode::Overwrite),
    ),
    ("rename over an object", Operation::RenameOver),
    (
        "rename if not exists",
        Operation::RenameNew(RenameTargetMode::Create),
    ),
    ("delete", Operation::Delete),
];

enum Operation {
    /// Bytes.
    PutOver(usize),
    PutNew(usize, PutMode),
    /// Bytes of a part, and how many parts are under way at a time.
    Multipart(usize, usize),
    Get(usize),
    GetRanges,
    Head,
    List,
    CopyNew(CopyMode),
    CopyOver,
    RenameNew(RenameTargetMode),
    RenameOver,
    Delete,
}

type Open = fn(&FilePath) -> Arc<dyn ObjectStore>;

const STORES: [(&str, Open); 2] = [
    ("ours", |dir| {
        Arc::new(object_store_localfs::v0_14::LocalFileSystem::new_with_prefix(dir).unwrap())
    }),
    ("upstream-0.14", |dir| {
        Arc::new(object_store::local::LocalFileSystem::new_with_prefix(dir).unwrap())
    }),
];

/// A store in a new directory, and what one operation on it needs.
struct Bed<'a> {
    runtime: &'a Runtime,
    operation: &'a Operation,
    store: Arc<dyn ObjectStore>,
    dir: TempDir,
    payload: PutPayload,
    ranges: Vec<Range<u64>>,
    fresh_names: Cell<u64>,
}

impl<'a> Bed<'a> {
    fn new(runtime: &'a Runtime, operation: &'a Operation, open: Open) -> Self {
        let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(parent).expect("BENCH_DIR is a writable directory");
        let payload = match operation {
            Operation::PutOver(len) | Operation::PutNew(len, _) | Operation::Multipart(len, _) => {
                vec![b'x'; *len].into()
            }
            _ => PutPayload::new(),
        };
        let bed = Self {
            runtime,
            operation,
            store: open(dir.path()),
            dir,
            payload,
            ranges: (0..8).map(|n| n << 17).map(|at| at..at + 4096).collect(),
            fresh_names: Cell::new(0),
        };
        match operation {
            Operation::PutOver(len) | Operation::Get(len) => bed.write("object", *len),
            Operation::GetRanges => bed.write("object", MIB),
            Operation::Head | Operation::CopyNew(_) | Operation::CopyOver => {
                bed.write("object", 4 * KIB);
            }
            Operation::List => (0..LISTED).for_each(|n| bed.write(&format!("object-{n}"), KIB)),
            Operation::PutNew(..)
            | Operation::Multipart(..)
            | Operation::RenameNew(_)
            | Operation::RenameOver
            | Operation::Delete => {}
        }
        bed
    }

    /// Makes the operation, and says how long that alone took.
    fn once(&self) -> Duration {
        let store = &self.store;
        let object = &Path::from("object");
        let another = &Path::from("another");
        let fresh = &self.fresh();
        let payload = self.payload.clone();
        match self.operation {
            Operation::PutOver(_) => self.time(async { store.put(object, payload).await }),
            Operation::PutNew(_, mode) => {
                let options = mode.clone().into();
                let took = self.time(async { store.put_opts(fresh, payload, options).await });
                self.remove(fresh);
                took
            }
            Operation::Multipart(_, at_once) => {
                let took = self.time(async {
                    let mut upload = store.put_multipart(fresh).await?;
                    stream::iter(0..PARTS)
                        .map(|_| upload.put_part(payload.clone()))
                        .buffered(*at_once)
                        .try_collect::<()>()
                        .await?;
                    upload.complete().await
                });
                self.remove(fresh);
                took
            }
            Operation::Get(_) => self.time(async { store.get(object).await?.bytes().await }),
            Operation::GetRanges => {
                self.time(async { store.get_ranges(object, &self.ranges).await })
            }
            Operation::Head => self.time(async { store.head(object).await }),
            Operation::List => self.time(async { store.list(None).try_collect::<Vec<_>>().await }),
            Operation::CopyNew(mode) => {
                let options = CopyOptions::new().with_mode(*mode);
                let took = self.time(async { store.copy_opts(object, fresh, options).await });
                self.remove(fresh);
                took
            }
            Operation::CopyOver => {
                self.write("another", 4 * KIB);
                let took = self.time(async { store.copy(object, another).await });
                self.remove(another);
                took
            }
            Operation::RenameNew(mode) => {
                self.write("object", 4 * KIB);
                let options = RenameOptions::new().with_target_mode(*mode);
                let took = self.time(async { store.rename_opts(object, fresh, options).await });
                self.remove(fresh);
                took
            }
            Operation::RenameOver => {
                self.write("object", 4 * KIB);
                self.write("another", 4 * KIB);
                self.time(async { store.rename(object, another).await })
            }
            Operation::Delete => {
                self.write("object", 4 * KIB);
                self.time(async { store.delete(object).await })
            }
        }
    }

    fn time<T>(&self, operation: impl Future<Output = object_store::Result<T>>) -> Duration {
        let begin = Instant::now();
        let done = self.runtime.block_on(operation);
        let took = begin.elapsed();
        done.expect("both stores do it");
        took
    }

    fn fresh(&self) -> Path {
        self.fresh_names.set(self.fresh_names.get() + 1);
        Path::from(format!("fresh-{}", self.fresh_names.get()))
    }

    fn write(&self, name: &str, len: usize) {
        let path = self.dir.path().join(name);
        // A file of its own, also where the name was a link.
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, vec![b'x'; len]).expect("BENCH_DIR is writable");
    }

    fn remove(&self, object: &Path) {
        std::fs::remove_file(self.dir.path().join(object.as_ref())).expect("it was written");
    }
}

/// Both stores, taking turns.
struct Pair<'a> {
    beds: [Bed<'a>; 2],
    times: RefCell<[Vec<Duration>; 2]>,
}

impl<'a> Pair<'a> {
    fn new(runtime: &'a Runtime, operation: &'a Operation) -> Self {
        Self {
            beds: STORES.map(|(_, open)| Bed::new(runtime, operation, open)),
            times: RefCell::default(),
        }
    }

    /// What `store` took of `iterations` in which both made the operation.
    fn measure(&self, store: usize, iterations: u64) -> Duration {
        let mut times = self.times.borrow_mut();
        let mut sum = Duration::ZERO;
        for iteration in 0..iterations {
            let turns = if iteration % 2 == 0 { [0, 1] } else { [1, 0] };
            for turn in turns {
                let took = self.beds[turn].once();
                times[turn].push(took);
                if turn == store {
                    sum += took;
                }
            }
        }
        sum
    }

    /// In microseconds.
    fn medians(&self) -> [f64; 2] {
        let times = self.times.borrow();
        [0, 1].map(|store| {
            let micros: Vec<_> = times[store].iter().map(|t| t.as_secs_f64() * 1e6).collect();
            median(&micros)
        })
    }
}

fn main() {
    let runtime = &Runtime::new().expect("threads can be spawned");
    // Without `cargo bench`, criterion makes every operation once.
    let measures = std::env::args().any(|arg| arg == "--bench");
    let rounds = if measures { ROUNDS } else { 1 };
    let mut medians = BTreeMap::<&str, Vec<[f64; 2]>>::new();

    for round in 1..=rounds {
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(50))
            .measurement_time(Duration::from_millis(400))
            .nresamples(2000)
            .configure_from_args()
            .save_baseline(format!("round-{round}"));
        for (name, operation) in OPERATIONS {
            // None if the operation was not asked for.
            let mut pair = None;
            let mut group = criterion.benchmark_group(*name);
            group.sampling_mode(SamplingMode::Flat);
            for (index, (store, _)) in STORES.iter().enumerate() {
                group.bench_function(*store, |bencher| {
                    let pair = pair.get_or_insert_with(|| Pair::new(runtime, operation));
                    bencher.iter_custom(|iterations| pair.measure(index, iterations));
                });
            }
            group.finish();
            if let Some(pair) = pair {
                medians.entry(name).or_default().push(pair.medians());
            }
        }
    }
    if measures {
        print_table(&medians);
    }
}

fn print_table(medians: &BTreeMap<&str, Vec<[f64; 2]>>) {
    println!("\n| operation | ours, µs | upstream 0.14, µs | ratio | least and greatest |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, _) in OPERATIONS {
        let Some(rounds) = medians.get(name) else {
            continue;
        };
        let each = |of: fn(&[f64; 2]) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
        let (ours, upstream, ratios) = (each(|m| m[0]), each(|m| m[1]), each(|m| m[0] / m[1]));
        println!(
            "| {name} | {:.1} | {:.1} | {:.2} | {:.2} to {:.2} |",
            median(&ours),
            median(&upstream),
            median(&ratios),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}
