//! One localfs at a time in a workspace.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// Held until it is dropped, and by the kernel: a run that is killed leaves nothing that blocks.
pub(super) struct Turn {
    _root: Option<File>,
}

/// Takes the turn of the workspace in `root`, or says that another run has it.
pub(super) fn take(root: &Path) -> Result<Turn> {
    let Ok(dir) = File::open(root) else {
        // Windows opens no directories; the journal names the process there.
        return Ok(Turn { _root: None });
    };
    match try_lock(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::new("another localfs is at work in this workspace")
                .why(format!("it has locked {}", root.display()))
                .help("run again when it is done"))
        }
        // A file system without locks: the journal is all there is.
        _ => Ok(Turn { _root: Some(dir) }),
    }
}

#[cfg(unix)]
fn try_lock(dir: &File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as `dir` is borrowed.
    match unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(not(unix))]
fn try_lock(_dir: &File) -> std::io::Result<()> {
    Ok(())
}
