//! The lock file of a directory on a share: one, of which names lock bytes. It is opened anew for each
//! lock, since a lock belongs to the open file (fcntl_locking(2)).
//!
//! Who publishes a file under a lock writes its name there before, and takes it away afterwards: what
//! is found is of one who died, or was cut off from the server, and whose rename may yet come. An NFS
//! client goes on asking for a rename whose process is dead (measured, Linux 6.1: up to 1.4 s, while
//! delegations were recalled).

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use super::host_lock::{Noted, lock_range, note, unlock_range};
use super::linux::fresh_stat;

const NAME: &str = crate::names::DIR_LOCK;

/// A file that was removed meanwhile locks nobody out.
const REMOVED: u32 = 10;

/// Room for a name.
const RECORD: usize = 512;
/// Behind all records: SMB keeps others from writing what is locked.
const FIRST_BYTE: u64 = 1 << 62;

/// To the end of the file and beyond (fcntl_locking(2)).
const ALL: (u64, u64) = (0, 0);

/// A byte of it that is locked.
#[derive(Debug)]
pub(in crate::sys) struct DirByte {
    noted: Noted,
    file: File,
    slot: u64,
    has_record: Cell<bool>,
}

impl DirByte {
    /// The name of the file that was to be published by the last one who had this lock and did not let
    /// go of it; empty if there is none.
    pub(in crate::sys) fn record(&self) -> io::Result<OsString> {
        let mut record = [0; RECORD];
        let mut filled = 0;
        while filled < RECORD {
            match self
                .file
                .read_at(&mut record[filled..], self.at() + filled as u64)
            {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let name = record.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(OsString::from_vec(name.to_vec()))
    }

    /// Is with the server when it returns.
    pub(in crate::sys) fn set_record(&self, name: &OsStr) -> io::Result<()> {
        self.has_record.set(true);
        self.write_record(name.as_bytes())?;
        self.file.sync_data()
    }

    fn at(&self) -> u64 {
        self.slot * RECORD as u64
    }

    fn write_record(&self, name: &[u8]) -> io::Result<()> {
        let mut record = [0; RECORD];
        let room = record.get_mut(..name.len());
        let room = room.ok_or(io::ErrorKind::InvalidInput)?;
        room.copy_from_slice(name);
        self.file.write_all_at(&record, self.at())
    }

    /// What was written is with the server before the lock is free (RFC 8881, section 10.3.2).
    pub(in crate::sys) fn unlock(self) {
        if self.has_record.get() {
            let _ = self.write_record(b"");
        }
        unlock_range(&self.file, FIRST_BYTE + self.slot, 1);
        // Before its number is another file's.
        drop(self.noted);
    }
}

pub(in crate::sys) fn lock_in_dir(dir: &Path, slot: u64) -> io::Result<DirByte> {
    let path = dir.join(NAME);
    for _ in 0..REMOVED {
        let file = match open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make(dir, &path)?;
                continue;
            }
            opened => opened?,
        };
        lock_range(&file, FIRST_BYTE + slot, 1).map_err(locked)?;
        if is_there(&path, &file)? {
            return Ok(DirByte {
                noted: note(&file),
                file,
                slot,
                has_record: Cell::new(false),
            });
        }
        unlock_range(&file, FIRST_BYTE + slot, 1);
    }
    Err(io::Error::other(
        "the directory's lock file is being removed",
    ))
}

/// Whoever has opened it by now and locks it later finds that it was removed.
pub(in crate::sys) fn remove_lock_in_dir(dir: &Path) -> io::Result<()> {
    let path = dir.join(NAME);
    let file = open(&path)?;
    lock_range(&file, ALL.0, ALL.1).map_err(locked)?;
    let removed = match is_there(&path, &file)? {
        true => std::fs::remove_file(&path),
        false => Ok(()),
    };
    unlock_range(&file, ALL.0, ALL.1);
    removed
}

/// Asked of the server, and by name: another host may have removed it, and NFS keeps what it removes
/// itself under another name while somebody has it open.
fn is_there(path: &Path, file: &File) -> io::Result<bool> {
    match fresh_stat(path) {
        Ok(now) => Ok(now.ino == file.metadata()?.ino()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// fcntl(2) allows both numbers for a lock that somebody else holds.
fn locked(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(libc::EACCES) => io::Error::from_raw_os_error(libc::EAGAIN),
        _ => e,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// For all who may write in the directory, whoever makes it and whatever the umask: it has its owner
/// and mode before it has its name, where there are links.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    let of_dir = std::fs::metadata(dir)?;
    let writers = of_dir.mode() & 0o222;
    let create = |path: &Path| -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        // Best effort: who is shut out is told so when it locks.
        let _ = fchown(&file, Some(of_dir.uid()), Some(of_dir.gid()))
            .or_else(|_| fchown(&file, None, Some(of_dir.gid())));
        let _ = file.set_permissions(PermissionsExt::from_mode(writers | writers << 1));
        Ok(())
    };
    let draft = crate::names::private_path(path);
    create(&draft)?;
    let linked = std::fs::hard_link(&draft, path);
    let removed = std::fs::remove_file(&draft);
    match linked {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => match create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => created,
        },
        Ok(()) => removed,
    }
}
