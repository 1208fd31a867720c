//! How long each call takes, so that a slow mount is seen.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::errno::told;
use super::place::Place;
use super::sys;
use crate::error::Result;
use crate::interrupt;

/// How often each call is made, where there is time.
const ROUNDS: usize = 300;

/// How long that may take for one call, or for two that are made in turns; ten seconds in all.
const BUDGET: Duration = Duration::from_millis(1400);

/// How often a call is made however long it takes.
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
    fn of(call: &'static str, mut taken: Vec<Duration>, error: Option<io::Error>) -> Self {
        taken.sort();
        let micros = |time: &Duration| (time.as_nanos() / 100) as f64 / 10.0;
        Self {
            call,
            rounds: taken.len(),
            median_us: taken.get(taken.len() / 2).map(micros),
            worst_us: taken.last().map(micros),
            error: error.map(|e| told(&e)),
        }
    }
}

/// Makes each call a few hundred times, or as often as there is time.
pub(super) fn all(place: &Place) -> Result<Vec<Latency>> {
    let Ok(dir) = place.folder("latency") else {
        return Ok(Vec::new());
    };
    let [file, other, new] = ["file", "other", "new"].map(|name| dir.join(name));
    let few = dir.join("few");
    let _ = fs::write(&file, [1; BLOCK]);
    let _ = fs::create_dir(&few);
    for n in 0..10 {
        let _ = File::create(few.join(n.to_string()));
    }

    let create = || sys::create_new(&new).map(drop);
    let unlink = || fs::remove_file(&new);
    let [created, unlinked] = in_turns(["create, close", "unlink"], create, unlink)?;
    let link = || fs::hard_link(&file, &new);
    let [linked, _] = in_turns(["link", "unlink"], link, unlink)?;
    let [there, _back] = in_turns(
        ["rename", "rename"],
        || fs::rename(&file, &other),
        || fs::rename(&other, &file),
    )?;
    let opened = sys::create_new(&dir.join("written"));
    let write = || with(&opened, |mut file| file.write_all(&[1; BLOCK]));
    let sync = || with(&opened, File::sync_all);
    let written = in_a_row("write 4 KiB", write)?;
    let [_, synced] = in_turns(["write 4 KiB", "fsync"], write, sync)?;
    let found = in_a_row("stat", || fs::symlink_metadata(&file).map(drop))?;
    let was_read = in_a_row("open, read 4 KiB", || {
        File::open(&file)?.read_exact(&mut [0; BLOCK])
    })?;
    let listed = in_a_row("readdir of 10 files", || {
        fs::read_dir(&few)?.try_for_each(|entry| entry.map(drop))
    })?;
    Ok(vec![
        created, written, synced, found, was_read, there, linked, unlinked, listed,
    ])
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

fn in_a_row(name: &'static str, call: impl FnMut() -> io::Result<()>) -> Result<Latency> {
    let [latency, _] = in_turns([name, ""], call, || Ok(()))?;
    Ok(latency)
}

/// Makes two calls by turns, each of which prepares the other. Ends at an error.
fn in_turns(
    names: [&'static str; 2],
    mut first: impl FnMut() -> io::Result<()>,
    mut second: impl FnMut() -> io::Result<()>,
) -> Result<[Latency; 2]> {
    let mut taken = [Vec::new(), Vec::new()];
    let mut errors = [None, None];
    let begun = Instant::now();
    for round in 0..ROUNDS {
        interrupt::check()?;
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
                Err(e) => errors[n] = errors[n].take().or(Some(e)),
            }
            if errors[0].is_some() {
                break;
            }
        }
        if errors.iter().any(Option::is_some) {
            break;
        }
    }
    let ([one, other], [first_error, second_error]) = (taken, errors);
    Ok([
        Latency::of(names[0], one, first_error),
        Latency::of(names[1], other, second_error),
    ])
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
        let latency = in_a_row("link", || {
            made += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        })
        .unwrap();
        assert_eq!((made, latency.rounds, latency.median_us), (1, 0, None));
        assert!(latency.error.unwrap().starts_with("EPERM"));
    }
}
