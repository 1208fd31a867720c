//! The requests. Each is counted, judged by the rules, passed through, and answered.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use super::fault::Op;
use super::inodes::{Entry, Inodes, Node, open};
use super::recipe::Recipe;
use super::rules::{Rules, Verdict};
use super::{attr, lock, sys};

/// Every node is new to the kernel when it is told of it; see `inodes.rs`.
const GENERATION: Generation = Generation(0);

/// Beyond the inode numbers of any backing directory.
const FIRST_SHOWN_INO: u64 = 1 << 48;

#[derive(Debug)]
pub(super) struct PassThrough {
    recipe: Recipe,
    rules: Arc<Rules>,
    inodes: Inodes,
    files: Handles<OpenFile>,
    dirs: Handles<OpenDir>,
    next_shown_ino: AtomicU64,
}

#[derive(Debug)]
struct OpenFile {
    node: Arc<Node>,
    file: File,
    writes: bool,
    /// How far it has been written by this handle, where writes are sequential.
    written: Mutex<u64>,
}

#[derive(Debug)]
struct OpenDir {
    node: Arc<Node>,
    /// As it was when the reading began; a listing does not shift under its reader.
    entries: Mutex<Vec<DirEntry>>,
}

#[derive(Debug)]
struct DirEntry {
    ino: u64,
    kind: FileType,
    name: OsString,
}

impl PassThrough {
    pub(super) fn new(backing: &Path, recipe: Recipe, rules: Arc<Rules>) -> io::Result<Self> {
        Ok(PassThrough {
            recipe,
            rules,
            inodes: Inodes::new(backing)?,
            files: Handles::default(),
            dirs: Handles::default(),
            next_shown_ino: AtomicU64::new(FIRST_SHOWN_INO),
        })
    }

    /// Counts a request, lets it wait as long as it must, and says what becomes of it.
    ///
    /// Nothing is locked meanwhile.
    fn begin(&self, op: Op, names: &[&OsStr]) -> Verdict {
        let names = names.iter().map(|n| n.to_string_lossy().into_owned());
        let verdict = self.rules.judge(op, names.collect());
        let wait = self.recipe.latency + verdict.late;
        if !wait.is_zero() {
            sleep(wait);
        }
        verdict
    }

    /// The same, for a request on a node. Its name is for the rules alone: one is good enough.
    fn begin_on(&self, op: Op, id: INodeNo) -> (Verdict, io::Result<Arc<Node>>) {
        let node = self.inodes.find(id.0);
        let name = node.as_ref().map(|node| node.name()).unwrap_or_default();
        (self.begin(op, &[&name]), node)
    }

