//! A process with uploads in progress: this test binary, started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::minors;

/// Where a worker finds what it is to do; without it the test `worker` is not one.
const JOB: &str = "LOCALFS_TEST_JOB";

#[test]
fn worker() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let (kind, dir) = job.split_once('|').unwrap();
    let dir = Path::new(dir);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        macro_rules! hold {
            ($($minor:ident),+) => {$({
                let dir = dir.join(stringify!($minor));
                std::fs::create_dir(&dir).unwrap();
                match kind {
                    "ours" => std::mem::forget(minors::$minor::sweep::hold(&dir).await),
                    "upstream" | "headless" => {
                        std::mem::forget(minors::$minor::sweep::hold_upstreams(&dir).await);
                    }
                    _ => panic!("{kind}"),
                }
            })+};
        }
        hold!(v0_12, v0_13, v0_14);
        println!("\nready");
        #[cfg(target_os = "linux")]
        if kind == "headless" {
            end_first_thread();
        }
        std::future::pending::<()>().await;
    });
}

/// Of this process, which goes on.
#[cfg(target_os = "linux")]
fn end_first_thread() {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: ends this thread alone (_exit(2)), which never comes back to what it borrowed.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    // SAFETY: the handler makes nothing but a system call; the first thread has the process's id.
    unsafe {
        libc::signal(
            libc::SIGUSR1,
            end as extern "C" fn(libc::c_int) as libc::sighandler_t,
        );
        let pid = libc::getpid();
        libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR1);
    }
}

/// Killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    /// Starts uploads of this kind, for each minor in a directory of its own, and holds them.
    pub(crate) fn start(kind: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker::worker", "--nocapture"])
            .env(JOB, format!("{kind}|{}", dir.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "it ended");
        Self { child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// With SIGKILL: nothing is tidied up.
    pub(crate) fn kill(self) {}
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
