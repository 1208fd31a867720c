//! What was broken once: each test names the promise, its line the fault that broke it. Needs
//! root, `/dev/fuse` and strace.

#![cfg(feature = "mount-tests")]

mod disks;
mod quirkfs;

#[path = "regressions/listings.rs"]
mod listings;
#[path = "regressions/locks.rs"]
mod locks;
#[path = "regressions/mounts.rs"]
mod mounts;
#[path = "regressions/moves.rs"]
mod moves;
#[path = "regressions/no_rename.rs"]
mod no_rename;
#[path = "regressions/updates.rs"]
mod updates;
#[path = "regressions/versions.rs"]
mod versions;
#[path = "regressions/workers.rs"]
mod workers;

use std::path::Path as Dir;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use object_store_0_14 as object_store;

use object_store::path::Path;
use object_store::{PutMode, PutOptions};
use object_store_localfs::{LocalFileSystem, RetryPolicy};
use object_store_localfs_engine::fault::{self, Call, Fault, Injected, Op};

fn at(location: &str) -> Path {
    Path::from(location)
}

fn store(dir: &Dir) -> LocalFileSystem {
    LocalFileSystem::new_with_prefix(dir).unwrap()
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

/// What is in a file, behind the store's back.
fn read(dir: &Dir, name: &str) -> Option<String> {
    std::fs::read_to_string(dir.join(name)).ok()
}

/// The usual attempts, with next to no pauses.
fn hasty() -> RetryPolicy {
    RetryPolicy {
        first_backoff: Duration::from_micros(10),
        max_backoff: Duration::from_millis(1),
        ..RetryPolicy::default()
    }
}

/// The first call of `op` on a path that ends in `name` meets `fault`.
fn at_first(
    dir: &Dir,
    op: Op,
    name: &'static str,
    fault: impl Fn() -> Fault + Send + Sync + 'static,
) -> Injected {
    let made = AtomicUsize::new(0);
    fault::inject(dir, move |call: &Call<'_>| {
        let is_meant = call.op == op && call.path.ends_with(name);
        match is_meant && made.fetch_add(1, Relaxed) == 0 {
            true => fault(),
            false => Fault::none(),
        }
    })
}

/// Blocks until it is so. What never comes fails the test instead of stopping it for good.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let is_lost = began.elapsed() > Duration::from_secs(20);
        assert!(!is_lost, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Something that happened, for other threads to wait for.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn raise(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_raised(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn wait(&self, what: &str) {
        wait_until(what, || self.is_raised());
    }
}
