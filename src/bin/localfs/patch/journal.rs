//! A change of the workspace that can be taken back, also by the next run.
//!
//! The journal is one file in the workspace's root, there from before the first change until after
//! the last. It holds what is needed to go back, so a run that was killed in between is undone by
//! the next one. Directories are made in a staging directory and then renamed into their places.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::paths;
use super::stamp::Digest;
use crate::error::{Error, Result};
use crate::interrupt;

const NAME: &str = ".localfs-journal.toml";
const STAGING: &str = ".localfs-staging";

/// The two files of a workspace that change, as they were.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) manifest_path: PathBuf,
    pub(super) manifest: String,
    pub(super) lock_path: PathBuf,
    /// None if there is no such file.
    pub(super) lock: Option<String>,
}

/// A directory to be put in place, or to be taken away.
pub(super) struct Swap {
    pub(super) place: PathBuf,
    /// Where its new contents have been staged, if it gets any.
    pub(super) new: Option<PathBuf>,
}

/// A change under way. Ends with `commit` or `roll_back`.
pub(super) struct Journal {
    root: PathBuf,
    files: Files,
    /// Digests of what we wrote to the manifest; anything else in it is somebody else's work.
    written: Vec<String>,
    /// The directory of the copies, in which the staging directory is.
    dir: PathBuf,
    /// The first of its parents, or itself, that was not there.
    made: Option<PathBuf>,
    swaps: Vec<Recorded>,
}

/// A swap as the journal has it.
struct Recorded {
    place: PathBuf,
    /// Where the old directory goes, if there is one.
    old: Option<PathBuf>,
}

impl Files {
    pub(super) fn read(manifest_path: &Path) -> Result<Self> {
        let lock_path = manifest_path.with_file_name("Cargo.lock");
        let manifest = fs::read_to_string(manifest_path)
            .map_err(|error| Error::io("read", manifest_path, &error))?;
        Ok(Self {
            manifest_path: manifest_path.to_path_buf(),
            manifest,
            lock: read_if_there(&lock_path)?,
            lock_path,
        })
    }

    /// Puts Cargo.lock back, which cargo may have written while it was asked.
    pub(super) fn restore_lock(&self) -> Result<()> {
        match &self.lock {
            Some(lock) => replace(&self.lock_path, lock),
            None => remove_file(&self.lock_path),
        }
    }
}

impl Journal {
    /// Opens the journal. Nothing may be changed before this.
    pub(super) fn begin(root: &Path, files: Files, dir: &Path) -> Result<Self> {
        let missing = dir.ancestors().take_while(|it| !it.exists());
        let journal = Self {
            root: root.to_path_buf(),
            files,
            written: Vec::new(),
            dir: dir.to_path_buf(),
            made: missing.last().map(Path::to_path_buf),
            swaps: Vec::new(),
        };
        journal.save()?;
        Ok(journal)
    }

    /// A directory for what is being made, on the file system where it will be.
    pub(super) fn staging(&self) -> Result<PathBuf> {
        let staging = self.dir.join(STAGING);
        remove_dir(&staging)?;
        fs::create_dir_all(staging.join("old"))
            .map_err(|error| Error::io("create", &staging, &error))?;
        // A user's `git add .` at the wrong moment.
        let ignore = staging.join(".gitignore");
        fs::write(&ignore, "*\n").map_err(|error| Error::io("write", &ignore, &error))?;
        Ok(staging)
    }

    pub(super) fn write_manifest(&mut self, text: &str) -> Result<()> {
        interrupt::check()?;
        if !self.manifest_is_ours()? {
            return Err(
                Error::new("Cargo.toml was changed while localfs was at work").help("run again"),
            );
        }
        self.written.push(Digest::of(text.as_bytes()));
        self.save()?;
        replace(&self.files.manifest_path, text)
    }

    pub(super) fn write_lock(&self, text: &str) -> Result<()> {
        interrupt::check()?;
        replace(&self.files.lock_path, text)
    }

    /// Puts directories in their places, what was there before is kept until `commit`.
    pub(super) fn swap(&mut self, swaps: &[Swap]) -> Result<()> {
        interrupt::check()?;
        let old = self.dir.join(STAGING).join("old");
        self.swaps = swaps
            .iter()
            .enumerate()
            .map(|(index, swap)| Recorded {
                place: swap.place.clone(),
                old: swap.place.exists().then(|| old.join(index.to_string())),
            })
            .collect();
        self.save()?;
        for (swap, recorded) in swaps.iter().zip(&self.swaps) {
            if let Some(old) = &recorded.old {
                rename(&swap.place, old)?;
            }
            if let Some(new) = &swap.new {
                rename(new, &swap.place)?;
            }
        }
        Ok(())
    }

