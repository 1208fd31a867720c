//! The names of a multipart upload's files, which are all that is known of it.
//!
//! They lie next to the destination and are hidden as staging files are: all that follows the first
//! `#` is digits. No directory is made for them: upstream's `list_with_delimiter` shows every one.
//!
//! A name is `{destination up to its first #, at most 64 bytes}#{19 digits: the upload}{1: the
//! kind}`, and then by kind:
//!
//! | kind | what | digits |
//! | --- | --- | --- |
//! | 0 | open: the upload takes parts | none |
//! | 1 | a part | 10: index, 20: length, 19: unique |
//! | 2 | whole: all parts in one | 19: unique |
//! | 3 | claim: the upload is completed, and how | see [`Claim`] |
//! | 4 | draft: not finished, or given up | 19: unique |
//!
//! Numbers have as many digits as their type needs; the longest name has 204 bytes.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::fnv::Fnv;
use crate::names::{cut_to, digits_of, unique};
use crate::place;
use crate::sys::Stat;

const UNIQUE: usize = 19;
const INDEX: usize = 10;
const NUMBER: usize = 20;
/// What is kept of the destination's name: it is there for people, and room for the digits is left
/// on file systems that allow 255 bytes.
const STEM: usize = 64;

/// What a file of an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Open,
    Part,
    Whole,
    Claim,
    Draft,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Open,
        Self::Part,
        Self::Whole,
        Self::Claim,
        Self::Draft,
    ];

    fn digits(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Part => INDEX + NUMBER + UNIQUE,
            Self::Whole | Self::Draft => UNIQUE,
            Self::Claim => UNIQUE + 5 * NUMBER,
        }
    }

    /// In which order they are removed of an upload that is over: interrupted at any point, it is
    /// never taken for another one than it was, or for over.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Open | Self::Claim => 0,
            Self::Whole => 1,
            Self::Draft => 2,
            Self::Part => 3,
        }
    }
}

/// An upload's id as callers have it: the digits that its files have, and a check of the
/// destination's name, so that it is not used with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u64);

impl Id {
    pub(crate) fn draw() -> Self {
        Self(unique())
    }

    pub(crate) fn to_text(self, dest: &Path) -> String {
        format!("{:0UNIQUE$}{:0NUMBER$}", self.0, check(dest))
    }

    /// `Err` says why it is none.
    pub(crate) fn parse(text: &str, dest: &Path) -> Result<Self, &'static str> {
        let mut digits = Digits(text);
        match (digits.take(UNIQUE), digits.take(NUMBER), digits.0) {
            (Some(id), Some(of), "") if of == check(dest) => Ok(Self(id)),
            (Some(_), Some(_), "") => Err("the upload is one to another path"),
            _ => Err("this is no id of an upload to this store"),
        }
    }
}

fn check(dest: &Path) -> u64 {
    let mut hash = Fnv::default();
    hash.add(place::split(dest).1.as_encoded_bytes());
    hash.finish()
}

/// A part, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartName {
    pub(crate) index: u64,
    pub(crate) len: u64,
    unique: u64,
}

impl PartName {
    /// What an index may be.
    pub(crate) const INDICES: u64 = 10_u64.pow(INDEX as u32);

    pub(crate) fn draw(index: u64, len: u64) -> Self {
        let unique = unique();
        Self { index, len, unique }
    }

    /// Also what a caller has of a part.
    pub(crate) fn digits(&self) -> String {
        let Self { index, len, unique } = self;
        format!("{index:0INDEX$}{len:0NUMBER$}{unique:0UNIQUE$}")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut digits = Digits(text);
        let name = Self {
            index: digits.take(INDEX)?,
            len: digits.take(NUMBER)?,
            unique: digits.take(UNIQUE)?,
        };
        digits.0.is_empty().then_some(name)
    }
}

