//! Names: how a file gets one, and how it gets another.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::io::Errno;

use super::{Asked, No, Said, Unknown, Yes, is_there, read, write, yes_if_ok};
use crate::doctor::probe::Answer;
use crate::doctor::{errno, sys};

pub(super) fn rename(dir: &Path) -> Asked {
    let (from, to) = (dir.join("from"), dir.join("to"));
    write(&from, "moved")?;
    moved(&from, &to, "")
}

pub(super) fn rename_over(dir: &Path) -> Asked {
    let (from, to) = (dir.join("from"), dir.join("to"));
    write(&from, "moved")?;
    write(&to, "old")?;
    moved(&from, &to, ", the old file is replaced")
}

fn moved(from: &Path, to: &Path, evidence: &str) -> Asked {
    let renamed = fs::rename(from, to);
    if renamed.is_ok() && (is_there(from)? || read(to)? != "moved") {
        return Ok((No, "rename: ok, but the file is not at its new name".into()));
    }
    match renamed {
        // Other errors are of this rename, not of all.
        Err(e) if !errno::is(&e, &[Errno::NOSYS, Errno::OPNOTSUPP]) => Err(e).said("rename"),
        answered => yes_if_ok("rename", answered, evidence),
    }
}

pub(super) fn rename_over_open(dir: &Path) -> Asked {
    let (from, to) = (dir.join("from"), dir.join("to"));
    write(&from, "moved")?;
    write(&to, "old")?;
    let mut reader = File::open(&to).said("open")?;
    if let Err(error) = fs::rename(&from, &to).said("rename") {
        return Ok((No, error));
    }
    let mut seen = String::new();
    Ok(match reader.read_to_string(&mut seen).said("read") {
        Ok(_) if seen == "old" => (
            Yes,
            "rename: ok, the reader reads on in the old file".into(),
        ),
        Ok(_) => (
            No,
            "rename: ok, but the reader no longer reads the old file".into(),
        ),
        Err(error) => (No, format!("rename: ok, but then {error} on the old file")),
    })
}

pub(super) fn handle_survives_rename(dir: &Path) -> Asked {
    let (from, to) = (dir.join("from"), dir.join("to"));
    let handle = sys::create_new(&from).said("create")?;
    if let Err(error) = fs::rename(&from, &to).said("rename") {
        // A rename that there is not, and one that is refused while a file is open, differ.
        drop(handle);
        return Ok(match fs::rename(&from, &to) {
            Ok(()) => (No, format!("{error}, while the file is open")),
            Err(_) => (Unknown, error),
        });
    }
    let found = handle.metadata().map(drop);
    yes_if_ok("fstat", found, " on a handle whose file was renamed")
}

pub(super) fn exclusive_rename(dir: &Path) -> Asked {
    const CALL: &str = "renameat2(RENAME_NOREPLACE)";
    let [from, to, taken] = ["from", "to", "taken"].map(|name| dir.join(name));
    write(&from, "moved")?;
    write(&taken, "old")?;
    if let Err(error) = sys::rename_exclusively(&from, &to).said(CALL) {
        return Ok((No, error));
    }
    let refused = sys::rename_exclusively(&to, &taken);
    exclusive(CALL, refused, read(&taken)? == "old")
}

pub(super) fn hard_links(dir: &Path) -> Asked {
    let [file, name, taken] = ["file", "name", "taken"].map(|name| dir.join(name));
    write(&file, "linked")?;
    write(&taken, "old")?;
    if let Err(error) = fs::hard_link(&file, &name).said("link") {
        return Ok((No, error));
    }
    if read(&name)? != "linked" {
        return Ok((No, "link: ok, but the new name holds something else".into()));
    }
    let refused = fs::hard_link(&file, &taken);
    exclusive("link", refused, read(&taken)? == "old")
}

pub(super) fn exclusive_create(dir: &Path) -> Asked {
    let taken = dir.join("taken");
    write(&taken, "old")?;
    let refused = sys::create_new(&taken).map(drop);
    exclusive("open(O_EXCL)", refused, read(&taken)? == "old")
}

/// What a call answered that has to be refused, since a file is in its way.
fn exclusive(call: &str, answered: io::Result<()>, is_as_it_was: bool) -> Asked {
    Ok(match answered {
        Err(e) if errno::is(&e, &[Errno::EXIST]) && is_as_it_was => {
            (Yes, format!("{call}: ok, and EEXIST if something is there"))
        }
        Err(e) => (
            No,
            format!("{call} with something there: {}", errno::told(&e)),
        ),
        Ok(()) if is_as_it_was => (
            No,
            format!("{call} with something there: ok, and nothing done"),
        ),
        Ok(()) => (No, format!("{call} replaces what is there")),
    })
}

pub(super) fn case_sensitive(dir: &Path) -> Asked {
    write(&dir.join("Name"), "")?;
    Ok(match is_there(&dir.join("nAME"))? {
        true => (No, "stat finds `Name` by `nAME`".into()),
        false => (Yes, "stat does not find `Name` by `nAME`".into()),
    })
}

/// The longest file name that is taken, of 255 bytes at most.
pub(super) fn longest_name(dir: &Path) -> Asked {
    let room = libc::PATH_MAX as usize;
    if dir.as_os_str().len() + "/".len() + 255 >= room {
        return Err("not probed: the path is too long".into());
    }
    let fits = |len: usize| -> Result<bool, String> {
        let path = dir.join("n".repeat(len));
        match sys::create_new(&path) {
            Ok(_) => fs::remove_file(&path).said("unlink").map(|()| true),
            Err(e) if errno::is(&e, &[Errno::NAMETOOLONG, Errno::INVAL, Errno::NOENT]) => Ok(false),
            Err(e) => Err(e).said("create"),
        }
    };
    if fits(255)? {
        return Ok((Answer::Bytes(255), "create: ok".into()));
    }
    if !fits(1)? {
        return Err("create refuses a name of 1 byte".into());
    }
    let (mut short, mut long) = (1, 255);
    while long - short > 1 {
        let middle = (short + long) / 2;
        match fits(middle)? {
            true => short = middle,
            false => long = middle,
        }
    }
    let evidence = format!("create refuses a name of {long} bytes");
    Ok((Answer::Bytes(short as u64), evidence))
}
