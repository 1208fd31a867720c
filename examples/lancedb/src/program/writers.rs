//! Processes that append to one table, all at once.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::report::Report;
use super::song::{Song, Summary};
use super::table::Songs;
use super::{KB, made_commits, open_and_count, verdict};

/// What a process says when it is about to append, and then waits for a line.
const READY: &str = "ready";

/// Makes the table and the processes; answers with the verdict.
pub async fn run(
    database: &str,
    writers: u16,
    appends: u16,
    report: &mut Report,
) -> Result<String> {
    let table = report
        .step("create", "an empty table", async |_| {
            Ok((Songs::create(database).await?, 0))
        })
        .await?;

    let catalog: BTreeMap<i64, Summary> = (0..writers)
        .flat_map(|writer| songs(writers, writer, appends))
        .map(|song| (song.id, song.summary()))
        .collect();
    report
        .step(
            "append",
            format!("{writers} processes, {appends} songs each"),
            async |_| {
                let before = table.version().await?;
                let times = run_processes(database, writers, appends)?;
                // Else they did not write at once, and nothing is shown.
                let first_end = times.iter().map(|(_, end)| end).min();
                let last_begin = times.iter().map(|(begin, _)| begin).max();
                ensure!(
                    last_begin < first_end,
                    "one process had ended before another began: {times:?}"
                );
                let table = Songs::open(database).await?;
                made_commits(&table, before, catalog.len()).await?;
                Ok(((), catalog.len()))
            },
        )
        .await?;

    let table = open_and_count(database, &catalog, report).await?;
    report
        .step("read", "all songs, and compare", async |_| {
            table.read_all(&catalog).await?;
            Ok(((), catalog.len()))
        })
        .await?;
    Ok(verdict(&catalog))
}

/// Appends what is this process's part, a commit a song, and says when it began and ended.
pub async fn append(database: &str, writers: u16, writer: u16, appends: u16) -> Result<()> {
    let table = Songs::open(database).await?;
    println!("{READY}");
    stdin().lines().next().context("nobody said go")??;
    let begin = microseconds()?;
    for song in songs(writers, writer, appends) {
        table.append(&[song]).await?;
    }
    println!("{begin} {}", microseconds()?);
    Ok(())
}

/// The time, as other processes have it too.
fn microseconds() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())
}

/// The songs of one process; no other has their ids.
fn songs(writers: u16, writer: u16, appends: u16) -> impl Iterator<Item = Song> {
    (0..i64::from(appends)).map(move |n| {
        let id = 1 + i64::from(writer) + n * i64::from(writers);
        Song::new(id, 1, 4 * KB)
    })
}

/// Starts them, lets all go at once, and waits. When each began and ended.
fn run_processes(database: &str, writers: u16, appends: u16) -> Result<Vec<(u128, u128)>> {
    let mut processes = (0..writers)
        .map(|writer| Process::start(database, writers, writer, appends))
        .collect::<Result<Vec<_>>>()?;
    for process in &mut processes {
        let said = process.line()?;
        ensure!(said == READY, "a process is not ready: {said:?}");
    }
    for process in &mut processes {
        let go = process.child.stdin.as_mut().context("no stdin")?;
        writeln!(go)?;
    }
    processes.into_iter().map(Process::end).collect()
}

struct Process {
    child: Child,
    said: Box<dyn BufRead>,
}

impl Process {
    fn start(database: &str, writers: u16, writer: u16, appends: u16) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg(database)
            .args(["--writers", &writers.to_string()])
            .args(["--writer", &writer.to_string()])
            .args(["--appends", &appends.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().context("no stdout")?;
        Ok(Self {
            child,
            said: Box::new(BufReader::new(said)),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn end(mut self) -> Result<(u128, u128)> {
        let times = self.line()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a process failed: {status}");
        let (begin, end) = times.split_once(' ').context("it did not say when")?;
        Ok((begin.parse()?, end.parse()?))
    }
}

impl Drop for Process {
    /// None goes on when another has failed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
