//! What is worth knowing of a mount, what it means for a store, and what to do about it.

use std::time::Duration;

use serde::Serialize;

use super::advice;
use super::errno;
use super::pace::TOO_SLOW;
use super::probe::{Answer, Capability};
use super::report::Report;
use super::stores::{Operation, Outcome, Row};
use super::text;

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// For programs.
    pub(super) id: &'static str,
    pub(super) level: Level,
    pub(super) what: String,
    /// What to do.
    pub(super) advice: String,
}

/// How much it matters, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Good to know; nothing of this crate's promises is touched.
    Note,
    /// The promise is kept by other means than on a local disk.
    Fallback,
    /// Less is promised than on a local disk.
    Weaker,
    /// Something does not work.
    Broken,
}

/// From this median on a mount counts as slow.
const SLOW_US: f64 = 1_000.0;

/// A time step from which on people notice.
const COARSE_NS: u64 = 1_000_000;

struct Findings<'a> {
    of: &'a Report,
    found: Vec<Finding>,
}

/// All of them.
pub(super) fn of(report: &Report, whole: Duration) -> Vec<Finding> {
    let mut findings = Findings {
        of: report,
        found: Vec::new(),
    };
    findings.ours();
    findings.too_slow(whole);
    findings.not_tried();
    findings.names();
    findings.attributes();
    findings.contents();
    findings.unsteady();
    findings.options();
    findings.kind();
    findings.slow();
    findings.upstream();
    findings.found
}

