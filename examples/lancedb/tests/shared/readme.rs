//! The table in README.md. A test run measures some of its columns; the others stay.

use std::fs;

// Of this package, also when that of `../lancedb-session` runs.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../lancedb/README.md");

const BEGIN: &str = "<!-- ways:begin -->";
const END: &str = "<!-- ways:end -->";

/// The columns, in their order.
const COLUMNS: [&str; 9] = [
    "0.26.2 as it comes",
    "0.26.2 by path",
    "0.26.2 by URI",
    "0.38.0 by path",
    "0.38.0 by URI",
    "0.41.0 as it comes",
    "0.41.0 by path",
    "0.41.0 by URI",
    "0.41.0 by session",
];

/// Fails if what is measured is not what stands there; with `UPDATE_TABLE=1` writes it instead.
pub(crate) fn check(rows: &[&str], measured: &[(&str, Vec<String>)]) {
    let readme = fs::read_to_string(README).expect("the README");
    let (before, standing, after) = split(&readme);
    let mut table = Table::parse(standing);
    table.take_rows(rows);
    for (column, cells) in measured {
        table.set(column, cells);
    }
    let table = table.to_markdown();

    if std::env::var_os("UPDATE_TABLE").is_some_and(|update| update == "1") {
        fs::write(README, format!("{before}\n\n{table}\n{after}")).unwrap();
        return;
    }
    assert!(
        standing.trim() == table.trim(),
        "the table in {README} is not what is measured; UPDATE_TABLE=1 writes this one:\n\n{table}"
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

/// Rows with the mount in front, in the order of [`COLUMNS`].
struct Table(Vec<(String, Vec<String>)>);

impl Table {
    /// What is not such a table is an empty one.
    fn parse(markdown: &str) -> Table {
        let cells = |line: &str| -> Vec<String> {
            let line = line.trim().trim_matches('|');
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let lines = markdown.trim().lines().skip(2).map(cells);
        let rows = lines.filter(|cells| cells.len() == 1 + COLUMNS.len());
        Table(rows.map(|mut row| (row.remove(0), row)).collect())
    }

    /// Exactly these rows, in this order; of one that is new nothing is known.
    fn take_rows(&mut self, names: &[&str]) {
        let unknown = || vec!["?".to_owned(); COLUMNS.len()];
        let cells = |name: &&str| {
            let known = self.0.iter().find(|(row, _)| row == name);
            let cells = known.map_or_else(unknown, |(_, cells)| cells.clone());
            (name.to_string(), cells)
        };
        self.0 = names.iter().map(cells).collect();
    }

    fn set(&mut self, column: &str, cells: &[String]) {
        let at = COLUMNS
            .iter()
            .position(|name| *name == column)
            .expect("a column of the table");
        for ((_, row), cell) in self.0.iter_mut().zip(cells) {
            row[at] = cell.clone();
        }
    }

    fn to_markdown(&self) -> String {
        let mut lines = vec![
            format!("| mount | {} |", COLUMNS.join(" | ")),
            format!("| --- | {} |", COLUMNS.map(|_| "---").join(" | ")),
        ];
        for (name, cells) in &self.0 {
            lines.push(format!("| {name} | {} |", cells.join(" | ")));
        }
        lines.join("\n") + "\n"
    }
}
