//! Errors for people: what went wrong, why, and what can be done.

use std::fmt;
use std::io;
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Error {
    what: String,
    why: Option<String>,
    help: Option<String>,
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: None,
            help: None,
        }
    }

    /// The cause; another program's message is passed on as it is.
    pub(crate) fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// What the reader can do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// An I/O error, with the file it is about.
    pub(crate) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        let failed = Self::new(format!("cannot {what} {}", path.display())).why(error);
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                failed.help("this needs to be writable; run as a user who may write there")
            }
            _ => failed,
        }
    }

    /// Says as well that nothing was changed, or that this failed too.
    pub(crate) fn after(mut self, rollback: Result<()>) -> Self {
        let state = match rollback {
            Ok(()) => "everything is as it was before".to_string(),
            Err(error) => format!(
                "could not put back what was changed so far ({}); \
                 run the same command again, it starts by putting it back",
                error.what
            ),
        };
        self.help = Some(match self.help {
            Some(help) => format!("{help}\n{state}"),
            None => state,
        });
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for (label, text) in [("why", &self.why), ("help", &self.help)] {
            if let Some(text) = text {
                let text = text.trim_end().replace('\n', "\n        ");
                write!(f, "\n  {label:>4}: {text}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
