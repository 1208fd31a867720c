//! Reads and listings, the same for every minor of object_store.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use object_store_localfs_engine::{
    After, Depth, FileInfo, Keys, Listed, Lister, Reader, merged_ranges,
};

use super::attributes::kept;
use super::methods::stream::{self, BoxStream, StreamExt};
use super::path::Path;
use super::put_result::{e_tag, get_result, list_result};
use super::shared::{LocalFileSystem, blocking, on_pool, to_store_error};
use super::{GetOptions, GetResult, GetResultPayload, ListResult, ObjectMeta, Result};

/// How much of an object is read at a time where it is read by a stream of ours. Each costs a trip
/// to the blocking pool, and mounts that are no local disk answer requests of up to this size.
const CHUNK: u64 = 1 << 20;

/// How many objects are listed at a time on the blocking pool.
const BATCH: usize = 1024;

/// What becomes of a range that goes beyond the object's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It is cut, unless it begins there: object_store 0.12.
    #[allow(dead_code, reason = "one minor has one of them")]
    Cut,
    /// It is an error, unless it is empty: object_store since 0.13.
    #[allow(dead_code, reason = "one minor has one of them")]
    Refused,
}

impl LocalFileSystem {
    pub(super) async fn get_file(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = self.path_to_filesystem(location)?;
        let (engine, location) = (self.engine.clone(), location.clone());
        on_pool(move || {
            let reader = engine.open(path).and_then(Reader::object);
            let mut reader = reader.map_err(to_store_error)?;
            let meta = object_meta(location, reader.info());
            options.check_preconditions(&meta)?;
            let range = match options.range {
                Some(range) => range
                    .as_range(meta.size)
                    .map_err(|e| to_store_error(reader.refuse(e)))?,
                None => 0..meta.size,
            };
            let attributes = reader.attributes().map_err(to_store_error)?;
            let payload = match reader.is_native() {
                true => {
                    let (file, path) = reader.into_parts();
                    GetResultPayload::File(file, path)
                }
                false => GetResultPayload::Stream(chunks(reader, range.clone())),
            };
            Ok(get_result(payload, meta, range, kept(&attributes)))
        })
        .await
    }

    pub(super) async fn get_file_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
        beyond: Beyond,
    ) -> Result<Vec<Bytes>> {
        let path = self.path_to_filesystem(location)?;
        let (engine, mut ranges) = (self.engine.clone(), ranges.to_vec());
        blocking(move || {
            let in_order = ranges.iter().all(|range| range.start <= range.end);
            if beyond == Beyond::Refused && in_order {
                let fetched = merged_ranges(&ranges);
                if let Some(read) = engine.read_at_once(&path, &fetched) {
                    return read.map(|read| cut_out(&ranges, &fetched, read));
                }
            }
            let mut reader = engine.open(path)?;
            if beyond == Beyond::Cut {
                reader = reader.object()?;
                let size = reader.info().version.size;
                for range in &mut ranges {
                    if range.start >= size {
                        let e = format!("the range {range:?} begins at the end of {size} bytes");
                        return Err(reader.refuse(e));
                    }
                    range.end = range.end.min(size);
                }
            }
            if let Some(range) = ranges.iter().find(|range| range.start > range.end) {
                return Err(reader.refuse(format!("the range {range:?} ends before it starts")));
            }
            let fetched = merged_ranges(&ranges);
            let read = fetched.iter().map(|range| reader.read(range.clone()));
            let read = read.collect::<Result<Vec<_>, _>>()?;
            Ok(cut_out(&ranges, &fetched, read))
        })
        .await
    }

    pub(super) fn list_files(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = match self.listing(prefix, offset, Depth::All) {
            Ok(listing) => listing.filter_map(Listing::object),
            Err(e) => return stream::iter([Err(e)]).boxed(),
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return stream::iter(listing).boxed();
        }
        let start = (listing, VecDeque::new());
        let batches = stream::try_unfold(start, |(mut listing, mut batch)| async move {
            if batch.is_empty() {
                (listing, batch) = on_pool(move || {
                    for object in listing.by_ref().take(BATCH) {
                        // It ends the stream: what follows is not looked at for nothing.
                        let is_last = object.is_err();
                        batch.push_back(object);
                        if is_last {
                            break;
                        }
                    }
                    Ok((listing, batch))
                })
                .await?;
            }
            let next = batch.pop_front().transpose()?;
            Ok(next.map(|object| (object, (listing, batch))))
        });
        batches.boxed()
    }

    pub(super) async fn list_one_level(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listing = self.listing(prefix, None, Depth::One)?;
        on_pool(move || {
            let (mut prefixes, mut objects) = (Vec::new(), Vec::new());
            for met in listing {
                match met? {
                    Met::Prefix(prefix) => prefixes.push(prefix),
                    Met::Object(object) => objects.push(object),
                }
            }
            prefixes.sort_unstable();
            Ok(list_result(prefixes, objects))
        })
        .await
    }

    fn listing(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
        depth: Depth,
    ) -> Result<Listing> {
        let root = self.directory(&Path::default())?;
        let dir = match prefix {
            Some(prefix) => self.directory(prefix)?,
            None => root.clone(),
        };
        Ok(Listing {
            lister: self.engine.list(dir, depth),
            depth,
            root,
            offset: offset.cloned(),
        })
    }

    /// In the order of keys, of what is in the directory that `prefix` names.
    pub(super) fn listing_of_keys(
        &self,
        prefix: &Path,
        depth: Depth,
        keys: Keys,
    ) -> Result<Listing> {
        let dir = self.directory(prefix)?;
        Ok(Listing {
            lister: self.engine.list_keys(dir, depth, keys),
            depth,
            root: self.directory(&Path::default())?,
            offset: None,
        })
    }

    /// The directory that a prefix names: the one that its objects are in.
    fn directory(&self, prefix: &Path) -> Result<PathBuf> {
        let object: Path = prefix.parts().chain(["object".into()]).collect();
        let mut path = self.path_to_filesystem(&object)?;
        path.pop();
        Ok(path)
    }
}

