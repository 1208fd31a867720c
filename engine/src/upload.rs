//! Uploads: positional parts, and the account of them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use crate::attributes::{self, Attributes, Target};
use crate::error::{Error, Result};
use crate::ledger::{Digest, Ledger, Ticket};
use crate::mount::{self, Known, Mount};
use crate::names::Naming;
use crate::observe;
use crate::place::Place;
use crate::publish::Around;
use crate::read::Reader;
use crate::spool::Spool;
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, Mode, Version, dirs, names, publish, spool};

/// What is read at once where data is copied or read back.
pub(crate) const COPY_BUFFER: usize = 1 << 20;

/// A write to one destination, by parts in any order and in parallel.
///
/// Dropped before it is completed, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    /// On a mount that is not native the parts' hashes are kept: after an ambiguous close they are
    /// the only proof of what the file holds.
    keeps_hashes: bool,
    mount: Arc<Mount>,
    state: Mutex<State>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    file: Handle,
    /// What all of it was copied from: proof of what the file holds, where parts have no hashes.
    copied_from: Option<Reader>,
    /// A handle went stale: what was written through it may not have arrived.
    was_stale: bool,
    /// A publish was tried: what became of it may not be known.
    was_tried: bool,
}

/// Where the bytes wait.
#[derive(Debug)]
enum Stage {
    /// Next to the destination, to be renamed to it.
    Beside(Staging),
    /// On a local disk, to be written to it.
    Spooled(Spool),
}

impl Stage {
    fn dest(&self) -> &Path {
        match self {
            Self::Beside(staging) => staging.dest(),
            Self::Spooled(spool) => &spool.dest,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Beside(staging) => staging.path(),
            Self::Spooled(spool) => &spool.path,
        }
    }

    fn place(&self) -> &Place {
        match self {
            Self::Beside(staging) => staging.place(),
            Self::Spooled(spool) => &spool.place,
        }
    }

    /// A file on a local disk: its handle does not go stale, and nothing is to be removed.
    fn is_spooled(&self) -> bool {
        matches!(self, Self::Spooled(_))
    }

    /// Whether it was there.
    fn remove(&mut self) -> io::Result<bool> {
        match self {
            Self::Beside(staging) => staging.remove(),
            Self::Spooled(_) => Ok(true),
        }
    }

    fn discard(&mut self) {
        if let Self::Beside(staging) = self {
            staging.discard();
        }
    }

    fn publish(
        &mut self,
        engine: &Engine,
        ours: &Stat,
        mode: Mode,
        around: &dyn Around,
    ) -> Result<Version> {
        match self {
            Self::Beside(staging) => publish::publish(engine, staging, ours, mode, around),
            Self::Spooled(spool) => {
                let version = spool.publish(engine, ours.size, mode, around)?;
                spool.release();
                Ok(version)
            }
        }
    }
}

#[derive(Debug)]
enum Handle {
    /// Parts may be written.
    Open(Arc<File>),
    /// Closed and found whole; what it is.
    Sealed(Stat),
    /// In place, and durable if that was asked for.
    Published(Version),
    /// The data is lost, or may be: also where it is in place but not durable, since another fsync
    /// would answer Ok for what the first one lost.
    Lost,
    Aborted,
}

impl Upload {
    /// Whether it `comes_in_parts`, and so in any order.
    pub(crate) fn begin(
        engine: &Engine,
        dest: &Path,
        comes_in_parts: bool,
        attributes: &Attributes,
    ) -> Result<Self> {
        Self::begin_named(
            engine,
            dest,
            comes_in_parts,
            attributes,
            &Naming::Destination,
        )
    }

    /// The same with a staging file of another name.
    pub(crate) fn begin_named(
        engine: &Engine,
        dest: &Path,
        comes_in_parts: bool,
        attributes: &Attributes,
        naming: &Naming,
    ) -> Result<Self> {
        let (stage, file) = begin_stage(engine, dest, comes_in_parts, attributes, naming)?;
        let mount = Arc::clone(&stage.place().mount);
        Ok(Self {
            shared: Arc::new(Shared {
                engine: engine.clone(),
                keeps_hashes: !mount.is_native() && !stage.is_spooled(),
                mount,
                state: Mutex::new(State {
                    stage,
                    file: Handle::Open(file),
                    copied_from: None,
                    was_stale: false,
                    was_tried: false,
                }),
                ledger: Mutex::default(),
            }),
        })
    }

