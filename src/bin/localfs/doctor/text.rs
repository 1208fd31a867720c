//! The report for people: colour on a terminal, none in a pipe.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use indicatif::HumanBytes;

use super::facts::Mount;
use super::findings::Level;
use super::latency::Latency;
use super::place::Problem;
use super::probe::{Answer, Capability};
use super::report::{Report, Word};
use super::stores::{Outcome, Row};

/// Writes to the standard output. That nobody reads it to its end is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let plain = match anstream::AutoStream::choice(&out) {
        anstream::ColorChoice::Never => Some(without_color(text)),
        _ => None,
    };
    let text = plain.as_deref().unwrap_or(text);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn without_color(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    // Cells are as wide as their columns.
    let lines = plain.lines().map(|line| line.trim_end().to_string() + "\n");
    lines.collect()
}

pub(super) fn of(report: &Report) -> String {
    let mut page = String::new();
    heading(&mut page, &report.directory);
    line(&mut page, &summary(report));
    if let Some(problem) = &report.problem {
        tell(&mut page, problem);
    }
    if let Some(mount) = &report.mount {
        heading(&mut page, "The mount");
        table(&mut page, mount_table(mount));
    }
    if report.problem.is_some() {
        return page;
    }
    heading(&mut page, "What it can do");
    table(&mut page, capability_table(&report.capabilities));
    heading(&mut page, "What a store does on it");
    table(&mut page, operation_table(&report.operations));
    reasons(&mut page, &report.operations);
    heading(&mut page, "How long a call takes");
    table(&mut page, latency_table(&report.latencies));
    heading(&mut page, "What to know, and what to do");
    findings(&mut page, report);
    page
}

fn findings(page: &mut String, report: &Report) {
    if report.findings.is_empty() {
        line(page, "Nothing.");
    }
    for (n, finding) in report.findings.iter().enumerate() {
        let (word, color) = match finding.level {
            Level::Note => ("note", Color::Cyan),
            Level::Fallback => ("fallback", Color::Yellow),
            Level::Weaker => ("weaker", Color::Yellow),
            Level::Broken => ("broken", Color::Red),
        };
        if n > 0 {
            page.push('\n');
        }
        let mut of_two = plain_table();
        of_two.add_row([colored(word, color), Cell::new(&finding.what)]);
        of_two.add_row([Cell::new("do"), Cell::new(&finding.advice)]);
        table(page, of_two);
    }
}

fn summary(report: &Report) -> String {
    match report.verdict {
        Word::Fine => "Fine: all operations hold, as on a local disk.",
        Word::Fallbacks => {
            "Works, with fallbacks: all operations hold, some by other means than on a local disk."
        }
        Word::Weaker => "Works, with weaker promises than on a local disk; see below.",
        Word::Broken => "Does not work; see below.",
    }
    .into()
}

fn tell(page: &mut String, problem: &Problem) {
    page.push('\n');
    let mut of_three = plain_table();
    of_three.add_row([colored("problem", Color::Red), Cell::new(&problem.what)]);
    of_three.add_row(["why", &problem.why]);
    of_three.add_row(["do", problem.advice]);
    table(page, of_three);
}

fn mount_table(mount: &Mount) -> Table {
    let mut table = plain_table();
    let unknown = || "unknown".to_string();
    let told = |field: &Option<String>| field.clone().unwrap_or_else(unknown);
    let local = match mount.is_local {
        true => "yes",
        false => "no, or not known to be one: names are looked at after each change",
    };
    for (name, value) in [
        ("file system", told(&mount.file_system)),
        ("source", told(&mount.source)),
        ("mount point", told(&mount.mount_point)),
        ("options", told(&mount.options)),
        ("device", mount.device.clone()),
        ("local disk", local.into()),
    ] {
        table.add_row([name, &value]);
    }
    table
}

fn capability_table(capabilities: &[Capability]) -> Table {
    let mut table = plain_table();
    for capability in capabilities {
        table.add_row([
            Cell::new(capability.name),
            answer(capability.answer),
            Cell::new(match capability.tries {
                0 | 1 => capability.evidence.clone(),
                tries => format!("{}, at try {tries}", capability.evidence),
            }),
        ]);
    }
    table
}

