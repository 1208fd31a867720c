//! By kill(2). A host is known by its name; who has a file open is not asked.

use super::{OpenFiles, Process, mark_of};

pub(super) fn find(pid: u32) -> Process {
    match super::super::unix::has_process(pid) {
        true => Process::Lives {
            mark: Some(mark_of(&[&host_name()])),
        },
        false => Process::Gone,
    }
}

fn host_name() -> Vec<u8> {
    let mut name = [0_u8; 256];
    // SAFETY: `name` has room for as many bytes as are said, and its last byte is not among them.
    let rc = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let end = name.iter().position(|b| *b == 0).unwrap_or(0);
    match rc {
        0 => name[..end].to_owned(),
        _ => Vec::new(),
    }
}

pub(super) fn open_files() -> OpenFiles {
    OpenFiles::default()
}
