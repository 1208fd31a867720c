//! Multipart uploads that survive their process: all that is known of one is in files next to its
//! destination, so that any process that has its id goes on with it.
//!
//! | step | what is done |
//! | --- | --- |
//! | create | an empty file is published, the open marker |
//! | put a part | it is published as a file of its own; if the marker is gone by then it is removed |
//! | complete | the parts are copied to one file, the whole; the marker is renamed to a claim, which tells all of the whole; the whole is renamed to the destination; parts and then the claim are removed |
//! | abort | the marker is removed, then the rest |
//!
//! Of all who complete or abort an upload, in whichever process of whichever host, one moves the
//! marker away, and that decides. What a crash leaves after that tells what is still to be done:
//! a claim with its whole is to be published, and a claim without one was. That nothing else takes
//! a whole away which has a claim is what this rests on: an abort renames it first, and a sweep
//! removes the claim first. Where replies may be lost the host's lock is held as well, while it is
//! decided; two hosts that complete and abort one upload at the same moment may there both be told
//! that they did.
//!
//! A mount that cannot rename has no whole: the parts go to the destination in one pass, and a pass
//! that a crash ended is made again.

mod abort;
mod complete;
mod in_place;
pub(crate) mod names;

use std::io;
use std::path::Path;

use crate::advisory::{self, Locked};
use crate::error::{Error, ErrorKind, Result};
use crate::names::Naming;
use crate::place::Place;
use crate::publish::{self, Alone, Attempt, locked_by_others, until_done, warn_left_behind};
use crate::sys::{self, Stat, is};
use crate::upload::Upload;
use crate::{Attributes, Engine, Exclusion, Mode, Version, dirs, lock, observe};

use names::{Claim, Files, Id, Kind, Named, PartName};

/// A part of a multipart upload that is there whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartPart {
    /// Its place among the parts, from 0.
    pub index: usize,
    /// What [`Engine::put_part`] answered.
    pub id: String,
    /// In bytes.
    pub size: u64,
}

impl Engine {
    /// Begins a multipart upload to `dest`, and says its id: digits, which any process can go on
    /// with. Makes the directories that it needs. What is completed has the `attributes`.
    ///
    /// What is made of it stays until it is completed, aborted or swept.
    pub fn create_multipart(&self, dest: &Path, attributes: &Attributes) -> Result<String> {
        let engine = &self.for_operation();
        let id = Id::draw();
        let files = Files::of(dest, id);
        let upload = Resumable {
            engine,
            dest,
            files,
        };
        // A name that no object can have is better told now than when all parts are there.
        upload.look_at_destination()?;
        // In parts, so that it is learned now whether the mount renames.
        let open = upload.files.open();
        let open = Draft {
            path: &open,
            learns_rename: true,
            attributes,
        };
        open.put(engine, &upload.files, 0, std::iter::empty())?;
        Ok(id.to_text(dest))
    }