fn answer(answer: Answer) -> Cell {
    match answer {
        Answer::Yes => colored("yes", Color::Green),
        Answer::No => colored("no", Color::Yellow),
        Answer::Unknown => colored("unknown", Color::Magenta),
        Answer::Nanoseconds(step) => Cell::new(nanoseconds(step)),
        Answer::Bytes(255) => Cell::new("255 bytes"),
        Answer::Bytes(count) => Cell::new(bytes(count)),
    }
}

fn operation_table(rows: &[Row]) -> Table {
    let mut table = plain_table();
    let names = [
        "operation",
        "upstream 0.12",
        "upstream 0.13",
        "upstream 0.14",
    ];
    let names = names.into_iter().chain(["this", "by"]);
    table.set_header(names.map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    for row in rows {
        let mut cells = vec![Cell::new(row.operation.name())];
        cells.extend(row.verdicts().map(|(_, verdict)| outcome(verdict.outcome)));
        cells.push(Cell::new(row.by.as_deref().unwrap_or_default()));
        table.add_row(cells);
    }
    table
}

fn outcome(outcome: Outcome) -> Cell {
    let color = match outcome {
        Outcome::Holds => Color::Green,
        Outcome::NotTried => Color::Magenta,
        Outcome::Fails | Outcome::WrongETag | Outcome::LeavesAFile => Color::Yellow,
        _ => Color::Red,
    };
    colored(outcome.words(), color)
}

/// Why what does not hold does not, once for all stores that say the same.
fn reasons(page: &mut String, rows: &[Row]) {
    let mut table_of_reasons = plain_table();
    for row in rows {
        let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
        for (store, verdict) in row.verdicts() {
            let Some(why) = verdict.why.as_deref() else {
                continue;
            };
            match said.iter_mut().find(|(same, _)| *same == why) {
                Some((_, stores)) => stores.push(store),
                None => said.push((why, vec![store])),
            }
        }
        for (why, stores) in said {
            let stores = stores.join(", ").replace(", upstream", ",");
            table_of_reasons.add_row([row.operation.name(), &stores, why]);
        }
    }
    if table_of_reasons.row_count() > 0 {
        page.push('\n');
        table(page, table_of_reasons);
    }
}

fn latency_table(latencies: &[Latency]) -> Table {
    let mut table = plain_table();
    let names = ["call", "median", "worst", "of"];
    table.set_header(names.map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    for latency in latencies {
        let time = |us: Option<f64>| Cell::new(us.map_or("-".into(), micros));
        let rounds = match &latency.error {
            Some(error) if latency.rounds > 0 => {
                Cell::new(format!("{}, then {error}", latency.rounds))
            }
            Some(error) => Cell::new(error),
            None => Cell::new(latency.rounds),
        };
        table.add_row([
            Cell::new(latency.call),
            time(latency.median_us).set_alignment(CellAlignment::Right),
            time(latency.worst_us).set_alignment(CellAlignment::Right),
            rounds,
        ]);
    }
    table
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.enforce_styling();
    // Wrapped where a person sees it; a program that reads lines gets them whole.
    table.set_content_arrangement(match io::stdout().is_terminal() {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    });
    table
}

fn table(page: &mut String, table: Table) {
    for text in table.lines() {
        let _ = writeln!(page, " {text}");
    }
}

fn colored(text: &str, color: Color) -> Cell {
    Cell::new(text).fg(color)
}

fn heading(page: &mut String, text: &str) {
    if !page.is_empty() {
        page.push('\n');
    }
    // Bold.
    let _ = writeln!(page, "\u{1b}[1m{text}\u{1b}[0m");
}

fn line(page: &mut String, text: &str) {
    let _ = writeln!(page, "  {text}");
}

/// `1.5 ms`.
pub(super) fn micros(us: f64) -> String {
    match us {
        _ if us < 1_000.0 => format!("{us:.1} us"),
        _ if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

/// `100 ns`, of whole steps.
pub(super) fn nanoseconds(ns: u64) -> String {
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if ns >= unit && ns % unit == 0 {
            return format!("{} {name}", ns / unit);
        }
    }
    format!("{ns} ns")
}

/// `58.10 GiB`.
pub(super) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_as_people_say_them() {
        assert_eq!(
            [1, 100, 10_000_000, 2_000_000_000].map(nanoseconds),
            ["1 ns", "100 ns", "10 ms", "2 s"]
        );
        assert_eq!(
            [0.4, 1_234.0, 2e6].map(micros),
            ["0.4 us", "1.2 ms", "2.0 s"]
        );
    }
}
