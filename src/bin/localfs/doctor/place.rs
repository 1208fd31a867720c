//! The folder of the doctor's own: everything it touches lies below.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::Serialize;

use super::errno::{self, told};
use super::sys;

/// How its name begins; six random letters and digits follow.
const PREFIX: &str = ".localfs-doctor-";

/// What must fit: more than all that is written at one time.
const ROOM: usize = 1 << 20;

/// And as many files: more than there are at one time.
const FILES: usize = 40;

/// Why nothing can be said of a directory.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// For programs: `missing`, `not_a_directory`, `not_permitted`, `read_only`, `full`,
    /// `disconnected` or `other`.
    id: &'static str,
    pub(super) what: String,
    /// The call, and what the system said.
    pub(super) why: String,
    pub(super) advice: &'static str,
}

impl Problem {
    pub(super) fn of(dir: &Path, call: &str, error: &io::Error) -> Self {
        let any_of = |errors| errno::is(error, errors);
        // /proc answers ENOENT to whoever wants to make something in it.
        let is_missing = any_of(&[Errno::NOENT]) && !dir.is_dir();
        let dir = dir.display();
        let (id, what, advice) = if is_missing {
            (
                "missing",
                format!("there is no directory {dir}"),
                "make it, or mount what should be there; mind the spelling",
            )
        } else if any_of(&[Errno::NOTDIR]) {
            (
                "not_a_directory",
                format!("{dir} is not a directory"),
                "name the directory that the store is to use",
            )
        } else if any_of(&[Errno::ACCESS, Errno::PERM]) {
            (
                "not_permitted",
                format!("this user may not read and write in {dir}"),
                "change its owner or mode (chown, chmod; uid= and gid= of the mount), or run as a \
                 user who may",
            )
        } else if any_of(&[Errno::ROFS]) {
            (
                "read_only",
                format!("{dir} is on a mount that is read-only"),
                "mount it for writing (mount -o remount,rw); if it was, its file system found an \
                 error: see dmesg",
            )
        } else if any_of(&[Errno::NOSPC, Errno::DQUOT]) {
            ("full", full(&dir), FULL)
        } else if any_of(&[
            Errno::NOTCONN,
            Errno::STALE,
            Errno::HOSTDOWN,
            Errno::TIMEDOUT,
            Errno::CONNABORTED,
        ]) {
            (
                "disconnected",
                format!("what is mounted at {dir} does not answer"),
                "see whether its server or FUSE program runs, then mount it anew (umount -l first)",
            )
        } else {
            (
                "other",
                format!("{dir} cannot be used"),
                "see what the system said",
            )
        };
        Self {
            id,
            what,
            why: format!("{call}: {}", told(error)),
            advice,
        }
    }

    /// `why` is what was told of a call that found no room.
    pub(super) fn full(dir: &Path, why: String) -> Self {
        Self {
            id: "full",
            what: full(&dir.display()),
            why,
            advice: FULL,
        }
    }
}

fn full(dir: &std::path::Display<'_>) -> String {
    format!("{dir} is full, in bytes or in files, or this user's quota is")
}

const FULL: &str = "make room, or raise the quota: a mebibyte and some forty files are needed \
                    here, and an overwrite needs room for the old object and the new one";

/// Looks whether `dir` is a directory that can be read, and gives its path without symlinks.
pub(super) fn find(dir: &Path) -> Result<PathBuf, Problem> {
    let path = fs::canonicalize(dir).map_err(|e| Problem::of(dir, "realpath", &e))?;
    fs::read_dir(&path).map_err(|e| Problem::of(dir, "opendir", &e))?;
    Ok(path)
}

/// Folders of runs that were killed, or are at work right now.
pub(super) fn left_over(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut left: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| entry.path().display().to_string())
        .collect();
    left.sort();
    left
}

/// A folder of our own in a directory. Dropped, also by a panic, it is removed.
pub(super) struct Place {
    path: PathBuf,
    is_removed: bool,
}

impl Place {
    /// Makes it, and sees that something can be written there.
    pub(super) fn make(dir: &Path) -> Result<Self, Problem> {
        let problem = |call| move |e: io::Error| Problem::of(dir, call, &e);
        // Under a name that nobody has: mkdir(2) is exclusive.
        let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        let mut builder = tempfile::Builder::new();
        let made = errno::steadily(|| builder.prefix(PREFIX).suffix(".new").make_in(dir, make));
        let (_, made) = made
            .map_err(problem("mkdir"))?
            .keep()
            .map_err(|e| problem("mkdir")(e.error))?;
        let mut place = Self {
            path: named(dir, made)?,
            is_removed: false,
        };
        let file = place.path.join("room");
        let data = vec![0x5a; ROOM];
        let written = errno::steadily(|| write_durably(&file, &data)).map_err(problem("write"));
        let _ = fs::remove_file(&file);
        let fits = written.and_then(|()| place.has_room_for_files().map_err(problem("create")));
        fits.map_err(|mut problem| {
            if let Err(e) = place.try_to_remove() {
                problem.why += &format!("; {} stays: {}", place.path.display(), told(&e));
            }
            problem
        })?;
        Ok(place)
    }

