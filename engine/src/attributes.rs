//! Attributes of an object, kept in extended attributes of its file (xattr(7)).
//!
//! | attribute | xattr |
//! | --- | --- |
//! | content type, encoding, language, disposition | `user.content-type`, … |
//! | cache control, storage class | `user.cache-control`, `user.storage-class` |
//! | metadata | `user.X-Amz-Meta.{key}` |
//!
//! `%` and control characters of a key are written as `%` and two hexadecimal digits. The first two
//! headers have the names that versitygw gives them. Values are kept as they are. Other xattrs are
//! none of ours: they are not told, and a copy by data does without them.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::{Known, Mount};
use crate::sys::{is, xattr};

/// What an attribute is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// The header `Cache-Control`.
    CacheControl,
    /// The header `Content-Disposition`.
    ContentDisposition,
    /// The header `Content-Encoding`.
    ContentEncoding,
    /// The header `Content-Language`.
    ContentLanguage,
    /// The header `Content-Type`.
    ContentType,
    /// The storage class.
    StorageClass,
    /// Of the user's, by any key.
    Metadata(String),
}

/// What an object is said to be, besides its bytes: attributes, none of them twice, and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(Attribute, Vec<u8>)>);

impl Attributes {
    /// None at all.
    pub const NONE: Self = Self(Vec::new());

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Attribute, &[u8])> {
        self.0.iter().map(|(name, value)| (name, value.as_slice()))
    }
}

/// Of one that comes twice, the last value stands.
impl FromIterator<(Attribute, Vec<u8>)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (Attribute, Vec<u8>)>>(all: I) -> Self {
        let all: std::collections::BTreeMap<_, _> = all.into_iter().collect();
        Self(all.into_iter().collect())
    }
}

/// macOS has no namespaces; there it is a part of the name, so that archives fit everywhere.
const NAMESPACE: &[u8] = b"user.";
const METADATA: &[u8] = b"X-Amz-Meta.";
const NAMED: [(Attribute, &[u8]); 6] = [
    (Attribute::CacheControl, b"cache-control"),
    (Attribute::ContentDisposition, b"content-disposition"),
    (Attribute::ContentEncoding, b"content-encoding"),
    (Attribute::ContentLanguage, b"content-language"),
    (Attribute::ContentType, b"content-type"),
    (Attribute::StorageClass, b"storage-class"),
];

impl Attribute {
    fn xattr(&self) -> Vec<u8> {
        let name = match self {
            Self::Metadata(key) => [METADATA, &escaped(key)].concat(),
            named => {
                let found = NAMED.iter().find(|(attribute, _)| attribute == named);
                found.expect("all others are in the table").1.to_vec()
            }
        };
        [NAMESPACE, &name].concat()
    }

    /// `None` if it is none of ours.
    fn of_xattr(xattr: &[u8]) -> Option<Self> {
        let name = xattr.strip_prefix(NAMESPACE)?;
        if let Some(escaped) = name.strip_prefix(METADATA) {
            return key_of(escaped).map(Self::Metadata);
        }
        let (attribute, _) = NAMED.iter().find(|(_, named)| *named == name)?;
        Some(attribute.clone())
    }
}

/// A name ends at its first NUL.
fn escaped(key: &str) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f => name.extend(format!("%{byte:02X}").into_bytes()),
            _ => name.push(byte),
        }
    }
    name
}

/// What we would write otherwise is another's, who escapes nothing. `None` if it is no string.
fn key_of(name: &[u8]) -> Option<String> {
    let mut key = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        key.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    match String::from_utf8(key) {
        Ok(key) if escaped(&key) == name => Some(key),
        _ => std::str::from_utf8(name).map(str::to_owned).ok(),
    }
}

/// Reads those of an open file; none where there is no such thing.
#[derive(Default)]
pub(crate) struct Reading {
    /// For another file: what may not be seen is no reason to go without.
    is_to_carry: bool,
    /// Of those that are still to be read.
    names: Option<Vec<Vec<u8>>>,
    found: Vec<(Attribute, Vec<u8>)>,
}

