//! What is known of kinds of mounts, and of their options.

use super::facts::Mount;

/// Kinds of mounts that need different advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// SMB.
    Cifs,
    Nfs,
    /// vfat and exFAT.
    Fat,
    /// A Windows drive under WSL2.
    Drvfs,
    NineP,
    Rclone,
    MountpointS3,
    Fuse,
}

fn kind_of(mount: &Mount) -> Option<Kind> {
    let options = mount.options.as_deref().unwrap_or_default();
    let source = mount.source.as_deref().unwrap_or_default();
    Some(match mount.file_system.as_deref()? {
        "cifs" | "smb3" => Kind::Cifs,
        "nfs" | "nfs4" => Kind::Nfs,
        "vfat" | "msdos" | "exfat" => Kind::Fat,
        "drvfs" => Kind::Drvfs,
        "9p" if options.contains("aname=drvfs") => Kind::Drvfs,
        "9p" => Kind::NineP,
        "fuse.rclone" => Kind::Rclone,
        other if other.starts_with("fuse") && source.contains("mountpoint-s3") => {
            Kind::MountpointS3
        }
        other if other.starts_with("fuse") => Kind::Fuse,
        _ => return None,
    })
}

/// What mounts of this kind are like, and what can be done about it.
pub(super) fn kind(mount: &Mount) -> Option<(&'static str, &'static str)> {
    Some(match kind_of(mount)? {
        Kind::Cifs => (
            "An SMB share: attributes settle at close, open files cannot be replaced.",
            "Keep `serverino`, the default. Where other hosts write too, mount with `cache=none` \
             or `actimeo=0` (mount.cifs(8)).",
        ),
        Kind::Nfs => (
            "An NFS mount: handles go stale when other hosts change files, and replies can be lost.",
            "Mount `hard`, the default. Where other hosts write too, `lookupcache=positive` and a \
             short `actimeo` (nfs(5)) show their files sooner.",
        ),
        Kind::Fat => (
            "A FAT file system: no hard links, coarse times, no journal.",
            "Unmount it before it is pulled. For a disk that stays, ext4 or xfs.",
        ),
        Kind::Drvfs => (
            "A Windows drive under WSL2: every call is a request to Windows.",
            "Keep what Windows does not need on the Linux disk (somewhere below /home): there \
             nothing of this applies, and it is many times faster.",
        ),
        Kind::NineP => (
            "A 9P share: it can do what the host's file system and the server between can.",
            "Mount with `cache=none` where the host writes too; `msize=262144` and more for large \
             objects.",
        ),
        Kind::Rclone => (
            "A remote, mounted by rclone.",
            "Mount with `--vfs-cache-mode writes` or `full`: without, files can only be written \
             from beginning to end.",
        ),
        Kind::MountpointS3 => (
            "A bucket, mounted by Mountpoint for Amazon S3: no renames, and writes from beginning \
             to end.",
            "Mount with `--allow-overwrite --allow-delete`. A store of object_store's for S3, with \
             no mount between, is better where the program has it.",
        ),
        Kind::Fuse => (
            "A FUSE mount: what it can do is up to the program that serves it.",
            "See that program's options for renames, hard links and caches. A store of \
             object_store's for the bucket itself, with no mount between, is better where the \
             program has it.",
        ),
    })
}

pub(super) fn case(mount: Option<&Mount>) -> &'static str {
    match mount.and_then(kind_of) {
        Some(Kind::Drvfs) => {
            "Name objects apart by more than case; or set `fsutil.exe file setCaseSensitiveInfo DIR \
             enable` on the directory, and mount with `case=dir`."
        }
        _ => "Name objects apart by more than case.",
    }
}

pub(super) fn inodes(mount: Option<&Mount>) -> &'static str {
    match mount.and_then(kind_of) {
        Some(Kind::Cifs) => {
            "Mount with `serverino`, unless the server has no numbers (mount.cifs(8))."
        }
        Some(Kind::Fuse | Kind::Rclone | Kind::MountpointS3) => {
            "If the FUSE program takes libfuse's options: `-o use_ino`, or `-o noforget`."
        }
        _ => "Nothing for programs that use this crate.",
    }
}

pub(super) fn random_writes(mount: Option<&Mount>) -> &'static str {
    match mount.and_then(kind_of) {
        Some(Kind::Rclone) => "Mount with `--vfs-cache-mode writes` or `full`.",
        _ => "Nothing where uploads hold. Else put objects whole, or keep the store elsewhere.",
    }
}

/// What the options of a mount give away: an id, what it means, what to do.
pub(super) fn options(mount: &Mount) -> Vec<(&'static str, &'static str, &'static str)> {
    let options = mount.options.as_deref().unwrap_or_default();
    let has = |any_of: &[&str]| options.split(',').any(|option| any_of.contains(&option));
    let mut found = Vec::new();
    match kind_of(mount) {
        Some(Kind::Nfs) => {
            if has(&["soft", "softerr"]) {
                found.push((
                    "nfs_soft",
                    "The mount is `soft`: when the server is slow, writes fail that another try \
                     would have made, and data can be lost (nfs(5)).",
                    "Mount with `hard`.",
                ));
            }
            if has(&["nolock", "local_lock=all", "local_lock=flock"]) {
                found.push((
                    "local_locks",
                    "Advisory locks are kept on this host and not sent to the server (`nolock`, \
                     `local_lock`).",
                    "Mount without them if several hosts write.",
                ));
            }
        }
        Some(Kind::Cifs) if has(&["nobrl", "nolock"]) => found.push((
            "local_locks",
            "Locks are not sent to the server (`nobrl`).",
            "Mount without it if several hosts write.",
        )),
        Some(Kind::NineP | Kind::Drvfs) if has(&["cache=loose", "cache=fscache", "loose"]) => {
            found.push((
                "stale_cache",
                "`cache=loose` keeps what it has read: changes by the host are seen late, or never.",
                "Mount with `cache=none` if the host, or another guest, writes too.",
            ));
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(file_system: &str, source: &str, options: &str) -> Mount {
        Mount {
            file_system: Some(file_system.into()),
            source: Some(source.into()),
            options: Some(options.into()),
            ..Mount::default()
        }
    }

    #[test]
    fn a_windows_drive_under_wsl_is_told_from_other_9p() {
        let drive = mount("9p", r"C:\", r"rw,noatime,aname=drvfs;path=C:\;uid=1000");
        assert_eq!(kind_of(&drive), Some(Kind::Drvfs));
        let share = mount("9p", "hostshare", "rw,trans=virtio");
        assert_eq!(kind_of(&share), Some(Kind::NineP));
    }

    #[test]
    fn options_that_weaken_are_found_and_others_not() {
        let ids = |mount: &Mount| {
            let found = options(mount).into_iter();
            found.map(|it| it.0).collect::<Vec<_>>()
        };
        let nfs = |options| mount("nfs4", "host:/x", options);
        assert_eq!(ids(&nfs("rw,vers=4.2,hard")), [""; 0]);
        assert_eq!(ids(&nfs("rw,soft,timeo=50")), ["nfs_soft"]);
        assert_eq!(ids(&nfs("rw,hard,local_lock=all")), ["local_locks"]);
        assert_eq!(ids(&mount("cifs", "//host/x", "rw,nobrl")), ["local_locks"]);
        assert_eq!(ids(&mount("9p", "x", "rw,cache=loose")), ["stale_cache"]);
        assert_eq!(ids(&mount("ext4", "/dev/sda", "rw,soft,nobrl")), [""; 0]);
    }
}
