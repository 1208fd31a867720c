//! `localfs doctor`: what a mount is, what it can do, and what a store does on it.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `place.rs` | the folder of its own, and why there can be none |
//! | `probe/` | capabilities, each asked by a call |
//! | `stores/` | every operation on every store |
//! | `facts.rs` | what the store itself knows of the mount, and its rungs |
//! | `pace.rs` | the time there is |
//! | `latency.rs` | how long calls take |
//! | `findings.rs`, `advice.rs` | what that means, and what to do |
//! | `report.rs` | all of it, for programs |
//! | `text.rs` | and for people |

mod advice;
mod errno;
mod facts;
mod findings;
mod latency;
mod pace;
mod place;
mod probe;
mod report;
mod stores;
mod sys;
mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::Outcome;
use crate::error::{Error, Result};
use facts::Mount;
use findings::{Finding, Level};
use pace::Pace;
use place::{Place, Problem};
use report::Report;

pub(crate) use probe::{TRY_LOCK, try_lock};

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// A directory on the mount
    dir: PathBuf,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// How long it may take, as `60s` or `10m`; for what is left then there is no time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    within: Duration,
}

pub(crate) fn doctor(args: &DoctorArgs) -> Result<Outcome> {
    let mut report = Report::new(&args.dir);
    match examine(&args.dir, &Pace::of(args.within), &mut report) {
        Ok(()) => {}
        Err(Stop::Interrupted(error)) => return Err(error),
        Err(Stop::Problem(problem)) => report.stopped_by(problem),
    }
    let report = report.judged();
    let said = match args.json {
        true => json(&report)?,
        false => text::of(&report),
    };
    Ok(Outcome::Status(match text::print(&said) {
        Ok(()) => report.status,
        // 1 is a mount that works.
        Err(error) => {
            let error = Error::new("cannot write the report").why(errno::told(&error));
            eprintln!("{error}");
            2
        }
    }))
}

fn json(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report);
    let text = text.map_err(|e| Error::new("cannot write the report as JSON").why(e))?;
    Ok(text + "\n")
}

/// Why an examination ended early.
enum Stop {
    Interrupted(Error),
    Problem(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Stop {
    fn from(interrupted: Error) -> Self {
        Self::Interrupted(interrupted)
    }
}

/// Whatever can be said of a directory.
fn examine(dir: &Path, pace: &Pace, report: &mut Report) -> Result<(), Stop> {
    let path = place::find(dir)?;
    // What was mounted and does not answer is told when it is written to.
    report.mount = facts::of(&path).ok().as_ref().map(Mount::from);
    let left_over = place::left_over(&path);
    pace.say("making a folder");
    let place = Place::make(&path)?;
    // A panic drops the place, which removes it.
    let tried = try_all(dir, &place, pace, report);
    pace.say("cleaning up");
    let removed = place.remove();
    if let Err(mut stop) = tried {
        match (&mut stop, removed) {
            (_, Ok(())) => {}
            (Stop::Problem(problem), Err(what)) => problem.why += &format!("; {what}"),
            (Stop::Interrupted(_), Err(what)) => eprintln!("{what}"),
        }
        return Err(stop);
    }
    report.findings = findings::of(report, pace.whole);
    report.findings.extend(removed.err().map(stays));
    report.findings.extend(left_over.into_iter().map(was_left));
    // The worst first.
    report
        .findings
        .sort_by_key(|it| std::cmp::Reverse(it.level));
    Ok(())
}

fn try_all(dir: &Path, place: &Place, pace: &Pace, report: &mut Report) -> Result<(), Stop> {
    report.capabilities = probe::all(place, pace)?;
    report.operations = stores::all(place, pace)?;
    match facts::of(place.path()) {
        Ok(learned) => facts::tell_rungs(&mut report.operations, &learned, &report.capabilities),
        Err(why) => return Err(place.problem(dir, why).into()),
    }
    pace.say("measuring");
    report.latencies = latency::all(place, pace, report)?;
    // The doctor needs more room than it saw, or somebody else took it.
    match report.says_full() {
        Some(why) => Err(Problem::full(dir, why).into()),
        None => Ok(()),
    }
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