impl Reading {
    pub(crate) fn to_carry() -> Self {
        Self {
            is_to_carry: true,
            ..Self::default()
        }
    }

    /// After an error it goes on where that stopped it: no call is made again for another's sake.
    pub(crate) fn go_on(&mut self, file: &File, path: &Path) -> io::Result<Attributes> {
        let names = match &mut self.names {
            Some(names) => names,
            none => none.insert(names(file, path, self.is_to_carry)?),
        };
        while let Some(name) = names.last() {
            if let Some(attribute) = Attribute::of_xattr(name) {
                let value = xattr::get(file, path, name)?;
                self.found.extend(value.map(|value| (attribute, value)));
            }
            names.pop();
        }
        Ok(std::mem::take(&mut self.found).into_iter().collect())
    }
}

fn names(file: &File, path: &Path, is_to_carry: bool) -> io::Result<Vec<Vec<u8>>> {
    match xattr::list(file, path) {
        // Who may read a file may see them; a server that has other ideas has none for us.
        Err(e) if xattr::unsupported(&e) || (is::denied(&e) && !is_to_carry) => Ok(Vec::new()),
        listed => listed,
    }
}

/// A file that is to have attributes, before its first byte.
pub(crate) struct Target<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) mount: &'a Mount,
    /// The object.
    pub(crate) dest: &'a Path,
    /// The file itself.
    pub(crate) path: &'a Path,
    /// Opens the file anew once its handle is stale.
    pub(crate) reopen: &'a dyn Fn() -> io::Result<File>,
}

impl Target<'_> {
    /// Gives it `attributes`. Where the mount is not known as a local disk they are read back:
    /// servers fold the case of names, or take what they do not keep.
    pub(crate) fn give(&self, attributes: &Attributes, file: &mut File) -> Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        check(self.mount, self.dest, attributes)?;
        for (attribute, value) in attributes.iter() {
            let name = attribute.xattr();
            match self.calling(file, |file| xattr::set(file, self.path, &name, value)) {
                Ok(()) => self.mount.xattrs.works(),
                Err(e) if xattr::unsupported(&e) => {
                    self.mount.xattrs.refused();
                    return Err(has_none(self.mount, self.dest, e));
                }
                Err(e) => return Err(refused(self.dest, &name, value.len(), e)),
            }
        }
        if self.mount.is_native() {
            return Ok(());
        }
        let mut reading = Reading::default();
        match self.calling(file, |file| reading.go_on(file, self.path)) {
            Ok(kept) if attributes.0.iter().all(|one| kept.0.contains(one)) => Ok(()),
            Ok(_) => {
                let e = io::Error::new(io::ErrorKind::Unsupported, "they are not kept as set");
                Err(has_none(self.mount, self.dest, e))
            }
            Err(e) => Err(Error::new("read back the attributes of", self.dest, e)),
        }
    }

    /// Takes away those it has: an object that is written in place is a new one.
    pub(crate) fn clear(&self, file: &mut File) -> Result<()> {
        if self.mount.xattrs.known() == Known::No {
            return Ok(());
        }
        let mut old = None;
        let cleared = self.calling(file, |file| {
            let old = match &mut old {
                Some(old) => old,
                none => none.insert(names(file, self.path, false)?),
            };
            while let Some(name) = old.last() {
                if Attribute::of_xattr(name).is_some() {
                    match xattr::remove(file, self.path, name) {
                        // Then nobody has set it: the server makes it up.
                        Err(e) if xattr::unsupported(&e) => {}
                        removed => removed?,
                    }
                }
                old.pop();
            }
            Ok(())
        });
        cleared.map_err(|e| Error::new("remove the old attributes of", self.dest, e))
    }

    /// All of these calls may be made twice.
    fn calling<T>(
        &self,
        file: &mut File,
        mut call: impl FnMut(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut is_stale = false;
        self.engine.retrying("set attributes of", self.path, || {
            if std::mem::take(&mut is_stale) {
                *file = (self.reopen)()?;
            }
            let made = call(file);
            is_stale = matches!(&made, Err(e) if is::stale(e));
            made
        })
    }
}