/// That an upload is completed, of which parts, and by which file: enough for another process to
/// finish it, or to see that it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The unique digits of the whole; 0 where nothing renames, and the parts are written to the
    /// destination.
    pub(crate) whole: u64,
    /// What it is: its size, mtime and inode number.
    pub(crate) size: u64,
    modified: u64,
    inode: u64,
    /// What was at the destination; 0 if nothing was, or if nobody looked.
    pub(crate) before: u64,
    /// Which parts were named.
    pub(crate) parts: u64,
}

impl Claim {
    pub(crate) fn new(whole: u64, ours: &Stat, before: u64, parts: u64) -> Self {
        Self {
            whole,
            size: ours.size,
            modified: nanos(ours.modified),
            inode: ours.ino,
            before,
            parts,
        }
    }

    /// Of an upload whose parts go straight to the destination. No two are the same.
    pub(crate) fn in_place(size: u64, before: u64, parts: u64) -> Self {
        Self {
            whole: 0,
            size,
            modified: unique(),
            inode: 0,
            before,
            parts,
        }
    }

    pub(crate) fn is_in_place(&self) -> bool {
        self.whole == 0
    }

    fn digits(&self) -> String {
        let Self {
            whole,
            size,
            modified,
            inode,
            before,
            parts,
        } = self;
        format!(
            "{whole:0UNIQUE$}{size:0NUMBER$}{modified:0NUMBER$}{inode:0NUMBER$}\
             {before:0NUMBER$}{parts:0NUMBER$}"
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut digits = Digits(text);
        let claim = Self {
            whole: digits.take(UNIQUE)?,
            size: digits.take(NUMBER)?,
            modified: digits.take(NUMBER)?,
            inode: digits.take(NUMBER)?,
            before: digits.take(NUMBER)?,
            parts: digits.take(NUMBER)?,
        };
        digits.0.is_empty().then_some(claim)
    }

    /// Whether `now` is the whole under its new name. An inode number alone is no proof: once it is
    /// free, another file gets it.
    pub(crate) fn is(&self, now: &Stat, stable_inodes: bool) -> bool {
        let same_inode = !stable_inodes || now.ino == self.inode;
        same_inode && now.size == self.size && nanos(now.modified) == self.modified
    }

    /// The whole, as far as it is told.
    pub(crate) fn stat(&self) -> Stat {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.modified);
        Stat {
            is_dir: false,
            is_symlink: false,
            size: self.size,
            modified: Some(modified),
            changed: (0, 0),
            dev: 0,
            ino: self.inode,
            nlink: 1,
        }
    }
}

/// Since 1970; 0 if it is not told, or out of range.
fn nanos(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}

/// What is there, in a number that a claim keeps; never 0.
pub(crate) fn fingerprint(stat: &Stat, stable_inodes: bool) -> u64 {
    let mut hash = Fnv::default();
    let mut add = |number: u64| hash.add(&number.to_le_bytes());
    add(stat.size);
    add(nanos(stat.modified));
    if stable_inodes {
        add(stat.ino);
        add(stat.changed.0 as u64);
        add(stat.changed.1 as u64);
    }
    hash.finish().max(1)
}

/// Which parts are named, in their order.
pub(crate) fn parts_hash(parts: &[PartName]) -> u64 {
    let mut hash = Fnv::default();
    for part in parts {
        hash.add(part.digits().as_bytes());
    }
    hash.finish()
}

/// Digits that are taken from the front.
struct Digits<'a>(&'a str);

impl Digits<'_> {
    fn take(&mut self, count: usize) -> Option<u64> {
        let taken = self.0.get(..count)?;
        if !taken.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.0 = &self.0[count..];
        taken.parse().ok()
    }
}

/// A file of an upload, as a listing comes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Open,
    Part(PartName),
    Whole(u64),
    Claim(Claim),
    Draft(u64),
}

impl Named {
    fn kind(&self) -> Kind {
        match self {
            Self::Open => Kind::Open,
            Self::Part(_) => Kind::Part,
            Self::Whole(_) => Kind::Whole,
            Self::Claim(_) => Kind::Claim,
            Self::Draft(_) => Kind::Draft,
        }
    }

