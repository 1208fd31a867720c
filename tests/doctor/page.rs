//! The doctor's page, `docs/doctor.md`: what it says on mounts of all kinds, and whether the page
//! says so.
//!
//! With `UPDATE_PAGE=1` in the environment the fresh output is written there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::disks::Disk;
use crate::quirkfs::{QuirkFs, Recipe};
use crate::run::text;

// Below the package's root, where cargo runs tests.
const PAGE: &str = "docs/doctor.md";

const BEGIN: &str = "<!-- mounts:begin -->";
const END: &str = "<!-- mounts:end -->";

/// Where every mount is said to be.
const MOUNT_POINT: &str = "/mnt/data";

struct Section {
    name: &'static str,
    what_it_is: &'static str,
    output: String,
}

fn sections() -> Vec<Section> {
    let disk = |name, what_it_is, disk: Disk| Section::new(name, what_it_is, disk.path());
    let fuse = |name, what_it_is, recipe| {
        let mount = QuirkFs::mount(recipe);
        Section::new(name, what_it_is, mount.path())
    };
    let no_links = || Recipe::plain().no_hard_links(libc::EPERM);
    vec![
        disk("ext4", "A local disk.", Disk::ext4()),
        disk("tmpfs", "Memory.", Disk::tmpfs()),
        fuse(
            "DrvFs-like",
            "As a Windows drive under WSL2: after a rename the attributes of a handle that is \
             still open are gone, `renameat2` has no flags, times have steps of 100 ns.",
            Recipe::drvfs(),
        ),
        fuse(
            "No hard links",
            "As exFAT, and many a FUSE mount.",
            no_links(),
        ),
        fuse(
            "Neither hard links nor exclusive renames",
            "As FUSE mounts of buckets that can rename.",
            no_links().no_rename_flags(),
        ),
        fuse(
            "No renames",
            "As FUSE mounts of some buckets.",
            no_links().no_rename(libc::ENOSYS),
        ),
        fuse(
            "No renames, and files are written from beginning to end",
            "As Mountpoint for Amazon S3.",
            no_links().no_rename(libc::ENOSYS).sequential_writes(),
        ),
        fuse(
            "Slow",
            "Each request takes 1 ms; a call is one request or several.",
            Recipe::plain().latency(Duration::from_millis(1)),
        ),
    ]
}

impl Section {
    fn new(name: &'static str, what_it_is: &'static str, dir: &Path) -> Self {
        let (output, _) = text(dir);
        let path = dir.canonicalize().unwrap();
        Self {
            name,
            what_it_is,
            output: output.replace(path.to_str().unwrap(), MOUNT_POINT),
        }
    }
}

#[test]
fn the_page_tells_what_the_doctor_says() {
    let page = fs::read_to_string(PAGE).expect("the page");
    let (before, standing, after) = split(&page);
    let mut fresh = String::new();
    for Section {
        name,
        what_it_is,
        output,
    } in sections()
    {
        write!(
            fresh,
            "\n## {name}\n\n{what_it_is}\n\n```text\n{output}```\n"
        )
        .unwrap();
    }
    if std::env::var_os("UPDATE_PAGE").is_some_and(|update| update == "1") {
        fs::write(PAGE, format!("{before}\n{fresh}\n{after}")).unwrap();
        return;
    }
    let (standing, fresh) = (masked(standing.trim()), masked(fresh.trim()));
    let differs = standing.lines().zip(fresh.lines()).find(|(a, b)| a != b);
    assert!(
        standing == fresh,
        "{PAGE} is not what the doctor says; UPDATE_PAGE=1 writes it. The first difference: \
         {differs:#?}"
    );
}

/// What is before the outputs, the outputs, and what is after them; the markers belong to the
/// outer two.
fn split(page: &str) -> (&str, &str, &str) {
    let begin = page.find(BEGIN).map(|at| at + BEGIN.len());
    match (begin, page.find(END)) {
        (Some(begin), Some(end)) if begin <= end => {
            (&page[..begin], &page[begin..end], &page[end..])
        }
        _ => panic!("{PAGE} has no place for the outputs, between {BEGIN} and {END}"),
    }
}

/// Without what is another at each run, or on each machine: times, how often a call was made,
/// devices, options, free space, the digits of staging files, and the widths of columns.
fn masked(page: &str) -> String {
    let mut heading = "";
    let mut masked = String::new();
    for line in page.lines() {
        if !line.starts_with(' ') {
            heading = line;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let masked_words = match (heading, &words[..]) {
            ("The mount", [name @ ("device" | "options" | "source"), ..]) => vec![*name],
            ("The mount", ["file", "system", ..]) => words,
            (_, ["free", "space", ..]) => vec!["free space"],
            ("How long a call takes", _) => without_amounts(&words),
            // On a busy machine they are so anywhere.
            (_, ["note", "Calls", "are", "slow:", ..]) => continue,
            _ => words,
        };
        masked += &without_digits(&masked_words.join(" "));
        masked.push('\n');
    }
    masked
}

fn without_amounts<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let is_amount = |word: &str| word.parse::<f64>().is_ok();
    let is_unit = |word: &str| ["us", "ms", "s"].contains(&word.trim_end_matches('.'));
    let words = words.iter().copied();
    words.filter(|it| !is_amount(it) && !is_unit(it)).collect()
}

/// `to#N` for `to#4711`.
fn without_digits(line: &str) -> String {
    let mut parts = line.split('#');
    let mut masked = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let rest = part.trim_start_matches(|it: char| it.is_ascii_digit());
        masked += match rest.len() < part.len() {
            true => "#N",
            false => "#",
        };
        masked += rest;
    }
    masked
}

#[test]
fn the_mask_hides_what_varies_and_nothing_else() {
    let page = |device: &str, took: &str, answer: &str| {
        format!(
            "The mount\n  device  {device}\nWhat it can do\n  mtime step  {answer}\n\
             How long a call takes\n  stat  {took} 300\n"
        )
    };
    let one = masked(&page("8:1", "1.1 us", "10 ms"));
    assert_eq!(one, masked(&page("0:52", "12.0 ms", "10 ms")));
    assert_ne!(one, masked(&page("8:1", "1.1 us", "2 s")));
    assert_eq!(masked("it leaves a#17"), masked("it leaves a#4711"));
    assert_ne!(masked("it leaves a#17"), masked("it leaves b#17"));
}
