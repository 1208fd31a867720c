//! Advisory locks: whether one that is held keeps others out.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Asked, No, Said, Unknown, Yes};
use crate::doctor::sys::{self, Lock};

/// What the process answers that is sent for a lock.
const TAKEN: u8 = 0;
const EXCLUDED: u8 = 10;
const FAILED: u8 = 11;

/// The command that does it.
pub(crate) const TRY_LOCK: &str = "doctor-try-lock";

pub(super) fn flock(dir: &Path) -> Asked {
    let open = || File::create(dir.join("file")).said("create");
    two_handles(Lock::Flock, &open()?, &open()?)
}

pub(super) fn flock_directory(dir: &Path) -> Asked {
    let open = || File::open(dir).said("open");
    two_handles(Lock::Flock, &open()?, &open()?)
}

pub(super) fn ofd(dir: &Path) -> Asked {
    let open = || File::create(dir.join("file")).said("create");
    two_handles(Lock::Ofd, &open()?, &open()?)
}

fn two_handles(lock: Lock, one: &File, other: &File) -> Asked {
    let call = lock.call();
    match lock.try_take(one).said(call) {
        Ok(true) => {}
        Ok(false) => return Ok((No, format!("{call}: refused, though nobody has it"))),
        Err(error) => return Ok((No, error)),
    }
    if lock.try_take(other).said(call)? {
        return Ok((No, format!("{call}: ok on two handles at once")));
    }
    lock.release(one).said(call)?;
    Ok(match lock.try_take(other).said(call)? {
        true => (
            Yes,
            format!("{call}: excludes a second handle, until unlocked"),
        ),
        false => (No, format!("{call}: refused, though it was unlocked")),
    })
}

pub(super) fn exclude_processes(dir: &Path) -> Asked {
    let path = dir.join("file");
    let file = sys::create_new(&path).said("create")?;
    let call = Lock::Flock.call();
    match Lock::Flock.try_take(&file).said(call) {
        Ok(true) => {}
        Ok(false) => return Ok((No, format!("{call}: refused, though nobody has it"))),
        Err(error) => return Ok((No, error)),
    }
    Ok(match send_for(&path)? {
        Some(EXCLUDED) => (Yes, format!("{call}: excludes a second process")),
        Some(TAKEN) => (No, format!("{call}: ok in two processes at once")),
        _ => (Unknown, format!("{call}: a second process could not tell")),
    })
}

fn send_for(path: &Path) -> Result<Option<u8>, String> {
    let this = std::env::current_exe().said("readlink(/proc/self/exe)")?;
    let status = Command::new(this)
        .arg(TRY_LOCK)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .said("a second process")?;
    Ok(status.code().and_then(|code| code.try_into().ok()))
}

/// Tries to take the lock, in the process that was sent for it.
pub(crate) fn try_lock(path: &Path) -> u8 {
    let taken = File::options()
        .write(true)
        .open(path)
        .and_then(|file| Lock::Flock.try_take(&file));
    match taken {
        Ok(true) => TAKEN,
        Ok(false) => EXCLUDED,
        Err(_) => FAILED,
    }
}