fn object_meta(location: Path, info: FileInfo) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: info.modified.into(),
        size: info.version.size,
        e_tag: Some(e_tag(info.version)),
        version: None,
    }
}

fn chunks(reader: Reader, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let chunks = stream::try_unfold((reader, range), |(mut reader, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        blocking(move || {
            let end = range.end.min(range.start.saturating_add(CHUNK));
            let bytes = reader.read(range.start..end)?;
            Ok(Some((bytes.into(), (reader, end..range.end))))
        })
        .await
    });
    chunks.boxed()
}

/// The bytes of each of `ranges`, of what was `read` in the ranges `fetched`.
fn cut_out(ranges: &[Range<u64>], fetched: &[Range<u64>], read: Vec<Vec<u8>>) -> Vec<Bytes> {
    let read: Vec<Bytes> = read.into_iter().map(Bytes::from).collect();
    let part = |range: &Range<u64>| {
        if range.is_empty() {
            return Bytes::new();
        }
        // The last one that begins no later holds it.
        let nth = fetched.partition_point(|f| f.start <= range.start) - 1;
        let at = (range.start - fetched[nth].start) as usize;
        read[nth].slice(at..at + (range.end - range.start) as usize)
    };
    ranges.iter().map(part).collect()
}

/// A walk, told in objects.
pub(super) struct Listing {
    lister: Lister,
    depth: Depth,
    root: PathBuf,
    /// What is told comes after it.
    offset: Option<Path>,
}

pub(super) enum Met {
    Prefix(Path),
    Object(ObjectMeta),
}

impl Iterator for Listing {
    type Item = Result<Met>;

    fn next(&mut self) -> Option<Result<Met>> {
        loop {
            let listed = self.lister.next()?.map_err(to_store_error);
            match listed.and_then(|listed| self.meet(&listed)) {
                Ok(None) => {}
                Ok(Some(met)) => return Some(Ok(met)),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

impl Listing {
    /// In the order of keys: goes on after it.
    pub(super) fn skip_to(&mut self, after: After) {
        self.lister.skip_to(after);
    }

    fn object(met: Result<Met>) -> Option<Result<ObjectMeta>> {
        match met {
            Ok(Met::Prefix(_)) => None,
            Ok(Met::Object(object)) => Some(Ok(object)),
            Err(e) => Some(Err(e)),
        }
    }

    /// A file is looked at only if it is to be told. A name that no location can have is an error
    /// where upstream makes it one: wherever it compares locations, and of files.
    fn meet(&mut self, listed: &Listed) -> Result<Option<Met>> {
        let location = location_of(&self.root, listed.path());
        let location = match (location, &self.offset) {
            (Ok(location), Some(offset)) if location <= *offset => return Ok(None),
            (Err(e), Some(_)) => return Err(e),
            (location, _) => location,
        };
        if listed.is_dir() {
            return match self.depth {
                Depth::One => location.map(|prefix| Some(Met::Prefix(prefix))),
                Depth::All => Ok(None),
            };
        }
        if location.as_ref().is_ok_and(is_staging_file) {
            return Ok(None);
        }
        match self.lister.look(listed).map_err(to_store_error)? {
            Some(info) => Ok(Some(Met::Object(object_meta(location?, info)))),
            None => Ok(None),
        }
    }
}

/// The location of a file below `root`.
fn location_of(root: &FilePath, path: &FilePath) -> Result<Path> {
    // What converts is an absolute path, so the file system's root stands in for the store's.
    let top = root.ancestors().last().unwrap_or(root);
    let below = path.strip_prefix(root).unwrap_or(path);
    let location = Path::from_absolute_path(top.join(below))?;
    Ok(match cfg!(windows) {
        // The drive.
        true => location.parts().skip(1).collect(),
        false => location,
    })
}

/// Whether it is hidden, as upstream hides its own staging files: what follows the first `#` of the
/// name is digits.
fn is_staging_file(location: &Path) -> bool {
    let name = location.filename().unwrap_or_default();
    name.split_once('#')
        .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
