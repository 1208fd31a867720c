//! A `songs` table with the audio in it, written and read back through LanceDB.
//!
//! Everything the table must hold follows from the arguments. The program fails
//! unless it holds exactly that: a commit that took effect, was reported as
//! failed and was made again shows as a row or a version too many.

mod report;
mod song;
mod table;
mod writers;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use report::Report;
use song::{Song, Summary};
use table::Songs;

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

/// Writes songs to a LanceDB table, and reads every one of them back.
#[derive(Parser)]
#[command(name = env!("CARGO_BIN_NAME"))]
struct Args {
    /// Where the database is to be, a path or a URI; it must not have a table `songs` yet
    database: String,

    /// Songs to upsert, about a quarter of them twice
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..))]
    songs: u16,

    /// Size of a song's audio, from and to
    #[arg(long, value_name = "A..B", default_value = "8..16")]
    size_mb: SizeMb,

    /// Songs of 4 KB to append, with a commit each
    #[arg(long, default_value_t = 20)]
    appends: u16,

    /// Instead of all that: so many processes append to the table, all at once
    #[arg(long, value_name = "PROCESSES", value_parser = clap::value_parser!(u16).range(1..))]
    writers: Option<u16>,

    /// To be one of them; they are numbered from 0
    #[arg(long, hide = true, requires = "writers")]
    writer: Option<u16>,
}

#[derive(Clone)]
struct SizeMb(RangeInclusive<usize>);

impl FromStr for SizeMb {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (from, to) = text.split_once("..").context("expected `A..B`")?;
        let (from, to) = (from.parse()?, to.parse()?);
        ensure!(from <= to, "{from} is more than {to}");
        ensure!(to <= 1024, "more than 1024 MB a song");
        Ok(Self(from..=to))
    }
}

impl SizeMb {
    /// Bytes of audio of song `id` at `revision`, somewhere in the range.
    fn pick(&self, id: i64, revision: u32) -> usize {
        let (from, to) = (self.0.start() * MB, self.0.end() * MB);
        from + song::noise(!id, revision) as usize % (to - from + 1)
    }
}

#[tokio::main]
pub async fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(writers), Some(writer)) = (args.writers, args.writer) {
        return writers::append(&args.database, writers, writer, args.appends).await;
    }
    let mut report = Report::default();
    let outcome = match args.writers {
        Some(writers) => writers::run(&args.database, writers, args.appends, &mut report).await,
        None => run(&args, &mut report).await,
    };
    report.print_table();
    println!("{}", outcome?);
    Ok(())
}

/// Does the job; answers with the verdict.
async fn run(args: &Args, report: &mut Report) -> Result<String> {
    // What the table must hold.
    let mut catalog: BTreeMap<i64, Summary> = BTreeMap::new();
    let mut new_song = |id, revision, size| {
        let song = Song::new(id, revision, size);
        catalog.insert(id, song.summary());
        song
    };
    let size = |id, revision| args.size_mb.pick(id, revision);

    let table = report
        .step("create", "an empty table", async |_| {
            Ok((Songs::create(&args.database).await?, 0))
        })
        .await?;

    let total = usize::from(args.songs);
    let first = total / 2;
    report
        .step(
            "upsert",
            format!("{first} new songs, a commit each"),
            async |progress| {
                let before = table.version().await?;
                for n in 1..=first {
                    let id = n as i64;
                    table.upsert(&[new_song(id, 1, size(id, 1))], 1).await?;
                    progress.at(n, first);
                }
                made_commits(&table, before, first).await?;
                Ok(((), first))
            },
        )
        .await?;

    let (changed, new) = (first.div_ceil(2), total - first);
    report
        .step(
            "upsert",
            format!("{changed} changed and {new} new songs in one commit"),
            async |_| {
                let before = table.version().await?;
                let songs: Vec<Song> = (first - changed + 1..=total)
                    .map(|n| new_song(n as i64, 2, size(n as i64, 2)))
                    .collect();
                table.upsert(&songs, new).await?;
                made_commits(&table, before, 1).await?;
                Ok(((), songs.len()))
            },
        )
        .await?;

    let appends = usize::from(args.appends);
    report
        .step(
            "append",
            format!("{appends} songs of 4 KB, a commit each"),
            async |progress| {
                let before = table.version().await?;
                for n in 1..=appends {
                    let id = (total + n) as i64;
                    table.append(&[new_song(id, 1, 4 * KB)]).await?;
                    progress.at(n, appends);
                }
                made_commits(&table, before, appends).await?;
                Ok(((), appends))
            },
        )
        .await?;

    report
        .step("delete", "every fourth song", async |_| {
            let before = table.version().await?;
            table.delete("id % 4 = 2").await?;
            made_commits(&table, before, 1).await?;
            let rows = catalog.len();
            catalog.retain(|id, _| id % 4 != 2);
            Ok(((), rows - catalog.len()))
        })
        .await?;

    report
        .step("search", "the songs nearest to song 1", async |_| {
            Ok(((), table.search(1, &catalog[&1]).await?))
        })
        .await?;

    report
        .step("optimize", "compact", async |_| {
            table.compact().await?;
            Ok(((), catalog.len()))
        })
        .await?;
    report
        .step("optimize", "prune the old versions", async |_| {
            table.prune().await?;
            Ok(((), catalog.len()))
        })
        .await?;

    let table = open_and_count(&args.database, &catalog, report).await?;
    report
        .step("read", "every song, and compare", async |progress| {
            for (done, (id, summary)) in catalog.iter().enumerate() {
                table.read(*id, summary).await?;
                progress.at(done + 1, catalog.len());
            }
            Ok(((), catalog.len()))
        })
        .await?;
    Ok(verdict(&catalog))
}

/// Through a new connection: what the mount holds counts, not what one remembers of it.
async fn open_and_count(
    database: &str,
    catalog: &BTreeMap<i64, Summary>,
    report: &mut Report,
) -> Result<Songs> {
    report
        .step("count", "through a new connection", async |_| {
            let table = Songs::open(database).await?;
            let rows = table.count(catalog).await?;
            Ok((table, rows))
        })
        .await
}

fn verdict(catalog: &BTreeMap<i64, Summary>) -> String {
    let bytes: usize = catalog.values().map(|summary| summary.size).sum();
    format!(
        "{} rows with {:.1} MB of audio, exactly as written",
        catalog.len(),
        bytes as f64 / MB as f64
    )
}

/// Fails unless `expected` commits have been made since version `before`.
///
/// An upsert that is made twice leaves no row too many, but a version.
async fn made_commits(table: &Songs, before: u64, expected: usize) -> Result<()> {
    let made = table.version().await? - before;
    ensure!(
        made == expected as u64,
        "{expected} commits made {made} versions: not every one was made once"
    );
    Ok(())
}
