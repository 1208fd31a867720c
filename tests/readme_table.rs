//! The README's table of what upstream and this do on which mount: measured, and compared with
//! what stands there. Needs root and `/dev/fuse`.
//!
//! With `UPDATE_TABLE=1` in the environment the fresh table is written to the README, and the
//! numbers behind it to `docs/mounts.md`.
//!
//! Faults strike by count and by name, operations are made one after another, each store has a
//! fresh mount: the numbers are the same at each run.

#![cfg(feature = "mount-tests")]

mod minors;
mod quirkfs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use minors::v0_14::verdicts::{Answer, Make};
use minors::{v0_12, v0_13, v0_14};
use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe, is_staging_file};

// Below the package's root, where cargo runs tests.
const README: &str = "README.md";
const DETAILS: &str = "docs/mounts.md";

const BEGIN: &str = "<!-- mounts:begin -->";
const END: &str = "<!-- mounts:end -->";

/// How often each operation is made.
const ROUNDS: usize = 12;

#[test]
fn the_readme_tells_what_is_measured() {
    let readme = fs::read_to_string(README).expect("the README");
    let (before, standing, after) = split(&readme);
    let measured = Measured::now();
    let (table, details) = (measured.table(), measured.details());

    if std::env::var_os("UPDATE_TABLE").is_some_and(|update| update == "1") {
        fs::write(README, format!("{before}\n\n{table}\n{after}")).unwrap();
        fs::create_dir_all("docs").unwrap();
        fs::write(DETAILS, details).unwrap();
        return;
    }
    assert!(
        standing.trim() == table.trim(),
        "the table in {README} is not what is measured; UPDATE_TABLE=1 writes this one:\n\n{table}"
    );
    assert!(
        fs::read_to_string(DETAILS).is_ok_and(|standing| standing == details),
        "{DETAILS} is not what is measured; UPDATE_TABLE=1 writes:\n\n{details}"
    );
}

/// What is before the table, the table, and what is after it; the markers belong to the outer two.
fn split(readme: &str) -> (&str, &str, &str) {
    let begin = readme.find(BEGIN).map(|at| at + BEGIN.len());
    let end = readme.find(END);
    match (begin, end) {
        (Some(begin), Some(end)) if begin <= end => {
            (&readme[..begin], &readme[begin..end], &readme[end..])
        }
        _ => panic!("{README} has no place for the table, between {BEGIN} and {END}"),
    }
}

// ---- the mounts -------------------------------------------------------------------------------

struct Row {
    name: &'static str,
    what_it_does: &'static str,
    /// `None` is a plain directory.
    mount: Option<Recipe>,
    faults: Vec<Fault>,
    operations: &'static [Operation],
    /// Data is lost below the store, so that an operation which meets a fault must tell.
    loses_data: bool,
}

