//! `localfs sweep`: removes staging files that a crash left.

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use object_store_localfs_engine::{Engine, StagingFile, SweepEvent, SweepOptions, Swept, Verdict};
use serde_json::{Value, json};

use crate::Outcome;
use crate::error::{Error, Result};
use crate::interrupt;

#[derive(Args)]
pub(crate) struct SweepArgs {
    /// The directory, with all below it
    dir: PathBuf,
    /// Keep what was changed later than this long ago, such as `90m`, `12h` or `1d`
    #[arg(long, value_name = "AGE", default_value = "1d", value_parser = humantime::parse_duration)]
    older_than: Duration,
    /// Remove nothing, say what would be
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON object, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<Outcome> {
    let dir = &args.dir;
    // Not found out by the walk, which passes over what is gone.
    let metadata = std::fs::metadata(dir).map_err(|error| Error::io("look at", dir, &error))?;
    if !metadata.is_dir() {
        return Err(Error::new(format!("{} is not a directory", dir.display())));
    }

    let mut report = Report::new(args);
    let options = SweepOptions::older_than(args.older_than).with_dry_run(args.dry_run);
    let swept = Engine::new().sweep(dir, options, |event| {
        if let Err(error) = report.event(&event) {
            // Whoever read it has seen enough.
            report.unwritten = Some(error);
            return ControlFlow::Break(());
        }
        match interrupt::seen() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    report.bar.finish_and_clear();
    let swept = swept.map_err(|error| {
        Error::new(format!("cannot read {}", error.path().display())).why(error.io_error())
    })?;
    let written = match report.unwritten.take() {
        Some(error) => Err(error),
        None => report.total(&swept),
    };
    written.map_err(|error| Error::new("cannot write what was done").why(error))?;
    outcome(&swept)
}

fn outcome(swept: &Swept) -> Result<Outcome> {
    if swept.stopped {
        return Err(Error::new("interrupted"));
    }
    match swept.failed.len() {
        0 => Ok(Outcome::Fine),
        1 => Err(Error::new("something could not be swept").why(&swept.failed[0])),
        n => Err(Error::new(format!("{n} things could not be swept"))
            .why(format!("{}\nand what is listed above", swept.failed[0]))),
    }
}

/// What is shown: lines or JSON on the standard output, progress on a terminal.
struct Report<'a> {
    args: &'a SweepArgs,
    bar: ProgressBar,
    /// For `--json`, which is written at the end.
    files: Vec<Value>,
    other_file_systems: Vec<PathBuf>,
    unwritten: Option<io::Error>,
}

impl<'a> Report<'a> {
    fn new(args: &'a SweepArgs) -> Self {
        // Draws on a terminal, and nowhere else.
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {msg}"));
        Self {
            args,
            bar,
            files: Vec::new(),
            other_file_systems: Vec::new(),
            unwritten: None,
        }
    }

    fn event(&mut self, event: &SweepEvent<'_>) -> io::Result<()> {
        match event {
            SweepEvent::Looking { dir, found } => {
                let found = HumanCount(*found);
                self.bar
                    .set_message(format!("{found} found, looking in {}", dir.display()));
                self.bar.tick();
            }
            SweepEvent::Found { total } => {
                self.bar.set_length(*total);
                self.bar
                    .set_style(style("{bar:30} {human_pos} of {human_len}"));
            }
            SweepEvent::Decided { file, verdict } => {
                self.bar.inc(1);
                return self.decided(file, verdict);
            }
            SweepEvent::OtherFileSystem { dir } => {
                self.other_file_systems.push(dir.to_path_buf());
                return self.line(format_args!(
                    "not entered  {}: another file system begins there",
                    dir.display()
                ));
            }
            SweepEvent::Unreadable { error, .. } => {
                return self.line(format_args!("failed       {error}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn decided(&mut self, file: &StagingFile, verdict: &Verdict) -> io::Result<()> {
        let verb = match verdict {
            Verdict::Removed if self.args.dry_run => "would remove",
            Verdict::Removed => "removed",
            Verdict::Failed(_) => "failed",
            _ => "kept",
        };
        let why = match verdict {
            Verdict::Removed => None,
            Verdict::Failed(error) => Some(error.to_string()),
            Verdict::InUse(by) => Some(by.to_string()),
            Verdict::Young if file.age.is_none() => {
                Some("its age is not known, or its time is in the future".to_string())
            }
            _ => Some(format!(
                "younger than {}",
                humantime::format_duration(self.args.older_than)
            )),
        };
        if self.args.json {
            self.files.push(json!({
                "path": file.path.to_string_lossy(),
                "size": file.size,
                "age_seconds": file.age.map(|age| age.as_secs_f64()),
                "has_other_names": file.has_other_names,
                "verdict": match verdict {
                    Verdict::Removed if self.args.dry_run => "would_remove",
                    Verdict::Removed => "removed",
                    Verdict::InUse(_) => "in_use",
                    Verdict::Young => "young",
                    _ => "failed",
                },
                "why": why,
            }));
            return Ok(());
        }
        let age = match file.age {
            Some(age) => format!("{} old", HumanDuration(age)),
            None => "of unknown age".to_string(),
        };
        let link = if file.has_other_names { ", a link" } else { "" };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        self.line(format_args!(
            "{verb:12} {} ({}{link}, {age}){why}",
            file.path.display(),
            HumanBytes(file.size),
        ))
    }

    /// A line for people, above the progress bar.
    fn line(&self, line: fmt::Arguments<'_>) -> io::Result<()> {
        if self.args.json {
            return Ok(());
        }
        self.bar.suspend(|| writeln!(io::stdout(), "{line}"))
    }

    fn total(&mut self, swept: &Swept) -> io::Result<()> {
        if self.args.json {
            return self.json_total(swept);
        }
        let mut out = io::stdout();
        let decided = swept.removed + swept.in_use + swept.young;
        if swept.found == 0 && swept.failed.is_empty() && !swept.stopped {
            writeln!(out, "nothing to sweep below {}", self.args.dir.display())?;
        } else {
            let verb = if self.args.dry_run {
                "would be removed"
            } else {
                "removed"
            };
            writeln!(
                out,
                "{} found: {} {verb} ({}), {} in use, {} too young, {} gone by themselves, {} failed",
                HumanCount(swept.found),
                HumanCount(swept.removed),
                HumanBytes(swept.bytes_freed),
                HumanCount(swept.in_use),
                HumanCount(swept.young),
                HumanCount(swept.vanished),
                swept.failed.len(),
            )?;
        }
        if swept.stopped {
            writeln!(out, "interrupted: {} were decided", HumanCount(decided))?;
        }
        if swept.unseen_processes > 0 {
            writeln!(
                out,
                "{} processes of other users did not let us see what they have open; \
                 root sees it",
                HumanCount(swept.unseen_processes)
            )?;
        }
        out.flush()
    }

    fn json_total(&mut self, swept: &Swept) -> io::Result<()> {
        let lossy = |path: &Path| path.to_string_lossy().into_owned();
        let failed = swept.failed.iter().map(ToString::to_string);
        let elsewhere = self.other_file_systems.iter().map(|path| lossy(path));
        let total = json!({
            "dir": lossy(&self.args.dir),
            "older_than_seconds": self.args.older_than.as_secs_f64(),
            "dry_run": self.args.dry_run,
            "interrupted": swept.stopped,
            "found": swept.found,
            "removed": swept.removed,
            "bytes_freed": swept.bytes_freed,
            "in_use": swept.in_use,
            "young": swept.young,
            "vanished": swept.vanished,
            "failed": failed.collect::<Vec<_>>(),
            "other_file_systems": elsewhere.collect::<Vec<_>>(),
            "unseen_processes": swept.unseen_processes,
            "files": std::mem::take(&mut self.files),
        });
        let mut out = io::stdout();
        writeln!(out, "{total:#}")?;
        out.flush()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our own template")
}
