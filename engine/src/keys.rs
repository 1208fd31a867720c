//! The order of keys, byte by byte as object stores have it: a directory is where its name with a
//! slash is, so that `a-b` and `a.b` come between a file `a` and what is in a directory `a`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};

use crate::sys::{DirEntry, Kind};

/// What a walk in the order of keys is to tell. The key of a file is its path below the walk's root,
/// with slashes.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// How the keys of all that is in the directory that is walked begin: empty for the root, else with
    /// a slash at the end.
    pub dir: String,
    /// How the keys that are told begin.
    pub prefix: String,
    /// What they come after.
    pub after: Option<After>,
}

/// A place between two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Right after this key, which may or may not be there.
    Key(String),
    /// After all keys that begin so.
    Prefix(String),
}

impl After {
    /// The later one of the two.
    pub fn later(self, other: Self) -> Self {
        let other_is_later = match &other {
            Self::Key(key) => !self.is_past(key.as_bytes()),
            Self::Prefix(prefix) => !self.is_past_all_of(prefix),
        };
        if other_is_later { other } else { self }
    }

    /// Whether it is after all keys that begin with `prefix`.
    pub fn is_past_all_of(&self, prefix: &str) -> bool {
        self.is_past_all(prefix.as_bytes())
    }

    fn is_past(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(last) => key <= last.as_bytes(),
            Self::Prefix(last) => key <= last.as_bytes() || key.starts_with(last.as_bytes()),
        }
    }

    fn is_past_all(&self, prefix: &[u8]) -> bool {
        let is_past = |last: &[u8]| last > prefix && !last.starts_with(prefix);
        match self {
            Self::Key(last) => is_past(last.as_bytes()),
            Self::Prefix(last) => prefix.starts_with(last.as_bytes()) || is_past(last.as_bytes()),
        }
    }
}

impl Keys {
    fn has_file(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix.as_bytes())
            && !self.after.as_ref().is_some_and(|after| after.is_past(key))
    }

    /// Whether something in the directory may be told; `key` ends in a slash.
    fn has_dir(&self, key: &[u8]) -> bool {
        let prefix = self.prefix.as_bytes();
        (key.starts_with(prefix) || prefix.starts_with(key))
            && !self
                .after
                .as_ref()
                .is_some_and(|after| after.is_past_all(key))
    }

    /// Where an entry is to be told, if it is.
    fn place(&self, key: &mut Vec<u8>, name: &OsStr, kind: Kind) -> Option<Place> {
        let dir = key.len();
        key.extend_from_slice(name.as_encoded_bytes());
        // What a symlink leads to is not asked before its turn.
        let place = if kind != Kind::Dir && self.has_file(key) {
            Some(Place::File)
        } else if kind != Kind::Other {
            key.push(b'/');
            self.has_dir(key).then_some(Place::Dir)
        } else {
            None
        };
        key.truncate(dir);
        place
    }
}

/// Where in the order an entry comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    File,
    Dir,
}

/// The entries of one directory that are still to be told. A heap: to sort all for a page of a few
/// would be a waste.
#[derive(Debug)]
pub(crate) struct Sorted {
    /// How the keys in it begin.
    key: Vec<u8>,
    entries: BinaryHeap<Reverse<Entry>>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
}

impl Sorted {
    pub(crate) fn new(mut key: Vec<u8>, entries: Vec<DirEntry>, keys: &Keys) -> Self {
        let placed = entries.into_iter().filter_map(|DirEntry { name, kind }| {
            let place = keys.place(&mut key, &name, kind)?;
            Some(Reverse(Entry { name, kind, place }))
        });
        let entries = placed.collect();
        Self { key, entries }
    }

    /// The next one that is to be told.
    pub(crate) fn next(&mut self, keys: &Keys) -> Option<Entry> {
        loop {
            let Reverse(entry) = self.entries.pop()?;
            // What is told may begin later by now.
            match keys.place(&mut self.key, &entry.name, entry.kind) {
                Some(place) if place == entry.place => return Some(entry),
                Some(place) => self.entries.push(Reverse(Entry { place, ..entry })),
                None => {}
            }
        }
    }

    /// A directory that was met in the place of a file: its turn is to come.
    pub(crate) fn put_back(&mut self, name: OsString) {
        self.entries.push(Reverse(Entry {
            name,
            kind: Kind::Dir,
            place: Place::Dir,
        }));
    }

    /// How the keys begin in a directory in it.
    pub(crate) fn key_of_dir(&self, name: &OsStr) -> Vec<u8> {
        [&self.key, name.as_encoded_bytes(), b"/"].concat()
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.name.as_encoded_bytes(), other.name.as_encoded_bytes());
        let common = a.len().min(b.len());
        let rest = |entry: &Self| match entry.place {
            Place::File => &b""[..],
            Place::Dir => b"/",
        };
        a[..common].cmp(&b[..common]).then_with(|| {
            let a = a[common..].iter().chain(rest(self));
            a.cmp(b[common..].iter().chain(rest(other)))
        })
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