impl Findings<'_> {
    fn add(
        &mut self,
        id: &'static str,
        level: Level,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.found.push(Finding {
            id,
            level,
            what: what.into(),
            advice: advice.into(),
        });
    }

    fn lacks(&self, id: &str) -> bool {
        self.answer(id) == Some(Answer::No)
    }

    fn answer(&self, id: &str) -> Option<Answer> {
        self.of.capability(id).map(|it| it.answer)
    }

    /// What this crate fails at.
    fn ours(&mut self) {
        for row in &self.of.operations {
            let level = match row.this.outcome {
                // The second is told for all at once.
                Outcome::Holds | Outcome::NotTried => continue,
                Outcome::WrongETag | Outcome::LeavesAFile => Level::Weaker,
                _ => Level::Broken,
            };
            let why = row.this.why.as_deref().unwrap_or_default();
            let what = format!(
                "With this crate, {}: {}. {why}",
                row.operation.name(),
                row.this.outcome.words()
            );
            let advice = match level {
                Level::Broken => {
                    "See what it says. Else keep the store on another mount, or let no program use \
                     this operation here."
                }
                _ => "Programs that do not compare e_tags are not concerned.",
            };
            self.add("operation", level, what, advice);
        }
    }

    /// What there was no time for.
    fn too_slow(&mut self, whole: Duration) {
        let asked = self.of.capabilities.iter();
        let asked = asked.filter(|it| it.evidence == TOO_SLOW).count();
        let rows = self.of.operations.iter();
        let tried = rows
            .filter(|row| {
                let mut verdicts = row.verdicts().into_iter();
                verdicts.any(|(_, it)| it.why.as_deref() == Some(TOO_SLOW))
            })
            .count();
        let timed = self.of.latencies.iter();
        let timed = timed
            .filter(|it| it.error.as_deref() == Some(TOO_SLOW))
            .count();
        if asked + tried + timed > 0 {
            let whole = humantime::format_duration(whole);
            self.add(
                "too_slow",
                Level::Weaker,
                format!(
                    "Calls are too slow for all to be tried within {whole}. Of {} capabilities \
                     {asked} were not, of {} operations {tried} not by all stores, of {} times \
                     {timed}.",
                    self.of.capabilities.len(),
                    self.of.operations.len(),
                    self.of.latencies.len(),
                ),
                "Give it more time: `--within 10m`.",
            );
        }
    }

    /// What the doctor could not prepare, or not see.
    fn not_tried(&mut self) {
        for row in &self.of.operations {
            let why = row.this.why.as_deref().unwrap_or_default();
            if row.this.outcome == Outcome::NotTried && why != TOO_SLOW {
                self.add(
                    "not_tried",
                    Level::Weaker,
                    format!("{} was not tried: {why}.", row.operation.name()),
                    "See what the system said.",
                );
            }
        }
    }

    fn names(&mut self) {
        let rename = self.of.capability("rename");
        if let Some(rename) = rename.filter(|it| it.answer == Answer::Unknown && it.tries > 0) {
            self.add(
                "rename_fails",
                Level::Broken,
                format!(
                    "Renames fail, though the mount does not say that it has none: {}.",
                    rename.evidence
                ),
                "See what the system said, and whether the server or the FUSE program of the mount \
                 is well.",
            );
        }
        if self.lacks("rename") {
            self.add(
                "no_rename",
                Level::Weaker,
                "The mount cannot rename. An object is spooled on a local directory, then written \
                 to its place in one pass: unless the mount shows a file only once it is closed, \
                 a reader may see it half written, and an overwrite that fails may lose the old \
                 object.",
                "Write each object once, under a name of its own, as tables of Lance, Delta Lake \
                 and Iceberg do. `with_spool_dir` says where to spool: it needs room for the \
                 objects that are written at one time. By default it is the system's temporary \
                 directory, and the doctor's trials were spooled there too.",
            );
        } else {
            self.exclusive_creation();
        }
        if self.lacks("rename") && self.lacks("exclusive_create") {
            self.add(
                "no_exclusive_create",
                Level::Weaker,
                "A file that is there can be opened as a new one: of two creators of one object \
                 both may be told that they won.",
                "Let one program at a time write here; do not commit to tables from several.",
            );
        }
        if self.lacks("handle_survives_rename") && !self.lacks("rename") {
            self.add(
                "handle_lost",
                Level::Fallback,
                "A handle loses its file when that is renamed, as on Windows drives under WSL2. \
                 This crate never asks a handle after a rename.",
                "Nothing for programs that use this crate.",
            );
        }
        if self.lacks("rename_over_open") && !self.lacks("rename_over") {
            self.add(
                "open_files_stay",
                Level::Weaker,
                "An object that somebody has open cannot be replaced, as on SMB and Windows \
                 drives. This crate tries again for about a second, then answers with an error.",
                "Let readers be done with an object before it is overwritten, or allow more time \
                 with `with_retry`.",
            );
        }
        if self.lacks("case_sensitive") {
            self.add(
                "case",
                Level::Weaker,
                "Objects whose names differ in upper and lower case only are one file.",
                advice::case(self.of.mount.as_ref()),
            );
        }
        if let Some(Answer::Bytes(longest)) = self.answer("longest_name") {
            if longest < 255 {
                self.add(
                    "short_names",
                    Level::Weaker,
                    format!("A part of a name between two slashes has {longest} bytes at most."),
                    "Use shorter names; eCryptfs and some servers have such limits.",
                );
            }
        }
    }

    fn exclusive_creation(&mut self) {
        match (self.lacks("exclusive_rename"), self.lacks("hard_links")) {
            (false, false) => {}
            (true, false) => self.add(
                "no_exclusive_rename",
                Level::Fallback,
                "There is no exclusive rename. Objects that may only be created are linked to \
                 their names instead, which excludes as much.",
                "Nothing.",
            ),
            (false, true) => self.add(
                "no_hard_links",
                Level::Fallback,
                "There are no hard links. A copy copies the data.",
                "Nothing; mind the time that copies of large objects take.",
            ),
            // What it says of itself then is told already.
            (true, true) if self.fails(Operation::PutCreate) => {}
            (true, true) => self.host_only_exclusion(),
        }
    }

    fn host_only_exclusion(&mut self) {
        let containers = match self.lacks("flock_directory") {
            true => {
                " The mount has no flock: containers with a /dev/shm of their own are not \
                     excluded either."
            }
            false => "",
        };
        self.add(
            "host_only_exclusion",
            Level::Weaker,
            format!(
                "There are neither exclusive renames nor hard links. \"Create if absent\" takes an \
                 advisory lock: it excludes threads and processes of this host that use this \
                 crate, and no other hosts or programs.{containers} A copy copies the data."
            ),
            "Let one host at a time create objects in one place (for tables of Lance or Delta \
             Lake: commit from one host), or keep the store on a mount that has exclusive renames \
             or hard links. `with_exclusive_create(Exclusion::OtherHosts)` has such creates fail \
             instead.",
        );
    }

    /// Whether this crate fails at it.
    fn fails(&self, operation: Operation) -> bool {
        let mut rows = self.of.operations.iter();
        rows.any(|row| row.operation == operation && row.this.outcome > Outcome::NotTried)
    }

    fn attributes(&mut self) {
        if self.lacks("stable_inodes") {
            self.add(
                "inodes_change",
                Level::Fallback,
                "Inode numbers change, so e_tags are made without them: of size and mtime alone.",
                advice::inodes(self.of.mount.as_ref()),
            );
        }
        if let Some(Answer::Nanoseconds(step)) = self.answer("mtime_step") {
            if step >= COARSE_NS {
                self.add(
                    "coarse_mtime",
                    Level::Fallback,
                    format!(
                        "Times have steps of {}. Two versions of a file that are written within \
                         one have one mtime.",
                        text::nanoseconds(step)
                    ),
                    "Programs that compare mtimes by themselves (make, rsync, caches) may take \
                     one version for the other: compare e_tags.",
                );
            } else if self.lacks("mtime_moves") {
                self.add(
                    "mtime_stands",
                    Level::Note,
                    "The clock of the file system ticks slowly (Linux before 6.13: every few \
                     milliseconds). Two versions of a file that are written within a tick have \
                     one mtime.",
                    "Compare e_tags, not mtimes.",
                );
            }
        }
        if self.lacks("mtime_before_close") || self.lacks("size_before_close") {
            self.add(
                "settles_at_close",
                Level::Fallback,
                "What `stat` says of a file that is being written is not what it says once that \
                 is closed. This crate closes first, and takes the e_tag afterwards.",
                "Nothing for programs that use this crate. Do not read objects that other \
                 programs are writing.",
            );
        }
    }

    fn contents(&mut self) {
        if self.lacks("random_writes") {
            let what = "A file can only be written from its beginning to its end, and parts of an \
                        upload come in any order.";
            let (level, what) = match self.fails(Operation::PutMultipart) {
                true => (Level::Weaker, what.to_string()),
                false => (Level::Fallback, format!("{what} They are collected first.")),
            };
            let advice = advice::random_writes(self.of.mount.as_ref());
            self.add("sequential_writes", level, what, advice);
        }
        let lacks = [("file_sync", "a file"), ("directory_sync", "a directory")]
            .iter()
            .filter(|(id, _)| self.lacks(id))
            .map(|(_, name)| *name)
            .collect::<Vec<_>>();
        if !lacks.is_empty() {
            self.add(
                "no_sync",
                Level::Weaker,
                format!(
                    "There is no fsync of {}: `with_fsync(true)` cannot promise that an object \
                     survives a power failure.",
                    lacks.join(" or of ")
                ),
                "Keep what must survive on a mount that has it.",
            );
        }
    }

    fn unsteady(&mut self) {
        let still_fails = |it: &&Capability| {
            it.answer == Answer::Unknown && errno::tells_of_passing(&it.evidence)
        };
        let failing: Vec<_> = self.of.capabilities.iter().filter(still_fails).collect();
        if !failing.is_empty() {
            let failing: Vec<_> = failing
                .iter()
                .map(|it| format!("{}: {}", it.name, it.evidence))
                .collect();
            self.add(
                "errors",
                Level::Weaker,
                format!(
                    "Calls fail each time, with errors that should pass; whether the mount can do \
                     this is not known: {}.",
                    failing.join("; ")
                ),
                "See whether the disk, the server or the FUSE program of the mount is well.",
            );
        }
        let tried_again = self.of.capabilities.iter();
        let tried_again = tried_again.filter(|it| it.tries > 1 && !still_fails(it));
        let names: Vec<_> = tried_again.map(|it| it.name).collect();
        if !names.is_empty() {
            self.add(
                "unsteady",
                Level::Fallback,
                format!(
                    "Calls fail that may work a moment later, with stale handles or lost replies \
                     (asked more than once: {}). This crate looks what became of a call, and makes \
                     it again.",
                    names.join(", ")
                ),
                "Nothing for programs that use this crate; `with_retry` says how long it tries. \
                 Others fail.",
            );
        }
    }

    fn options(&mut self) {
        let Some(mount) = &self.of.mount else {
            return;
        };
        for (id, what, advice) in advice::options(mount) {
            self.add(id, Level::Weaker, what, advice);
        }
    }

    /// What is known of mounts of this kind, where there is something to know it for.
    fn kind(&mut self) {
        let matters = self.found.iter().any(|it| it.level > Level::Note);
        let known = self.of.mount.as_ref().and_then(advice::kind);
        if let (true, Some((what, advice))) = (matters, known) {
            self.add("kind", Level::Note, what, advice);
        }
    }

    fn slow(&mut self) {
        let usual = self.of.latencies.iter().filter(|it| it.call != "fsync");
        let mut medians: Vec<f64> = usual.filter_map(|it| it.median_us).collect();
        medians.sort_by(f64::total_cmp);
        let Some(median) = medians.get(medians.len() / 2) else {
            return;
        };
        if *median >= SLOW_US {
            self.add(
                "slow",
                Level::Note,
                format!(
                    "Calls are slow: the usual one takes {}. An object costs about ten, however \
                     small it is.",
                    text::micros(*median)
                ),
                "Write fewer and larger objects, and several at a time; keep what is read often \
                 nearer.",
            );
        }
    }

    /// What object_store's own store does not hold, by minor.
    fn upstream(&mut self) {
        let minors = ["0.12", "0.13", "0.14"];
        let mut said: Vec<(Vec<&str>, String)> = Vec::new();
        for (n, minor) in minors.iter().enumerate() {
            let complaints = complaints(&self.of.operations, n);
            match said.iter_mut().find(|(_, same)| *same == complaints) {
                Some((minors, _)) => minors.push(minor),
                None => said.push((vec![minor], complaints)),
            }
        }
        said.retain(|(_, complaints)| !complaints.is_empty());
        if said.is_empty() {
            return;
        }
        let said: Vec<_> = said
            .iter()
            .map(|(minors, complaints)| format!("In {}: {complaints}.", minors.join(", ")))
            .collect();
        self.add(
            "upstream",
            Level::Note,
            format!(
                "object_store's own LocalFileSystem does not hold everything here. {}",
                said.join(" ")
            ),
            "A program of yours: use object_store_localfs::LocalFileSystem. One that is not \
             (LanceDB, DataFusion, delta-rs): use the override, `localfs patch` in its workspace. \
             Lance since 3.0 writes `file://` past object_store: give it \
             `file-object-store:///path`.",
        );
    }
}

/// `put_multipart (false failure), copy (leaves a file)`, of the upstream minor in that place.
fn complaints(rows: &[Row], minor: usize) -> String {
    let mut by_outcome: Vec<(Outcome, Vec<&str>)> = Vec::new();
    for row in rows {
        let outcome = row.verdicts()[minor].1.outcome;
        if outcome <= Outcome::NotTried {
            continue;
        }
        match by_outcome.iter_mut().find(|(same, _)| *same == outcome) {
            Some((_, names)) => names.push(row.operation.name()),
            None => by_outcome.push((outcome, vec![row.operation.name()])),
        }
    }
    by_outcome.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    by_outcome
        .iter()
        .map(|(outcome, names)| format!("{} ({})", names.join(", "), outcome.words()))
        .collect::<Vec<_>>()
        .join(", ")
}
