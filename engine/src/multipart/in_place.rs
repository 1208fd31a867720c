//! Mounts that cannot rename: the parts are written to the destination in one pass.
//!
//! The claim is a file of its own, and whoever removes the marker after that has claimed the
//! upload. It goes when the pass is done; until then the pass can be made again, by any process.

use std::cell::Cell;
use std::ops::Range;

use crate::error::{ErrorKind, Result};
use crate::place::Place;
use crate::publish::{Around, Guards};
use crate::read::Reader;
use crate::spool::{self, Source};
use crate::{Mode, Version};

use super::abort::Removed;
use super::names::{Claim, Named, PartName};
use super::{Draft, Resumable};

impl Resumable<'_> {
    pub(super) fn complete_in_place(
        &self,
        parts: &[PartName],
        hash: u64,
    ) -> Result<Option<Version>> {
        let size = parts.iter().map(|part| part.len).sum();
        let claim = Claim::in_place(size, hash);
        let path = self.files.claim(&claim);
        let draft = Draft {
            path: &path,
            learns_rename: false,
            // Who goes on after a crash finds no marker.
            attributes: &self.attributes_of(&self.files.open())?,
        };
        draft.put(self.engine, &self.files, 0, std::iter::empty())?;
        let place = self.locate()?;
        let step = "complete the upload to";
        match self.alone(&place, || self.remove_marker(&place, step))? {
            // Alone, so that it was by us.
            Removed::ByUs | Removed::Perhaps => self.write_out(&claim, parts),
            Removed::ByAnother => {
                self.remove(&path);
                Ok(None)
            }
        }
    }

    /// The pass of a claim. `None` if the claim is gone: another process has made it.
    pub(super) fn write_out(&self, claim: &Claim, parts: &[PartName]) -> Result<Option<Version>> {
        let place = self.locate()?;
        let pass = Pass {
            upload: self,
            claim,
            parts,
            place: &place,
            is_over: Cell::new(false),
        };
        let mut bytes = Bytes {
            upload: self,
            parts,
            open: None,
        };
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
                self.sync(
                    &place,
                    "the object is in place, but may not survive a power failure",
                )?;
                self.clean_up(parts);
                Ok(Some(version))
            }
            Err(_) if pass.is_over.get() => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// One of those who would make the pass, while it has the path's lock.
struct Pass<'a> {
    upload: &'a Resumable<'a>,
    claim: &'a Claim,
    parts: &'a [PartName],
    place: &'a Place,
    is_over: Cell<bool>,
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
        // A pass that comes to no end leaves no object.
        self.upload.check_parts(self.parts)
    }

    /// The claims of others who lost too: with one of them the pass would be made again.
    fn finish(&self) -> Result<()> {
        let upload = self.upload;
        upload.remove(&upload.files.claim(self.claim));
        for named in upload.list()? {
            if matches!(named, Named::Claim(_)) {
                upload.remove(&upload.files.named(&named));
            }
        }
        Ok(())
    }
}

/// The bytes of the parts, one part after the other. One of them is open at a time.
struct Bytes<'a> {
    upload: &'a Resumable<'a>,
    parts: &'a [PartName],
    open: Option<(usize, Reader)>,
}

impl Bytes<'_> {
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
