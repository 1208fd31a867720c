//! How often, how long, and with which pauses a call is made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How often, how long, and with which pauses a call is made again whose error does not tell
/// whether it took effect, or which met a stale handle. Nothing is made again that is known to
/// have taken effect, nor after an error that is certain, such as a full disk.
///
/// The pause doubles from `first_backoff` up to `max_backoff`. A call is given up after `attempts`
/// of it, or when the pauses of the whole operation would come to more than `budget`, whichever is
/// first.
///
/// ```
/// use std::time::Duration;
/// use object_store_localfs_engine::RetryPolicy;
///
/// // A share that is away for up to ten seconds while its server restarts.
/// let patient = RetryPolicy {
///     attempts: 100,
///     max_backoff: Duration::from_millis(500),
///     budget: Duration::from_secs(10),
///     ..RetryPolicy::default()
/// };
/// # let _ = patient;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is made at most, the first time included. Zero counts as one.
    pub attempts: u32,
    /// The pause before the second attempt.
    pub first_backoff: Duration,
    /// The longest pause between two attempts.
    pub max_backoff: Duration,
    /// The sum of all pauses of one operation, at most. Each chunk of an object that is read, and
    /// each entry of a listing, counts as one.
    pub budget: Duration,
}

impl RetryPolicy {
    /// A call is made once, whatever it answers. Ambiguous errors are still looked into.
    pub const fn never() -> Self {
        Self {
            attempts: 1,
            first_backoff: Duration::ZERO,
            max_backoff: Duration::ZERO,
            budget: Duration::ZERO,
        }
    }

    pub(crate) fn start(&self, spent: &Spent) -> Retry {
        Retry {
            policy: *self,
            spent: Arc::clone(spent),
            made: 1,
            next: self.first_backoff,
        }
    }
}

/// How many nanoseconds one operation has paused so far.
pub(crate) type Spent = Arc<AtomicU64>;

/// Twenty-five attempts within about a second: 1 ms, 2 ms, 4 ms and so on, 50 ms at most.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 25,
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(50),
            budget: Duration::from_secs(1),
        }
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Retry {
    policy: RetryPolicy,
    spent: Spent,
    made: u32,
    next: Duration,
}

impl Retry {
    /// Pauses and says `true` if the call may be made again.
    pub(crate) fn again(&mut self) -> bool {
        if self.made >= self.policy.attempts {
            return false;
        }
        let pause = self.next.min(self.policy.max_backoff);
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let spent = self.spent.load(Relaxed).saturating_add(nanos);
        if u128::from(spent) > self.policy.budget.as_nanos() {
            return false;
        }
        self.spent.store(spent, Relaxed);
        std::thread::sleep(pause);
        self.made += 1;
        self.next = pause.saturating_mul(2);
        true
    }

    /// How often the call was made.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_makes_its_attempts_and_ends_within_its_budget() {
        let spent = Spent::default();
        let mut retry = RetryPolicy::default().start(&spent);
        while retry.again() {}
        assert_eq!(retry.made(), 25);
        assert!(Duration::from_nanos(spent.load(Relaxed)) <= Duration::from_secs(1));
    }

    #[test]
    fn the_calls_of_an_operation_share_its_budget() {
        let policy = RetryPolicy {
            attempts: 100,
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(1),
            budget: Duration::from_millis(10),
        };
        let spent = Spent::default();
        let made = |mut retry: Retry| {
            while retry.again() {}
            retry.made()
        };
        assert_eq!(made(policy.start(&spent)), 11);
        assert_eq!(made(policy.start(&spent)), 1);
    }

    #[test]
    fn never_makes_one_attempt() {
        let mut retry = RetryPolicy::never().start(&Spent::default());
        assert!(!retry.again());
        assert_eq!(retry.made(), 1);
    }

    #[test]
    fn a_pause_beyond_the_budget_is_not_begun() {
        let policy = RetryPolicy {
            attempts: 1000,
            first_backoff: Duration::MAX,
            max_backoff: Duration::MAX,
            budget: Duration::from_millis(1),
        };
        assert!(!policy.start(&Spent::default()).again());
    }

    #[test]
    fn an_endless_budget_is_no_overflow() {
        let policy = RetryPolicy {
            attempts: 2,
            first_backoff: Duration::ZERO,
            max_backoff: Duration::MAX,
            budget: Duration::MAX,
        };
        let mut retry = policy.start(&Spent::default());
        assert!(retry.again());
        assert!(!retry.again());
    }
}
