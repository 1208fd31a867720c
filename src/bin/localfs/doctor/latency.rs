//! How long each call takes, so that a slow mount is seen.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::errno::{self, told};
use super::pace::{Pace, Part, TOO_SLOW};
use super::place::{Folder, Place};
use super::probe::Answer;
use super::report::Report;
use super::sys;
use crate::error::Result;

/// How often each call is made, where there is time.
const ROUNDS: usize = 300;

/// How often where a file is written on and on, not over and over: all of it fits a mebibyte.
const ROUNDS_OF_APPENDS: usize = 60;

/// How long that may take for one call, or for two that are made in turns; ten seconds in all.
const BUDGET: Duration = Duration::from_millis(1400);

/// How often a call is made however long it takes, if there is time at all.
const LEAST: usize = 3;

const BLOCK: usize = 4096;

/// How long a call took.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) call: &'static str,
    /// How often it was made.
    pub(super) rounds: usize,
    /// In microseconds; `None` if it fails.
    pub(super) median_us: Option<f64>,
    pub(super) worst_us: Option<f64>,
    pub(super) error: Option<String>,
}

impl Latency {
    fn of(call: &'static str, mut taken: Vec<Duration>, error: Option<String>) -> Self {
        taken.sort();
        let micros = |time: &Duration| (time.as_nanos() / 100) as f64 / 10.0;
        Self {
            call,
            rounds: taken.len(),
            median_us: taken.get(taken.len() / 2).map(micros),
            worst_us: taken.last().map(micros),
            error,
        }
    }
}

/// What is measured.
const CALLS: [&str; 9] = [
    "create, close",
    "write 4 KiB",
    "fsync",
    "stat",
    "open, read 4 KiB",
    "rename",
    "link",
    "unlink",
    "readdir of 10 files",
];

/// Makes each call a few hundred times, or as often as there is time.
pub(super) fn all(place: &Place, pace: &Pace, report: &Report) -> Result<Vec<Latency>> {
    if !pace.allows(Part::Latencies)? {
        return Ok(none(TOO_SLOW));
    }
    let folder = match prepare(place, pace)? {
        Ok(folder) => folder,
        Err(why) => return Ok(none(&why)),
    };
    let dir = folder.path();
    let [file, other, new] = ["0", "other", "new"].map(|name| dir.join(name));
    let measure = Measure {
        pace,
        rounds: ROUNDS,
    };

    let create = || sys::create_new(&new).map(drop);
    let unlink = || fs::remove_file(&new);
    let [created, unlinked] = measure.in_turns(["create, close", "unlink"], create, unlink)?;
    let link = || fs::hard_link(&file, &new);
    let [linked, _] = measure.in_turns(["link", "unlink"], link, unlink)?;
    let there_and_back = measure.in_turns(
        ["rename", "rename"],
        || fs::rename(&file, &other),
        || fs::rename(&other, &file),
    )?;
    let [there, _back] = there_and_back;
    let found = measure.in_a_row("stat", || fs::symlink_metadata(&file).map(drop))?;
    let was_read = measure.in_a_row("open, read 4 KiB", || {
        File::open(&file)?.read_exact(&mut [0; BLOCK])
    })?;
    let listed = measure.in_a_row("readdir of 10 files", || {
        fs::read_dir(dir)?.try_for_each(|entry| entry.map(drop))
    })?;

    let opened = sys::create_new(&dir.join("written"));
    let is_rewritten = report
        .capability("random_writes")
        .is_some_and(|it| it.answer == Answer::Yes);
    let measure = match is_rewritten {
        true => measure,
        false => Measure {
            pace,
            rounds: ROUNDS_OF_APPENDS,
        },
    };
    let write = || {
        with(&opened, |mut file| match is_rewritten {
            true => file.write_all_at(&[1; BLOCK], 0),
            false => file.write_all(&[1; BLOCK]),
        })
    };
    let sync = || with(&opened, File::sync_all);
    let written = measure.in_a_row("write 4 KiB", write)?;
    let [_, synced] = measure.in_turns(["write 4 KiB", "fsync"], write, sync)?;
    Ok(vec![
        created, written, synced, found, was_read, there, linked, unlinked, listed,
    ])
}

/// Nothing was measured, for this reason.
fn none(why: &str) -> Vec<Latency> {
    let none = |call| Latency {
        error: Some(why.to_string()),
        ..Latency::of(call, Vec::new(), None)
    };
    CALLS.map(none).into()
}