    /// Finds a file by name. What a rename took away is back.
    fn look_up(&self, dir: &Node, name: &OsStr) -> io::Result<Entry<'_>> {
        let entry = self.inodes.enter(dir, name)?;
        let mut state = entry.node().state();
        state.lost_by_rename = false;
        if self.recipe.inodes_change {
            state.shown_ino = self.next_shown_ino.fetch_add(1, Relaxed);
        }
        drop(state);
        Ok(entry)
    }

    /// What `stat` is told of a node, by path or handle.
    fn stat(&self, node: &Node) -> io::Result<FileAttr> {
        if node.state().lost_by_rename {
            return Err(errno(libc::ENOENT));
        }
        attr::shown(node, &self.recipe)
    }

    /// What a lookup is told: the inode number there is the node's id.
    fn stat_entry(&self, entry: &Entry<'_>) -> io::Result<FileAttr> {
        let node = entry.node();
        let ino = INodeNo(node.id);
        attr::shown(node, &self.recipe).map(|attr| FileAttr { ino, ..attr })
    }

    fn reply_entry(&self, reply: ReplyEntry, found: io::Result<Entry<'_>>) {
        match found.and_then(|entry| Ok((self.stat_entry(&entry)?, entry))) {
            Ok((attr, entry)) => {
                entry.hand_over();
                reply.entry(&self.recipe.ttl(), &attr, GENERATION);
            }
            Err(e) => reply.error(e.into()),
        }
    }

    /// How a file is opened: past the page cache, or each read and write would be cached.
    fn open_flags(&self) -> FopenFlags {
        match self.recipe.caches() {
            true => FopenFlags::empty(),
            false => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
        }
    }

    fn refuse_reading_and_writing(&self, flags: i32) -> io::Result<()> {
        match self.recipe.sequential_writes && flags & libc::O_ACCMODE == libc::O_RDWR {
            true => Err(errno(libc::EINVAL)),
            false => Ok(()),
        }
    }

    fn with_xattrs(&self, node: io::Result<Arc<Node>>) -> io::Result<Arc<Node>> {
        match self.recipe.xattr_errno {
            Some(refusal) => Err(errno(refusal)),
            None => node,
        }
    }

    fn rename_or_refuse(
        &self,
        (from, name): (&Node, &OsStr),
        (to, new_name): (&Node, &OsStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        let refusal = match flags.is_empty() {
            true => self.recipe.rename_errno,
            false => self.recipe.rename_flags_errno.or(self.recipe.rename_errno),
        };
        if let Some(refusal) = refusal {
            return Err(errno(refusal));
        }
        // Marked before: a lookup of the new name may come as soon as it is there, and finds the
        // file for good.
        let moved = self.inodes.known(from, name);
        let is_file = |node: &Arc<Node>| node.metadata().is_ok_and(|m| m.is_file());
        let loses = self.recipe.rename_loses_handles && moved.as_ref().is_some_and(is_file);
        if let Some(moved) = &moved {
            moved.state().lost_by_rename |= loses;
        }
        let done = sys::rename(&from.at(name), &to.at(new_name), flags.bits());
        if let Some(moved) = &moved {
            let mut state = moved.state();
            match done {
                Ok(()) => new_name.clone_into(&mut state.name),
                Err(_) => state.lost_by_rename &= !loses,
            }
        }
        done
    }
}