fn rows() -> Vec<Row> {
    let row = |name, what_it_does, mount, faults| Row {
        name,
        what_it_does,
        mount: Some(mount),
        faults,
        operations: ALL,
        loses_data: false,
    };
    let plain = |name, what_it_does, operations| Row {
        name,
        what_it_does,
        mount: None,
        faults: vec![],
        operations,
        loses_data: false,
    };
    let loses_data = |row| Row {
        loses_data: true,
        ..row
    };
    let stale = |op| Fault::on(op).errno(libc::ESTALE);
    let exists = |op| Fault::on(op).errno(libc::EEXIST);
    vec![
        plain("Plain directory", "Any local disk.", ALL),
        plain(
            "Plain directory, a part of a multipart is dropped",
            "The future of the first of two parts is dropped before it is polled. Right is an \
             error from `complete`, and nothing published.",
            &[DroppedPart],
        ),
        plain(
            "Plain directory, an object and its copy",
            "Two copies to the same location; and a copy, then a rename onto that copy.",
            &[CopyTwice, RenameOntoACopy],
        ),
        row(
            "DrvFs-like",
            "As a Windows drive under WSL2: after a rename the attributes of a handle that is \
             still open are gone (ENOENT), `renameat2` has no flags, times have steps of 100 ns.",
            Recipe::drvfs(),
            vec![],
        ),
        row(
            "DrvFs-like, every third reply to rename lost",
            "The same, and each third rename is done and answered with ESTALE.",
            Recipe::drvfs(),
            vec![stale(Op::Rename).every(3).after_effect()],
        ),
        row(
            "DrvFs-like, every second reply to link lost",
            "The same, and each second link is done and answered with EEXIST.",
            Recipe::drvfs(),
            vec![exists(Op::Link).every(2).after_effect()],
        ),
        row(
            "FUSE, rename and create stale three times in a row",
            "Of each twelve renames the first three are answered with ESTALE and not done, and so \
             are creates. Linux makes a stale call a second time by itself, not a third time.",
            Recipe::plain(),
            vec![
                stale(Op::Rename).burst(12, 3),
                stale(Op::Create).burst(12, 3),
            ],
        ),
        row(
            "FUSE, every seventh write stale",
            "Each seventh write is answered with ESTALE and not done.",
            Recipe::plain(),
            vec![stale(Op::Write).every(7)],
        ),
        loses_data(row(
            "FUSE, every third close answers EIO, data lost",
            "Of each third file the writes are acknowledged and their ends lost, which close \
             tells. Right is that error, and the destination as it was.",
            Recipe::plain(),
            vec![
                lost_ends(),
                Fault::on(Op::Flush).where_name(is_third_staging_file),
            ],
        )),
        loses_data(row(
            "FUSE, the end of every third file lost",
            "Of each third file the writes are acknowledged and their ends lost, which nothing \
             tells but the size. Right is an error, and the destination as it was.",
            Recipe::plain(),
            vec![lost_ends()],
        )),
        row(
            "FUSE, attributes settle at close",
            "As on SMB: the mtime moves when a file is closed, so the e_tag of an open file is not \
             the one that `head` gives.",
            Recipe::plain().attributes_settle_at_close(),
            vec![],
        ),
        row(
            "FUSE, no hard links",
            "link(2) is refused with EPERM, as on exFAT and on many FUSE mounts.",
            Recipe::plain().no_hard_links(libc::EPERM),
            vec![],
        ),
        row(
            "FUSE, neither hard links nor exclusive renames",
            "link(2) is refused with EPERM, `renameat2` with flags with EINVAL.",
            Recipe::plain().no_rename_flags().no_hard_links(libc::EPERM),
            vec![],
        ),
        row(
            "FUSE, no rename at all",
            "rename(2) and link(2) are refused with ENOSYS, as on mountpoint-s3.",
            Recipe::plain()
                .no_rename(libc::ENOSYS)
                .no_hard_links(libc::ENOSYS),
            vec![],
        ),
        row(
            "FUSE, inode numbers change",
            "Each look at a file gives it another inode number, so that an e_tag with one is never \
             the one of before.",
            Recipe::plain().inodes_change(),
            vec![],
        ),
    ]
}

fn lost_ends() -> Fault {
    Fault::lose(Op::Write)
        .keeping(5)
        .where_name(is_third_staging_file)
}

/// Whether this is the staging file of `to-3`, `to-6`, ...
fn is_third_staging_file(name: &str) -> bool {
    let round = name.strip_prefix("to-").and_then(|n| n.split_once('#'));
    is_staging_file(name)
        && round
            .and_then(|(n, _)| n.parse::<usize>().ok())
            .is_some_and(|n| n % 3 == 0)
}

// ---- the operations ---------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Put,
    PutIfAbsent,
    Multipart,
    Copy,
    CopyIfAbsent,
    Rename,
    RenameIfAbsent,
    Delete,
    DroppedPart,
    CopyTwice,
    RenameOntoACopy,
}

use Operation::*;