    /// Hands out the next `len` bytes. They count as lost unless [`Part::is_written`] is called,
    /// and then nothing is published.
    pub fn part(&self, len: u64) -> Part {
        Part {
            ticket: self.shared.ledger.lock().hand_out(len),
            settled: false,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Publishes what was written. After an error it may be called again, or [`Upload::abort`].
    /// Called again after it was published, it says again which version that is.
    pub fn complete(&self, mode: Mode) -> Result<Version> {
        self.shared
            .complete(&self.shared.engine.for_operation(), mode, None)
    }

    /// Closes its file and sees that it is whole; says where that is, and what. It is published by
    /// [`Upload::complete`].
    pub(crate) fn seal(&self) -> Result<(PathBuf, Stat)> {
        let state = &mut *self.shared.state.lock();
        let engine = self.shared.engine.for_operation();
        self.shared.seal_if_open(&engine, state)?;
        match &state.file {
            Handle::Sealed(stat) => Ok((state.stage.path().to_owned(), *stat)),
            _ => Err(state.over("close")),
        }
    }

    /// Its closed file is this by now: its mtime was moved.
    pub(crate) fn is_now(&self, now: Stat) {
        self.shared.state.lock().file = Handle::Sealed(now);
    }

    /// Its file stays when this is dropped, for another process to publish.
    pub(crate) fn leave(&self) {
        if let Stage::Beside(staging) = &mut self.shared.state.lock().stage {
            staging.is_published();
        }
    }

    /// Whether it was published, be it that it is not durable. Asked of one that is sealed.
    pub(crate) fn is_in_place(&self) -> bool {
        let state = self.shared.state.lock();
        matches!(state.file, Handle::Published(_) | Handle::Lost)
    }

    /// Whether its bytes wait on a local disk, since the mount cannot rename.
    pub(crate) fn is_spooled(&self) -> bool {
        self.shared.state.lock().stage.is_spooled()
    }

    /// Which mount it is on, and so on.
    pub(crate) fn place(&self) -> Place {
        self.shared.state.lock().stage.place().clone()
    }

    /// As [`Upload::complete`], with what else is to happen while the path is locked.
    pub(crate) fn complete_around(&self, mode: Mode, around: &dyn Around) -> Result<Version> {
        self.shared
            .complete(&self.shared.engine.for_operation(), mode, Some(around))
    }

    /// Removes what was written so far.
    ///
    /// # Errors
    ///
    /// If it was published, or may have been; if the staging file could not be removed: then it may
    /// be called again.
    pub fn abort(&self) -> Result<()> {
        let state = &mut *self.shared.state.lock();
        if matches!(state.file, Handle::Published(_) | Handle::Aborted) {
            return Err(state.over("abort the upload to"));
        }
        let removed = state.stage.remove();
        if let Ok(was_there) = removed {
            state.file = Handle::Aborted;
            if !was_there && state.was_tried {
                let e = io::Error::other("its staging file is gone: it may have been published");
                return Err(Error::new("abort the upload to", state.stage.dest(), e)
                    .hint("look at the destination"));
            }
        }
        removed
            .map(|_| ())
            .map_err(|e| Error::new("delete file", state.stage.path(), e))
    }

    /// Whether the mount has hard links, if that is not known yet: asked of this upload's own file,
    /// since what was refused of another may be that one's.
    pub(crate) fn learn_links(&self) {
        let state = self.shared.state.lock();
        let links = &self.shared.mount.links;
        let Stage::Beside(staging) = &state.stage else {
            return;
        };
        if self.shared.mount.is_native() || links.known() != Known::Unknown {
            return;
        }
        let linked_to = names::private_path(staging.dest());
        match sys::link(staging.path(), &linked_to) {
            Ok(()) => links.works(),
            Err(e) if is::unsupported_link(&e) => return links.refused(),
            Err(_) => {}
        }
        // It may be there after an error too.
        if let Err(e) = publish::remove(&self.shared.engine.for_operation(), &linked_to) {
            publish::warn_left_behind(&linked_to, &e);
        }
    }

    /// Copies all of `source` as this upload's only part.
    pub(crate) fn fill_from(&self, mut source: Reader) -> Result<()> {
        let len = source.size();
        let part = self.part(len);
        let (file, path) = self.shared.open_file()?;
        // Nobody may read it who may not read its source.
        permit(source.file(), &file, &path, true);
        let copied = self
            .copy_without_reading(&source, &file, &path)
            .map_err(|e| Error::new("copy data to file", &path, e))?;
        drop(file);
        if copied < len {
            // From the beginning: the hash is of all of it.
            part.writer().write_from(&mut source)?;
        }
        let (file, path) = self.shared.open_file()?;
        permit(source.file(), &file, &path, false);
        let mut state = self.shared.state.lock();
        if let Stage::Spooled(spool) = &state.stage {
            spool.is_copy.store(true, Relaxed);
        }
        if copied == len {
            state.copied_from = Some(source);
        }
        drop(state);
        part.is_written();
        Ok(())
    }

    /// Copies all of `source`, whose bytes are there to stay, as the next part: inside the kernel,
    /// which shares extents where the file system does (copy_file_range(2)), else by reading.
    pub(crate) fn append(&self, mut source: Reader) -> Result<()> {
        let len = source.size();
        let part = self.part(len);
        let (file, path) = self.shared.open_file()?;
        let at = part.ticket.offset;
        let copied = sys::copy_in_kernel(source.file(), &file, &path, at, len)
            .map_err(|e| Error::new("copy data to file", &path, e))?;
        drop(file);
        if copied < len {
            // From the beginning: the hash is of all of it.
            part.writer().write_from(&mut source)?;
        } else if self.shared.keeps_hashes {
            let (_, path) = source.into_parts();
            self.shared.ledger.lock().copied.push((part.ticket, path));
        }
        part.is_written();
        Ok(())
    }

    /// How many bytes were copied by extents that are shared, or by the kernel.
    fn copy_without_reading(&self, from: &Reader, to: &File, path: &Path) -> io::Result<u64> {
        let clones = &self.shared.mount.clones;
        if clones.may() {
            match sys::clone_file(from.file(), to, path) {
                Ok(()) => {
                    clones.works();
                    return Ok(from.size());
                }
                Err(e) if is::unsupported_clone(&e) => clones.refused(),
                Err(_) => {}
            }
        }
        sys::copy_in_kernel(from.file(), to, path, 0, from.size())
    }
}

/// Permits for the copy `file` what is permitted for `source`.
pub(crate) fn permit(source: &File, file: &File, path: &Path, while_written: bool) {
    if let Err(e) = sys::copy_permissions(source, file, while_written) {
        tracing::debug!(path = %path.display(), error = %e, "permissions were not copied");
    }
}

/// Makes the file that the bytes go to first.
fn begin_stage(
    engine: &Engine,
    dest: &Path,
    comes_in_parts: bool,
    attributes: &Attributes,
    naming: &Naming,
) -> Result<(Stage, Arc<File>)> {
    let spooled = |place: Place| -> Result<_> {
        if !attributes.is_empty() {
            // The destination gets them last, when what was there is gone: that it can have them
            // is to be known now.
            let (staging, mut file) = Staging::create(engine, dest, Some(place.clone()), naming)?;
            give(engine, &staging, attributes, &mut file)?;
        }
        let spool = Spool::create(engine, dest, place, attributes.clone())?;
        let file = Arc::clone(&spool.file);
        Ok((Stage::Spooled(spool), file))
    };
    // A directory that is missing is made with the staging file.
    let is_asked = !attributes.is_empty() || mount::one_lacks_rename();
    let known = is_asked.then(|| engine.locate(dest).ok()).flatten();
    if let Some(place) = &known {
        attributes::check(&place.mount, dest, attributes)?;
    }
    if let Some(place) = known.as_ref().filter(|place| !place.mount.rename.may()) {
        return spooled(place.clone());
    }
    let (mut staging, mut file) = Staging::create(engine, dest, None, naming)?;
    let place = staging.place().clone();
    if !place.mount.rename.may() {
        return spooled(place);
    }
    if comes_in_parts && place.mount.may_lack_rename() {
        match staging.learn_rename(file)? {
            Some(learned) => (staging, file) = learned,
            None => return spooled(place),
        }
    }
    // Under the name that it keeps: servers may know them by path.
    give(engine, &staging, attributes, &mut file)?;
    Ok((Stage::Beside(staging), Arc::new(file)))
}

/// Gives them to a staging file.
fn give(
    engine: &Engine,
    staging: &Staging,
    attributes: &Attributes,
    file: &mut File,
) -> Result<()> {
    let target = Target {
        engine,
        mount: &staging.place().mount,
        dest: staging.dest(),
        path: staging.path(),
        reopen: &|| staging.reopen(),
    };
    target.give(attributes, file)
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Now, not when the last writer of a part is done.
        let mut state = self.shared.state.lock();
        if !matches!(state.file, Handle::Published(_) | Handle::Aborted) {
            state.file = Handle::Aborted;
            state.stage.discard();
        }
    }
}

/// Some bytes of an upload, handed out to be written. Dropped before they are, the upload can only
/// be aborted.
#[derive(Debug)]
pub struct Part {
    shared: Arc<Shared>,
    ticket: Ticket,
    settled: bool,
}

impl Part {
    /// What writes it, for another thread. That this is done is said by [`Part::is_written`], not
    /// by the writer: who awaits a part may be gone before its writer is.
    pub fn writer(&self) -> PartWriter {
        PartWriter {
            shared: Arc::clone(&self.shared),
            ticket: self.ticket,
        }
    }