impl Filesystem for PassThrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            // Lookups and listings of one directory at the same time.
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Or the kernel asks for `security.capability` before each write.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            // Cached data goes when the mtime says so.
            InitFlags::FUSE_AUTO_INVAL_DATA,
        ];
        for flag in wanted {
            // An old kernel does without.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let verdict = self.begin(Op::Lookup, &[name]);
        let found = verdict.run(|| self.look_up(&*self.inodes.find(parent.0)?, name));
        self.reply_entry(reply, found);
    }

    fn forget(&self, _: &Request, id: INodeNo, lookups: u64) {
        self.inodes.forget(id.0, lookups);
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let (verdict, node) = self.begin_on(Op::Getattr, id);
        match verdict.run(|| self.stat(&*node?)) {
            Ok(attr) => reply.attr(&self.recipe.ttl(), &attr),
            Err(e) => reply.error(e.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        id: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (verdict, node) = self.begin_on(Op::Setattr, id);
        let done = verdict.run(|| {
            let node = node?;
            // A handle that lost its file cannot change it either.
            self.stat(&node)?;
            if uid.is_some() || gid.is_some() {
                std::os::unix::fs::chown(node.path(), uid, gid)?;
            }
            if let Some(mode) = mode {
                fs::set_permissions(node.path(), Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                if self.recipe.sequential_writes && size > 0 {
                    return Err(errno(libc::EINVAL));
                }
                attr::hold_still(&node, &self.recipe)?;
                node.open(libc::O_WRONLY)?.set_len(size)?;
            }
            if atime.is_some() || mtime.is_some() {
                let file = node.open(libc::O_RDONLY | libc::O_NONBLOCK)?;
                file.set_times(file_times(atime, mtime))?;
            }
            // The kernel sets the mtime along with a size; then it is not set by hand.
            if mtime.is_some() && size.is_none() {
                node.state().unsettled = None;
            }
            self.stat(&node)
        });
        match done {
            Ok(attr) => reply.attr(&self.recipe.ttl(), &attr),
            Err(e) => reply.error(e.into()),
        }
    }

    fn readlink(&self, _: &Request, id: INodeNo, reply: ReplyData) {
        let (verdict, node) = self.begin_on(Op::Readlink, id);
        match verdict.run(|| node?.target()) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(e.into()),
        }
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let verdict = self.begin(Op::Symlink, &[name]);
        let made = verdict.run(|| {
            let dir = self.inodes.find(parent.0)?;
            std::os::unix::fs::symlink(target, dir.at(name))?;
            give(&dir.at(name), request)?;
            self.look_up(&dir, name)
        });
        self.reply_entry(reply, made);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let verdict = self.begin(Op::Mkdir, &[name]);
        let made = verdict.run(|| {
            let dir = self.inodes.find(parent.0)?;
            fs::DirBuilder::new().mode(mode).create(dir.at(name))?;
            give(&dir.at(name), request)?;
            self.look_up(&dir, name)
        });
        self.reply_entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let verdict = self.begin(Op::Unlink, &[name]);
        let remove = || fs::remove_file(self.inodes.find(parent.0)?.at(name));
        answer(reply, verdict.run_unless_lost(remove));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let verdict = self.begin(Op::Rmdir, &[name]);
        let remove = || fs::remove_dir(self.inodes.find(parent.0)?.at(name));
        answer(reply, verdict.run_unless_lost(remove));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let verdict = self.begin(Op::Rename, &[name, new_name]);
        if !flags.is_empty() {
            self.rules.saw_rename_with_flags();
        }
        let rename = || {
            let from = self.inodes.find(parent.0)?;
            let to = self.inodes.find(new_parent.0)?;
            self.rename_or_refuse((&from, name), (&to, new_name), flags)
        };
        answer(reply, verdict.run_unless_lost(rename));
    }

    fn link(
        &self,
        _: &Request,
        id: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let node = self.inodes.find(id.0);
        let name = node.as_ref().map(|node| node.name()).unwrap_or_default();
        let verdict = self.begin(Op::Link, &[&name, new_name]);
        let made = verdict.run(|| {
            if let Some(refusal) = self.recipe.link_errno {
                return Err(errno(refusal));
            }
            let dir = self.inodes.find(new_parent.0)?;
            sys::link(&node?.path(), &dir.at(new_name))?;
            self.look_up(&dir, new_name)
        });
        self.reply_entry(reply, made);
    }

    fn open(&self, _: &Request, id: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (verdict, node) = self.begin_on(Op::Open, id);
        let opened = verdict.run(|| {
            self.refuse_reading_and_writing(flags.0)?;
            let node = node?;
            let file = node.open(flags.0)?;
            Ok(OpenFile::new(node, file, flags.0))
        });
        match opened {
            Ok(file) => reply.opened(self.files.add(file), self.open_flags()),
            Err(e) => reply.error(e.into()),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let verdict = self.begin(Op::Create, &[name]);
        let made = verdict.run(|| {
            self.refuse_reading_and_writing(flags)?;
            let dir = self.inodes.find(parent.0)?;
            let path = dir.at(name);
            let file = open(&path, flags | libc::O_CREAT | libc::O_NOFOLLOW, mode)?;
            give(&path, request)?;
            let entry = self.look_up(&dir, name)?;
            Ok((self.stat_entry(&entry)?, file, entry))
        });
        match made {
            Ok((attr, file, entry)) => {
                let file = OpenFile::new(entry.hand_over(), file, flags);
                let (ttl, handle) = (self.recipe.ttl(), self.files.add(file));
                reply.created(&ttl, &attr, GENERATION, handle, self.open_flags());
            }
            Err(e) => reply.error(e.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        id: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (verdict, _) = self.begin_on(Op::Read, id);
        let read = || read_up_to(&self.files.get(handle)?.file, offset, size as usize);
        match verdict.run(read) {
            Ok(data) => reply.data(&data),
            Err(e) => reply.error(e.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        id: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (verdict, _) = self.begin_on(Op::Write, id);
        let written = verdict.run(|| {
            let open = self.files.get(handle)?;
            attr::hold_still(&open.node, &self.recipe)?;
            open.write(verdict.kept(data), offset, &self.recipe)
        });
        match written {
            // All of it, whatever was kept: that is what a lost write is.
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(e.into()),
        }
    }

    fn flush(&self, _: &Request, id: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let (verdict, _) = self.begin_on(Op::Flush, id);
        let close = || self.files.get(handle)?.settle(&self.recipe);
        answer(reply, verdict.run_unless_lost(close));
    }

    fn fsync(&self, _: &Request, id: INodeNo, handle: FileHandle, data: bool, reply: ReplyEmpty) {
        let (verdict, _) = self.begin_on(Op::Fsync, id);
        let sync = || sync(&self.files.get(handle)?.file, data);
        answer(reply, verdict.run_unless_lost(sync));
    }

    fn release(
        &self,
        _: &Request,
        id: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let (verdict, _) = self.begin_on(Op::Release, id);
        // There is one release for each open, whatever is answered: the handle must go.
        let open = self.files.remove(handle);
        answer(reply, verdict.run(|| open?.settle(&self.recipe)));
    }

    fn opendir(&self, _: &Request, id: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let (verdict, node) = self.begin_on(Op::Opendir, id);
        match verdict.run(|| node) {
            Ok(node) => {
                let entries = Mutex::default();
                let handle = self.dirs.add(OpenDir { node, entries });
                reply.opened(handle, FopenFlags::empty());
            }
            Err(e) => reply.error(e.into()),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        id: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let (verdict, _) = self.begin_on(Op::Readdir, id);
        let filled = verdict.run(|| {
            let dir = self.dirs.get(handle)?;
            let mut entries = lock(&dir.entries);
            if offset == 0 {
                *entries = self.list(&dir.node)?;
            }
            // An offset is where to go on: the number of entries before.
            for (before, entry) in entries.iter().enumerate().skip(offset as usize) {
                let next = before as u64 + 1;
                if reply.add(INodeNo(entry.ino), next, entry.kind, &entry.name) {
                    break;
                }
            }
            Ok(())
        });
        match filled {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e.into()),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        id: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let (verdict, _) = self.begin_on(Op::Releasedir, id);
        let closed = self.dirs.remove(handle).map(drop);
        answer(reply, verdict.run(|| closed));
    }

    fn fsyncdir(&self, _: &Request, id: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        let (verdict, node) = self.begin_on(Op::Fsyncdir, id);
        let sync = || sync(&node?.open(libc::O_RDONLY)?, data);
        answer(reply, verdict.run_unless_lost(sync));
    }

    fn statfs(&self, _: &Request, id: INodeNo, reply: ReplyStatfs) {
        let (verdict, node) = self.begin_on(Op::Statfs, id);
        match verdict.run(|| sys::statvfs(&node?.path())) {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                s.f_namemax as u32,
                s.f_frsize as u32,
            ),
            Err(e) => reply.error(e.into()),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        id: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (verdict, node) = self.begin_on(Op::Setxattr, id);
        let set = || sys::setxattr(&self.with_xattrs(node)?.path(), name, value, flags);
        answer(reply, verdict.run_unless_lost(set));
    }

    fn getxattr(&self, _: &Request, id: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (verdict, node) = self.begin_on(Op::Getxattr, id);
        let get = || sys::getxattr(&self.with_xattrs(node)?.path(), name, room(size));
        answer_xattr(reply, verdict.run(get));
    }

    fn listxattr(&self, _: &Request, id: INodeNo, size: u32, reply: ReplyXattr) {
        let (verdict, node) = self.begin_on(Op::Listxattr, id);
        let list = || sys::listxattr(&self.with_xattrs(node)?.path(), room(size));
        answer_xattr(reply, verdict.run(list));
    }

    fn removexattr(&self, _: &Request, id: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (verdict, node) = self.begin_on(Op::Removexattr, id);
        let remove = || sys::removexattr(&self.with_xattrs(node)?.path(), name);
        answer(reply, verdict.run_unless_lost(remove));
    }

    // Locks are not here on purpose: the kernel then keeps them itself. Nor are fallocate,
    // copy_file_range and lseek: it then says that there is none, or reads and writes.
}

impl PassThrough {
    fn list(&self, dir: &Node) -> io::Result<Vec<DirEntry>> {
        let special = |name: &str| DirEntry {
            ino: dir.id,
            kind: FileType::Directory,
            name: name.into(),
        };
        let mut entries = vec![special("."), special("..")];
        for entry in fs::read_dir(dir.path())? {
            let entry = entry?;
            entries.push(DirEntry {
                ino: entry.ino(),
                kind: FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile),
                name: entry.file_name(),
            });
        }
        Ok(entries)
    }
}

impl OpenFile {
    fn new(node: Arc<Node>, file: File, flags: i32) -> OpenFile {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        OpenFile {
            node,
            file,
            writes,
            written: Mutex::new(0),
        }
    }

    /// Writes where the mount lets it.
    fn write(&self, data: &[u8], offset: u64, recipe: &Recipe) -> io::Result<()> {
        if !recipe.sequential_writes {
            return self.file.write_all_at(data, offset);
        }
        let mut written = lock(&self.written);
        if offset != *written || offset != self.file.metadata()?.len() {
            return Err(errno(libc::EINVAL));
        }
        self.file.write_all_at(data, offset)?;
        *written += data.len() as u64;
        Ok(())
    }

    fn settle(&self, recipe: &Recipe) -> io::Result<()> {
        match self.writes {
            true => attr::settle(&self.node, &self.file, recipe),
            false => Ok(()),
        }
    }
}

/// What is open, by the number that the kernel calls it by.
#[derive(Debug)]
struct Handles<T> {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Handles {
            next: AtomicU64::new(1),
            open: Mutex::default(),
        }
    }
}

impl<T> Handles<T> {
    fn add(&self, open: T) -> FileHandle {
        let handle = self.next.fetch_add(1, Relaxed);
        lock(&self.open).insert(handle, Arc::new(open));
        FileHandle(handle)
    }

    fn get(&self, handle: FileHandle) -> io::Result<Arc<T>> {
        lock(&self.open)
            .get(&handle.0)
            .cloned()
            .ok_or_else(|| errno(libc::EBADF))
    }

    fn remove(&self, handle: FileHandle) -> io::Result<Arc<T>> {
        lock(&self.open)
            .remove(&handle.0)
            .ok_or_else(|| errno(libc::EBADF))
    }
}

fn answer(reply: ReplyEmpty, done: io::Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e.into()),
    }
}

fn answer_xattr(reply: ReplyXattr, found: io::Result<sys::Xattr>) {
    match found {
        Ok(sys::Xattr::Size(size)) => reply.size(size as u32),
        Ok(sys::Xattr::Data(data)) => reply.data(&data),
        Err(e) => reply.error(e.into()),
    }
}

/// The kernel asks for the size of an xattr with no room for it.
fn room(size: u32) -> Option<usize> {
    (size > 0).then_some(size as usize)
}

/// What a user makes is the user's, though root makes it here.
fn give(path: &Path, request: &Request) -> io::Result<()> {
    match request.uid() {
        0 => Ok(()),
        uid => std::os::unix::fs::lchown(path, Some(uid), Some(request.gid())),
    }
}

fn file_times(atime: Option<TimeOrNow>, mtime: Option<TimeOrNow>) -> FileTimes {
    let time = |time| match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    };
    let mut times = FileTimes::new();
    if let Some(atime) = atime {
        times = times.set_accessed(time(atime));
    }
    if let Some(mtime) = mtime {
        times = times.set_modified(time(mtime));
    }
    times
}

/// Fewer bytes mean the end of the file, so a short read of the backing file will not do.
fn read_up_to(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    data.truncate(filled);
    Ok(data)
}

fn sync(file: &File, data: bool) -> io::Result<()> {
    match data {
        true => file.sync_data(),
        false => file.sync_all(),
    }
}

fn errno(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
