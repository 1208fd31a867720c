//! The per-path write lock.
//!
//! One lock for one file, whatever the names and stores it is reached by: the key is made of the
//! directory's identity and the file's name (see [`crate::place`]). There is one table in a
//! process; cargo sees to that (`links` in the manifest).
//!
//! A lock is held from the last check before a publish to the last look after it. Reads take none.
//! Its entry in the table goes with its last holder, so the table is as large as what is locked
//! now, not as what ever was.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::lock_api::RawMutex as _;
use parking_lot::{Mutex, RawMutex};

/// Two keys that are equal by chance cost a needless wait, never an exclusion that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// The keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is one u64");
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

struct Slot {
    raw: RawMutex,
}

/// A slot and how many threads hold or await it.
type Shard = Mutex<HashMap<Key, (Arc<Slot>, usize), BuildHasherDefault<KeyHasher>>>;

const SHARDS: usize = 64;

static TABLE: [Shard; SHARDS] =
    [const { Mutex::new(HashMap::with_hasher(BuildHasherDefault::new())) }; SHARDS];

fn shard(key: Key) -> &'static Shard {
    // Not the low bits, by which the map finds its bucket; of a place's key there are 63.
    &TABLE[(key.0 >> 57) as usize % SHARDS]
}

struct Held {
    key: Key,
    slot: Arc<Slot>,
    waited: bool,
}

impl Held {
    fn lock(key: Key) -> Self {
        let slot = {
            let mut shard = shard(key).lock();
            let (slot, users) = shard.entry(key).or_insert_with(|| {
                let raw = RawMutex::INIT;
                (Arc::new(Slot { raw }), 0)
            });
            *users += 1;
            Arc::clone(slot)
        };
        let waited = !slot.raw.try_lock();
        if waited {
            slot.raw.lock();
        }
        Self { key, slot, waited }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: `lock` locked it for this value, which is dropped once.
        unsafe { self.slot.raw.unlock() };
        if let Entry::Occupied(mut entry) = shard(self.key).lock().entry(self.key) {
            let users = &mut entry.get_mut().1;
            *users -= 1;
            if *users == 0 {
                entry.remove();
            }
        }
    }
}

/// One path or two, locked until this is dropped.
///
/// Not `Send`: a future that held it across an `.await` would not be spawned.
#[must_use = "the path is unlocked as soon as this is dropped"]
pub struct PathGuard {
    first: Held,
    second: Option<Held>,
    _not_send: PhantomData<*const ()>,
}

impl PathGuard {
    /// Whether somebody else held it: what was known before may be so no more.
    pub(crate) fn has_waited(&self) -> bool {
        self.first.waited || self.second.as_ref().is_some_and(|held| held.waited)
    }
}

impl std::fmt::Debug for PathGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathGuard").finish_non_exhaustive()
    }
}

/// Waits until nobody else holds `key`. A thread that holds it must not ask for it again.
pub(crate) fn lock(key: Key) -> PathGuard {
    PathGuard {
        first: Held::lock(key),
        second: None,
        _not_send: PhantomData,
    }
}

/// Both, in one order for all, so that two who want the same two never wait for each other. A key
/// paired with itself is locked once.
pub(crate) fn lock_both(a: Key, b: Key) -> PathGuard {
    let (low, high) = (a.min(b), a.max(b));
    PathGuard {
        first: Held::lock(low),
        second: (low != high).then(|| Held::lock(high)),
        _not_send: PhantomData,
    }
}

/// How many paths are held or awaited in this process right now.
pub(crate) fn in_use() -> usize {
    TABLE.iter().map(|shard| shard.lock().len()).sum()
}

/// How many holders wait for `key`.
pub(crate) fn waiting(key: Key) -> usize {
    let shard = shard(key).lock();
    shard.get(&key).map_or(0, |(_, users)| users - 1)
}
