//! Uploads: positional parts, and the account of them.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::observe;
use crate::staging::Staging;
use crate::sys::{self, Stat, is};
use crate::{Engine, Mode, Version, dirs, publish};

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
    state: Mutex<State>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug)]
struct State {
    staging: Staging,
    file: Handle,
}

#[derive(Debug)]
enum Handle {
    /// Parts may be written.
    Open(Arc<File>),
    /// Closed and found whole; what it is.
    Sealed(Stat),
    /// In place.
    Published {
        version: Version,
        synced: bool,
    },
    /// The data is lost, or may be.
    Lost,
    Aborted,
}

impl Upload {
    pub(crate) fn begin(engine: &Engine, dest: &Path) -> Result<Self> {
        let (staging, file) = Staging::create(engine, dest)?;
        Ok(Self {
            shared: Arc::new(Shared {
                engine: engine.clone(),
                keeps_hashes: !staging.place().mount.is_native(),
                state: Mutex::new(State {
                    staging,
                    file: Handle::Open(Arc::new(file)),
                }),
                ledger: Mutex::default(),
            }),
        })
    }

    /// Hands out the next `len` bytes. They count as lost unless [`Part::is_written`] is called,
    /// and then nothing is published.
    pub fn part(&mut self, len: u64) -> Part {
        Part {
            ticket: self.shared.ledger.lock().hand_out(len),
            settled: false,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Publishes what was written. After an error it may be called again, or [`Upload::abort`].
    pub fn complete(&mut self, mode: Mode) -> Result<Version> {
        self.shared.complete(mode)
    }

    /// Removes what was written so far.
    pub fn abort(&mut self) -> Result<()> {
        let mut state = self.shared.state.lock();
        match std::mem::replace(&mut state.file, Handle::Aborted) {
            done @ (Handle::Published { .. } | Handle::Aborted) => {
                state.file = done;
                Err(state.over("abort the upload to"))
            }
            open => {
                drop(open);
                let removed = state.staging.remove();
                removed.map_err(|e| Error::new("delete file", state.staging.path(), e))
            }
        }
    }

    /// Copies all of `source`, which holds `len` bytes, as this upload's only part.
    pub(crate) fn fill_from(&mut self, source: &File, len: u64) -> Result<()> {
        let part = self.part(len);
        let (file, path) = self.shared.open_file()?;
        let copied = sys::copy_data(source, &file, &path)
            .map_err(|e| Error::new("copy data to file", &path, e))?;
        drop(file);
        if copied != len {
            let e = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{copied} bytes copied of {len}"),
            );
            return Err(Error::new("copy data to file", &path, e));
        }
        part.is_written();
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Now, not when the last writer of a part is done.
        let mut state = self.shared.state.lock();
        if !matches!(state.file, Handle::Published { .. } | Handle::Aborted) {
            state.file = Handle::Aborted;
            state.staging.discard();
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
        let shared = &self.shared;
        let (mut file, path) = shared.open_file()?;
        let mut hash = shared.keeps_hashes.then(DefaultHasher::new);
        let mut offset = self.ticket.offset;
        for chunk in chunks.filter(|c| !c.is_empty()) {
            let mut retry = shared.engine.retry.start();
            // Written again as a whole: the same bytes at the same place do no harm.
            while let Err(e) = sys::write_all_at(&file, &path, chunk, offset) {
                let again = is::stale(&e) || is::interrupted(&e);
                if !again || !retry.again() {
                    return Err(Error::new("copy data to file", &path, e));
                }
                shared.engine.retried("write", &path, &e);
                if is::stale(&e) {
                    file = shared.reopen(&file)?;
                }
            }
            if let Some(hash) = &mut hash {
                hash.write(chunk);
            }
            offset += chunk.len() as u64;
        }
        drop(file);
        let written = offset - self.ticket.offset;
        if written != self.ticket.len {
            let e = io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{written} bytes given for a part of {}", self.ticket.len),
            );
            return Err(Error::new("copy data to file", &path, e));
        }
        if let Some(hash) = hash {
            let mut ledger = shared.ledger.lock();
            ledger.hashes.push((self.ticket, hash.finish()));
        }
        Ok(())
    }
}

impl Shared {
    /// The handle that parts are written through, and the staging file's path.
    fn open_file(&self) -> Result<(Arc<File>, std::path::PathBuf)> {
        let state = self.state.lock();
        match &state.file {
            Handle::Open(file) => Ok((Arc::clone(file), state.staging.path().to_owned())),
            _ => Err(state.over("write a part of")),
        }
    }

