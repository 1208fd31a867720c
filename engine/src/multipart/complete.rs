//! Completing an upload: its parts in one file, the claim, the publish, in any process.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::mount::Mount;
use crate::names::Naming;
use crate::place::Place;
use crate::publish::{self, Alone, Around, Guards};
use crate::read::Reader;
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::upload::Upload;
use crate::{Mode, Version, dirs, observe};

use super::names::{self, Claim, Kind, Named, PartName};
use super::{Resumable, State};

const STEP: &str = "complete the upload to";

/// What became of the wish to be the one who completes an upload.
enum Claiming {
    Done,
    /// Somebody else has completed or aborted it.
    Lost,
    NoRename,
    /// It was not claimed.
    Refused(Error),
}

impl Resumable<'_> {
    /// What the caller names, if each is the id of a part with that index.
    pub(super) fn named_parts(&self, parts: &[String]) -> Result<Vec<PartName>> {
        let name = |(index, text): (usize, &String)| match PartName::parse(text) {
            Some(part) if part.index == index as u64 => Ok(part),
            Some(part) => {
                let why = format!("what is named as part {index} is part {}", part.index);
                Err(self.refused(STEP, why))
            }
            None => {
                let why = format!("what is named as part {index} is no part of it: `{text}`");
                Err(self.refused(STEP, why))
            }
        };
        parts.iter().enumerate().map(name).collect()
    }

    pub(super) fn complete(&self, parts: &[PartName]) -> Result<Version> {
        // It goes on from open to claimed to over; a mount that remembers names may tell it late.
        const TURNS: u32 = 10;
        let hash = names::parts_hash(parts);
        for _ in 0..TURNS {
            let done = match self.state(Some(hash))? {
                State::Open => self.complete_open(parts, hash)?,
                State::Claimed(claim) if claim.parts != hash => {
                    let why = "it is being completed with other parts";
                    return Err(self
                        .refused(STEP, why.into())
                        .hint("complete it with those, or abort it; nothing was changed"));
                }
                State::Claimed(claim) if claim.is_in_place() => {
                    self.write_out(&claim, parts, false)?
                }
                State::Claimed(claim) => Some(self.resume(&claim, parts)?),
                State::Over => return Err(self.over()),
            };
            if let Some(version) = done {
                return Ok(version);
            }
        }
        Err(self.refused(STEP, "others keep changing it".into()))
    }

    /// `None` if somebody else has decided about it meanwhile.
    fn complete_open(&self, parts: &[PartName], hash: u64) -> Result<Option<Version>> {
        let assembled = self.check_parts(parts).and_then(|()| self.assemble(parts));
        let whole = match assembled {
            Ok(whole) => whole,
            // Its parts go when it is over.
            Err(e) => return self.check_open().map_or(Ok(None), |()| Err(e)),
        };
        let Some((whole, unique, ours)) = whole else {
            return self.complete_in_place(parts, hash);
        };
        let place = whole.place();
        let replaced = self.look_at_destination()?;
        let ours = match replaced {
            Some(replaced) => self.make_distinct(&whole, ours, &replaced)?,
            None => ours,
        };
        let fingerprint = |now| names::fingerprint(&now, place.mount.numbers_files());
        let before = replaced.map_or(0, fingerprint);
        let claim = Claim::new(unique, &ours, before, hash);
        let claimed = self.alone(&place, || self.claim(&claim, &place.mount));
        if matches!(claimed, Ok(Claiming::Done) | Err(_)) {
            // Who finds the claim needs it.
            whole.leave();
        }
        match claimed? {
            Claiming::Done => {}
            Claiming::Refused(e) => return Err(e),
            Claiming::Lost => return Ok(None),
            Claiming::NoRename => return self.complete_in_place(parts, hash),
        }
        self.sync(&place, "the upload is claimed, complete it again")?;
        let claimed = self.claimed(&claim, &place);
        match whole.complete_around(Mode::Overwrite, &claimed) {
            Ok(version) => {
                self.clean_up(parts);
                Ok(Some(version))
            }
            // In place, but not durable.
            Err(e) if whole.is_in_place() => {
                self.clean_up(parts);
                Err(e)
            }
            Err(e) => self.outcome(&claim, &place, parts, e).map(Some),
        }
    }

    /// Moves the mtime of the whole as the publish would, so that the claim tells what it will be.
    fn make_distinct(&self, whole: &Upload, ours: Stat, replaced: &Stat) -> Result<Stat> {
        let mount = &whole.place().mount;
        if mount.is_native() && !mount.repeats_mtimes(Some(&ours)) {
            return Ok(ours);
        }
        let (path, ours) = whole.seal()?;
        let engine = &self.engine.for_operation();
        let moved = observe::make_distinct(engine, mount, &path, &ours, replaced, true);
        if let Some(moved) = moved {
            whole.is_now(moved);
        }
        Ok(moved.unwrap_or(ours))
    }

    fn claimed<'a>(&'a self, claim: &'a Claim, place: &'a Place) -> Claimed<'a> {
        Claimed {
            upload: self,
            claim,
            alone: self.alone_at(place),
        }
    }

    /// That all of them are there, before anything is copied.
    pub(super) fn check_parts(&self, parts: &[PartName]) -> Result<()> {
        for part in parts {
            let size = self.look(&self.files.part(part))?.map(|seen| seen.size);
            self.check_size(part, size)?;
        }
        Ok(())
    }

    fn check_size(&self, part: &PartName, size: Option<u64>) -> Result<()> {
        let PartName { index, len, .. } = part;
        let why = match size {
            Some(size) if size == *len => return Ok(()),
            Some(size) => format!("part {index} holds {size} bytes of {len}"),
            None => format!("part {index} is not there"),
        };
        let path = self.files.part(part);
        Err(self
            .refused(STEP, why)
            .hint(format!("put it again; it would be {}", path.display())))
    }

    pub(super) fn open_part(&self, part: &PartName) -> Result<Reader> {
        let reader = self.engine.open(self.files.part(part))?;
        self.check_size(part, Some(reader.size()))?;
        Ok(reader)
    }

    /// All parts in one closed file: it, the unique digits of its name, and what it is. `None` where
    /// nothing renames.
    fn assemble(&self, parts: &[PartName]) -> Result<Option<(Upload, u64, Stat)>> {
        let naming = Naming::After(self.files.stem(Kind::Whole));
        let attributes = self.attributes_of(&self.files.open())?;
        let whole = Upload::begin_named(self.engine, self.dest, true, &attributes, &naming)?;
        if whole.is_spooled() {
            return Ok(None);
        }
        for part in parts {
            let copied = self.open_part(part).and_then(|source| whole.append(source));
            copied.map_err(|e| e.hint(format!("it was about part {}", part.index)))?;
        }
        let (path, ours) = whole.seal()?;
        let unique = names::unique_of(&path).ok_or_else(|| {
            let e = io::Error::other("it has another name than it was given");
            Error::new(STEP, &path, e)
        })?;
        Ok(Some((whole, unique, ours)))
    }

    /// Renames the marker to the claim, whose name nobody else draws.
    fn claim(&self, claim: &Claim, mount: &Mount) -> Result<Claiming> {
        let (open, claimed) = (self.files.open(), self.files.claim(claim));
        let engine = &self.engine.for_operation();
        let look = |path: &Path| {
            observe::look_closely(engine, mount, path).map_err(|e| Error::new("look at", path, e))
        };
        let mut retry = engine.start_retry();
        while let Err(e) = sys::rename(&open, &claimed) {
            if is::no_rename(&e) && !claim.is_in_place() {
                mount.lacks_rename();
                if !mount.rename.may() {
                    return Ok(Claiming::NoRename);
                }
            }
            if look(&claimed)?.is_some() {
                engine.resolved("rename", &claimed, &e);
                break;
            }
            if look(&open)?.is_none() {
                return Ok(Claiming::Lost);
            }
            let in_use = is::denied(&e) && !mount.is_native();
            let passes = is::ambiguous(&e) || is::not_found(&e) || in_use;
            // After any other error a request may still be on its way.
            let is_known = !passes || mount.is_native();
            if !passes || !retry.again() {
                let e = Error::new("rename file", &open, e).to(&claimed);
                return match is_known {
                    true => Ok(Claiming::Refused(e)),
                    false => Err(e),
                };
            }
            engine.retried("rename", &claimed, &e);
        }
        Ok(Claiming::Done)
    }

    /// Finishes what another call has claimed, or sees that it is finished.
    fn resume(&self, claim: &Claim, parts: &[PartName]) -> Result<Version> {
        let path = self.files.whole(claim);
        let place = self.locate()?;
        let seen = observe::look_closely(&self.engine.for_operation(), &place.mount, &path);
        let Some(ours) = seen.map_err(|e| Error::new("look at", &path, e))? else {
            return self.outcome(claim, &place, parts, self.over());
        };
        if ours.size != claim.size {
            let why = format!("its file holds {} bytes of {}", ours.size, claim.size);
            return Err(self.refused(STEP, why).hint("abort it, and write it anew"));
        }
        if self.engine.fsync {
            // Whoever wrote it may not have asked for that.
            let synced = sys::open_write(&path).and_then(|file| {
                sys::sync(&file, &path)?;
                sys::close(file, &path)
            });
            if let Err(e) = synced {
                let error = |e| Error::new("sync data to disk for", &path, e);
                if is::stale(&e) || is::interrupted(&e) {
                    return Err(error(e));
                }
                // Lost for good: another fsync would answer Ok for what this one lost.
                self.give_up(claim, &place)?;
                return Err(error(e).hint("nothing was published; abort it, and write it anew"));
            }
        }
        let mut whole = Staging::adopt(self.engine, self.dest, path, place.clone());
        // Also after an error it stays: there is a claim.
        whole.is_published();
        let claimed = self.claimed(claim, &place);
        let published = publish::publish(self.engine, &mut whole, &ours, Mode::Overwrite, &claimed);
        match published {
            Ok(version) => {
                self.sync_published(&place, parts)?;
                self.clean_up(parts);
                Ok(version)
            }
            Err(e) => self.outcome(claim, &place, parts, e),
        }
    }

    /// What has become of an upload that is claimed, after a publish of its whole answered `e`, or
    /// if the whole is gone.
    fn outcome(
        &self,
        claim: &Claim,
        place: &Place,
        parts: &[PartName],
        e: Error,
    ) -> Result<Version> {
        let mount = &place.mount;
        let engine = &self.engine.for_operation();
        let look = |path: &Path| {
            observe::look_closely(engine, mount, path).map_err(|e| Error::new("look at", path, e))
        };
        if look(&self.files.whole(claim))?.is_some() {
            return Err(e);
        }
        self.check_claimed(claim, mount)?;
        let there = look(self.dest)?;
        let stable = mount.numbers_files();
        let ours = there.filter(|now| claim.is(now, stable));
        if ours.is_none() {
            let is_as_before =
                |now: &Stat| claim.before != 0 && names::fingerprint(now, stable) == claim.before;
            if there.as_ref().is_some_and(is_as_before) {
                let e = same_error::not_found();
                return Err(Error::new("find", &self.files.whole(claim), e).hint(
                    "the file with all parts was removed by someone else, nothing was published; \
                     abort the upload, and write it anew",
                ));
            }
        }
        // In place, or it was, and a later writer has replaced or removed it.
        engine.resolved("publish", self.dest, e.io_error());
        self.sync_published(place, parts)?;
        self.clean_up(parts);
        Ok(mount.version(&ours.unwrap_or_else(|| claim.stat())))
    }

    /// That nobody has aborted it: what is at the destination is no proof, since another file may
    /// be as the whole was. In this order, for an abort removes the claim in between.
    fn check_claimed(&self, claim: &Claim, mount: &Mount) -> Result<()> {
        let engine = &self.engine.for_operation();
        let look = |path: &Path| {
            observe::look_closely(engine, mount, path).map_err(|e| Error::new("look at", path, e))
        };
        if look(&self.files.given_up(claim))?.is_some() {
            let why = "it is being aborted, or an fsync has lost data of it";
            return Err(self
                .refused(STEP, why.into())
                .hint("abort it, and write it anew"));
        }
        match look(&self.files.claim(claim))? {
            Some(_) => Ok(()),
            None => Err(self.over()),
        }
    }

    /// The entries of its directory, if that was asked for.
    pub(super) fn sync(&self, place: &Place, otherwise: &'static str) -> Result<()> {
        if !self.engine.fsync {
            return Ok(());
        }
        dirs::sync_parent(&self.engine.for_operation(), &place.mount, self.dest)
            .map_err(|e| Error::new("sync data to disk for", self.dest, e).hint(otherwise))
    }

    /// The same once its object is in place. What an fsync lost is not found out by another, so
    /// that the upload is over then, and not to be completed again.
    pub(super) fn sync_published(&self, place: &Place, parts: &[PartName]) -> Result<()> {
        let hint = "the object is in place, but may not survive a power failure; write it anew";
        let synced = self.sync(place, hint);
        if synced.is_err() {
            self.clean_up(parts);
        }
        synced
    }

    /// Removes what is left of an upload whose object is in place: the claim last, so that until
    /// then it can be asked for again.
    pub(super) fn clean_up(&self, parts: &[PartName]) {
        // Those that were named need not be found.
        for part in parts {
            self.remove(&self.files.part(part));
        }
        let mut left = match self.list() {
            Ok(left) => left,
            Err(e) => {
                tracing::warn!(error = %e, "files of an upload stay behind; they are hidden");
                return;
            }
        };
        left.sort_by_key(|named| std::cmp::Reverse(named.rank()));
        for named in left {
            if !parts.iter().any(|part| named == Named::Part(*part)) {
                self.remove(&self.files.named(&named));
            }
        }
    }
}

/// Around the publish of a whole.
struct Claimed<'a> {
    upload: &'a Resumable<'a>,
    claim: &'a Claim,
    alone: Alone<'a>,
}

impl Around for Claimed<'_> {
    fn lock(&self) -> Result<Option<Guards>> {
        self.alone.lock()
    }

    /// A whole that is gone may have been renamed by a request whose reply was lost, or by an abort.
    fn finish(&self) -> Result<()> {
        self.upload
            .check_claimed(self.claim, &self.alone.place.mount)
    }
}