    /// Accounts for it.
    pub fn is_written(mut self) {
        self.settled = true;
        self.shared.ledger.lock().settle();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.settled {
            self.shared.ledger.lock().lose(self.ticket);
        }
    }
}

/// Writes one part.
#[derive(Debug)]
pub struct PartWriter {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl PartWriter {
    /// Writes the part's bytes at its place, whatever other parts do meanwhile. `chunks` are to be
    /// as many bytes as were handed out.
    pub fn write<'a>(&self, chunks: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        let mut at = Cursor::begin(self)?;
        for chunk in chunks {
            at.write(chunk)?;
        }
        at.end()
    }

    fn write_from(&self, source: &mut Reader) -> Result<()> {
        let mut at = Cursor::begin(self)?;
        while at.written < source.size() {
            let end = source.size().min(at.written + COPY_BUFFER as u64);
            at.write(&source.read(at.written..end)?)?;
        }
        at.end()
    }
}

/// How far a part is written.
struct Cursor<'a> {
    part: &'a PartWriter,
    file: Arc<File>,
    path: PathBuf,
    written: u64,
    hash: Option<Digest>,
}

impl<'a> Cursor<'a> {
    fn begin(part: &'a PartWriter) -> Result<Self> {
        let (file, path) = part.shared.open_file()?;
        Ok(Self {
            part,
            file,
            path,
            written: 0,
            hash: part.shared.keeps_hashes.then(Digest::default),
        })
    }