    /// Opens the staging file anew for all parts, unless another part did so already.
    fn reopen(&self, stale: &Arc<File>) -> Result<Arc<File>> {
        let mut state = self.state.lock();
        match &state.file {
            Handle::Open(file) if Arc::ptr_eq(file, stale) => {
                let fresh = state
                    .staging
                    .reopen()
                    .map_err(|e| Error::new("reopen", state.staging.path(), e))?;
                let fresh = Arc::new(fresh);
                state.file = Handle::Open(Arc::clone(&fresh));
                Ok(fresh)
            }
            Handle::Open(file) => Ok(Arc::clone(file)),
            _ => Err(state.over("write a part of")),
        }
    }

    fn complete(&self, mode: Mode) -> Result<Version> {
        let state = &mut *self.state.lock();
        if let Handle::Open(_) = &state.file {
            let accepted = self
                .ledger
                .lock()
                .settled()
                .map_err(|e| Error::new("complete the upload to", state.staging.dest(), e))?;
            let sealed = self.seal(state, accepted)?;
            state.file = Handle::Sealed(sealed);
        }
        if let Handle::Sealed(ours) = &state.file {
            let version = publish::publish(&self.engine, &mut state.staging, ours, mode)?;
            state.file = Handle::Published {
                version,
                synced: false,
            };
        }
        match &mut state.file {
            // A sync that failed can be tried again by completing again.
            Handle::Published { version, synced } if !*synced => {
                if self.engine.fsync {
                    let dest = state.staging.dest();
                    dirs::sync_parent(&self.engine, dest).map_err(|e| {
                        Error::new("sync data to disk for", dest, e)
                            .hint("the object is in place, but may not survive a power failure")
                    })?;
                }
                *synced = true;
                Ok(*version)
            }
            _ => Err(state.over("complete the upload to")),
        }
    }

