//! The mounts, and what is run on each.

use super::quirkfs::{Fault, Op, Recipe};
use super::run::{Outcome, Way, complete, reach, two_writers};

/// A row of the table.
pub(crate) struct Mount {
    pub(crate) name: &'static str,
    /// `None` is a plain directory.
    pub(crate) recipe: Option<Recipe>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) measure: fn(&Way, &Mount) -> Outcome,
}

pub(crate) fn mounts() -> Vec<Mount> {
    let plain = |name| Mount {
        name,
        recipe: None,
        faults: vec![],
        measure: complete,
    };
    let row = |name, recipe| Mount {
        recipe: Some(recipe),
        ..plain(name)
    };
    let faulty = |name, recipe, faults| Mount {
        faults,
        ..row(name, recipe)
    };
    let stale = |op| Fault::on(op).errno(libc::ESTALE);
    let exists = |op| Fault::on(op).errno(libc::EEXIST);
    let no_links = || Recipe::plain().no_hard_links(libc::EPERM);
    let no_rename = |recipe: Recipe| recipe.no_rename_flags().no_rename(libc::ENOSYS);
    vec![
        plain("Plain directory"),
        row("DrvFs-like", Recipe::drvfs()),
        row("Inodes change", Recipe::plain().inodes_change()),
        row("No hard links", no_links()),
        row(
            "No hard links, no exclusive rename",
            no_links().no_rename_flags(),
        ),
        row("No rename", no_rename(Recipe::plain())),
        row("No rename, no hard links", no_rename(no_links())),
        // As mountpoint-s3.
        row(
            "The same, written from the first byte to the last",
            no_rename(no_links()).sequential_writes(),
        ),
        faulty(
            "DrvFs-like, every second reply to rename lost",
            Recipe::drvfs(),
            vec![stale(Op::Rename).every(2).after_effect()],
        ),
        faulty(
            "DrvFs-like, every second reply to link lost",
            Recipe::drvfs(),
            vec![exists(Op::Link).every(2).after_effect()],
        ),
        // Linux makes a stale call a second time by itself, not a third time.
        faulty(
            "Open and create stale, three in a row of each twelve",
            Recipe::plain(),
            vec![stale(Op::Open).burst(12, 3), stale(Op::Create).burst(12, 3)],
        ),
        faulty(
            "Every seventh write stale",
            Recipe::plain(),
            vec![stale(Op::Write).every(7)],
        ),
        Mount {
            measure: two_writers,
            ..plain("Plain directory, two processes at once")
        },
        Mount {
            measure: two_writers,
            ..row("No hard links, two processes at once", no_links())
        },
        Mount {
            measure: two_writers,
            ..row(
                "No hard links, no exclusive rename, two processes at once",
                no_links().no_rename_flags(),
            )
        },
        Mount {
            measure: two_writers,
            ..row(
                "No rename, no hard links, two processes at once",
                no_rename(no_links()),
            )
        },
        Mount {
            measure: reach,
            ..row("Written by LanceDB itself, past the store", Recipe::plain())
        },
    ]
}