    /// The change stays.
    pub(super) fn commit(self) -> Result<()> {
        // A Ctrl-C from here on comes too late to take anything back.
        remove_file(&self.root.join(NAME))?;
        // It is done; what stays behind is cleared by the next run.
        if let Err(error) = remove_dir(&self.dir.join(STAGING)) {
            eprintln!("done, but something is left over, which the next run removes: {error}");
        }
        let places = self.swaps.iter().filter_map(|swap| swap.place.parent());
        for dir in places.chain([self.dir.as_path()]) {
            // Only if nothing is left in it.
            let _ = fs::remove_dir(dir);
        }
        Ok(())
    }

    /// Puts everything back as it was. May be repeated after it was killed half way.
    pub(super) fn roll_back(self) -> Result<()> {
        for swap in &self.swaps {
            match &swap.old {
                Some(old) if old.exists() => {
                    remove_dir(&swap.place)?;
                    rename(old, &swap.place)?;
                }
                Some(_) => {}
                None => remove_dir(&swap.place)?,
            }
        }
        if self.manifest_is_ours()? {
            replace(&self.files.manifest_path, &self.files.manifest)?;
            self.files.restore_lock()?;
        }
        for path in [&self.files.manifest_path, &self.files.lock_path] {
            remove_file(&unfinished(path))?;
        }
        remove_dir(&self.dir.join(STAGING))?;
        if let Some(made) = &self.made {
            let dirs = self.dir.ancestors().take_while(|it| it.starts_with(made));
            dirs.for_each(|dir| {
                let _ = fs::remove_dir(dir);
            });
        }
        remove_file(&self.root.join(NAME))
    }

    /// Whether the manifest is as it was or as we wrote it. Someone may have changed it since.
    fn manifest_is_ours(&self) -> Result<bool> {
        let now = read_if_there(&self.files.manifest_path)?.unwrap_or_default();
        Ok(now == self.files.manifest || self.written.contains(&Digest::of(now.as_bytes())))
    }

    fn save(&self) -> Result<()> {
        let relative = |path: &Path| value(paths::from(&self.root, path));
        let mut doc = DocumentMut::new();
        doc.decor_mut().set_prefix(
            "# A `localfs` was interrupted. Run `localfs patch` or `localfs unpatch` again: \
             it starts by putting everything back.\n",
        );
        doc["process"] = value(i64::from(std::process::id()));
        doc["dir"] = relative(&self.dir);
        if let Some(made) = &self.made {
            doc["made"] = relative(made);
        }
        doc["manifest_path"] = relative(&self.files.manifest_path);
        doc["written"] = value(self.written.iter().collect::<toml_edit::Array>());
        let mut swaps = ArrayOfTables::new();
        for swap in &self.swaps {
            let mut table = Table::new();
            table["place"] = relative(&swap.place);
            if let Some(old) = &swap.old {
                table["old"] = relative(old);
            }
            swaps.push(table);
        }
        doc["manifest"] = value(&self.files.manifest);
        if let Some(lock) = &self.files.lock {
            doc["lock"] = value(lock);
        }
        doc["swap"] = Item::ArrayOfTables(swaps);
        replace(&self.root.join(NAME), &doc.to_string())
    }

    fn load(root: &Path) -> Result<Option<(Self, i64)>> {
        let path = root.join(NAME);
        let Some(text) = read_if_there(&path)? else {
            return Ok(None);
        };
        let load = || {
            let doc: DocumentMut = text.parse().ok()?;
            let text = |key: &str| Some(doc.get(key)?.as_str()?.to_string());
            let full = |path: &str| paths::plain(&root.join(path));
            let written = doc.get("written")?.as_array()?.iter();
            let swaps = doc.get("swap").and_then(Item::as_array_of_tables);
            let manifest_path = full(&text("manifest_path")?);
            let journal = Self {
                root: root.to_path_buf(),
                files: Files {
                    lock_path: manifest_path.with_file_name("Cargo.lock"),
                    manifest_path,
                    manifest: text("manifest")?,
                    lock: text("lock"),
                },
                written: written
                    .filter_map(|it| Some(it.as_str()?.to_string()))
                    .collect(),
                dir: full(&text("dir")?),
                made: text("made").map(|made| full(&made)),
                swaps: swaps
                    .into_iter()
                    .flatten()
                    .filter_map(|swap| {
                        Some(Recorded {
                            place: full(swap.get("place")?.as_str()?),
                            old: swap.get("old").and_then(Item::as_str).map(full),
                        })
                    })
                    .collect(),
            };
            Some((journal, doc.get("process")?.as_integer()?))
        };
        let broken = || Error::new(format!("{} is not a journal of localfs", path.display()));
        load().map(Some).ok_or_else(broken)
    }
}