/// A folder of ten files, the first of which can be read; or why there is none.
fn prepare(place: &Place, pace: &Pace) -> Result<Result<Folder, String>> {
    let cannot = |call: &str, e: io::Error| format!("not tried: {call}: {}", told(&e));
    let folder = match place.folder("latency") {
        Ok(folder) => folder,
        Err(e) => return Ok(Err(cannot("mkdir", e))),
    };
    for n in 0..10 {
        if !pace.allows(Part::Latencies)? {
            return Ok(Err(TOO_SLOW.into()));
        }
        let path = folder.path().join(n.to_string());
        let made = errno::steadily(|| match n {
            0 => fs::write(&path, [1; BLOCK]),
            _ => File::create(&path).map(drop),
        });
        if let Err(e) = made {
            return Ok(Err(cannot("create", e)));
        }
    }
    Ok(Ok(folder))
}

/// Makes a call on a file, or says once more why it could not be opened.
fn with(opened: &io::Result<File>, call: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    match opened {
        Ok(file) => call(file),
        Err(e) => match e.raw_os_error() {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Err(e.kind().into()),
        },
    }
}

struct Measure<'a> {
    pace: &'a Pace,
    rounds: usize,
}

impl Measure<'_> {
    fn in_a_row(
        &self,
        name: &'static str,
        call: impl FnMut() -> io::Result<()>,
    ) -> Result<Latency> {
        let [latency, _] = self.in_turns([name, ""], call, || Ok(()))?;
        Ok(latency)
    }

    /// Makes two calls by turns, each of which prepares the other. Ends at an error, which both
    /// tell.
    fn in_turns(
        &self,
        names: [&'static str; 2],
        mut first: impl FnMut() -> io::Result<()>,
        mut second: impl FnMut() -> io::Result<()>,
    ) -> Result<[Latency; 2]> {
        let mut taken = [Vec::new(), Vec::new()];
        let mut errors = [None, None];
        let begun = Instant::now();
        for round in 0..self.rounds {
            if !self.pace.allows(Part::Latencies)? {
                if round == 0 {
                    errors = [Some(TOO_SLOW.into()), Some(TOO_SLOW.into())];
                }
                break;
            }
            if round >= LEAST && begun.elapsed() > BUDGET {
                break;
            }
            let calls: [&mut dyn FnMut() -> io::Result<()>; 2] = [&mut first, &mut second];
            for (n, call) in calls.into_iter().enumerate() {
                let start = Instant::now();
                let answered = call();
                let elapsed = start.elapsed();
                match answered {
                    Ok(()) => taken[n].push(elapsed),
                    Err(e) => {
                        errors[n] = Some(told(&e));
                        errors[1 - n] = Some(format!("{}: {}", names[n], told(&e)));
                        break;
                    }
                }
            }
            if errors[0].is_some() {
                break;
            }
        }
        let ([one, other], [first_error, second_error]) = (taken, errors);
        Ok([
            Latency::of(names[0], one, first_error),
            Latency::of(names[1], other, second_error),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_worst_of_calls() {
        let micros = [5, 1, 3].map(Duration::from_micros).to_vec();
        let latency = Latency::of("stat", micros, None);
        assert_eq!(latency.median_us, Some(3.0));
        assert_eq!(latency.worst_us, Some(5.0));
        assert_eq!(latency.rounds, 3);
    }

    #[test]
    fn a_call_that_fails_is_not_made_again() {
        let mut made = 0;
        let link = || {
            made += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        };
        let pace = Pace::of(Duration::from_secs(60));
        let measure = Measure {
            pace: &pace,
            rounds: ROUNDS,
        };
        let latency = measure.in_a_row("link", link).unwrap();
        assert_eq!((made, latency.rounds, latency.median_us), (1, 0, None));
        assert!(latency.error.unwrap().starts_with("EPERM"));
    }

    #[test]
    fn an_error_of_one_of_two_calls_is_told_of_both() {
        let full = || Err(io::Error::from_raw_os_error(libc::ENOSPC));
        let pace = Pace::of(Duration::from_secs(60));
        let measure = Measure {
            pace: &pace,
            rounds: ROUNDS,
        };
        let names = ["write 4 KiB", "fsync"];
        let [_, synced] = measure.in_turns(names, full, || Ok(())).unwrap();
        let error = synced.error.unwrap();
        assert!(error.starts_with("write 4 KiB: ENOSPC"), "{error}");
    }
}
