//! A test's own program, run once more under strace(1): counted, failed or killed at a system call.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Looked at by a worker before and after what is to be hit, for the trace to show.
const BEGIN: &str = "/what-is-traced-begins";
const END: &str = "/what-is-traced-has-ended";

/// In the worker: what `work` does is counted and hit, by this thread alone.
pub(crate) fn traced<T>(work: impl FnOnce() -> T) -> T {
    let _ = std::fs::metadata(BEGIN);
    let done = work();
    let _ = std::fs::metadata(END);
    done
}

/// In the worker: until it is traced.
pub(crate) fn wait_for_strace() {
    // SAFETY: gettid has no preconditions and always succeeds.
    println!("\nready {}", unsafe { libc::gettid() });
    let _ = std::io::stdin().read(&mut [0]);
}

/// A worker: the test `worker` of this program, with its `job` in the environment.
pub(crate) struct Worker<'a> {
    pub(crate) test: &'a str,
    pub(crate) variable: &'a str,
    pub(crate) job: String,
}

impl Worker<'_> {
    /// Runs it with strace on its thread, with these of strace's options: what the process does
    /// before that is neither counted nor hit. Says how it ended, and what it printed.
    pub(crate) fn run(&self, options: &[&str]) -> (ExitStatus, Vec<String>) {
        let mut worker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture"])
            .env(self.variable, &self.job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| Some(line.ok()?.strip_prefix("ready ")?.to_owned()));
        let thread = ready.unwrap();
        let mut strace = Command::new("strace")
            .args(["-p", &thread])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("strace is missing ({e}): apt-get install strace"));
        wait_until_traced(&thread, &mut strace);
        // The wait was a read; where reads are hit it is over.
        let _ = worker.stdin.take().unwrap().write_all(b".");
        let printed = lines.map_while(Result::ok).collect();
        strace.wait().unwrap();
        (worker.wait().unwrap(), printed)
    }

    /// The names of the system calls that its work makes.
    pub(crate) fn calls(&self) -> BTreeSet<String> {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let (status, printed) = self.run(&["-o", log.to_str().unwrap()]);
        assert!(
            status.success(),
            "{} failed without a kill: {printed:?}",
            self.job
        );
        calls_in(&log)
    }

    /// `when=N` counts the calls of one name by one thread (strace(1), "Tampering"); the call that
    /// is hit is not made any more.
    pub(crate) fn kill_at(&self, call: &str, nth: u32) -> ExitStatus {
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        self.run(&["-o", "/dev/null", "-e", &inject]).0
    }
}

fn calls_in(log: &Path) -> BTreeSet<String> {
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log.lines().skip_while(|line| !line.contains(BEGIN)).skip(1);
    let lines = lines.take_while(|line| !line.contains(END));
    // `openat(AT_FDCWD, ...`.
    let names = lines.filter_map(|line| line.split_once('('));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn wait_until_traced(thread: &str, strace: &mut Child) {
    let is_traced = || {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status"));
        // None if it was killed already.
        let status = status.unwrap_or_default();
        let field = |name| status.lines().find_map(move |l| l.strip_prefix(name));
        let is_dead = field("State:").is_some_and(|state| state.trim().starts_with(['Z', 'X']));
        is_dead || field("TracerPid:").is_none_or(|tracer| tracer.trim() != "0")
    };
    while !is_traced() {
        // It ends with a thread that was killed at the call it was waiting in.
        if strace.try_wait().unwrap().is_some() && !is_traced() {
            let mut said = String::new();
            let stderr = strace.stderr.as_mut().unwrap();
            stderr.read_to_string(&mut said).unwrap();
            panic!("strace may not trace; in a container add `--cap-add SYS_PTRACE`: {said}");
        }
        std::thread::yield_now();
    }
}
