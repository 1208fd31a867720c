//! What a store recovered from: counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often a store, and all its clones, met something that would have failed or misled another
/// store, since it was made. All zero on a healthy local disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recoveries {
    /// Calls made again after an error that had left nothing changed.
    pub retries: u64,
    /// Handles of staging files, and of objects that were read, that had gone stale and were opened
    /// anew.
    pub reopened_handles: u64,
    /// Calls that answered with an error and had taken effect all the same: replies that were
    /// lost, each of which would have been a false failure.
    pub ambiguous_resolved: u64,
    /// Operations that went another way because the mount cannot do the first choice: a link for
    /// an exclusive rename, a copy of the data for a link.
    pub fallbacks: u64,
}

/// The counters behind [`Recoveries`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) retries: AtomicU64,
    pub(crate) reopened_handles: AtomicU64,
    pub(crate) ambiguous_resolved: AtomicU64,
    pub(crate) fallbacks: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Recoveries {
        Recoveries {
            retries: self.retries.load(Relaxed),
            reopened_handles: self.reopened_handles.load(Relaxed),
            ambiguous_resolved: self.ambiguous_resolved.load(Relaxed),
            fallbacks: self.fallbacks.load(Relaxed),
        }
    }
}
