//! `localfs doctor`, on a plain directory and, with the feature `mount-tests`, on mounts of all
//! kinds; those need root and `/dev/fuse`.

#![cfg(all(feature = "cli", unix))]

#[cfg(feature = "mount-tests")]
mod disks;
#[cfg(feature = "mount-tests")]
#[path = "doctor/mounts.rs"]
mod mounts;
#[cfg(feature = "mount-tests")]
#[path = "doctor/page.rs"]
mod page;
#[path = "doctor/plain.rs"]
mod plain;
#[cfg(feature = "mount-tests")]
mod quirkfs;
#[path = "doctor/run.rs"]
mod run;
