//! A process that writes until it is stopped, and tells each song that was made durable.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::checks::{is_fenced, told};
use crate::{Store, songs};

/// Where a writer finds what it is to do; without it the test `writer` is not one.
const JOB: &str = "SONGS_TEST_JOB";

/// How many of its songs are on their way at a time.
const AT_ONCE: usize = 4;

/// Longer than anything here takes that comes to an end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn writer() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let [store, name, dir] = job.split('|').collect::<Vec<_>>()[..] else {
        panic!("{job}");
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(write(Store::of(store), name, Path::new(dir)));
    println!("\n{}", ended.map_or_else(|e| e, |()| "ended closed".into()));
}

/// Until standard input is closed.
async fn write(store: Store, name: &str, dir: &Path) -> Result<(), String> {
    let failed = |e: slatedb::Error| match is_fenced(&e) {
        true => "ended fenced".to_owned(),
        false => format!("ended {}", told(&e)),
    };
    let db = store.open(dir).await.map_err(failed)?;
    println!("\nopen");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        stopped.store(true, Ordering::Relaxed);
    });
    let streams = (0..AT_ONCE).map(|stream| {
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        let name = format!("{name}-{stream}");
        tokio::spawn(async move {
            for song in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let song = format!("{name}-{song:06}");
                let written = db.put(&song, songs::text(&song)).await?;
                written.await_durable().await?;
                println!("wrote {song}");
            }
            Ok(())
        })
    });
    let mut ended = Ok(());
    for stream in streams.collect::<Vec<_>>() {
        let stream: Result<(), slatedb::Error> = stream.await.unwrap();
        ended = ended.and(stream);
    }
    ended.map_err(failed)?;
    db.close().await.map_err(failed)
}

/// Such a process, from outside. Killed when dropped.
pub(crate) struct Writer {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    wrote: Vec<String>,
    ended: Option<String>,
}

impl Writer {
    pub(crate) fn start(store: Store, name: &str, dir: &Path) -> Writer {
        Writer::start_under(&[], store, name, dir)
    }

    /// The process is started by `prefix`, a command that runs another.
    pub(crate) fn start_under(prefix: &[&str], store: Store, name: &str, dir: &Path) -> Writer {
        let this = std::env::current_exe().unwrap();
        let this = this.to_str().unwrap();
        let command: Vec<&str> = prefix.iter().copied().chain([this]).collect();
        let mut process = Command::new(command[0])
            .args(&command[1..])
            .args(["--exact", "writer::writer", "--nocapture"])
            .env(JOB, format!("{store:?}|{name}|{}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", command[0]));
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Writer {
            stdin: process.stdin.take(),
            process,
            lines,
            wrote: vec![],
            ended: None,
        }
    }

    /// Takes what it says until `is_enough`, or it has ended, or for so long; whether it was enough.
    fn listen(&mut self, patience: Duration, is_enough: impl Fn(&Writer, &str) -> bool) -> bool {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(song) = line.strip_prefix("wrote ") {
                        self.wrote.push(song.to_owned());
                    }
                    if let Some(ended) = line.strip_prefix("ended ") {
                        self.ended = Some(ended.to_owned());
                    }
                    if is_enough(self, &line) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Until so many more of its songs were made durable.
    pub(crate) fn wait_for_songs(&mut self, more: usize) -> Result<(), String> {
        let enough = self.wrote.len() + more;
        match self.listen(PATIENCE, |writer, _| writer.wrote.len() >= enough) {
            true => Ok(()),
            false => Err(self.why()),
        }
    }

    /// What it said last, once it has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> Result<String, String> {
        self.listen(PATIENCE, |writer, _| writer.ended.is_some());
        self.ended.clone().ok_or_else(|| self.why())
    }

    pub(crate) fn stop(&mut self) -> Result<String, String> {
        self.stdin = None;
        self.wait_for_end()
    }

    fn why(&self) -> String {
        match &self.ended {
            Some(ended) => ended.clone(),
            None => format!("hangs after {} songs", self.wrote.len()),
        }
    }

    /// Kill -9.
    pub(crate) fn kill(mut self) -> Wrote {
        self.kill_all();
        // Whoever held the pipe is no more, so this ends.
        self.listen(PATIENCE, |_, _| false);
        Wrote {
            songs: std::mem::take(&mut self.wrote),
            ended: self.ended.take(),
        }
    }

    /// It, and what it was started by.
    fn kill_all(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            // SAFETY: kill takes plain numbers; until it is waited for the group is this one.
            unsafe { libc::kill(-(self.process.id() as i32), libc::SIGKILL) };
        }
        let _ = self.process.wait();
    }

    /// Whether it has said so; it then lives on until it is dropped.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.listen(Duration::from_millis(10), |writer, _| {
            writer.ended.is_some()
        });
        self.ended.is_some()
    }

    /// For how long it may go on at most before it is killed; `None` if it was still going on.
    pub(crate) fn let_run(&mut self, time: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

/// What a writer has told.
pub(crate) struct Wrote {
    /// Those that are durable.
    pub(crate) songs: Vec<String>,
    /// How it came to an end, if by itself.
    pub(crate) ended: Option<String>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.kill_all();
    }
}