/// Whether a run was interrupted here, and left something to be put back.
pub(super) fn interrupted(root: &Path) -> bool {
    root.join(NAME).exists()
}

/// Whether this is a directory that a run stages in. A run that was killed after its change was
/// complete may leave one.
pub(super) fn is_staging(dir: &Path) -> bool {
    dir.ends_with(STAGING)
}

/// Puts back what an interrupted run left. Answers whether there was any.
pub(super) fn recover(root: &Path) -> Result<bool> {
    let Some((journal, process)) = Journal::load(root)? else {
        remove_file(&unfinished(&root.join(NAME)))?;
        return Ok(false);
    };
    // Where there are locks, we have had our turn, so that one is gone.
    if cfg!(not(unix)) && is_running(process) {
        return Err(Error::new(format!(
            "another localfs is at work in this workspace, process {process}"
        )));
    }
    journal.roll_back()?;
    Ok(true)
}

/// Whether that process is a localfs other than this one. Where that cannot be known: no.
fn is_running(process: i64) -> bool {
    let name = fs::read_to_string(format!("/proc/{process}/comm"));
    process != i64::from(std::process::id()) && name.is_ok_and(|name| name.trim() == "localfs")
}

/// Replaces a file's contents in one step, unless they are the same already.
fn replace(path: &Path, text: &str) -> Result<()> {
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::read(&path).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(());
    }
    let new = unfinished(&path);
    let replaced = fs::write(&new, text)
        .and_then(|()| match fs::metadata(&path) {
            Ok(old) => {
                keep_owner(&new, &old).and_then(|()| fs::set_permissions(&new, old.permissions()))
            }
            Err(_) => Ok(()),
        })
        .and_then(|()| fs::rename(&new, &path));
    replaced.map_err(|error| {
        let _ = fs::remove_file(&new);
        Error::io("write", &path, &error)
    })
}

/// A file of somebody else's that root rewrites stays theirs.
#[cfg(unix)]
fn keep_owner(new: &Path, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};

    let now = fs::metadata(new)?;
    if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
        // As an ordinary user it cannot be done, and the file was writable to us.
        let _ = chown(new, Some(old.uid()), Some(old.gid()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_owner(_new: &Path, _old: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// The name under which `replace` writes, before it renames.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".localfs-new");
    path.with_file_name(name)
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| Error::io("move something to", to, &error))
}

fn remove_file(path: &Path) -> Result<()> {
    remove(path, |path| fs::remove_file(path))
}

fn remove_dir(path: &Path) -> Result<()> {
    remove(path, |path| fs::remove_dir_all(path))
}

/// Removes something, if it is there. A read-only file system minds even if it is not.
fn remove(path: &Path, remove: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    remove(path).map_err(|error| Error::io("remove", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_gives_back_every_byte() {
        let root = tempfile::tempdir().unwrap();
        let manifest_path = root.path().join("Cargo.toml");
        let manifest = "\u{feff}[a]\r\nb = \"\"\"\r\n c\"\"\"\n'''d'''\t\\ # e\r\n\r\n\n";
        fs::write(&manifest_path, manifest).unwrap();
        fs::write(root.path().join("Cargo.lock"), manifest).unwrap();
        let files = Files::read(&manifest_path).unwrap();

        let dir = root.path().join("x/y");
        let mut journal = Journal::begin(root.path(), files, &dir).unwrap();
        let staging = journal.staging().unwrap();
        let (old, new) = (dir.join("old"), staging.join("new"));
        fs::create_dir_all(&old).unwrap();
        fs::create_dir_all(&new).unwrap();
        let swap = |place: &Path, new: Option<&PathBuf>| Swap {
            place: place.to_path_buf(),
            new: new.cloned(),
        };
        let swaps = [swap(&old, None), swap(&dir.join("new"), Some(&new))];
        journal.swap(&swaps).unwrap();
        journal.write_manifest("ours").unwrap();
        journal.write_lock("ours").unwrap();

        // The process ended here; the next one has what the disk has.
        drop(journal);
        assert!(recover(root.path()).unwrap());
        for name in ["Cargo.toml", "Cargo.lock"] {
            assert_eq!(
                fs::read_to_string(root.path().join(name)).unwrap(),
                manifest
            );
        }
        assert!(old.exists());
        assert!(!dir.join("new").exists() && !staging.exists());
        assert!(!recover(root.path()).unwrap());
    }
}