    /// Writes all of `chunk`, through a fresh handle if this one goes stale.
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        let shared = &self.part.shared;
        let mut rest = chunk;
        let mut retry = None;
        while !rest.is_empty() {
            let offset = self.part.ticket.offset + self.written;
            let e = match sys::write_at(&self.file, &self.path, rest, offset) {
                Ok(written) => {
                    rest = &rest[written..];
                    self.written += written as u64;
                    retry = None;
                    continue;
                }
                Err(e) => e,
            };
            // The same bytes at the same place, written twice, do no harm.
            let again = is::stale(&e) || is::interrupted(&e);
            // Each write has a budget of its own, however long the upload is.
            let retry = retry.get_or_insert_with(|| shared.engine.for_operation().start_retry());
            if !again || !retry.again() {
                return Err(Error::new("copy data to file", &self.path, e));
            }
            shared.engine.retried("write", &self.path, &e);
            if is::stale(&e) {
                self.file = shared.reopen(&self.file)?;
            }
        }
        if let Some(hash) = &mut self.hash {
            hash.add(chunk);
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        let Ticket { len, .. } = self.part.ticket;
        if self.written != len {
            return Err(short_of(&self.path, len, self.written));
        }
        if let Some(hash) = self.hash {
            let mut ledger = self.part.shared.ledger.lock();
            ledger.hashes.push((self.part.ticket, hash.finish()));
        }
        Ok(())
    }
}

fn short_of(path: &Path, expected: u64, written: u64) -> Error {
    let e = io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{written} bytes given where there must be {expected}"),
    );
    Error::new("copy data to file", path, e)
}

impl Shared {
    /// The handle that parts are written through, and the staging file's path.
    fn open_file(&self) -> Result<(Arc<File>, PathBuf)> {
        let state = self.state.lock();
        match &state.file {
            Handle::Open(file) => Ok((Arc::clone(file), state.stage.path().to_owned())),
            _ => Err(state.over("write a part of")),
        }
    }

