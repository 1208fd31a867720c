//! By two calls of kernel32. A host is known by its name; who has a file open is not asked.

use std::io;

use super::{OpenFiles, Process, mark_of};

const PROCESS_QUERY_LIMITED_INFORMATION: u32 = 0x1000;
const STILL_ACTIVE: u32 = 259;
const ERROR_INVALID_PARAMETER: i32 = 87;

#[link(name = "kernel32")]
unsafe extern "system" {
    fn OpenProcess(access: u32, inherit: i32, pid: u32) -> *mut std::ffi::c_void;
    fn GetExitCodeProcess(process: *mut std::ffi::c_void, code: *mut u32) -> i32;
    fn CloseHandle(handle: *mut std::ffi::c_void) -> i32;
}

pub(super) fn find(pid: u32) -> Process {
    // SAFETY: the call takes no pointer.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    let lives = if process.is_null() {
        io::Error::last_os_error().raw_os_error() != Some(ERROR_INVALID_PARAMETER)
    } else {
        let mut code = STILL_ACTIVE;
        // SAFETY: the handle is open until the second call, and `code` outlives the first.
        unsafe {
            GetExitCodeProcess(process, &mut code);
            CloseHandle(process);
        }
        code == STILL_ACTIVE
    };
    let host = std::env::var_os("COMPUTERNAME").unwrap_or_default();
    match lives {
        true => Process::Lives {
            mark: Some(mark_of(&[host.as_encoded_bytes()])),
        },
        false => Process::Gone,
    }
}

pub(super) fn open_files() -> OpenFiles {
    OpenFiles::default()
}