    /// Puts part `index` of the upload `id` to `dest`: `chunks`, `len` bytes in all. Says its id,
    /// digits by which [`Engine::complete_multipart`] knows just these bytes. With fsync it is
    /// durable then.
    ///
    /// An index may be put again. What was put before stays until the upload is over, and either
    /// may be named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the upload was completed or aborted, also meanwhile; the part is
    /// removed then.
    pub fn put_part<'a>(
        &self,
        dest: &Path,
        id: &str,
        index: usize,
        len: u64,
        chunks: impl Iterator<Item = &'a [u8]>,
    ) -> Result<String> {
        let engine = &self.for_operation();
        let upload = Resumable::find(engine, dest, id)?;
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        if index >= PartName::INDICES {
            let most = PartName::INDICES - 1;
            return Err(upload.refused("put a part of", format!("an index is at most {most}")));
        }
        upload.check_open()?;
        let part = PartName::draw(index, len);
        let path = upload.files.part(&part);
        let part_file = Draft {
            path: &path,
            learns_rename: false,
            attributes: &Attributes::NONE,
        };
        let put = part_file.put(engine, &upload.files, len, chunks);
        // Whoever completes or aborts it may have looked for parts before this one was there.
        if let Err(e) = upload.check_open() {
            upload.remove(&path);
            return Err(e);
        }
        put.map(|_| part.digits())
    }

    /// The parts of the upload `id` to `dest` that are there whole, by index, of one index the
    /// newest last as far as mtimes tell: for a program that lost what [`Engine::put_part`]
    /// answered. Reads the directory once and looks at each part.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the upload was completed or aborted.
    pub fn multipart_parts(&self, dest: &Path, id: &str) -> Result<Vec<MultipartPart>> {
        let engine = &self.for_operation();
        let upload = Resumable::find(engine, dest, id)?;
        if matches!(upload.state(None)?, State::Over) {
            return Err(upload.over());
        }
        let mut parts = Vec::new();
        for named in upload.list()? {
            let Named::Part(part) = named else { continue };
            let seen = upload.look(&upload.files.part(&part))?;
            if let Some(seen) = seen.filter(|seen| seen.size == part.len) {
                parts.push((part.index, seen.modified, part));
            }
        }
        parts.sort_by_key(|(index, modified, _)| (*index, *modified));
        let told = parts.into_iter().map(|(index, _, part)| MultipartPart {
            index: usize::try_from(index).unwrap_or(usize::MAX),
            id: part.digits(),
            size: part.len,
        });
        Ok(told.collect())
    }

    /// Publishes the named parts of the upload `id`, one after the other, as `dest`, and removes
    /// all that there is of the upload. The i-th id is one of part i; none make an empty object.
    ///
    /// Atomic, and at most once, however many processes call it, and over crashes. After a crash,
    /// or an error other than [`ErrorKind::NotFound`], it may be called again with the same parts:
    /// an object that was published and has been overwritten or deleted since does not come back,
    /// and the answer is the version that it was.
    ///
    /// On a mount that cannot rename the object is written in one pass, and a crash in that pass
    /// leaves a part of it until this is called again.
    ///
    /// Costs a copy of the data, which the kernel makes where it can, by sharing extents if the
    /// file system does; a read of the directory, and a few calls for each part.
    ///
    /// # Errors
    ///
    /// If a part is not there or not whole, which one; nothing has changed then. If an fsync lost
    /// data: what is not in place then can only be aborted, and what is may not survive a power
    /// failure, and is over.
    /// [`ErrorKind::NotFound`] if the upload was completed or aborted.
    pub fn complete_multipart(&self, dest: &Path, id: &str, parts: &[String]) -> Result<Version> {
        let engine = &self.for_operation();
        let upload = Resumable::find(engine, dest, id)?;
        upload.complete(&upload.named_parts(parts)?)
    }

    /// Ends the upload `id` to `dest` without an object, and removes all that there is of it.
    /// After a crash, or an error, it may be called again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it was over before, by another call or process that has completed
    /// or aborted it; what a crash left of it is removed then. Another error if it is completed and
    /// not yet over: [`Engine::complete_multipart`] is to be called again.
    ///
    /// With a `cleanup_root`, directories that this leaves empty are removed up to that root.
    pub fn abort_multipart(
        &self,
        dest: &Path,
        id: &str,
        cleanup_root: Option<&Path>,
    ) -> Result<()> {
        let engine = &self.for_operation();
        Resumable::find(engine, dest, id)?.abort()?;
        if let Some(root) = cleanup_root {
            dirs::remove_empty_parents(&self.for_operation(), dest, root);
        }
        Ok(())
    }
}

/// A file of an upload's own that is to be.
struct Draft<'a> {
    path: &'a Path,
    /// Before anything is written.
    learns_rename: bool,
    attributes: &'a Attributes,
}

impl Draft<'_> {
    /// Publishes it, as every file is published. Nobody updates it, so that nobody is to be excluded.
    fn put<'a>(
        &self,
        engine: &Engine,
        files: &Files,
        len: u64,
        chunks: impl Iterator<Item = &'a [u8]>,
    ) -> Result<()> {
        let engine = &Engine {
            update_exclusion: Exclusion::OtherThreads,
            ..engine.clone()
        };
        let naming = Naming::After(files.stem(Kind::Draft));
        let (path, attributes) = (self.path, self.attributes);
        let file = Upload::begin_named(engine, path, self.learns_rename, attributes, &naming)?;
        let part = file.part(len);
        part.writer().write(chunks)?;
        part.is_written();
        file.complete(Mode::Overwrite).map(|_| ())
    }
}

/// An upload that is named by a caller. It need not be there.
struct Resumable<'a> {
    engine: &'a Engine,
    dest: &'a Path,
    files: Files,
}

/// How far an upload is.
enum State {
    Open,
    /// It is being completed, or a crash has ended that.
    Claimed(Claim),
    /// Neither marker nor claim is there.
    Over,
}

