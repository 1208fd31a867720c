//! Errors: which object, which step, what the system said, what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as an `ObjectStore` tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// There is an object already, and none was to be there.
    AlreadyExists,
    /// There is another version than the one that was to be replaced, or none.
    Precondition,
    /// This mount cannot do it.
    NotSupported,
    /// Something was asked for besides that this mount has not; without that it can be done.
    NotImplemented,
    /// Anything else.
    Other,
}

/// An operation that failed. Its `source` is what the system said.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    /// `Unable to {step}`.
    step: &'static str,
    path: PathBuf,
    to: Option<PathBuf>,
    hint: Option<Cow<'static, str>>,
    source: io::Error,
}

impl Error {
    pub(crate) fn new(step: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            kind: ErrorKind::Other,
            step,
            path: path.to_owned(),
            to: None,
            hint: None,
            source,
        }
    }

    /// Something is at `path`, and nothing was to be there.
    pub(crate) fn already_exists(path: &Path, e: io::Error) -> Self {
        Self::new("create", path, e).kind_of(ErrorKind::AlreadyExists)
    }

    /// What is at `path` is not what was to be replaced.
    pub(crate) fn precondition(path: &Path, found: &'static str) -> Self {
        Self::new("update", path, io::Error::other(found)).kind_of(ErrorKind::Precondition)
    }

    pub(crate) fn to(mut self, to: &Path) -> Self {
        self.to = Some(to.to_owned());
        self
    }

    pub(crate) fn kind_of(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn into_io_error(self) -> io::Error {
        self.source
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file that the failed step was about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system said.
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unable to {} {}", self.step, self.path.display())?;
        if let Some(to) = &self.to {
            write!(f, " to {}", to.display())?;
        }
        write!(f, ": {}", self.source)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Keeps the object, the step and what the system said, and its [`io::ErrorKind`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}
