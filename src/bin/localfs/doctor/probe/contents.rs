//! What a file holds: how it gets there, how it stays, how it is copied.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Answer, Asked, No, Said, Yes, read, write, yes_if_ok};
use crate::doctor::sys;

const BLOCK: usize = 4096;

/// The third block, the first, the second: parts of an upload come in any order.
pub(super) fn random_writes(dir: &Path) -> Asked {
    let path = dir.join("file");
    let file = sys::create_new(&path).said("create")?;
    for (block, letter) in [(2, b'c'), (0, b'a'), (1, b'b')] {
        let at = (block * BLOCK) as u64;
        if let Err(error) = file.write_all_at(&[letter; BLOCK], at).said("pwrite") {
            return Ok((No, format!("{error}, at {at}")));
        }
    }
    // An error at close is one of the writes.
    drop(file);
    let whole = ["a", "b", "c"].map(|letter| letter.repeat(BLOCK)).concat();
    Ok(match read(&path)? == whole {
        true => (Yes, "pwrite: ok, the last of three blocks first".into()),
        false => (No, "pwrite: ok, but something else is read".into()),
    })
}

pub(super) fn file_sync(dir: &Path) -> Asked {
    let path = dir.join("file");
    write(&path, "synced")?;
    let file = File::options().write(true).open(&path).said("open")?;
    yes_if_ok("fsync", file.sync_all(), "")
}

pub(super) fn directory_sync(dir: &Path) -> Asked {
    write(&dir.join("file"), "synced")?;
    let directory = File::open(dir).said("open")?;
    yes_if_ok("fsync", directory.sync_all(), "")
}

pub(super) fn copy_file_range(dir: &Path) -> Asked {
    let (from, to) = source_and_target(dir)?;
    let copied = sys::copy_range(&from, &to, BLOCK);
    let whole = matches!(copied, Ok(BLOCK)) && read(&dir.join("to"))? == "a".repeat(BLOCK);
    if copied.is_ok() && !whole {
        return Ok((
            No,
            "copy_file_range: ok, but it copied something else".into(),
        ));
    }
    yes_if_ok("copy_file_range", copied.map(drop), "")
}

pub(super) fn reflink(dir: &Path) -> Asked {
    let (from, to) = source_and_target(dir)?;
    let cloned = sys::reflink(&from, &to);
    if cloned.is_ok() && read(&dir.join("to"))? != "a".repeat(BLOCK) {
        return Ok((
            No,
            "ioctl(FICLONE): ok, but it cloned something else".into(),
        ));
    }
    yes_if_ok("ioctl(FICLONE)", cloned, "")
}

fn source_and_target(dir: &Path) -> Result<(File, File), String> {
    let from = dir.join("from");
    write(&from, &"a".repeat(BLOCK))?;
    Ok((
        File::open(&from).said("open")?,
        sys::create_new(&dir.join("to")).said("create")?,
    ))
}

pub(super) fn free_space(dir: &Path) -> Asked {
    let (free, all) = sys::space(dir).said("statvfs")?;
    let evidence = format!("statvfs: of {}", crate::doctor::text::bytes(all));
    Ok((Answer::Bytes(free), evidence))
}