    /// Not every file system that counts files counts them right: where it says that there are too
    /// few, they are made.
    fn has_room_for_files(&self) -> io::Result<()> {
        if sys::files(&self.path).is_ok_and(|(free, all)| all == 0 || free >= FILES as u64) {
            return Ok(());
        }
        let paths: Vec<_> = (0..FILES).map(|n| self.path.join(n.to_string())).collect();
        let made = paths.iter().try_for_each(|path| {
            let made = errno::steadily(|| File::create(path).map(drop));
            made.or_else(|e| match errno::is(&e, &[Errno::NOSPC, Errno::DQUOT]) {
                true => Err(e),
                // That files cannot be made is told later.
                false => Ok(()),
            })
        });
        for path in &paths {
            let _ = fs::remove_file(path);
        }
        made
    }

    /// Why there is no more to say, once the store can say nothing of the place.
    pub(super) fn problem(&self, dir: &Path, why: String) -> Problem {
        match fs::metadata(&self.path) {
            Err(e) => Problem::of(dir, "stat", &e),
            Ok(_) => Problem {
                why,
                ..Problem::of(dir, "stat", &Errno::IO.into())
            },
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder below, of a name that nothing else has.
    pub(super) fn folder(&self, name: &str) -> io::Result<Folder> {
        let path = self.path.join(name);
        errno::steadily(|| fs::create_dir_all(&path))?;
        Ok(Folder { path })
    }

    /// Removes it; an error names what stays.
    pub(super) fn remove(mut self) -> Result<(), String> {
        self.try_to_remove()
            .map_err(|e| format!("{} stays: {}", self.path.display(), told(&e)))
    }

    /// Several times, for a mount with stale handles.
    fn try_to_remove(&mut self) -> io::Result<()> {
        self.is_removed = true;
        for _ in 0..3 {
            match fs::remove_dir_all(&self.path) {
                Err(e) if errno::is(&e, &[Errno::NOENT]) && !is_there(&self.path) => return Ok(()),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        fs::remove_dir_all(&self.path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_removed {
            if let Err(e) = self.try_to_remove() {
                eprintln!("{} stays: {}", self.path.display(), told(&e));
            }
        }
    }
}

/// Gives the folder its name, as objects get theirs. In an append-only directory (chattr(1), `+a`)
/// something can be made, and neither renamed nor removed.
fn named(dir: &Path, made: PathBuf) -> Result<PathBuf, Problem> {
    let name = made.with_extension("");
    let Err(error) = errno::steadily(|| fs::rename(&made, &name)) else {
        return Ok(name);
    };
    if !errno::is(&error, &[Errno::PERM, Errno::ACCESS]) {
        // Many a mount renames files alone, or nothing; the probes tell.
        return Ok(made);
    }
    let mut problem = Problem::of(dir, "rename", &error);
    match fs::remove_dir(&made) {
        // It may remove: then it has no renames of directories.
        Ok(()) => fs::DirBuilder::new()
            .mode(0o700)
            .create(&name)
            .map(|()| name)
            .map_err(|e| Problem::of(dir, "mkdir", &e)),
        Err(e) => {
            problem.what = format!(
                "what is made in {} can be neither renamed nor removed",
                dir.display()
            );
            problem.why += &format!("; rmdir: {}; {} stays", told(&e), made.display());
            problem.advice = "see whether the directory is append-only (lsattr -d), and have that \
                              taken off (chattr -a); then remove the folder";
            Err(problem)
        }
    }
}

/// A folder of one trial. Dropped, it is removed: of many files the removal takes long.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same folder by a path that is as short as can be: on a network mount each directory of a
    /// path may be a request of its own, and none may be longer than PATH_MAX. It is good while the
    /// handle is open.
    pub(super) fn by_handle(&self) -> io::Result<(PathBuf, File)> {
        let handle = File::open(&self.path)?;
        let short = format!("/proc/{}/fd/{}", std::process::id(), handle.as_raw_fd());
        Ok(match is_there(Path::new(&short)) {
            true => (short.into(), handle),
            false => (self.path.clone(), handle),
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is removed with the place, and told.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Many a mount tells that it is full only when it has to send the data.
fn write_durably(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(data)?;
    match file.sync_all() {
        Err(e) if errno::is(&e, &[Errno::NOSPC, Errno::DQUOT, Errno::IO]) => Err(e),
        // That a mount has no fsync is told later.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).unwrap().next().is_none()
    }

    #[test]
    fn a_panic_removes_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let panicked = std::panic::catch_unwind(|| {
            let place = Place::make(dir.path()).unwrap();
            std::mem::forget(place.folder("probe").unwrap());
            assert!(is_empty(dir.path()), "it is not: this is the panic");
        });
        assert!(panicked.is_err());
        assert!(is_empty(dir.path()));
    }

    #[test]
    fn a_folder_that_is_gone_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::make(dir.path()).unwrap();
        fs::remove_dir(place.path()).unwrap();
        assert_eq!(place.remove(), Ok(()));
    }

    #[test]
    fn what_is_in_the_way_is_told_by_its_errno() {
        for (errno, id) in [
            (libc::ENOENT, "missing"),
            (libc::EDQUOT, "full"),
            (libc::EROFS, "read_only"),
            (libc::EACCES, "not_permitted"),
            (libc::ENOTCONN, "disconnected"),
            (libc::EIO, "other"),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            let problem = Problem::of(Path::new("/nowhere/at/all"), "mkdir", &error);
            assert_eq!(problem.id, id);
            assert!(problem.why.starts_with("mkdir: E"), "{}", problem.why);
        }
    }

    #[test]
    fn a_directory_that_is_there_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(Problem::of(dir.path(), "mkdir", &error).id, "other");
    }
}
