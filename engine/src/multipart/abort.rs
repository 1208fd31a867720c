//! Aborting an upload.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::observe;
use crate::place::Place;
use crate::sys::{self, is};

use super::Resumable;
use super::names::{Claim, Named};

const STEP: &str = "abort the upload to";

/// What became of the removal of the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    ByUs,
    /// By us, by a request whose reply was lost, unless there is a claim.
    Perhaps,
    ByAnother,
}

impl Resumable<'_> {
    pub(super) fn abort(&self) -> Result<()> {
        let Some(place) = self.locate_if_there()? else {
            return Err(self.over());
        };
        let removed = self.alone(&place, || self.remove_marker(&place, STEP))?;
        let left = self.list()?;
        let claims = || {
            left.iter().filter_map(|named| match named {
                Named::Claim(claim) => Some(claim),
                _ => None,
            })
        };
        if removed == Removed::ByUs {
            return self.remove_all(left);
        }
        if let Some(claim) = claims().find(|claim| !claim.is_in_place()) {
            self.give_up(claim, &place)?;
            return self.remove_all(self.list()?);
        }
        if removed == Removed::ByAnother && claims().next().is_some() {
            let why = "it is being completed, and its object may be written in part";
            return Err(self
                .refused(STEP, why.into())
                .hint("the mount cannot rename; complete it again with the same parts"));
        }
        self.remove_all(left)?;
        match removed {
            // It was completed, or an earlier call has aborted it.
            Removed::ByAnother => Err(self.over()),
            _ => Ok(()),
        }
    }

    /// Removes the open marker, which decides about the upload.
    pub(super) fn remove_marker(&self, place: &Place, step: &'static str) -> Result<Removed> {
        let open = self.files.open();
        let engine = &self.engine.for_operation();
        let mut retry = engine.start_retry();
        // A local disk does not lose replies: what is not there is not so by us.
        let loses_replies = !place.mount.is_native();
        if loses_replies && self.look(&open)?.is_none() {
            return Ok(Removed::ByAnother);
        }
        loop {
            let e = match sys::unlink(&open) {
                Ok(()) => return Ok(Removed::ByUs),
                Err(e) => e,
            };
            if is::absent(&e) {
                return Ok(match loses_replies {
                    true => Removed::Perhaps,
                    false => Removed::ByAnother,
                });
            }
            if !is::ambiguous(&e) || !retry.again() {
                return Err(Error::new(step, self.dest, e));
            }
            engine.retried("remove", &open, &e);
        }
    }

    /// Takes the whole away from those who would publish it. It is not removed before the claim is:
    /// a claim without its whole says that it was published.
    pub(super) fn give_up(&self, claim: &Claim, place: &Place) -> Result<()> {
        let (whole, given_up) = (self.files.whole(claim), self.files.given_up(claim));
        let engine = &self.engine.for_operation();
        let look = |path: &Path| {
            observe::look_closely(engine, &place.mount, path)
                .map_err(|e| Error::new("look at", path, e))
        };
        let mut retry = engine.start_retry();
        while let Err(e) = sys::rename(&whole, &given_up) {
            // By a request whose reply was lost, or by an abort that a crash ended.
            if look(&given_up)?.is_some() {
                break;
            }
            if look(&whole)?.is_none() {
                // Another abort, or who has completed it, is done.
                if look(&self.files.claim(claim))?.is_none() {
                    return Err(self.over());
                }
                let e = io::Error::other("it was completed");
                return Err(
                    Error::new(STEP, self.dest, e).hint("complete it again to remove what it left")
                );
            }
            let in_use = is::denied(&e) && !place.mount.is_native();
            let passes = is::ambiguous(&e) || is::not_found(&e) || in_use;
            if !passes || !retry.again() {
                return Err(Error::new("rename file", &whole, e).to(&given_up));
            }
            engine.retried("rename", &given_up, &e);
        }
        Ok(())
    }

    /// What is left of an upload that nobody can complete any more.
    fn remove_all(&self, mut left: Vec<Named>) -> Result<()> {
        left.sort_by_key(Named::rank);
        for named in left {
            let path = self.files.named(&named);
            crate::publish::remove(&self.engine.for_operation(), &path)
                .map_err(|e| Error::new("delete file", &path, e).hint("abort it again"))?;
        }
        Ok(())
    }
}
