//! How far an examination is, and how long it may take yet.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Result;
use crate::interrupt;

/// Of what there was no time for.
pub(super) const TOO_SLOW: &str = "not tried: too slow";

/// A part of the examination, with the part of the time by which it ends. What one does not use,
/// the next one has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Probes,
    Stores,
    Latencies,
}

impl Part {
    fn ends(self) -> f64 {
        match self {
            Part::Probes => 0.4,
            Part::Stores => 0.85,
            Part::Latencies => 1.0,
        }
    }
}

/// The time there is, and what is told of it on a terminal.
pub(super) struct Pace {
    begun: Instant,
    pub(super) whole: Duration,
    /// Dropped, it is wiped away.
    bar: ProgressBar,
}

impl Pace {
    pub(super) fn of(whole: Duration) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style.tick_chars("-\\|/ "));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            begun: Instant::now(),
            whole,
            bar,
        }
    }

    /// Says what is being done: a slow mount takes a while.
    pub(super) fn say(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Whether there is time for more of this part. To be asked between steps; an error, if
    /// someone asked us to stop.
    pub(super) fn allows(&self, part: Part) -> Result<bool> {
        interrupt::check()?;
        Ok(self.begun.elapsed() < self.whole.mul_f64(part.ends()))
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