    /// From the last part to a closed file that is known to be whole.
    fn seal(&self, state: &mut State, accepted: u64) -> Result<Stat> {
        let Handle::Open(shared_file) = std::mem::replace(&mut state.file, Handle::Lost) else {
            unreachable!("only an open file is sealed");
        };
        // The account is settled, so no part holds it.
        let mut file = match Arc::try_unwrap(shared_file) {
            Ok(file) => file,
            Err(shared_file) => {
                state.file = Handle::Open(shared_file);
                let e = io::Error::new(io::ErrorKind::ResourceBusy, "a part is being written");
                return Err(Error::new(
                    "complete the upload to",
                    state.staging.dest(),
                    e,
                ));
            }
        };
        let staging = &state.staging;
        let path = staging.path();
        let native = staging.place().mount.is_native();
        let mut in_doubt = None;

        if self.engine.fsync {
            let synced = sys::sync(&file, path);
            if let Err(e) = synced {
                let error = |e| Error::new("sync data to disk for", path, e);
                if !is::stale(&e) && !is::interrupted(&e) {
                    state.file = Handle::Open(Arc::new(file));
                    return Err(error(e));
                }
                file = staging.reopen().map_err(error)?;
                in_doubt = Some(e);
            }
        }

        let ours =
            sys::stat_handle(&file, path).or_else(|e| match observe::look(&self.engine, path) {
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
        if let Some(doubt) = in_doubt {
            self.verify(staging, accepted)
                .map_err(|e| Error::new("verify after an interrupted close", path, e))?;
            self.engine.resolved("close", path, &doubt);
        }
        if !native {
            staging.compare_inode(&ours);
            // SMB moves the mtime at close, some FUSE servers tell a size only then.
            if let Ok(Some(now)) = observe::look(&self.engine, path) {
                staging.compare_inode(&now);
                ours = now;
            }
            if ours.size != accepted {
                return Err(wrong_size(path, accepted, ours.size));
            }
        }
        Ok(ours)
    }

    /// After a close that did not tell: asks the device or the server whether the file holds what
    /// was written.
    fn verify(&self, staging: &Staging, accepted: u64) -> io::Result<()> {
        let path = staging.path();
        let file = staging.reopen()?;
        let size = sys::stat_handle(&file, path)?.size;
        if size != accepted {
            return Err(io::Error::other(format!(
                "{accepted} bytes were written, {size} are there"
            )));
        }
        sys::sync(&file, path)?;
        sys::forget_cached(&file);
        let ledger = self.ledger.lock();
        if !ledger.has_all_hashes() {
            return Err(io::Error::other(
                "whether all data arrived cannot be told on this mount",
            ));
        }
        let mut buf = vec![0; 1 << 20];
        for (ticket, expected) in &ledger.hashes {
            let mut hash = DefaultHasher::new();
            let (mut at, end) = (ticket.offset, ticket.offset + ticket.len);
            while at < end {
                let want = (buf.len() as u64).min(end - at) as usize;
                let got = sys::read_at(&file, path, &mut buf[..want], at)?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                hash.write(&buf[..got]);
                at += got as u64;
            }
            if hash.finish() != *expected {
                return Err(io::Error::other(format!(
                    "bytes {}..{end} are not those that were written",
                    ticket.offset
                )));
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
            Handle::Published { .. } => "it was completed",
            Handle::Lost => "its data was lost, as an earlier error said; write it anew",
            Handle::Aborted => "Upload aborted",
        };
        Error::new(step, self.staging.dest(), io::Error::other(why))
    }
}

fn wrong_size(path: &Path, accepted: u64, size: u64) -> Error {
    let e = io::Error::other(format!(
        "{accepted} bytes were written, the file system holds {size}"
    ));
    Error::new("complete", path, e).hint("nothing was published")
}

/// Which bytes a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Counted from 1.
    number: u64,
    offset: u64,
    len: u64,
}

/// The account of parts: handed out, written, lost.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    handed_out: u64,
    settled: u64,
    size: u64,
    /// The first part that was lost.
    lost: Option<Ticket>,
    hashes: Vec<(Ticket, u64)>,
}

impl Ledger {
    fn hand_out(&mut self, len: u64) -> Ticket {
        self.handed_out += 1;
        let offset = self.size;
        self.size += len;
        Ticket {
            number: self.handed_out,
            offset,
            len,
        }
    }

    fn settle(&mut self) {
        self.settled += 1;
    }

    fn lose(&mut self, ticket: Ticket) {
        let earlier = self.lost.is_none_or(|lost| ticket.number < lost.number);
        if earlier {
            self.lost = Some(ticket);
        }
    }

    /// The number of bytes accepted, if every part that was handed out has been written.
    fn settled(&self) -> io::Result<u64> {
        if let Some(Ticket {
            number,
            offset,
            len,
        }) = self.lost
        {
            return Err(io::Error::other(format!(
                "part {number}, bytes {offset}..{}, failed or was dropped before it was written; \
                 nothing was published, abort the upload and begin anew",
                offset + len
            )));
        }
        match self.handed_out - self.settled {
            0 => Ok(self.size),
            n => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{n} parts are not written yet; await them, then complete again"),
            )),
        }
    }

    fn has_all_hashes(&self) -> bool {
        self.hashes.iter().map(|(t, _)| t.len).sum::<u64>() == self.size
    }
}
