//! Ambiguous errors: look by path, then decide.
//!
//! An error does not always mean that nothing happened. A reply may be lost on its way (RFC 1813,
//! section 4.5; link(2), "BUGS"), a request may be made again below us, a handle may be stale
//! though the file is well. What is true stands in the directory, so that is asked.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::mount::Mount;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, Exclusion, Version};

/// What was at the destination before the first attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    /// Not looked at: on a native mount an inode number is proof enough.
    NotLooked,
    Absent,
    There(Stat),
}

impl Before {
    /// Looks where the answer may be needed. What cannot be seen is not looked at.
    pub(crate) fn look(engine: &Engine, mount: &Mount, dest: &Path) -> Self {
        match mount.is_native() {
            true => Self::NotLooked,
            false => Self::look_anyway(engine, dest),
        }
    }

    /// Looks, on a native mount too.
    pub(crate) fn look_anyway(engine: &Engine, dest: &Path) -> Self {
        match look(engine, dest) {
            Ok(Some(stat)) => Self::There(stat),
            Ok(None) => Self::Absent,
            Err(_) => Self::NotLooked,
        }
    }

    fn is_unchanged(&self, now: Option<&Stat>) -> bool {
        match (self, now) {
            // The safe reading: an error rather than a success that is none.
            (Self::NotLooked, _) => true,
            (Self::Absent, None) => true,
            (Self::There(before), Some(now)) => before == now,
            _ => false,
        }
    }

    /// Whether `now`, which is our inode, was not there before.
    fn is_new_link(&self, now: &Stat, ours: &Stat) -> bool {
        match self {
            Self::NotLooked => now.nlink > ours.nlink,
            Self::Absent => true,
            Self::There(before) => (before.dev, before.ino) != (now.dev, now.ino),
        }
    }

    fn is_known_to_differ(&self, now: &Stat) -> bool {
        match self {
            Self::NotLooked => false,
            Self::Absent => true,
            Self::There(before) => before != now,
        }
    }
}

/// What became of a call that answered with an ambiguous error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing happened; it may be made again.
    NotApplied,
    /// It took effect.
    Applied,
    /// A link took effect; the staging file is there besides.
    AppliedByLink,
    /// The staging file was taken from us, and the destination is as it was.
    Taken,
    /// The staging file is gone, and the destination is neither ours nor as it was.
    Superseded,
}

/// What two looks at the paths say. `ours` is what the file was before the first attempt.
pub(crate) fn judge(
    staging: Option<&Stat>,
    dest: Option<&Stat>,
    before: &Before,
    ours: &Stat,
    stable_inodes: bool,
) -> Verdict {
    let same_inode =
        |d: &Stat| stable_inodes && ours.ino != 0 && (d.dev, d.ino) == (ours.dev, ours.ino);
    let alike = |d: &Stat| {
        (d.size, d.modified) == (ours.size, ours.modified) && before.is_known_to_differ(d)
    };
    match (staging, dest) {
        (Some(_), Some(d)) if same_inode(d) && before.is_new_link(d, ours) => {
            Verdict::AppliedByLink
        }
        // Both names count two links: the only witness where inode numbers change.
        (Some(s), Some(d)) if !stable_inodes && s.nlink > 1 && d.nlink > 1 && alike(d) => {
            Verdict::AppliedByLink
        }
        (Some(_), _) => Verdict::NotApplied,
        (None, Some(d)) if same_inode(d) && d.size == ours.size => Verdict::Applied,
        // The number may have changed with the name.
        (None, Some(d)) if alike(d) => Verdict::Applied,
        (None, now) if before.is_unchanged(now) => Verdict::Taken,
        (None, _) => Verdict::Superseded,
    }
}

