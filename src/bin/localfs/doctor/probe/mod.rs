//! What a mount can do: each question is asked by a call, and the answer kept as evidence.

mod attributes;
mod contents;
mod locks;
mod names;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;

use super::errno::{self, told};
use super::pace::{Pace, Part, TOO_SLOW};
use super::place::Place;
use super::sys;
use crate::error::Result;

pub(crate) use locks::{TRY_LOCK, try_lock};

/// Something a mount can do, or cannot.
#[derive(Debug, Serialize)]
pub(super) struct Capability {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    /// The call and what it answered, or what was seen.
    pub(super) evidence: String,
    /// How often it was asked: more than once where an error could have passed.
    pub(super) tries: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Yes,
    No,
    /// It could not be found out.
    Unknown,
    Nanoseconds(u64),
    Bytes(u64),
}

use Answer::{No, Unknown, Yes};

/// An answer with its evidence; or what stood in the way of one.
type Asked = std::result::Result<(Answer, String), String>;

type Question = (&'static str, &'static str, fn(&Path) -> Asked);

const QUESTIONS: &[Question] = &[
    ("rename", "rename", names::rename),
    ("rename_over", "rename over a file", names::rename_over),
    (
        "rename_over_open",
        "rename over an open file",
        names::rename_over_open,
    ),
    (
        "handle_survives_rename",
        "fstat after a rename",
        names::handle_survives_rename,
    ),
    (
        "exclusive_rename",
        "exclusive rename",
        names::exclusive_rename,
    ),
    ("hard_links", "hard links", names::hard_links),
    (
        "exclusive_create",
        "exclusive create",
        names::exclusive_create,
    ),
    ("stable_inodes", "stable inodes", attributes::stable_inodes),
    ("mtime_step", "mtime step", attributes::mtime_step),
    (
        "mtime_moves",
        "mtime moves at each write",
        attributes::mtime_moves,
    ),
    (
        "mtime_before_close",
        "mtime known before close",
        attributes::mtime_before_close,
    ),
    (
        "size_before_close",
        "size known before close",
        attributes::size_before_close,
    ),
    ("xattrs", "xattrs", attributes::xattrs),
    (
        "random_writes",
        "writes in any order",
        contents::random_writes,
    ),
    ("file_sync", "fsync of a file", contents::file_sync),
    (
        "directory_sync",
        "fsync of a directory",
        contents::directory_sync,
    ),
    (
        "copy_file_range",
        "copy_file_range",
        contents::copy_file_range,
    ),
    ("reflink", "reflink", contents::reflink),
    ("flock", "flock of a file", locks::flock),
    (
        "flock_directory",
        "flock of a directory",
        locks::flock_directory,
    ),
    ("ofd_locks", "OFD locks", locks::ofd),
    (
        "locks_exclude_processes",
        "locks exclude processes",
        locks::exclude_processes,
    ),
    (
        "case_sensitive",
        "upper and lower case differ",
        names::case_sensitive,
    ),
    ("longest_name", "longest name", names::longest_name),
    ("free_space", "free space", contents::free_space),
];

/// Asks every question, each in a folder of its own; again, in another one, if the answer is an
/// error that may pass.
pub(super) fn all(place: &Place, pace: &Pace) -> Result<Vec<Capability>> {
    let ask = |&(id, name, question): &Question| {
        let (mut answer, mut evidence, mut tries) = (Unknown, TOO_SLOW.to_string(), 0);
        while tries == 0 || tries < errno::TRIES && may_pass(answer, &evidence) {
            if !pace.allows(Part::Probes)? {
                break;
            }
            pace.say(format!("asking what it can do: {name}"));
            tries += 1;
            let asked = ask_once(place, &format!("{id}-{tries}"), question);
            (answer, evidence) = asked.unwrap_or_else(|in_the_way| (Unknown, in_the_way));
        }
        Ok(Capability {
            id,
            name,
            // Whether a mount lacks something, a fault does not tell.
            answer: match may_pass(answer, &evidence) {
                true => Unknown,
                false => answer,
            },
            evidence,
            tries,
        })
    };
    QUESTIONS.iter().map(ask).collect()
}

fn ask_once(place: &Place, name: &str, question: fn(&Path) -> Asked) -> Asked {
    let folder = place.folder(name).said("mkdir")?;
    let (path, _handle) = folder.by_handle().said("open")?;
    question(&path)
}

fn may_pass(answer: Answer, evidence: &str) -> bool {
    matches!(answer, No | Unknown) && errno::tells_of_passing(evidence)
}

/// What the system said, with the call that it said it to.
trait Said<T> {
    fn said(self, call: &str) -> std::result::Result<T, String>;
}

impl<T> Said<T> for io::Result<T> {
    fn said(self, call: &str) -> std::result::Result<T, String> {
        self.map_err(|e| format!("{call}: {}", told(&e)))
    }
}

/// `Yes` with this evidence, or `No` with the error.
fn yes_if_ok(call: &str, answered: io::Result<()>, evidence: &str) -> Asked {
    Ok(match answered.said(call) {
        Ok(()) => (Yes, format!("{call}: ok{evidence}")),
        Err(error) => (No, error),
    })
}

/// A new file that holds this.
fn write(path: &Path, data: &str) -> std::result::Result<(), String> {
    let mut file = sys::create_new(path).said("create")?;
    file.write_all(data.as_bytes()).said("write")
}

fn read(path: &Path) -> std::result::Result<String, String> {
    let mut text = String::new();
    let mut file = File::open(path).said("open")?;
    file.read_to_string(&mut text).said("read")?;
    Ok(text)
}

fn is_there(path: &Path) -> std::result::Result<bool, String> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).said("stat"),
    }
}
