//! What is to be said of an operation: what it answered beside what it did.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

/// What an operation came to, the worst last. The words are those of the README's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::doctor) enum Outcome {
    /// `Ok` and exactly the promised effect, or the error that is due and no effect.
    Holds,
    /// There was no time for it, or the doctor could not prepare it.
    NotTried,
    /// An error, and everything as it was.
    Fails,
    /// `Ok` and the effect, but e_tags do not agree.
    WrongETag,
    /// As it should be, but for a file that nobody wants.
    LeavesAFile,
    FailsAndLeavesAFile,
    /// An error, and it took effect, in whole or in part.
    FalseFailure,
    /// `Ok`, and the effect or the answer is not the promised one.
    FalseSuccess,
    /// An error, and the destination is neither what it was nor what was handed over.
    Destroys,
}

use Outcome::*;

impl Outcome {
    pub(in crate::doctor) fn words(self) -> &'static str {
        match self {
            Holds => "holds",
            NotTried => "not tried",
            Fails => "fails",
            WrongETag => "wrong e_tag",
            LeavesAFile => "leaves a file",
            FailsAndLeavesAFile => "fails, leaves a file",
            FalseFailure => "false failure",
            FalseSuccess => "false success",
            Destroys => "destroys the object",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::doctor) struct Verdict {
    pub(in crate::doctor) outcome: Outcome,
    /// The error, or what was seen; nothing where it holds.
    pub(in crate::doctor) why: Option<String>,
}

impl Verdict {
    pub(super) fn holds() -> Self {
        Self {
            outcome: Holds,
            why: None,
        }
    }

    pub(super) fn fails(why: String) -> Self {
        Self::new(Fails, why)
    }

    pub(super) fn not_tried(why: impl Into<String>) -> Self {
        Self::new(NotTried, why)
    }

    pub(super) fn new(outcome: Outcome, why: impl Into<String>) -> Self {
        Self {
            outcome,
            why: Some(why.into()),
        }
    }

    /// The worse of the two; of two as bad, the first.
    pub(super) fn and(self, other: Self) -> Self {
        match other.outcome > self.outcome {
            true => other,
            false => self,
        }
    }
}

/// The answer that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Success,
    AlreadyExists,
    NotFound,
}

/// An error of a store.
#[derive(Debug)]
pub(super) struct Failure {
    /// The answer that it is, if it is one that can be due.
    pub(super) is: Option<Due>,
    pub(super) text: String,
}

/// The files of a directory, with what they hold.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) fn files(dir: &Path) -> io::Result<Files> {
    let mut found = Files::new();
    walk(dir, "", &mut found)?;
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, found: &mut Files) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => walk(&entry.path(), &format!("{name}/"), found)?,
            false => {
                found.insert(name, fs::read(entry.path())?);
            }
        }
    }
    Ok(())
}

/// Holds an answer against the files before and after, and those that were promised.
pub(super) fn judge(
    due: Due,
    answer: Result<(), Failure>,
    before: &Files,
    mut after: Files,
    promise: &Files,
) -> Verdict {
    let extra: Vec<_> = after
        .keys()
        .filter(|name| !before.contains_key(*name) && !promise.contains_key(*name))
        .cloned()
        .collect();
    for name in &extra {
        after.remove(name);
    }
    let left = extra.first().map(|name| format!("it leaves {name}"));
    let (outcome, why) = match answer {
        Ok(()) if due != Due::Success => {
            (FalseSuccess, format!("it answers Ok where {due:?} is due"))
        }
        Ok(()) if after == *promise => (Holds, String::new()),
        Ok(()) => (
            FalseSuccess,
            "it answers Ok, and the files are not what they should be".into(),
        ),
        Err(failure) if after == *before => match failure.is == Some(due) {
            true => (Holds, String::new()),
            false => (Fails, failure.text),
        },
        Err(failure) if after == *promise || is_part_of(&after, promise, before) => {
            (FalseFailure, failure.text)
        }
        Err(failure) => (Destroys, failure.text),
    };
    match (outcome, left) {
        (Holds, Some(left)) => Verdict::new(LeavesAFile, left),
        (Fails, Some(_)) => Verdict::new(FailsAndLeavesAFile, why),
        (Holds, None) => Verdict::holds(),
        _ => Verdict::new(outcome, why),
    }
}

/// Whether each file is either as it was or as it was promised.
fn is_part_of(after: &Files, promise: &Files, before: &Files) -> bool {
    let names = before.keys().chain(promise.keys()).chain(after.keys());
    names.into_iter().all(|name| {
        let now = after.get(name);
        now == promise.get(name) || now == before.get(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(named: &[(&str, &str)]) -> Files {
        let owned = named
            .iter()
            .map(|(name, data)| (name.to_string(), data.as_bytes().into()));
        owned.collect()
    }

    /// Of an overwrite of `a`, which was `old` and is to be `new`.
    fn outcome(answer: Result<(), Failure>, after: &[(&str, &str)]) -> Outcome {
        let (before, promise) = (files(&[("a", "old")]), files(&[("a", "new")]));
        judge(Due::Success, answer, &before, files(after), &promise).outcome
    }

    fn failure(is: Option<Due>) -> Result<(), Failure> {
        let text = "an error".into();
        Err(Failure { is, text })
    }

    #[test]
    fn an_answer_is_held_against_the_files() {
        assert_eq!(outcome(Ok(()), &[("a", "new")]), Holds);
        assert_eq!(outcome(Ok(()), &[("a", "new"), ("a#1", "")]), LeavesAFile);
        assert_eq!(outcome(Ok(()), &[("a", "ne")]), FalseSuccess);
        assert_eq!(outcome(Ok(()), &[("a", "old")]), FalseSuccess);
        assert_eq!(outcome(failure(None), &[("a", "old")]), Fails);
        let left = [("a", "old"), ("a#1", "new")];
        assert_eq!(outcome(failure(None), &left), FailsAndLeavesAFile);
        assert_eq!(outcome(failure(None), &[("a", "new")]), FalseFailure);
        assert_eq!(outcome(failure(None), &[("a", "ne")]), Destroys);
        assert_eq!(outcome(failure(None), &[]), Destroys);
    }

    #[test]
    fn half_a_rename_is_a_false_failure() {
        let before = files(&[("from", "1")]);
        let both = files(&[("from", "1"), ("to", "1")]);
        let promise = files(&[("to", "1")]);
        let verdict = judge(Due::Success, failure(None), &before, both, &promise);
        assert_eq!(verdict.outcome, FalseFailure);
    }

    #[test]
    fn only_the_error_that_is_due_holds() {
        let taken = files(&[("a", "old")]);
        let judge = |answer, after: &Files| {
            judge(Due::AlreadyExists, answer, &taken, after.clone(), &taken).outcome
        };
        assert_eq!(judge(failure(Some(Due::AlreadyExists)), &taken), Holds);
        assert_eq!(judge(failure(Some(Due::NotFound)), &taken), Fails);
        assert_eq!(judge(Ok(()), &taken), FalseSuccess);
        let replaced = files(&[("a", "new")]);
        assert_eq!(
            judge(failure(Some(Due::AlreadyExists)), &replaced),
            Destroys
        );
    }
}