/// What is at `path`, or `None` if nothing is. A stale answer is asked for again within the
/// budget; that nothing is there is an answer.
pub(crate) fn look(engine: &Engine, path: &Path) -> io::Result<Option<Stat>> {
    match engine.retrying("look at", path, || sys::stat(path)) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if is::absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is at `path` now, as the version is that was to be replaced: with the locks held that keep
/// others out, and past what this host has cached if other hosts are among them.
pub(crate) fn expect(
    engine: &Engine,
    mount: &Mount,
    path: &Path,
    expected: Version,
) -> Result<Stat> {
    let failed = |e| Error::new("access metadata for", path, e);
    let fresh = engine.update_exclusion == Exclusion::OtherHosts;
    let look = || {
        engine.retrying("look at", path, || match fresh {
            true => sys::fresh_stat(path),
            false => sys::stat(path),
        })
    };
    let mut looked = look();
    let looks = if mount.is_native() { 1 } else { 3 };
    for _ in 1..looks {
        // As in `look_closely`.
        if looked.as_ref().is_err_and(is::absent) {
            looked = look();
        }
    }
    let now = match looked {
        Ok(now) if now.is_dir => Err(same_error::not_found()),
        looked => looked,
    };
    let now = now.map_err(|e| match is::absent(&e) {
        true => Error::precondition(path, "it is gone"),
        false => failed(e),
    })?;
    let is_expected = match now.is_symlink {
        // A reader is shown what it leads to.
        true => engine
            .open(path.to_owned())
            .is_ok_and(|target| target.info().version == expected),
        false => mount.version(&now) == expected,
    };
    match is_expected {
        true => Ok(now),
        false => Err(Error::precondition(path, "another version is there")),
    }
}

/// As [`look`], for an absence that decides: where a file has several names, the rename of one may
/// hide another for a moment (DrvFs: microsoft/WSL #8443), so that it is asked for more than once.
pub(crate) fn look_closely(
    engine: &Engine,
    mount: &Mount,
    path: &Path,
) -> io::Result<Option<Stat>> {
    let looks = if mount.is_native() { 1 } else { 3 };
    for _ in 1..looks {
        if let Some(stat) = look(engine, path)? {
            return Ok(Some(stat));
        }
    }
    look(engine, path)
}

/// Moves the mtime of the file at `path`, which is `ours`, by the smallest step that the mount
/// keeps, if it would else be the same version as what it replaces, or, where its bytes are new, no
/// later one; says what it is then.
///
/// Two versions within a step of the clock would share an e_tag: 4 ms on ext4 before Linux 6.13, 10
/// ms on exFAT, 1 s on many FUSE mounts, 2 s on vfat. With inode numbers it is the one before the
/// one replaced that comes back, since its number is free again.
pub(crate) fn make_distinct(
    engine: &Engine,
    mount: &Mount,
    path: &Path,
    ours: &Stat,
    replaced: &Stat,
    is_new: bool,
) -> Option<Stat> {
    const STEPS: [Duration; 5] = [
        Duration::from_micros(1),
        Duration::from_millis(1),
        Duration::from_millis(10),
        Duration::from_secs(1),
        Duration::from_secs(2),
    ];
    let (version, taken) = (mount.version(ours), mount.version(replaced));
    // New bytes are of a later version, or one that was there before comes back: a clock that stands
    // may have been moved on for what is replaced.
    let comes_back = is_new && version.modified_micros <= taken.modified_micros;
    if version != taken && !comes_back {
        return None;
    }
    let too_small = mount.mtime_steps_lost.load(Relaxed).min(STEPS.len() - 1);
    let mut last = None;
    for (nth, step) in STEPS.into_iter().enumerate().skip(too_small) {
        let Some(modified) = replaced.modified.and_then(|m| m.checked_add(step)) else {
            break;
        };
        let set = engine.retrying("set the mtime of", path, || {
            sys::set_modified(path, modified)
        });
        // It may have been moved after an error too, or to where it is cut off.
        last = look(engine, path).ok().flatten().or(last);
        if let (Ok(()), Some(now)) = (&set, &last) {
            if mount.version(now).modified_micros > taken.modified_micros {
                mount.mtime_steps_lost.fetch_max(nth, Relaxed);
                break;
            }
        }
        if let Err(e) = set {
            tracing::debug!(path = %path.display(), error = %e, "the mtime cannot be set here");
            break;
        }
    }
    last
}

/// The looks and the verdict in one.
pub(crate) fn after_error(
    engine: &Engine,
    mount: &Mount,
    staging: &Path,
    dest: &Path,
    before: &Before,
    ours: Option<&Stat>,
) -> io::Result<Verdict> {
    let staging = look_closely(engine, mount, staging)?;
    let dest = look_closely(engine, mount, dest)?;
    let Some(ours) = ours else {
        // A local disk, where nobody looked: a name moves once.
        return Ok(match (staging, dest) {
            (Some(_), _) => Verdict::NotApplied,
            (None, Some(_)) => Verdict::Applied,
            (None, None) => Verdict::Taken,
        });
    };
    // A number that is free is another file's at once. Where a rename does not move the mtime, that
    // tells them apart.
    let is_other = |d: &Stat| mount.is_native() && d.modified != ours.modified;
    let has_another = staging.is_none() && dest.as_ref().is_some_and(is_other);
    Ok(judge(
        staging.as_ref(),
        dest.as_ref(),
        before,
        ours,
        mount.has_stable_inodes() && !has_another,
    ))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn file(ino: u64, size: u64, mtime: u64) -> Stat {
        Stat {
            is_dir: false,
            is_symlink: false,
            size,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(mtime)),
            changed: (mtime as i64, 0),
            dev: 1,
            ino,
            nlink: 1,
        }
    }

    fn linked(mut stat: Stat) -> Stat {
        stat.nlink += 1;
        stat
    }

    const OURS: (u64, u64, u64) = (10, 5, 100);

    fn ours() -> Stat {
        file(OURS.0, OURS.1, OURS.2)
    }

    #[test]
    fn a_staging_file_that_is_there_was_not_renamed() {
        let old = file(7, 3, 50);
        for dest in [None, Some(&old)] {
            let before = dest.map_or(Before::Absent, |s| Before::There(*s));
            assert_eq!(
                judge(Some(&ours()), dest, &before, &ours(), true),
                Verdict::NotApplied
            );
        }
    }

    #[test]
    fn a_staging_file_that_is_gone_with_ours_in_place_was_renamed() {
        for before in [
            Before::NotLooked,
            Before::Absent,
            Before::There(file(7, 5, 100)),
        ] {
            assert_eq!(
                judge(None, Some(&ours()), &before, &ours(), true),
                Verdict::Applied
            );
        }
    }

    #[test]
    fn a_link_leaves_both() {
        let both = linked(ours());
        assert_eq!(
            judge(Some(&both), Some(&both), &Before::Absent, &ours(), true),
            Verdict::AppliedByLink
        );
        // Where inode numbers change, by link count, size and mtime.
        let (staging, dest) = (linked(file(11, 5, 100)), linked(file(12, 5, 100)));
        assert_eq!(
            judge(Some(&staging), Some(&dest), &Before::Absent, &ours(), false),
            Verdict::AppliedByLink
        );
    }

    #[test]
    fn a_link_that_was_there_before_is_not_ours() {
        let copy = linked(ours());
        for before in [Before::There(copy), Before::NotLooked] {
            assert_eq!(
                judge(Some(&copy), Some(&copy), &before, &copy, true),
                Verdict::NotApplied
            );
        }
    }

    #[test]
    fn an_old_object_that_looks_alike_is_not_ours() {
        let alike = file(7, OURS.1, OURS.2);
        let before = Before::There(alike);
        for stable in [true, false] {
            assert_eq!(
                judge(Some(&ours()), Some(&alike), &before, &ours(), stable),
                Verdict::NotApplied
            );
            assert_eq!(
                judge(None, Some(&alike), &before, &ours(), stable),
                Verdict::Taken
            );
        }
    }

    #[test]
    fn another_creators_object_is_not_ours() {
        let theirs = file(8, OURS.1, OURS.2 + 1);
        for stable in [true, false] {
            assert_eq!(
                judge(
                    Some(&ours()),
                    Some(&theirs),
                    &Before::Absent,
                    &ours(),
                    stable
                ),
                Verdict::NotApplied
            );
        }
    }

    #[test]
    fn a_staging_file_that_is_gone_with_the_destination_as_before_was_taken() {
        let old = file(7, 3, 50);
        assert_eq!(
            judge(None, Some(&old), &Before::There(old), &ours(), true),
            Verdict::Taken
        );
        assert_eq!(
            judge(None, None, &Before::Absent, &ours(), true),
            Verdict::Taken
        );
        // Nobody looked: no success is claimed.
        assert_eq!(
            judge(None, Some(&old), &Before::NotLooked, &ours(), true),
            Verdict::Taken
        );
    }

    #[test]
    fn a_staging_file_that_is_gone_with_a_newer_object_in_place_was_superseded() {
        let (old, newer) = (file(7, 3, 50), file(8, 9, 200));
        assert_eq!(
            judge(None, Some(&newer), &Before::There(old), &ours(), true),
            Verdict::Superseded
        );
        assert_eq!(
            judge(None, None, &Before::There(old), &ours(), true),
            Verdict::Superseded
        );
    }

    #[test]
    fn an_inode_number_that_changed_with_the_rename_is_known_by_size_and_mtime() {
        let renamed = file(99, OURS.1, OURS.2);
        for stable in [true, false] {
            assert_eq!(
                judge(None, Some(&renamed), &Before::Absent, &ours(), stable),
                Verdict::Applied
            );
        }
    }
}
