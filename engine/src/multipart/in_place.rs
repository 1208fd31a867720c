//! Mounts that cannot rename: the parts are written to the destination in one pass.
//!
//! The claim is a file of its own, and whoever removes the marker after that has claimed the
//! upload. It goes when the pass is done; until then the pass can be made again, by any process, if
//! the destination is still as it was before, or a part of the object. What else is there came
//! later.

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::publish::{self, Around, Guards};
use crate::read::Reader;
use crate::spool::{self, Source};
use crate::upload::COPY_BUFFER;
use crate::{Mode, Version};

use super::abort::Removed;
use super::names::{self, Claim, Named, PartName};
use super::{Draft, Resumable};

impl Resumable<'_> {
    pub(super) fn complete_in_place(
        &self,
        parts: &[PartName],
        hash: u64,
    ) -> Result<Option<Version>> {
        let size = parts.iter().map(|part| part.len).sum();
        let place = self.locate()?;
        let fingerprint = |now| names::fingerprint(&now, place.mount.numbers_files());
        let before = self.look_at_destination()?.map_or(0, fingerprint);
        let claim = Claim::in_place(size, before, hash);
        let path = self.files.claim(&claim);
        let draft = Draft {
            path: &path,
            learns_rename: false,
            // Who goes on after a crash finds no marker.
            attributes: &self.attributes_of(&self.files.open())?,
        };
        let put = draft.put(self.engine, &self.files, 0, std::iter::empty());
        let removed = put.and_then(|()| self.alone(&place, || self.remove_marker(&place, STEP)));
        match removed {
            // Alone, so that it was by us.
            Ok(Removed::ByUs | Removed::Perhaps) => self.write_out(&claim, parts, true),
            Ok(Removed::ByAnother) => {
                self.remove(&path);
                Ok(None)
            }
            Err(e) => {
                // Left behind it would be taken for that of who completes it. Unless the marker may
                // have gone by this.
                if matches!(self.look(&self.files.open()), Ok(Some(_))) {
                    self.remove(&path);
                }
                Err(e)
            }
        }
    }

    /// The pass of a claim. `None` if the claim is gone: another process has made it.
    pub(super) fn write_out(
        &self,
        claim: &Claim,
        parts: &[PartName],
        is_first: bool,
    ) -> Result<Option<Version>> {
        let place = self.locate()?;
        let pass = Pass {
            upload: self,
            claim,
            parts,
            place: &place,
            is_first,
            is_over: Cell::new(false),
            was_made: Cell::new(None),
        };
        let mut bytes = Bytes::new(self, parts);
        let attributes = match self.attributes_of(&self.files.claim(claim)) {
            // Another process has made the pass.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            attributes => attributes?,
        };
        let mut source = Source {
            len: claim.size,
            read: &mut |range| bytes.read(range),
            like: None,
            attributes: &attributes,
        };
        let mode = Mode::Overwrite;
        match spool::write_out(self.engine, &place, self.dest, &mut source, mode, &pass) {
            Ok(version) => {
                self.sync_published(&place, parts)?;
                self.clean_up(parts);
                Ok(Some(version))
            }
            Err(_) if pass.is_over.get() => Ok(None),
            Err(e) => match pass.was_made.take() {
                Some(version) => {
                    self.sync_published(&place, parts)?;
                    self.clean_up(parts);
                    Ok(Some(version))
                }
                None => Err(e),
            },
        }
    }
}

const STEP: &str = "complete the upload to";

/// One of those who would make the pass, while it has the path's lock.
struct Pass<'a> {
    upload: &'a Resumable<'a>,
    claim: &'a Claim,
    parts: &'a [PartName],
    place: &'a Place,
    /// The marker was removed for it just now, so that no other was made.
    is_first: bool,
    is_over: Cell<bool>,
    /// The version that an earlier pass came to, which came to its end.
    was_made: Cell<Option<Version>>,
}

impl Pass<'_> {
    /// Which version an earlier pass has come to, if what is at the destination says that one has:
    /// it is neither what was there before nor a proper part of what is to be there.
    fn earlier(&self) -> Result<Option<Version>> {
        let (upload, claim, mount) = (self.upload, self.claim, &self.place.mount);
        let now = match upload.look_at_destination()? {
            Some(now) if !self.is_first => now,
            _ => return Ok(None),
        };
        if names::fingerprint(&now, mount.numbers_files()) == claim.before {
            return Ok(None);
        }
        if now.size <= claim.size && self.is_part(now.size)? {
            // An fsync that failed is not made good by another, but by the data once more.
            let is_whole = now.size == claim.size && !upload.engine.fsync;
            return Ok(is_whole.then(|| mount.version(&now)));
        }
        // A later writer's. What ours was is not known any more; this one no object has.
        Ok(Some(mount.version(&claim.stat())))
    }

    /// Whether the destination, of this size, holds what the object begins with.
    fn is_part(&self, size: u64) -> Result<bool> {
        let mut there = match self.upload.engine.open(self.upload.dest.to_owned()) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
            there => there?,
        };
        let mut bytes = Bytes::new(self.upload, self.parts);
        let mut at = 0;
        while at < size.min(there.size()) {
            let end = size.min(there.size()).min(at + COPY_BUFFER as u64);
            let expected = match bytes.read(at..end) {
                // Only who has made the pass removes parts.
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
                expected => expected?,
            };
            if there.read(at..end)? != expected {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}

impl Around for Pass<'_> {
    fn lock(&self) -> Result<Option<Guards>> {
        self.upload.alone_at(self.place).lock()
    }

    fn check(&self) -> Result<()> {
        let claim = self.upload.files.claim(self.claim);
        if self.upload.look(&claim)?.is_none() {
            self.is_over.set(true);
            return Err(self.upload.over());
        }
        if let Some(version) = self.earlier()? {
            self.finish()?;
            self.was_made.set(Some(version));
            return Err(self.upload.over());
        }
        // A pass that comes to no end leaves no object.
        self.upload.check_parts(self.parts)
    }

    /// The claims of others who lost too: with one of them the pass would be made again.
    fn finish(&self) -> Result<()> {
        let upload = self.upload;
        let remove = |path: &Path| {
            publish::remove(&upload.engine.for_operation(), path).map_err(|e| {
                Error::new("delete file", path, e).hint(
                    "the object is in place, and the upload is not over until this file is gone; \
                     complete it again",
                )
            })
        };
        for named in upload.list()? {
            if matches!(named, Named::Claim(claim) if claim != *self.claim) {
                remove(&upload.files.named(&named))?;
            }
        }
        remove(&upload.files.claim(self.claim))
    }
}

/// The bytes of the parts, one part after the other. One of them is open at a time.
struct Bytes<'a> {
    upload: &'a Resumable<'a>,
    parts: &'a [PartName],
    open: Option<(usize, Reader)>,
}

impl<'a> Bytes<'a> {
    fn new(upload: &'a Resumable<'a>, parts: &'a [PartName]) -> Self {
        Self {
            upload,
            parts,
            open: None,
        }
    }

    fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut begin = 0;
        for (at, part) in self.parts.iter().enumerate() {
            let end = begin + part.len;
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                let reader = match self.open.take() {
                    Some((open, reader)) if open == at => reader,
                    _ => self.upload.open_part(part)?,
                };
                let (_, reader) = self.open.insert((at, reader));
                bytes.extend(reader.read(from - begin..to - begin)?);
            }
            begin = end;
        }
        Ok(bytes)
    }
}