impl<'a> Resumable<'a> {
    fn find(engine: &'a Engine, dest: &'a Path, id: &str) -> Result<Self> {
        let parsed = Id::parse(id, dest).map_err(|why| {
            let e = io::Error::new(io::ErrorKind::InvalidInput, format!("{why}: `{id}`"));
            Error::new("find the upload to", dest, e)
        })?;
        let files = Files::of(dest, parsed);
        Ok(Self {
            engine,
            dest,
            files,
        })
    }

    fn over(&self) -> Error {
        let e = io::Error::new(io::ErrorKind::NotFound, "no such upload");
        Error::new("find the upload to", self.dest, e)
            .kind_of(ErrorKind::NotFound)
            .hint("it was completed or aborted, or never begun")
    }

    fn refused(&self, step: &'static str, why: String) -> Error {
        Error::new(step, self.dest, io::Error::other(why))
    }

    fn look(&self, path: &Path) -> Result<Option<Stat>> {
        observe::look(&self.engine.for_operation(), path)
            .map_err(|e| Error::new("look at", path, e))
    }

    fn look_at_destination(&self) -> Result<Option<Stat>> {
        match self.look(self.dest)? {
            Some(now) if now.is_dir => {
                let e = io::Error::from(io::ErrorKind::IsADirectory);
                Err(Error::new("upload to", self.dest, e))
            }
            now => Ok(now),
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.look(&self.files.open())? {
            Some(_) => Ok(()),
            None => Err(self.over()),
        }
    }

    /// Where nothing renames there may be several claims: of `parts` then, if one is.
    fn state(&self, parts: Option<u64>) -> Result<State> {
        if self.look(&self.files.open())?.is_some() {
            return Ok(State::Open);
        }
        let claims = self.list()?.into_iter().filter_map(|named| match named {
            Named::Claim(claim) => Some(claim),
            _ => None,
        });
        let claim = claims.max_by_key(|c| (!c.is_in_place(), Some(c.parts) == parts));
        Ok(claim.map_or(State::Over, State::Claimed))
    }

    /// All that is there of it.
    fn list(&self) -> Result<Vec<Named>> {
        let dir = self.files.dir();
        let entries = self
            .engine
            .rereading_one("read directory", dir, || sys::read_dir(dir));
        let entries = match entries {
            Err(e) if is::absent(&e) => Vec::new(),
            entries => entries.map_err(|e| Error::new("read directory", dir, e))?,
        };
        let named = |entry: sys::DirEntry| self.files.read(&entry.name);
        Ok(entries.into_iter().filter_map(named).collect())
    }

    fn alone_at(&'a self, place: &'a Place) -> Alone<'a> {
        Alone {
            engine: self.engine,
            dest: self.dest,
            place,
            mode: Mode::Overwrite,
        }
    }

    /// Those that one of its files carries for the object.
    fn attributes_of(&self, path: &Path) -> Result<Attributes> {
        self.engine.open(path.to_owned())?.attributes_to_carry()
    }

    fn locate(&self) -> Result<Place> {
        let engine = &self.engine.for_operation();
        let place = engine.locate(self.dest);
        place.map_err(|e| Error::new("look at the directory of", self.dest, e))
    }

    fn locate_if_there(&self) -> Result<Option<Place>> {
        match self.locate() {
            Err(e) if is::absent(e.io_error()) => Ok(None),
            place => place.map(Some),
        }
    }

    /// Does what decides about the upload while nobody else of this host does, where replies may be
    /// lost: who has moved the marker away is then told by what was there before. Pauses included.
    fn alone<T>(&self, place: &Place, mut decide: impl FnMut() -> Result<T>) -> Result<T> {
        if place.mount.is_native() {
            return decide();
        }
        until_done(self.engine, || {
            let busy = || Ok(Attempt::Busy(locked_by_others(self.dest)));
            let _path = lock::lock(place.key());
            let _others = match advisory::try_lock_name(self.dest, place)? {
                Locked::Busy => return busy(),
                Locked::Yes(lock) => Some(lock),
                Locked::Unavailable => None,
            };
            decide().map(Attempt::Done)
        })
    }

    /// Removes one of its files, if that is there. What cannot be removed stays hidden.
    fn remove(&self, path: &Path) {
        if let Err(e) = publish::remove(&self.engine.for_operation(), path) {
            warn_left_behind(path, &e);
        }
    }
}