const ALL: &[Operation] = &[
    Put,
    PutIfAbsent,
    Multipart,
    Copy,
    CopyIfAbsent,
    Rename,
    RenameIfAbsent,
    Delete,
];

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Put => "put",
            PutIfAbsent => "put if absent",
            Multipart => "multipart",
            Copy => "copy",
            CopyIfAbsent => "copy if absent",
            Rename => "rename",
            RenameIfAbsent => "rename if absent",
            Delete => "delete",
            DroppedPart => "a dropped part",
            CopyTwice => "copy twice",
            RenameOntoACopy => "rename onto a copy",
        }
    }

    fn is_if_absent(self) -> bool {
        matches!(self, PutIfAbsent | CopyIfAbsent | RenameIfAbsent)
    }

    /// Of files that are `before`, what a success leaves; `None` where only an error is right.
    fn promise(self, round: &Round, before: &Files) -> Option<Files> {
        let mut after = before.clone();
        match self {
            Delete => after.remove(&round.to),
            DroppedPart => return None,
            _ => after.insert(round.to.clone(), round.data.clone().into()),
        };
        if matches!(self, Rename | RenameIfAbsent | RenameOntoACopy) {
            after.remove(&round.from);
        }
        Some(after)
    }
}

/// The files of a directory, with what they hold.
type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let name_and_contents = |name: String| {
        let contents = fs::read(dir.join(&name)).unwrap();
        (name, contents)
    };
    let names = minors::files(dir).into_iter();
    names.map(name_and_contents).collect()
}

struct Round {
    from: String,
    to: String,
    data: String,
}

impl Round {
    fn new(operation: Operation, n: usize) -> Round {
        Round {
            from: format!("from-{n}"),
            to: format!("to-{n}"),
            data: format!("what round {n:02} of {} hands over", operation.name()),
        }
    }

    /// Behind the mount's back: no request is counted.
    fn prepare(&self, operation: Operation, dir: &Path) {
        fs::write(dir.join(&self.from), &self.data).unwrap();
        if !operation.is_if_absent() {
            fs::write(dir.join(&self.to), "old").unwrap();
        }
    }
}

// ---- the verdicts -----------------------------------------------------------------------------

/// What one round came to, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// `Ok` and exactly the promised effect; or the error that is due, and no effect.
    Holds,
    /// An error, and the destination as it was.
    Fails,
    /// `Ok` and the effect, but an e_tag that `head` does not give.
    WrongETag,
    /// As it should be, but for a file that nobody wants.
    LeavesAFile,
    FailsAndLeavesAFile,
    /// An error, and it took effect, or half of it.
    FalseFailure,
    /// `Ok`, and the effect is not the promised one.
    FalseSuccess,
    /// An error, and the destination is neither what it was nor what was handed over.
    Destroys,
}

use Verdict::*;

impl Verdict {
    fn of(
        answer: &Answer,
        error_is_due: bool,
        round: &Round,
        before: Files,
        promise: Option<Files>,
        mut after: Files,
    ) -> Verdict {
        let found = after.len();
        after.retain(|name, _| {
            before.contains_key(name) || [&round.from, &round.to].contains(&name)
        });
        let left = found > after.len();
        let verdict = match answer {
            Ok(_) if promise.as_ref() != Some(&after) => FalseSuccess,
            Ok(Some([told, head])) if told != head => WrongETag,
            Ok(_) => Holds,
            Err(_) if after == before && error_is_due => Holds,
            Err(_) if after == before => Fails,
            Err(_) if promise.is_some_and(|p| p.get(&round.to) == after.get(&round.to)) => {
                FalseFailure
            }
            Err(_) => Destroys,
        };
        match verdict {
            Holds | WrongETag if left => LeavesAFile,
            Fails if left => FailsAndLeavesAFile,
            _ => verdict,
        }
    }

