//! What `stat` is told.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use super::inodes::{Node, Settled};
use super::recipe::Recipe;

/// By how much the mtime moves at close, at least: several ticks of any kernel's clock.
const MOVE_AT_CLOSE: Duration = Duration::from_millis(10);

/// The attributes of a node, as the recipe has them shown.
///
/// Their inode number is the one for `stat`; a reply to a lookup must carry the node's id instead,
/// which the kernel tells nodes apart by.
pub(super) fn shown(node: &Node, recipe: &Recipe) -> io::Result<FileAttr> {
    let state = node.state();
    let mut attr = real(&node.metadata()?);
    attr.ino = INodeNo(state.shown_ino);
    if let Some(settled) = state.unsettled {
        if recipe.mtime_settles_at_close {
            attr.mtime = settled.mtime;
        }
        if recipe.size_settles_at_close {
            attr.size = settled.size;
        }
    }
    for time in [&mut attr.atime, &mut attr.mtime, &mut attr.ctime] {
        *time = cut_down(*time, recipe.time_step);
    }
    Ok(attr)
}

/// Before a file is changed: what it looks like now is what is shown until it is closed.
pub(super) fn hold_still(node: &Node, recipe: &Recipe) -> io::Result<()> {
    if !recipe.mtime_settles_at_close && !recipe.size_settles_at_close {
        return Ok(());
    }
    let mut state = node.state();
    if state.unsettled.is_none() {
        let now = node.metadata()?;
        state.unsettled = Some(Settled {
            mtime: now.modified()?,
            size: now.len(),
        });
    }
    Ok(())
}

/// When a writer closes: the truth comes out, and the mtime has moved.
pub(super) fn settle(node: &Node, writer: &File, recipe: &Recipe) -> io::Result<()> {
    let mut state = node.state();
    let Some(before) = state.unsettled.take() else {
        return Ok(());
    };
    let moved = before.mtime + MOVE_AT_CLOSE.max(recipe.time_step);
    if recipe.mtime_settles_at_close && writer.metadata()?.modified()? < moved {
        writer.set_modified(moved)?;
    }
    Ok(())
}

fn real(file: &Metadata) -> FileAttr {
    FileAttr {
        ino: INodeNo(file.ino()),
        size: file.size(),
        blocks: file.blocks(),
        atime: time(file.atime(), file.atime_nsec()),
        mtime: time(file.mtime(), file.mtime_nsec()),
        ctime: time(file.ctime(), file.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(file.file_type()).unwrap_or(FileType::RegularFile),
        perm: (file.mode() & 0o7777) as u16,
        nlink: file.nlink() as u32,
        uid: file.uid(),
        gid: file.gid(),
        rdev: file.rdev() as u32,
        blksize: file.blksize() as u32,
        flags: 0,
    }
}

/// The two numbers of a `timespec`: seconds of either sign, nanoseconds counted upwards from them.
fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => UNIX_EPOCH - whole,
        false => UNIX_EPOCH + whole,
    };
    second + Duration::from_nanos(nanoseconds.unsigned_abs())
}

fn cut_down(time: SystemTime, step: Duration) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) if !step.is_zero() => {
            time - Duration::from_nanos((since.as_nanos() % step.as_nanos()) as u64)
        }
        _ => time,
    }
}
