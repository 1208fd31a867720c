//! Where the file system shares extents, a completed object shares them with its parts.

use std::path::Path;
use std::process::Command;

use super::{NAME, Upload, files, kind, read};
use crate::disks::Disk;

const PART: usize = 4 << 20;

/// The parts get other names before, under which they stay: their extents are then shared with the
/// object's.
fn shares_all_extents(disk: &Disk) {
    let dir = disk.path();
    let upload = Upload::new(dir);
    let data = |index: usize| vec![index as u8 + 1; PART + if index == 3 { 5 } else { 0 }];
    let parts = [0, 1, 2, 3].map(|index| upload.put(index, &data(index)).unwrap());
    for name in files(dir).iter().filter(|name| kind(name) == Some('1')) {
        let kept = format!("kept-{}", name.split_once('#').unwrap().1);
        std::fs::hard_link(dir.join(name), dir.join(kept)).unwrap();
    }
    upload.complete(&parts).unwrap();
    assert!(read(dir) == [data(0), data(1), data(2), data(3)].concat());
    let extents = extents(&dir.join(NAME));
    assert!(!extents.is_empty());
    assert!(
        extents.iter().all(|flags| flags.contains("shared")),
        "{extents:?}"
    );
}

/// The flags of each extent.
fn extents(file: &Path) -> Vec<String> {
    let told = Command::new("filefrag")
        .args(["-s", "-v"])
        .arg(file)
        .output();
    let told =
        told.unwrap_or_else(|e| panic!("filefrag is missing ({e}): apt-get install e2fsprogs"));
    let told = String::from_utf8(told.stdout).unwrap();
    // `   0:        0..    1023:      24..    1047:   1024:             shared`
    let rows = told.lines().filter(|line| {
        let number = line.trim_start().split_once(':').map(|(number, _)| number);
        number.is_some_and(|n| n.parse::<u32>().is_ok())
    });
    rows.map(|row| row.rsplit(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn on_xfs() {
    shares_all_extents(&Disk::xfs());
}

#[test]
fn on_btrfs() {
    shares_all_extents(&Disk::btrfs());
}

/// That the check can fail.
#[test]
fn on_ext4_nothing_is_shared() {
    let disk = Disk::ext4();
    std::fs::write(disk.path().join(NAME), vec![1; PART]).unwrap();
    let extents = extents(&disk.path().join(NAME));
    assert!(!extents.is_empty() && !extents.iter().any(|flags| flags.contains("shared")));
}
