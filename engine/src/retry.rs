//! How often, how long, and with which pauses a call is made again.

use std::time::{Duration, Instant};

/// How often, how long, and with which pauses a call is made again whose error does not tell
/// whether it took effect, or which met a stale handle. Nothing is made again that is known to
/// have taken effect, nor after an error that is certain, such as a full disk.
///
/// The pause doubles from `first_backoff` up to `max_backoff`. A call is given up after `attempts`
/// of it, or when the next pause would end after `budget`, whichever is first. The path lock is
/// held meanwhile.
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
    /// The sum of all pauses of one call, at most.
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

    pub(crate) fn start(&self) -> Retry {
        Retry {
            policy: *self,
            made: 1,
            next: self.first_backoff,
            deadline: Instant::now().checked_add(self.budget),
        }
    }
}

/// Ten attempts within about a second: 1 ms, 2 ms, 4 ms and so on, 250 ms at most.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 10,
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(250),
            budget: Duration::from_secs(1),
        }
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Retry {
    policy: RetryPolicy,
    made: u32,
    next: Duration,
    deadline: Option<Instant>,
}

impl Retry {
    /// Pauses and says `true` if the call may be made again.
    pub(crate) fn again(&mut self) -> bool {
        if self.made >= self.policy.attempts {
            return false;
        }
        let pause = self.next.min(self.policy.max_backoff);
        // A deadline too far away to be told is none.
        if self.deadline.is_some_and(|d| Instant::now() + pause > d) {
            return false;
        }
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
    fn the_default_makes_ten_attempts_and_ends_within_its_budget() {
        let begin = Instant::now();
        let mut retry = RetryPolicy::default().start();
        while retry.again() {}
        assert_eq!(retry.made(), 10);
        // Not a timing test: what is asserted is the sum of the pauses, with ample room.
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn never_makes_one_attempt() {
        let mut retry = RetryPolicy::never().start();
        assert!(!retry.again());
        assert_eq!(retry.made(), 1);
    }

    #[test]
    fn a_pause_that_would_end_after_the_budget_is_not_begun() {
        let policy = RetryPolicy {
            attempts: 1000,
            first_backoff: Duration::from_secs(3600),
            max_backoff: Duration::from_secs(3600),
            budget: Duration::from_millis(1),
        };
        assert!(!policy.start().again());
    }

    #[test]
    fn an_endless_budget_is_no_overflow() {
        let policy = RetryPolicy {
            attempts: 2,
            first_backoff: Duration::ZERO,
            max_backoff: Duration::MAX,
            budget: Duration::MAX,
        };
        let mut retry = policy.start();
        assert!(retry.again());
        assert!(!retry.again());
    }
}