/// What is known before anything is made.
pub(crate) fn check(mount: &Mount, dest: &Path, attributes: &Attributes) -> Result<()> {
    // XATTR_LIST_MAX of linux/limits.h. Some file systems keep more, which nobody can list then.
    const NAMES: usize = 64 << 10;
    if attributes.is_empty() {
        return Ok(());
    }
    if !mount.xattrs.may() {
        return Err(has_none(mount, dest, io::ErrorKind::Unsupported.into()));
    }
    let names = attributes.iter().map(|(name, _)| name.xattr().len() + 1);
    let names = names.sum::<usize>();
    if names > NAMES {
        let e = io::Error::new(io::ErrorKind::InvalidInput, "too many attributes");
        return Err(Error::new("keep the attributes of", dest, e).hint(format!(
            "their names have {names} bytes, and a file's can have {NAMES}; nothing was published"
        )));
    }
    Ok(())
}

fn has_none(mount: &Mount, dest: &Path, e: io::Error) -> Error {
    let error = Error::new("keep the attributes of", dest, e)
        .kind_of(ErrorKind::NotImplemented)
        .hint(format!(
            "{} has no extended attributes (xattr(7)) to keep them in; nothing was written: write \
             without attributes, or to a mount that has them",
            mount.named()
        ));
    // One minor's error has no room for it.
    tracing::warn!(path = %dest.display(), error = %error, "attributes cannot be kept");
    error
}

fn refused(dest: &Path, name: &[u8], len: usize, e: io::Error) -> Error {
    let name = String::from_utf8_lossy(name);
    let hint = match xattr::too_large(&e) {
        true => format!(
            "{name}, a value of {len} bytes: more than the file system takes, or has room for. On \
             Linux a name has up to 255 bytes and a value up to 64 KiB; all of a file's together \
             have up to 4 KiB on ext4. Nothing was published"
        ),
        false => format!("{name}; nothing was published"),
    };
    Error::new("keep the attributes of", dest, e).hint(hint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_that_the_documentation_tells() {
        for (attribute, name) in [
            (Attribute::ContentType, "user.content-type"),
            (Attribute::ContentEncoding, "user.content-encoding"),
            (Attribute::ContentLanguage, "user.content-language"),
            (Attribute::ContentDisposition, "user.content-disposition"),
            (Attribute::CacheControl, "user.cache-control"),
            (Attribute::StorageClass, "user.storage-class"),
            (Attribute::Metadata("a key".into()), "user.X-Amz-Meta.a key"),
            (Attribute::Metadata(String::new()), "user.X-Amz-Meta."),
            (
                Attribute::Metadata("50%\0".into()),
                "user.X-Amz-Meta.50%25%00",
            ),
        ] {
            assert_eq!(String::from_utf8(attribute.xattr()).unwrap(), name);
            assert_eq!(Attribute::of_xattr(name.as_bytes()), Some(attribute));
        }
    }

    #[test]
    fn what_others_wrote_is_read_as_they_meant_it() {
        for (name, key) in [
            ("50%", "50%"),
            ("%41", "%41"),
            ("%0a", "%0a"),
            ("a%2", "a%2"),
        ] {
            let name = format!("user.X-Amz-Meta.{name}");
            let read = Attribute::of_xattr(name.as_bytes());
            assert_eq!(read, Some(Attribute::Metadata(key.into())));
        }
        for none in [
            "security.selinux",
            "user.DOSATTRIB",
            "user.content-typ",
            "content-type",
            "user.",
        ] {
            assert_eq!(Attribute::of_xattr(none.as_bytes()), None, "{none}");
        }
        assert_eq!(Attribute::of_xattr(b"user.X-Amz-Meta.\xff"), None);
    }

    proptest! {
        #[test]
        fn every_key_is_read_back_from_a_name_without_nul(key in any::<String>()) {
            let attribute = Attribute::Metadata(key);
            let name = attribute.xattr();
            prop_assert!(!name.contains(&0));
            prop_assert_eq!(Attribute::of_xattr(&name), Some(attribute));
        }
    }
}