    /// Opens the staging file anew for all parts, unless another part did so already.
    fn reopen(&self, stale: &Arc<File>) -> Result<Arc<File>> {
        let mut state = self.state.lock();
        match &state.file {
            Handle::Open(file) if Arc::ptr_eq(file, stale) => {
                let fresh = match &state.stage {
                    Stage::Beside(staging) => staging.reopen(),
                    Stage::Spooled(_) => Err(same_error::not_found()),
                };
                let fresh = fresh.map_err(|e| Error::new("reopen", state.stage.path(), e))?;
                let fresh = Arc::new(fresh);
                state.file = Handle::Open(Arc::clone(&fresh));
                state.was_stale = true;
                Ok(fresh)
            }
            Handle::Open(file) => Ok(Arc::clone(file)),
            _ => Err(state.over("write a part of")),
        }
    }

    fn complete(
        &self,
        engine: &Engine,
        mode: Mode,
        around: Option<&dyn Around>,
    ) -> Result<Version> {
        let state = &mut *self.state.lock();
        self.seal_if_open(engine, state)?;
        if let Handle::Sealed(ours) = &state.file {
            let ours = *ours;
            state.was_tried = true;
            let place = state.stage.place().clone();
            let dest = state.stage.dest().to_owned();
            let alone = publish::Alone {
                engine,
                dest: &dest,
                place: &place,
                mode,
            };
            let around = around.unwrap_or(&alone);
            let version = state.stage.publish(engine, &ours, mode, around)?;
            state.file = Handle::Published(version);
            if engine.fsync {
                let dest = state.stage.dest();
                dirs::sync_parent(engine, &place.mount, dest).map_err(|e| {
                    state.file = Handle::Lost;
                    Error::new("sync data to disk for", dest, e)
                        .hint("the object is in place, but may not survive a power failure")
                })?;
            }
        }
        match &state.file {
            Handle::Published(version) => Ok(*version),
            _ => Err(state.over("complete the upload to")),
        }
    }

    /// Closes the file and sees that it is whole, unless that was done.
    fn seal_if_open(&self, engine: &Engine, state: &mut State) -> Result<()> {
        if !matches!(state.file, Handle::Open(_) | Handle::Sealed(_)) {
            return Ok(());
        }
        let dest = state.stage.dest();
        let accepted = self
            .ledger
            .lock()
            .settled()
            .map_err(|e| Error::new("complete the upload to", dest, e))?;
        if let Handle::Open(file) = &state.file {
            let sealed = match &state.stage {
                Stage::Spooled(spool) => spooled(file, &spool.path, accepted)?,
                Stage::Beside(_) => self.seal(engine, state, accepted)?,
            };
            state.file = Handle::Sealed(sealed);
        }
        Ok(())
    }

    /// From the last part to a closed file that is known to be whole.
    fn seal(&self, engine: &Engine, state: &mut State, accepted: u64) -> Result<Stat> {
        let Handle::Open(shared_file) = std::mem::replace(&mut state.file, Handle::Lost) else {
            unreachable!("only an open file is sealed");
        };
        let Stage::Beside(staging) = &state.stage else {
            unreachable!("a spooled file is not closed");
        };
        // The account is settled, so no part holds it.
        let mut file = match Arc::try_unwrap(shared_file) {
            Ok(file) => file,
            Err(shared_file) => {
                state.file = Handle::Open(shared_file);
                let e = io::Error::new(io::ErrorKind::ResourceBusy, "a part is being written");
                return Err(Error::new("complete the upload to", staging.dest(), e));
            }
        };
        let path = staging.path();
        let native = staging.place().mount.is_native();
        let mut in_doubt = None;

        if engine.fsync {
            let synced = sys::sync(&file, path);
            if let Err(e) = synced {
                let error = |e| Error::new("sync data to disk for", path, e);
                // Lost for good: another fsync would answer Ok for what this one lost.
                if !is::stale(&e) && !is::interrupted(&e) {
                    return Err(error(e).hint("nothing was published; write it anew"));
                }
                file = staging.reopen().map_err(error)?;
                in_doubt = Some(e);
            }
        }

        let ours = sys::stat_handle(&file, path).or_else(|e| match observe::look(engine, path) {
            Ok(Some(stat)) if !native => Ok(stat),
            _ => Err(e),
        });
        let mut ours = match ours {
            Ok(ours) => ours,
            Err(e) => {
                state.file = Handle::Open(Arc::new(file));
                return Err(Error::new("access metadata for", path, e));
            }
        };
        if native && ours.size != accepted {
            state.file = Handle::Open(Arc::new(file));
            return Err(wrong_size(path, accepted, ours.size));
        }

        if let Err(e) = sys::close(file, path) {
            if is::data_loss(&e) || !is::ambiguous(&e) {
                return Err(Error::new("close", path, e).hint(
                    "the file system may have lost data of this upload; nothing was published",
                ));
            }
            in_doubt = Some(e);
        }
        let may_be_lost = state.was_stale && !native;
        if in_doubt.is_some() || may_be_lost {
            self.verify(staging, state.copied_from.as_mut(), accepted)
                .map_err(|e| Error::new("verify what was written to", path, e))?;
        }
        if let Some(doubt) = in_doubt {
            engine.resolved("close", path, &doubt);
        }
        if !native {
            staging.compare_inode(&ours);
            // SMB moves the mtime at close, some FUSE servers tell a size only then.
            if let Ok(Some(now)) = observe::look(engine, path) {
                staging.compare_inode(&now);
                ours = now;
            }
            if ours.size != accepted {
                return Err(wrong_size(path, accepted, ours.size));
            }
        }
        Ok(ours)
    }

