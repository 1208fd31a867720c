//! One line a step while it runs, and a table of all of them at the end.

use std::fmt;
use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
}

struct Line {
    step: &'static str,
    what: String,
    /// `None`: the step failed.
    rows: Option<usize>,
    time: Duration,
}

/// How far a step has come; only a terminal shows it.
pub struct Progress {
    label: String,
}

impl Report {
    /// Does `work`, which answers with a value and the number of rows it concerned.
    pub async fn step<T>(
        &mut self,
        step: &'static str,
        what: impl Into<String>,
        work: impl AsyncFnOnce(&Progress) -> Result<(T, usize)>,
    ) -> Result<T> {
        let what = what.into();
        let progress = Progress {
            label: format!("{step:<9} {what:<42}"),
        };
        progress.show("");

        let start = Instant::now();
        let outcome = work(&progress).await;
        let line = Line {
            step,
            what,
            rows: outcome.as_ref().ok().map(|(_, rows)| *rows),
            time: start.elapsed(),
        };

        if stdout().is_terminal() {
            print!("\r");
        }
        println!("{line}");
        let context = format!("{step}: {}", line.what);
        self.lines.push(line);
        outcome.map(|(value, _)| value).context(context)
    }

    pub fn print_table(&self) {
        println!();
        println!("{:<9} {:<42} {:>8} {:>10}", "step", "what", "rows", "time");
        for line in &self.lines {
            println!("{line}");
        }
        let total: Duration = self.lines.iter().map(|line| line.time).sum();
        println!("{:<61} {:>8.2} s", "total", total.as_secs_f64());
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self
            .rows
            .map_or("failed".to_owned(), |rows| rows.to_string());
        let (step, what, time) = (self.step, &self.what, self.time.as_secs_f64());
        write!(f, "{step:<9} {what:<42} {rows:>8} {time:>8.2} s")
    }
}

impl Progress {
    /// `done` of `all` are done.
    pub fn at(&self, done: usize, all: usize) {
        self.show(&format!("{done}/{all}"));
    }

    fn show(&self, state: &str) {
        if stdout().is_terminal() {
            print!("\r{} {state:>8}", self.label);
            // What cannot be shown is not worth failing for.
            let _ = stdout().flush();
        }
    }
}
