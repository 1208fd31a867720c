//! Who takes part: threads with a store each, and processes, on this host or another.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use object_store_localfs::Exclusion;

use crate::history::Event;

/// One of those who do the same at the same time.
pub(crate) trait Party: Send {
    /// Some operations on the object `at`, one after another.
    fn history(&mut self, at: &str, operations: usize) -> Vec<Event>;

    /// Adds one to the object `at`; false if it was killed before it could tell.
    fn increment(&mut self, at: &str) -> bool;
}

/// Numbers that are the same each time (xorshift, Marsaglia 2003).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % end
    }
}

/// A client in this process, of a minor that goes by its number.
pub(crate) fn client(number: usize, dir: &Path, exclusion: Exclusion) -> Box<dyn Party> {
    macro_rules! client {
        ($minor:ident) => {{
            let store = crate::$minor::client::store(dir, exclusion);
            Box::new(crate::$minor::client::Client::new(
                std::sync::Arc::new(store),
                number,
            ))
        }};
    }
    match number % 3 {
        0 => client!(v0_14),
        1 => client!(v0_13),
        _ => client!(v0_12),
    }
}

/// Where a worker finds what it is; without it the test `worker` is not one.
const WORKER: &str = "LOCALFS_TEST_WORKER";

/// Does what it reads, and says what came of it.
#[test]
fn worker() {
    let Ok(what) = std::env::var(WORKER) else {
        return;
    };
    let [number, exclusion, dir] = what.split('|').collect::<Vec<_>>()[..] else {
        panic!("{what}");
    };
    let exclusion = match exclusion {
        "OtherThreads" => Exclusion::OtherThreads,
        "OtherProcesses" => Exclusion::OtherProcesses,
        "OtherHosts" => Exclusion::OtherHosts,
        _ => panic!("{exclusion}"),
    };
    let mut client = client(number.parse().unwrap(), Path::new(dir), exclusion);
    // What comes before it is the test harness's.
    println!("\nready");
    for line in std::io::stdin().lines() {
        match line.unwrap().split(' ').collect::<Vec<_>>()[..] {
            ["history", at, operations] => {
                for event in client.history(at, operations.parse().unwrap()) {
                    println!("{}", event.to_line());
                }
            }
            ["increment", at] => assert!(client.increment(at)),
            ref line => panic!("{line:?}"),
        }
        println!("done");
    }
}

/// A client in another process: this test binary, started again. Killed when dropped.
pub(crate) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// `on` is what starts it elsewhere: a program and its arguments, before its own.
    pub(crate) fn start(on: &[&str], number: usize, dir: &Path, exclusion: Exclusion) -> Self {
        let this = std::env::current_exe().unwrap();
        let this = this.to_str().unwrap();
        let words: Vec<_> = on.iter().copied().chain([this]).collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(["--exact", "parties::worker", "--nocapture"])
            .env(WORKER, format!("{number}|{exclusion:?}|{}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(stdout.any(|line| line.unwrap() == "ready"), "it ended");
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout,
            child,
        }
    }

    pub(crate) fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it says, unless it is killed meanwhile.
    fn ask(&mut self, what: String) -> Option<Vec<String>> {
        // A line: it is read whole or not at all.
        self.stdin.write_all((what + "\n").as_bytes()).ok()?;
        let mut said = Vec::new();
        for line in self.stdout.by_ref() {
            match line.ok()? {
                line if line == "done" => return Some(said),
                line => said.push(line),
            }
        }
        None
    }
}

impl Party for Worker {
    fn history(&mut self, at: &str, operations: usize) -> Vec<Event> {
        let said = self.ask(format!("history {at} {operations}"));
        let said = said.expect("it ended");
        said.iter().map(|line| Event::from_line(line)).collect()
    }

    fn increment(&mut self, at: &str) -> bool {
        self.ask(format!("increment {at}")).is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
