//! All that the doctor has to say, in the shape that `--json` prints. `docs/doctor.md` documents it.

use std::path::Path;

use serde::Serialize;

use super::errno;
use super::facts::Mount;
use super::findings::{Finding, Level};
use super::latency::Latency;
use super::place::Problem;
use super::probe::Capability;
use super::stores::Row;

/// Moves when a field changes its meaning or goes; new fields may come.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    format: u32,
    /// Of `localfs`.
    version: &'static str,
    pub(super) directory: String,
    pub(super) verdict: Word,
    /// The exit status.
    pub(super) status: u8,
    /// Why nothing more can be said.
    pub(super) problem: Option<Problem>,
    pub(super) mount: Option<Mount>,
    pub(super) capabilities: Vec<Capability>,
    pub(super) operations: Vec<Row>,
    pub(super) latencies: Vec<Latency>,
    pub(super) findings: Vec<Finding>,
}

/// The verdict in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// All operations hold, as on a local disk.
    Fine,
    /// All operations hold, some of them by other means than on a local disk.
    Fallbacks,
    /// Something is promised less than on a local disk.
    Weaker,
    /// An operation fails, or the directory cannot be used.
    Broken,
}

impl Word {
    fn status(self) -> u8 {
        match self {
            Word::Fine => 0,
            Word::Fallbacks | Word::Weaker => 1,
            Word::Broken => 2,
        }
    }
}

impl Report {
    /// Of a directory of which nothing is known yet.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            directory: dir.display().to_string(),
            verdict: Word::Fine,
            status: 0,
            problem: None,
            mount: None,
            capabilities: Vec::new(),
            operations: Vec::new(),
            latencies: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// With the verdict that follows from all the rest.
    pub(super) fn judged(mut self) -> Self {
        let worst = self.findings.iter().map(|finding| finding.level).max();
        self.verdict = match (&self.problem, worst) {
            (Some(_), _) | (None, Some(Level::Broken)) => Word::Broken,
            (None, Some(Level::Weaker)) => Word::Weaker,
            (None, Some(Level::Fallback)) => Word::Fallbacks,
            (None, Some(Level::Note) | None) => Word::Fine,
        };
        self.status = self.verdict.status();
        self
    }

    /// Of which nothing more can be said than this.
    pub(super) fn stopped_by(&mut self, problem: Problem) {
        self.problem = Some(problem);
        self.capabilities.clear();
        self.operations.clear();
        self.latencies.clear();
        self.findings.clear();
    }

    /// What was told of a call that found no room.
    pub(super) fn says_full(&self) -> Option<String> {
        let asked = self.capabilities.iter().map(|it| Some(&it.evidence));
        // Of upstream's stores as of this one: whose turn it was is chance.
        let tried = self.operations.iter();
        let tried = tried.flat_map(|row| row.verdicts().map(|(_, verdict)| verdict.why.as_ref()));
        let timed = self.latencies.iter().map(|it| it.error.as_ref());
        let mut told = asked.chain(tried).chain(timed).flatten();
        told.find(|told| errno::tells_of_no_room(told)).cloned()
    }

    /// The capability of that name.
    pub(super) fn capability(&self, id: &str) -> Option<&Capability> {
        self.capabilities.iter().find(|it| it.id == id)
    }
}
