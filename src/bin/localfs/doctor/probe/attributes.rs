//! What `stat` tells of a file, and whether it can be relied upon.

use std::fs::{self, File, FileTimes, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::{Answer, Asked, No, Said, Yes, write, yes_if_ok};
use crate::doctor::sys;

fn stat(path: &Path) -> Result<Metadata, String> {
    fs::symlink_metadata(path).said("stat")
}

fn mtime(found: &Metadata) -> Result<SystemTime, String> {
    found.modified().said("stat")
}

/// Whether a file is known by its number for as long as it lives.
pub(super) fn stable_inodes(dir: &Path) -> Asked {
    let (path, renamed) = (dir.join("file"), dir.join("renamed"));
    let file = sys::create_new(&path).said("create")?;
    let open = file.metadata().said("fstat")?.ino();
    drop(file);
    let closed = stat(&path)?.ino();
    let again = stat(&path)?.ino();
    let after = fs::rename(&path, &renamed)
        .ok()
        .map(|()| stat(&renamed).map(|found| found.ino()))
        .transpose()?;

    let changes = [
        (closed != again, "with each lookup"),
        (open != closed, "at close"),
        (after.is_some_and(|after| after != again), "with a rename"),
    ];
    let changes: Vec<_> = changes.iter().filter(|it| it.0).map(|it| it.1).collect();
    Ok(match changes.is_empty() {
        true if after.is_none() => (Yes, "stat: one number, before and after close".into()),
        true => (
            Yes,
            "stat: one number, before and after close and rename".into(),
        ),
        false => (No, format!("stat: it changes {}", changes.join(", "))),
    })
}

/// The steps that file systems are known to have: ext4 and the like; NTFS and SMB; old NFS servers
/// and databases behind FUSE; exFAT; ext3, HFS+; vfat.
const STEPS: [Duration; 7] = [
    Duration::from_nanos(1),
    Duration::from_nanos(100),
    Duration::from_micros(1),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The largest step of which every mtime that was set and read is a multiple.
pub(super) fn mtime_step(dir: &Path) -> Asked {
    let path = dir.join("file");
    write(&path, "")?;
    // In 2001, odd seconds too, and of digits that no step but the finest leaves alone.
    let set = [1_123_456_789, 1_987_654_321, 2_999_999_999, 7_000_000_001];
    let mut seen = Vec::new();
    for nanoseconds in set {
        let time = SystemTime::UNIX_EPOCH
            + Duration::from_secs(1_000_000_000)
            + Duration::from_nanos(nanoseconds);
        let file = File::options().write(true).open(&path).said("open")?;
        file.set_times(FileTimes::new().set_modified(time))
            .said("futimens")?;
        file.sync_all().ok();
        drop(file);
        let read = mtime(&stat(&path)?)?.duration_since(SystemTime::UNIX_EPOCH);
        seen.push(read.map_err(|_| "stat: an mtime before 1970")?);
    }
    let is_multiple = |step: &&Duration| {
        let mut all = seen.iter();
        all.all(|read| read.as_nanos() % step.as_nanos() == 0)
    };
    let step = STEPS.iter().rev().find(is_multiple).unwrap_or(&STEPS[0]);
    let nanoseconds = step.as_nanos() as u64;
    Ok((
        Answer::Nanoseconds(nanoseconds),
        "futimens, and what stat reads back".into(),
    ))
}

/// Whether two versions of a file can be told apart by their mtimes, however quickly they follow.
pub(super) fn mtime_moves(dir: &Path) -> Asked {
    const WRITES: usize = 20;
    let path = dir.join("file");
    write(&path, "0")?;
    let mut last = mtime(&stat(&path)?)?;
    let (mut stood_still, mut made, begun) = (false, 0, Instant::now());
    // Where each takes long, a few will do.
    while made < WRITES && begun.elapsed() < Duration::from_secs(1) {
        made += 1;
        fs::write(&path, "1").said("write")?;
        let now = mtime(&stat(&path)?)?;
        stood_still |= now == last;
        last = now;
    }
    Ok(match stood_still {
        false => (Yes, "writes in a row, each with an mtime of its own".into()),
        true => (No, "writes in a row, fewer mtimes".into()),
    })
}

pub(super) fn mtime_before_close(dir: &Path) -> Asked {
    let path = dir.join("file");
    let mut file = sys::create_new(&path).said("create")?;
    file.write_all(&[1; 4096]).said("write")?;
    let open = mtime(&stat(&path)?)?;
    drop(file);
    Ok(match mtime(&stat(&path)?)? == open {
        true => (Yes, "stat: the same before and after close".into()),
        false => (No, "stat: it moves at close".into()),
    })
}

pub(super) fn size_before_close(dir: &Path) -> Asked {
    let path = dir.join("file");
    let mut file = sys::create_new(&path).said("create")?;
    file.write_all(&[1; 4096]).said("write")?;
    let (open, by_path) = (file.metadata().said("fstat")?.len(), stat(&path)?.len());
    drop(file);
    let closed = stat(&path)?.len();
    Ok(match (open, by_path, closed) {
        (4096, 4096, 4096) => (Yes, "fstat and stat: 4096 bytes of 4096 written".into()),
        (_, _, 4096) => (
            No,
            format!("fstat: {open}, stat: {by_path} bytes of 4096 written, until close"),
        ),
        _ => (No, format!("stat: {closed} bytes of 4096, after close")),
    })
}

pub(super) fn xattrs(dir: &Path) -> Asked {
    let path = dir.join("file");
    write(&path, "")?;
    let read = sys::xattr(&path, "user.localfs.doctor", b"1");
    if read.as_ref().is_ok_and(|value| value != b"1") {
        return Ok((No, "setxattr: ok, but getxattr reads something else".into()));
    }
    yes_if_ok("setxattr(user.*)", read.map(drop), "")
}
