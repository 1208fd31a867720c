//! Copying and moving where no call does it: the bytes go to a file of their own.

use std::cell::Cell;
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::place::{self, Place};
use crate::publish::{Around, Guards};
use crate::relocate::{failed, look_at_source, remove_old_name, source_not_found, sync, two_names};
use crate::sys::{Stat, same_error};
use crate::upload::Upload;
use crate::{Engine, Mode, advisory, dirs, lock, observe};

/// The way that every mount has: a file of its own with the same bytes. The path lock is taken
/// when they are written.
pub(crate) fn copy_data(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    engine.fell_back("link", to, "a copy of the data");
    if mode == Mode::Create && matches!(observe::look(engine, to), Ok(Some(_))) {
        return Err(Error::already_exists(to, same_error::exists()));
    }
    let upload = upload_copy(engine, from, to)?;
    upload.learn_links();
    upload.complete(mode).map(|_| ())
}

/// An upload to `to` of all that `from` holds.
fn upload_copy(engine: &Engine, from: &Path, to: &Path) -> Result<Upload> {
    let mut source = engine.open(from.to_owned()).map_err(|e| match e.kind() {
        ErrorKind::NotFound => source_not_found(from),
        _ => e,
    })?;
    if source.is_dir() {
        return Err(failed(from, to, same_error::not_permitted()));
    }
    let attributes = source.attributes_to_carry()?;
    let upload = Upload::begin(&engine.for_operation(), to, false, &attributes)?;
    upload.fill_from(source)?;
    Ok(upload)
}

/// Moves an object that no call moves, to another mount or on one that cannot rename: its bytes are
/// copied, published, and then the old name is removed. At every moment the object is whole under
/// at least one of its names.
pub(crate) fn move_data(
    engine: &Engine,
    from: &Path,
    to: &Path,
    mode: Mode,
    refused: io::Error,
) -> Result<()> {
    // How often a source is copied anew that others write meanwhile.
    const COPIES: u32 = 10;
    engine.fell_back("rename", to, "a copy of the data");
    let find = |path| engine.locate(path).map_err(|e| failed(from, to, e));
    let (from_place, to_place) = (find(from)?, find(to)?);
    let same_entry = engine.retrying("look at the directories of", from, || {
        place::is_same_entry((from, &from_place), (to, &to_place))
    });
    if same_entry.map_err(|e| failed(from, to, e))? {
        return match mode {
            Mode::Create => Err(Error::already_exists(to, same_error::exists())),
            _ => Ok(()),
        };
    }
    for _ in 0..COPIES {
        let seen = look_at_source(engine, from, to)?;
        if seen.is_dir {
            return Err(failed(from, to, refused));
        }
        if mode == Mode::Create && matches!(observe::look(engine, to), Ok(Some(_))) {
            return Err(Error::already_exists(to, same_error::exists()));
        }
        let upload = upload_copy(engine, from, to)?;
        let ends = Move {
            engine,
            from,
            to,
            from_place: &from_place,
            to_place: &to_place,
            mode,
            seen,
            changed: Cell::new(false),
        };
        match upload.complete_around(mode, &ends) {
            Ok(_) => return sync(engine, to, Some(from)),
            Err(_) if ends.changed.get() => {}
            Err(e) => return Err(e),
        }
    }
    let e = io::Error::new(io::ErrorKind::ResourceBusy, "others keep writing it");
    Err(Error::new("move", from, e).to(to))
}

/// The two ends of a move by data, while its copy is published.
struct Move<'a> {
    engine: &'a Engine,
    from: &'a Path,
    to: &'a Path,
    from_place: &'a Place,
    to_place: &'a Place,
    mode: Mode,
    /// The source when it was copied.
    seen: Stat,
    changed: Cell<bool>,
}

impl Around for Move<'_> {
    fn lock(&self) -> Result<Option<Guards>> {
        let path = lock::lock_both(self.from_place.key(), self.to_place.key());
        let (from, to) = ((self.from, self.from_place), (self.to, self.to_place));
        let ends = match self.mode {
            Mode::Create if self.to_place.mount.is_native() => &[from][..],
            _ => &[from, to],
        };
        let Some(others) = advisory::exclude_others(self.engine, ends)? else {
            return Ok(None);
        };
        let source = advisory::try_lock_source(from, self.to_place, &others)?;
        Ok(source.map(|source| Guards {
            others,
            _source: source,
            _path: path,
        }))
    }

    fn check(&self) -> Result<()> {
        let now = look_at_source(self.engine, self.from, self.to)?;
        let mount = &self.from_place.mount;
        if mount.version(&now) == mount.version(&self.seen) {
            return Ok(());
        }
        self.changed.set(true);
        let e = io::Error::new(io::ErrorKind::ResourceBusy, "it was written meanwhile");
        Err(Error::new("move", self.from, e).to(self.to))
    }

    fn finish(&self) -> Result<()> {
        let mount = &self.from_place.mount;
        match observe::look(self.engine, self.from) {
            Ok(Some(now)) if mount.version(&now) == mount.version(&self.seen) => {}
            // Written or removed by another process since it was copied: as if right after this.
            Ok(_) => return Ok(()),
            Err(e) => return Err(two_names(self.from, self.to, e)),
        }
        if self.engine.fsync {
            dirs::sync_parent(self.engine, &self.to_place.mount, self.to)
                .map_err(|e| Error::new("sync data to disk for", self.to, e))?;
        }
        remove_old_name(self.engine, self.from, self.to)
    }
}
