//! Errors in few words.

use std::error::Error as _;

use slatedb::{CloseReason, Error, ErrorKind};

pub(crate) fn is_fenced(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed(CloseReason::Fenced)
}

/// With all that it came from.
pub(crate) fn told(error: &Error) -> String {
    let mut told = format!("{error}");
    let mut source = error.source();
    while let Some(error) = source {
        told += &format!(": {error}");
        source = error.source();
    }
    told
}
