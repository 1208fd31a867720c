//! Listings by the page, the same for every minor of object_store.

use object_store_localfs_engine::{After, Depth, Keys};

use super::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use super::path::Path;
use super::put_result::list_result;
use super::read::Met;
use super::shared::{LocalFileSystem, on_pool};
use super::{Error, Result};

/// What a page holds unless it is asked for another number: as many as S3's.
const MAX_KEYS: usize = 1000;

/// A listing by the page. Everything is in the order of the keys (locations, as strings), byte by
/// byte as on S3: `a-b`, `a.b`, `a/b`. What is listed is what `list` lists, or with the delimiter
/// `/` what `list_with_delimiter` does.
///
/// - `prefix` is the beginning of a key, and no delimiter is added: `fo` finds `foo/x` and `fob`.
///   What no key begins with, such as `../`, finds nothing.
/// - `delimiter` is any string; an empty one is none. What has it behind the prefix is told as a
///   common prefix, up to and with the first one, which as a `Path` has no `/` at its end. With `/`
///   no directory is entered, and an empty one is a common prefix too.
/// - `offset` is a key, there or not: what comes after it is told. With the delimiter `/` the
///   directory that it lies in still is. Given with a token, the later one counts.
/// - `max_keys` counts objects and common prefixes, 1,000 if it is not given. None asked for are none
///   given, and no token.
/// - `page_token` names what was told last, and the next page begins right after it, also when that
///   is gone: what is there all the time is told once, whatever else comes and goes. No token says
///   that nothing follows. Tokens are plain text, hold for any store of the same directory, with any
///   other options too, and do not expire.
///
/// # Errors
///
/// Those of listings; and `Generic` for a token that no page has told, and for a common prefix that
/// is no location, such as `..` with the delimiter `.`.
///
/// # Costs
///
/// The directories on the way to the page and those that it spans are read, names only, and kept in
/// memory one below the other. Only the files that are told are looked at, the one that follows, and
/// symlinks between them.
#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl PaginatedListStore for LocalFileSystem {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        opts: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let prefix = prefix.unwrap_or_default().to_owned();
        let token = opts.page_token.as_deref().map(from_token).transpose()?;
        let after = match (opts.offset.map(After::Key), token) {
            (Some(offset), Some(token)) => Some(offset.later(token)),
            (offset, token) => offset.or(token),
        };
        let max_keys = opts.max_keys.unwrap_or(MAX_KEYS);
        let delimiter = opts.delimiter.filter(|delimiter| !delimiter.is_empty());
        let depth = match delimiter.as_deref() {
            Some("/") => Depth::One,
            _ => Depth::All,
        };
        let dir = directory_of(&prefix).filter(|_| max_keys > 0);
        let Some((dir, location)) = dir else {
            return Ok(page(Vec::new(), Vec::new(), None));
        };
        let keys = Keys {
            dir: dir.to_owned(),
            prefix: prefix.clone(),
            after,
        };
        let mut listing = self.listing_of_keys(&location, depth, keys)?;

        on_pool(move || {
            let (mut prefixes, mut objects, mut last) = (Vec::new(), Vec::new(), None);
            while let Some(met) = listing.next() {
                if prefixes.len() + objects.len() == max_keys {
                    // An object or an error: the next page's.
                    return Ok(page(prefixes, objects, last));
                }
                last = Some(match met? {
                    Met::Prefix(dir) => {
                        let after = After::Prefix(format!("{dir}/"));
                        prefixes.push(dir);
                        after
                    }
                    Met::Object(object) => {
                        let key = object.location.as_ref();
                        match common_prefix(key, &prefix, delimiter.as_deref()) {
                            Some(common) => {
                                let after = After::Prefix(common.to_owned());
                                prefixes.push(location_of_prefix(common)?);
                                listing.skip_to(after.clone());
                                after
                            }
                            None => {
                                let after = After::Key(key.to_owned());
                                objects.push(object);
                                after
                            }
                        }
                    }
                });
            }
            Ok(page(prefixes, objects, None))
        })
        .await
    }
}

fn page(
    prefixes: Vec<Path>,
    objects: Vec<super::ObjectMeta>,
    last: Option<After>,
) -> PaginatedListResult {
    PaginatedListResult {
        result: list_result(prefixes, objects),
        page_token: last.map(to_token),
    }
}

/// The directory that all keys with this prefix are in, as the keys in it begin and as a location;
/// `None` if there can be no such keys.
fn directory_of(prefix: &str) -> Option<(&str, Path)> {
    let Some(slash) = prefix.rfind('/') else {
        return Some(("", Path::default()));
    };
    let dir = &prefix[..slash];
    // Windows would take it for a separator, and lead anywhere.
    if dir.is_empty() || (cfg!(windows) && dir.contains('\\')) {
        return None;
    }
    let location = Path::parse(dir).ok()?;
    // What was taken away are slashes that no key has.
    (location.as_ref() == dir).then_some((&prefix[..=slash], location))
}

fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter?;
    let at = key.strip_prefix(prefix)?.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

fn location_of_prefix(common: &str) -> Result<Path> {
    Path::parse(common).map_err(|e| {
        let e =
            format!("the common prefix {common:?} is no location; choose another delimiter: {e}");
        generic(e)
    })
}

// What a token begins with: a key or a common prefix was told last.
const KEY: &str = "after:";
const PREFIX: &str = "after-all-of:";

fn to_token(last: After) -> String {
    match last {
        After::Key(key) => format!("{KEY}{key}"),
        After::Prefix(prefix) => format!("{PREFIX}{prefix}"),
    }
}

fn from_token(token: &str) -> Result<After> {
    let after = |word| token.strip_prefix(word).filter(|it| !it.is_empty());
    match (after(KEY), after(PREFIX)) {
        (Some(key), _) => Ok(After::Key(key.to_owned())),
        (_, Some(prefix)) => Ok(After::Prefix(prefix.to_owned())),
        _ => Err(generic(format!(
            "{token:?} is no page token of this store; pass on the one of the page before, or none \
             to begin"
        ))),
    }
}

fn generic(e: String) -> Error {
    Error::Generic {
        store: "LocalFileSystem",
        source: e.into(),
    }
}