    /// What is said of one operation or round, or of several.
    fn words(self, one: bool) -> &'static str {
        match (self, one) {
            (Holds, true) => "holds",
            (Holds, false) => "hold",
            (Fails, true) => "fails",
            (Fails, false) => "fail",
            (WrongETag, _) => "wrong e_tag",
            (LeavesAFile, true) => "leaves a file",
            (LeavesAFile, false) => "leave a file",
            (FailsAndLeavesAFile, true) => "fails and leaves a file",
            (FailsAndLeavesAFile, false) => "fail and leave a file",
            (FalseFailure, _) => "false failure",
            (FalseSuccess, _) => "false success",
            (Destroys, true) => "destroys the object",
            (Destroys, false) => "destroy the object",
        }
    }

    /// What stands between an operation's name and the words.
    fn link(self) -> &'static str {
        match self {
            WrongETag | FalseFailure | FalseSuccess => ": ",
            Holds | Fails | LeavesAFile | FailsAndLeavesAFile | Destroys => " ",
        }
    }
}

/// How many rounds of an operation came to what.
type Tally = BTreeMap<Verdict, usize>;

/// What a store did on a mount, operation by operation.
type Cell = Vec<(Operation, Tally)>;

/// Makes every operation of `row` on one store.
fn measure(row: &Row, store: fn(&Path) -> Make) -> Cell {
    let misbehaving = |recipe| row.faults.iter().cloned().fold(recipe, Recipe::fault);
    let mount = row.mount.clone().map(misbehaving).map(QuirkFs::mount);
    let plain = tempfile::tempdir().unwrap();
    let (dir, backing) = match &mount {
        Some(mount) => (mount.path(), mount.backing()),
        None => (plain.path(), plain.path()),
    };
    let faults_fired = || mount.as_ref().map_or(0, Mounted::faults_fired);
    let make = store(dir);

    let measure_operation = |&operation: &Operation| {
        let below = operation.name().replace(' ', "-");
        let backing = backing.join(&below);
        fs::create_dir(&backing).unwrap();
        let mut tally = Tally::new();
        for n in 1..=ROUNDS {
            let round = Round::new(operation, n);
            round.prepare(operation, &backing);
            let (before, fired_before) = (files(&backing), faults_fired());
            let answer = answer(&make, operation, &below, &round);
            let (after, fired) = (files(&backing), faults_fired() > fired_before);

            let is_due = operation == DroppedPart || (row.loses_data && fired);
            let promise = operation.promise(&round, &before);
            let verdict = Verdict::of(&answer, is_due, &round, before, promise, after);
            *tally.entry(verdict).or_default() += 1;
            // Shown by a test that fails, and with --nocapture.
            if verdict != Holds {
                let (row, operation) = (row.name, operation.name());
                eprintln!("{row}: {operation} {n}: {verdict:?}: {answer:?}");
            }
        }
        (operation, tally)
    };
    let cell = row.operations.iter().map(measure_operation).collect();
    assert!(
        faults_fired() > 0 || row.faults.is_empty(),
        "{}: no fault struck",
        row.name
    );
    cell
}

/// Makes one operation, and waits until all that it began is over.
fn answer(make: &Make, operation: Operation, below: &str, round: &Round) -> Answer {
    let at = |name| format!("{below}/{name}");
    let strings = [at(&round.from), at(&round.to), round.data.clone()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let answer = make(operation.name(), strings).await;
        // The only blocking thread takes its tasks in turn: a dropped upload is cleaned up first.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        answer
    })
}

// ---- the table --------------------------------------------------------------------------------

const COLUMNS: [&str; 4] = ["upstream 0.12", "upstream 0.13", "upstream 0.14", "this"];

struct Measured(Vec<(Row, [Cell; COLUMNS.len()])>);