    /// After a handle that went stale, or a close that did not tell: asks the device or the server whether the file holds what
    /// was written.
    fn verify(
        &self,
        staging: &Staging,
        copied_from: Option<&mut Reader>,
        accepted: u64,
    ) -> io::Result<()> {
        let path = staging.path();
        let file = staging.open()?;
        let size = sys::stat_handle(&file, path)?.size;
        if size != accepted {
            return Err(io::Error::other(format!(
                "{accepted} bytes were written, {size} are there"
            )));
        }
        sys::sync(&file, path)?;
        sys::forget_cached(&file);
        if let Some(copied) = copied_from {
            let mut source = spool::Source {
                len: size,
                read: &mut |range| copied.read(range),
                like: None,
                attributes: &Attributes::NONE,
            };
            let same = self
                .engine
                .open(path.to_owned())
                .and_then(|mut file| source.is_same_as(&mut file));
            return match same.map_err(Error::into_io_error)? {
                true => sys::close(file, path),
                false => Err(io::Error::other("it does not hold the bytes of its source")),
            };
        }
        let ledger = self.ledger.lock();
        if !ledger.has_all_proofs() {
            return Err(io::Error::other(
                "whether all data arrived cannot be told on this mount",
            ));
        }
        let mut buf = vec![0; COPY_BUFFER];
        for (ticket, expected) in &ledger.hashes {
            let mut hash = Digest::default();
            let (mut at, end) = (ticket.offset, ticket.offset + ticket.len);
            while at < end {
                let want = (buf.len() as u64).min(end - at) as usize;
                let got = sys::read_at(&file, path, &mut buf[..want], at)?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                hash.add(&buf[..got]);
                at += got as u64;
            }
            if hash.finish() != *expected {
                return Err(io::Error::other(format!(
                    "bytes {}..{end} are not those that were written",
                    ticket.offset
                )));
            }
        }
        for (ticket, source) in &ledger.copied {
            let mut source = self.engine.open(source.clone())?;
            let mut at = 0;
            while at < ticket.len {
                let end = ticket.len.min(at + COPY_BUFFER as u64);
                let expected = source.read(at..end)?;
                let got = &mut buf[..expected.len()];
                let filled = sys::read_at(&file, path, got, ticket.offset + at)?;
                if filled < expected.len() || *got != *expected {
                    let (at, end) = (ticket.offset + at, ticket.offset + end);
                    return Err(io::Error::other(format!(
                        "bytes {at}..{end} are not those of their source"
                    )));
                }
                at = end;
            }
        }
        drop(ledger);
        sys::close(file, path)
    }
}

impl State {
    /// Why nothing more can be done.
    fn over(&self, step: &'static str) -> Error {
        let why = match self.file {
            Handle::Open(_) => "it is in use",
            Handle::Sealed(_) => "all its parts were written and its file is closed",
            Handle::Published(_) => "it was completed",
            Handle::Lost => "its data was lost, as an earlier error said; write it anew",
            Handle::Aborted => "Upload aborted",
        };
        Error::new(step, self.stage.dest(), io::Error::other(why))
    }
}

/// What a spooled file is, once all of it is there.
fn spooled(file: &File, path: &Path, accepted: u64) -> Result<Stat> {
    let stat =
        sys::stat_handle(file, path).map_err(|e| Error::new("access metadata for", path, e))?;
    match stat.size == accepted {
        true => Ok(stat),
        false => Err(wrong_size(path, accepted, stat.size)),
    }
}

fn wrong_size(path: &Path, accepted: u64, size: u64) -> Error {
    let e = io::Error::other(format!(
        "{accepted} bytes were written, the file system holds {size}"
    ));
    Error::new("complete", path, e).hint("nothing was published")
}
