//! The faults of a running mount, and what has arrived so far.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fault::{Answer, Fault, Op};
use super::lock;

#[derive(Debug)]
pub(super) struct Rules {
    faults: Mutex<Vec<Arc<Live>>>,
    calls: Tally,
    fired: Tally,
    renames_with_flags: AtomicU64,
    /// By operation and names. Grows with the names of a test, which are few.
    named: Mutex<HashMap<(Op, Vec<String>), u64>>,
}

/// A fault and how many requests it was about.
#[derive(Debug)]
struct Live {
    fault: Fault,
    seen: AtomicU64,
}

type Tally = [AtomicU64; Op::ALL.len()];

fn count(tally: &Tally, op: Op) -> u64 {
    tally[op as usize].load(Relaxed)
}

impl Rules {
    pub(super) fn new(faults: Vec<Fault>) -> Rules {
        let zero = || std::array::from_fn(|_| AtomicU64::new(0));
        Rules {
            faults: Mutex::new(faults.into_iter().map(Live::new).collect()),
            calls: zero(),
            fired: zero(),
            renames_with_flags: AtomicU64::new(0),
            named: Mutex::default(),
        }
    }

    /// Counts a request, and says what becomes of it.
    pub(super) fn judge(&self, op: Op, names: Vec<String>) -> Verdict {
        self.calls[op as usize].fetch_add(1, Relaxed);
        let mut verdict = Verdict::default();
        // Not locked while a test's own function looks at a name.
        let faults = lock(&self.faults).clone();
        for live in faults.iter().filter(|live| live.fault.is_about(op, &names)) {
            let n = live.seen.fetch_add(1, Relaxed) + 1;
            if live.fault.strikes_at(n) && verdict.take(&live.fault) {
                self.fired[op as usize].fetch_add(1, Relaxed);
            }
        }
        *lock(&self.named).entry((op, names)).or_default() += 1;
        verdict
    }

    pub(super) fn add(&self, fault: Fault) {
        lock(&self.faults).push(Live::new(fault));
    }

    pub(super) fn clear(&self) {
        lock(&self.faults).clear();
    }

    pub(super) fn calls(&self, op: Op) -> u64 {
        count(&self.calls, op)
    }

    pub(super) fn fired(&self, op: Op) -> u64 {
        count(&self.fired, op)
    }

    pub(super) fn saw_rename_with_flags(&self) {
        self.renames_with_flags.fetch_add(1, Relaxed);
    }

    pub(super) fn renames_with_flags(&self) -> u64 {
        self.renames_with_flags.load(Relaxed)
    }

    pub(super) fn calls_named(&self, op: Op, is_meant: impl Fn(&str) -> bool) -> u64 {
        lock(&self.named)
            .iter()
            .filter(|((of, names), _)| *of == op && names.iter().any(|name| is_meant(name)))
            .map(|(_, calls)| calls)
            .sum()
    }
}

impl Live {
    fn new(fault: Fault) -> Arc<Live> {
        let seen = AtomicU64::new(0);
        Arc::new(Live { fault, seen })
    }
}

/// What becomes of one request.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) late: Duration,
    fate: Fate,
}

#[derive(Debug, Default)]
enum Fate {
    #[default]
    Done,
    FailedBefore(i32),
    FailedAfter(i32),
    Lost {
        keeping: usize,
    },
}

impl Verdict {
    /// Takes the fault in; a second one that would change the answer is too late.
    fn take(&mut self, fault: &Fault) -> bool {
        if let Answer::Late(late) = fault.answer {
            self.late += late;
            return true;
        }
        if !matches!(self.fate, Fate::Done) {
            return false;
        }
        self.fate = match fault.answer {
            Answer::Errno(errno) if fault.after_effect => Fate::FailedAfter(errno),
            Answer::Errno(errno) => Fate::FailedBefore(errno),
            Answer::Lost { keeping } => Fate::Lost { keeping },
            Answer::Late(_) => unreachable!("taken above"),
        };
        true
    }

    /// Does what is asked, or not, and gives the answer. What the effect made is dropped, that is
    /// undone as far as the kernel would have known of it, when the answer is an error.
    pub(super) fn run<T>(&self, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.fate {
            Fate::Done | Fate::Lost { .. } => effect(),
            Fate::FailedBefore(errno) => Err(io::Error::from_raw_os_error(errno)),
            Fate::FailedAfter(errno) => {
                effect()?;
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// [`run`](Verdict::run) for what can be lost as a whole.
    pub(super) fn run_unless_lost(
        &self,
        effect: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match self.fate {
            Fate::Lost { .. } => Ok(()),
            _ => self.run(effect),
        }
    }

    /// The part of a write that is kept.
    pub(super) fn kept<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        match self.fate {
            Fate::Lost { keeping } => &data[..keeping.min(data.len())],
            _ => data,
        }
    }
}