impl Measured {
    fn now() -> Measured {
        let measure_row = |row: Row| {
            let upstream = |store| measure(&row, store);
            let theirs = [
                upstream(v0_12::verdicts::upstream),
                upstream(v0_13::verdicts::upstream),
                upstream(v0_14::verdicts::upstream),
            ];
            eprintln!("{}: from here on ours", row.name);
            let [v0_12, v0_13, v0_14] = [
                measure(&row, v0_12::verdicts::ours),
                measure(&row, v0_13::verdicts::ours),
                measure(&row, v0_14::verdicts::ours),
            ];
            assert_eq!(v0_12, v0_13, "ours for 0.12 and for 0.13, {}", row.name);
            assert_eq!(v0_13, v0_14, "ours for 0.13 and for 0.14, {}", row.name);
            let [first, second, third] = theirs;
            (row, [first, second, third, v0_14])
        };
        Measured(rows().into_iter().map(measure_row).collect())
    }

    /// The worst of each operation, in a line for each mount.
    fn table(&self) -> String {
        let mut table = header("mount");
        for (row, cells) in &self.0 {
            line(&mut table, row.name, cells.each_ref().map(in_short));
        }
        table
    }

    /// How often each operation came to what, in a table for each mount.
    fn details(&self) -> String {
        let mut page = format!(
            "# What upstream and this do on which mount\n\
             \n\
             The numbers behind the table in the [README](../README.md): {ROUNDS} rounds of each \
             operation, one after another, on a fresh mount for each store. `this` is measured \
             through all three minors, which agree. Written by `UPDATE_TABLE=1 cargo test \
             --features mount-tests --test readme_table`; not to be edited.\n\
             \n\
             | word | meaning |\n\
             | --- | --- |\n\
             | holds | `Ok` and exactly the promised effect, or the error that is due and no effect; no file left over |\n\
             | fails | an error, and the destination as it was |\n\
             | wrong e_tag | `Ok`, with an e_tag that `head` does not give |\n\
             | leaves a file | a staging file stays |\n\
             | false failure | an error, and it took effect, in whole or in part |\n\
             | false success | `Ok`, and the effect is not the promised one |\n\
             | destroys the object | an error, and the destination is neither what it was nor what was handed over |\n"
        );
        for (row, cells) in &self.0 {
            write!(page, "\n## {}\n\n{}\n\n", row.name, row.what_it_does).unwrap();
            page += &header("operation");
            for (i, operation) in row.operations.iter().enumerate() {
                let counts = cells.each_ref().map(|cell| in_numbers(&cell[i].1));
                line(&mut page, operation.name(), counts);
            }
        }
        page
    }
}

fn header(first: &str) -> String {
    let mut table = String::new();
    line(&mut table, first, COLUMNS.map(String::from));
    line(&mut table, "---", COLUMNS.map(|_| "---".into()));
    table
}

fn line(table: &mut String, first: &str, cells: [String; COLUMNS.len()]) {
    writeln!(table, "| {first} | {} |", cells.join(" | ")).unwrap();
}

/// `put, rename: false failure; multipart fails`: the worst of each operation, the worst first.
fn in_short(cell: &Cell) -> String {
    let mut by_worst = BTreeMap::<Verdict, Vec<&str>>::new();
    for (operation, tally) in cell {
        let (&worst, _) = tally.last_key_value().expect("rounds were made");
        by_worst.entry(worst).or_default().push(operation.name());
    }
    by_worst.remove(&Holds);
    if by_worst.is_empty() {
        return Holds.words(true).into();
    }
    let said = |(verdict, names): (&Verdict, &Vec<&str>)| match cell.len() {
        // The row says which operation.
        1 => verdict.words(true).into(),
        _ => names.join(", ") + verdict.link() + verdict.words(names.len() == 1),
    };
    by_worst
        .iter()
        .rev()
        .map(said)
        .collect::<Vec<_>>()
        .join("; ")
}

/// `8 hold, 4 false failure`: of all rounds, the best first.
fn in_numbers(tally: &Tally) -> String {
    let said = |(verdict, &rounds): (&Verdict, &usize)| match rounds {
        ROUNDS => verdict.words(true).into(),
        _ => format!("{rounds} {}", verdict.words(rounds == 1)),
    };
    tally.iter().map(said).collect::<Vec<_>>().join(", ")
}