    /// See [`Kind::rank`].
    pub(crate) fn rank(&self) -> u8 {
        self.kind().rank()
    }
}

/// The files of one upload.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    dir: PathBuf,
    /// What all their names begin with: the stem, `#`, and the upload's digits.
    prefix: OsString,
}

impl Files {
    pub(crate) fn of(dest: &Path, id: Id) -> Self {
        let (dir, name) = place::split(dest);
        let name = name.to_string_lossy();
        let stem = name.split_once('#').map_or(&*name, |(before, _)| before);
        Self {
            dir: dir.to_owned(),
            prefix: format!("{}#{:0UNIQUE$}", cut_to(stem, STEM), id.0).into(),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the name of each file of this kind begins with.
    pub(crate) fn stem(&self, kind: Kind) -> OsString {
        let mut stem = self.prefix.clone();
        stem.push(format!("{}", kind as u8));
        stem
    }

    fn path(&self, kind: Kind, digits: &str) -> PathBuf {
        let mut name = self.stem(kind);
        name.push(digits);
        self.dir.join(name)
    }

    pub(crate) fn open(&self) -> PathBuf {
        self.path(Kind::Open, "")
    }

    pub(crate) fn part(&self, part: &PartName) -> PathBuf {
        self.path(Kind::Part, &part.digits())
    }

    pub(crate) fn whole(&self, claim: &Claim) -> PathBuf {
        self.path(Kind::Whole, &format!("{:0UNIQUE$}", claim.whole))
    }

    /// Where a whole is put that is not to be published any more.
    pub(crate) fn given_up(&self, claim: &Claim) -> PathBuf {
        self.path(Kind::Draft, &format!("{:0UNIQUE$}", claim.whole))
    }

    pub(crate) fn claim(&self, claim: &Claim) -> PathBuf {
        self.path(Kind::Claim, &claim.digits())
    }

    pub(crate) fn named(&self, named: &Named) -> PathBuf {
        let unique = |digits: &u64| format!("{digits:0UNIQUE$}");
        match named {
            Named::Open => self.open(),
            Named::Part(part) => self.part(part),
            Named::Claim(claim) => self.claim(claim),
            Named::Whole(digits) | Named::Draft(digits) => self.path(named.kind(), &unique(digits)),
        }
    }

    /// What a file of this name is to this upload.
    pub(crate) fn read(&self, name: &OsStr) -> Option<Named> {
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(self.prefix.as_encoded_bytes())?;
        let (kind, digits) = split_kind(rest)?;
        Some(match kind {
            Kind::Open => Named::Open,
            Kind::Part => Named::Part(PartName::parse(digits)?),
            Kind::Whole => Named::Whole(digits.parse().ok()?),
            Kind::Claim => Named::Claim(Claim::parse(digits)?),
            Kind::Draft => Named::Draft(digits.parse().ok()?),
        })
    }
}

/// The unique digits of a whole, which is at this path.
pub(crate) fn unique_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.get(name.len().checked_sub(UNIQUE)?..)?.parse().ok()
}

/// The kind's digit, and those after it, which are as many as the kind has.
fn split_kind(digits: &[u8]) -> Option<(Kind, &str)> {
    let digits = std::str::from_utf8(digits).ok()?;
    let kind = digits.get(..1)?.parse::<usize>().ok()?;
    let kind = *Kind::ALL.get(kind)?;
    let rest = &digits[1..];
    let is_whole = rest.len() == kind.digits() && rest.bytes().all(|b| b.is_ascii_digit());
    is_whole.then_some((kind, rest))
}

/// Of which upload a file of this name is, by what all its names begin with, and what kind of file.
pub(crate) fn upload_of(name: &OsStr) -> Option<(&str, Kind)> {
    let digits = digits_of(name)?;
    let (kind, rest) = split_kind(digits.get(UNIQUE..)?)?;
    let name = name.to_str()?;
    Some((&name[..name.len() - 1 - rest.len()], kind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::is_hidden;

    fn claim(numbers: [u64; 5], whole: u64) -> Claim {
        let [size, modified, inode, before, parts] = numbers;
        Claim {
            whole,
            size,
            modified,
            inode,
            before,
            parts,
        }
    }

    proptest! {
        #[test]
        fn every_name_is_hidden_fits_and_is_read(
            name in "[^/\0.]{1,85}",
            id in 0..10_u64.pow(19),
            whole in 1..10_u64.pow(19),
            index in 0..PartName::INDICES,
            len: u64,
            numbers: [u64; 5],
        ) {
            let dest = Path::new("dir").join(&name);
            let files = Files::of(&dest, Id(id));
            let part = PartName { index, len, unique: whole };
            let claim = claim(numbers, whole);
            for (path, named, kind) in [
                (files.open(), Named::Open, Kind::Open),
                (files.part(&part), Named::Part(part), Kind::Part),
                (files.whole(&claim), Named::Whole(whole), Kind::Whole),
                (files.claim(&claim), Named::Claim(claim), Kind::Claim),
                (files.given_up(&claim), Named::Draft(whole), Kind::Draft),
            ] {
                let name = path.file_name().unwrap();
                prop_assert!(is_hidden(name), "{name:?}");
                prop_assert!(name.len() <= 204, "{name:?}");
                prop_assert_eq!(files.named(&named), path.clone());
                prop_assert_eq!(files.read(name), Some(named));
                let (of, read) = upload_of(name).unwrap();
                prop_assert_eq!((OsStr::new(of), read), (&*files.prefix, kind));
            }
            prop_assert_eq!(unique_of(&files.whole(&claim)), Some(whole));
        }

        #[test]
        fn an_id_is_read_with_its_destination_only(
            a in "[^/\0.]{1,85}", b in "[^/\0.]{1,85}", id in 0..10_u64.pow(19),
        ) {
            let text = Id(id).to_text(Path::new(&a));
            prop_assert_eq!(Id::parse(&text, Path::new(&a)), Ok(Id(id)));
            if a != b {
                prop_assert!(Id::parse(&text, Path::new(&b)).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_id_and_no_part_is_refused() {
        let dest = Path::new("a");
        let id = Id(7).to_text(dest);
        let part = PartName::draw(3, 4).digits();
        for wrong in [
            "",
            "7",
            "é",
            &id[1..],
            &part,
            &format!("{id}0"),
            &id.replace('0', "x"),
        ] {
            assert!(Id::parse(wrong, dest).is_err(), "{wrong}");
        }
        for wrong in ["", "7", "é", &part[1..], &id, &format!("{part}0")] {
            assert_eq!(PartName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn other_staging_files_are_of_no_upload() {
        for name in [
            "a#1",
            "a#1234567890123456789",
            "a#12345678901234567899",
            "a#12345678901234567891",
            "a#123456789012345678921234567890123456789#1",
        ] {
            assert_eq!(upload_of(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_whole_is_known_by_its_mtime_and_by_its_inode_if_that_stays() {
        let ours = Stat {
            modified: Some(SystemTime::UNIX_EPOCH + Duration::new(5, 7)),
            ino: 10,
            ..claim([3, 0, 0, 0, 0], 1).stat()
        };
        let claim = Claim::new(1, &ours, 0, 0);
        assert_eq!(
            (claim.stat().modified, claim.stat().ino),
            (ours.modified, 10)
        );
        let moved = Stat {
            modified: Some(SystemTime::UNIX_EPOCH),
            ..ours
        };
        assert!(claim.is(&ours, true) && claim.is(&ours, false));
        // Another file that got its inode number.
        assert!(!claim.is(&moved, true) && !claim.is(&moved, false));
        let other = Stat { ino: 11, ..ours };
        assert!(!claim.is(&other, true) && claim.is(&other, false));
        let longer = Stat { size: 4, ..ours };
        assert!(!claim.is(&longer, true));
    }
}
