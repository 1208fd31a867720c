//! `localfs doctor`: what a mount is, what it can do, and what a store does on it.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `place.rs` | the folder of its own, and why there can be none |
//! | `probe/` | capabilities, each asked by a call |
//! | `stores/` | every operation on every store |
//! | `facts.rs` | what the store itself knows of the mount, and its rungs |
//! | `latency.rs` | how long calls take |
//! | `findings.rs`, `advice.rs` | what that means, and what to do |
//! | `report.rs` | all of it, for programs |
//! | `text.rs` | and for people |

mod advice;
mod errno;
mod facts;
mod findings;
mod latency;
mod place;
mod probe;
mod report;
mod stores;
mod sys;
mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Outcome;
use crate::error::{Error, Result};
use crate::interrupt;
use facts::Mount;
use findings::{Finding, Level};
use place::Place;
use report::Report;

pub(crate) use probe::{TRY_LOCK, try_lock};

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// A directory on the mount
    dir: PathBuf,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn doctor(args: &DoctorArgs) -> Result<Outcome> {
    let report = match examine(&args.dir) {
        Ok(report) => report.judged(),
        // 1 is a mount that works.
        Err(error) if !interrupt::seen() => {
            eprintln!("{error}");
            return Ok(Outcome::Status(2));
        }
        Err(error) => return Err(error),
    };
    text::print(&match args.json {
        true => json(&report)?,
        false => text::of(&report),
    });
    Ok(Outcome::Status(report.status))
}

fn json(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report);
    let text = text.map_err(|e| Error::new("cannot write the report as JSON").why(e))?;
    Ok(text + "\n")
}

/// Whatever can be said of a directory. An error is an interruption, or a fault of our own.
fn examine(dir: &Path) -> Result<Report> {
    let mut report = Report::new(dir);
    let path = match place::find(dir) {
        Ok(path) => path,
        Err(problem) => {
            report.problem = Some(problem);
            return Ok(report);
        }
    };
    // What was mounted and does not answer is told when it is written to.
    report.mount = facts::of(&path).ok().as_ref().map(Mount::from);
    let left_over = place::left_over(&path);
    let place = match Place::make(&path) {
        Ok(place) => place,
        Err(problem) => {
            report.problem = Some(problem);
            return Ok(report);
        }
    };
    let progress = progress();
    // From here on an error, as a panic, drops the place, which removes it.
    progress.set_message("asking what it can do");
    report.capabilities = probe::all(&place)?;
    progress.set_message("asking the stores");
    report.operations = stores::all(&place)?;
    let learned = facts::of(place.path())?;
    facts::tell_rungs(&mut report.operations, &learned, &report.capabilities);
    progress.set_message("measuring");
    report.latencies = latency::all(&place)?;
    progress.set_message("cleaning up");
    let removed = place.remove();
    progress.finish_and_clear();

    report.findings = findings::of(&report);
    report.findings.extend(removed.err().map(stays));
    report.findings.extend(left_over.into_iter().map(was_left));
    // The worst first.
    report
        .findings
        .sort_by_key(|it| std::cmp::Reverse(it.level));
    Ok(report)
}

fn stays(what: String) -> Finding {
    Finding {
        id: "folder_stays",
        level: Level::Weaker,
        what: format!("The doctor's folder could not be removed: {what}."),
        advice: "Remove it.".into(),
    }
}

fn was_left(path: String) -> Finding {
    Finding {
        id: "left_over",
        level: Level::Note,
        advice: format!("If no doctor is at work: rm -r {path}"),
        what: format!("{path} is of a doctor that was killed, or is at work right now."),
    }
}

/// What is being done, on a terminal: a slow mount takes a while. Dropped, it is wiped away.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style.tick_chars("-\\|/ "));
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
