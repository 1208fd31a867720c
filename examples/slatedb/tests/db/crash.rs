//! Kill -9 in the middle of writes: what was told to be durable is there afterwards.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::fencing::reopen;
use crate::writer::Writer;
use crate::{Store, plain};

#[test]
fn nothing_acknowledged_is_missing_after_a_kill_at_any_moment() {
    let dir = plain();
    at_any_moment(Store::Ours, dir.path()).unwrap();
}

#[test]
fn nothing_acknowledged_is_missing_after_a_kill_at_a_system_call() {
    let dir = plain();
    at_system_calls(Store::Ours, dir.path()).unwrap();
}

const ROUNDS: usize = 20;

/// How long a writer lives at most, in milliseconds: from before it has opened the database to
/// where tables are flushed, compacted and collected.
const LONGEST: u64 = 1000;

/// One database, and a writer after another.
pub(crate) fn at_any_moment(store: Store, dir: &Path) -> Result<(), String> {
    let mut names = Vec::new();
    let mut random = Random::new();
    for round in 0..ROUNDS {
        let mut writer = Writer::start(store, &round.to_string(), dir);
        let moment = Duration::from_millis(random.below(LONGEST));
        let by_itself = writer.let_run(moment).is_some();
        let mut wrote = writer.kill();
        names.append(&mut wrote.songs);
        if by_itself {
            return Err(wrote.ended.unwrap_or("ended without a word".into()));
        }
        eprintln!("round {round}: {moment:?}, {} songs", names.len());
        reopen(store, dir, &names).map_err(|e| format!("round {round}, after {moment:?}: {e}"))?;
    }
    eprintln!("{} songs in {ROUNDS} rounds", names.len());
    match names.len() > 10 * ROUNDS {
        true => Ok(()),
        false => Err(format!("{} songs are too few to tell", names.len())),
    }
}

/// What the store does to a file, on the way to a name and away from it.
const CALLS: [&str; 5] = [
    "write,pwrite64,writev",
    "fsync",
    "link,linkat",
    "rename,renameat2",
    "unlink,unlinkat",
];

pub(crate) fn at_system_calls(store: Store, dir: &Path) -> Result<(), String> {
    let mut names = Vec::new();
    let (mut rounds, mut killed) = (0, 0);
    for calls in CALLS {
        // Counted by thread.
        for nth in [1, 2, 5, 15] {
            let inject = format!("inject={calls}:signal=KILL:when={nth}");
            let prefix = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &inject];
            let name = format!("{rounds}");
            let mut writer = Writer::start_under(&prefix, store, &name, dir);
            let by_itself = writer.let_run(Duration::from_secs(1)).is_some();
            let wrote = writer.kill();
            if let Some(ended) = wrote.ended {
                return Err(ended);
            }
            rounds += 1;
            killed += usize::from(by_itself);
            names.extend(wrote.songs);
            reopen(store, dir, &names).map_err(|e| format!("{inject}: {e}"))?;
        }
    }
    eprintln!(
        "{} songs, killed at a call {killed} of {rounds} times",
        names.len()
    );
    match killed * 2 > rounds {
        true => Ok(()),
        false => Err(format!("killed {killed} of {rounds} times only")),
    }
}

/// Enough for moments (splitmix64).
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Random(now.unwrap().as_nanos() as u64)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
