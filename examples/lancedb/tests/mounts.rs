//! LanceDB with the override, on mounts that misbehave.
//!
//! `songs` must have been overridden (`localfs patch`); for LanceDB 0.26 `SONGS_UPSTREAM` must name
//! the program that is not. README.md has the commands.

mod shared;

use shared::{Way, by_path, by_uri, check_table};

const OVERRIDDEN: &str = env!("CARGO_BIN_EXE_songs");

#[cfg(feature = "lancedb-0_26")]
const NAMES: [&str; 2] = ["0.26.2 by path", "0.26.2 by URI"];
#[cfg(feature = "lancedb-0_38")]
const NAMES: [&str; 2] = ["0.38.0 by path", "0.38.0 by URI"];
#[cfg(feature = "lancedb-0_41")]
const NAMES: [&str; 2] = ["0.41.0 by path", "0.41.0 by URI"];

#[test]
fn the_readme_tells_what_is_measured() {
    let [by_path_name, by_uri_name] = NAMES;
    let ways = vec![
        #[cfg(feature = "lancedb-0_26")]
        Way {
            name: "0.26.2 as it comes",
            program: upstream::program(),
            uri: by_path,
            works_everywhere: false,
        },
        Way {
            name: by_path_name,
            program: OVERRIDDEN.into(),
            uri: by_path,
            works_everywhere: false,
        },
        Way {
            name: by_uri_name,
            program: OVERRIDDEN.into(),
            uri: by_uri,
            works_everywhere: true,
        },
    ];
    check_table(&ways);
}

/// Why all this: LanceDB 0.26 as it comes.
#[cfg(feature = "lancedb-0_26")]
mod upstream {
    use crate::shared::quirkfs::{Fault, Op, QuirkFs, Recipe};
    use crate::shared::{assert_fired, by_path, run_songs};

    #[test]
    fn fails_on_drvfs() {
        let mount = QuirkFs::mount(Recipe::drvfs());

        let output = run_songs(&program(), &by_path(&mount.path().join("music")));

        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "it completed");
        let of_a_staging_file = errors
            .split("Unable to access metadata for ")
            .skip(1)
            .filter_map(|after| after.split(": ").next())
            .any(|path| path.ends_with("#1"));
        assert!(of_a_staging_file, "it failed otherwise: {errors}");
    }

    /// Why the count must be exact; and the program notices when it is not.
    #[test]
    fn commits_twice_when_replies_to_link_are_lost() {
        let lost = Fault::on(Op::Link).errno(libc::EEXIST).every(2);
        let mount = QuirkFs::mount(Recipe::plain().fault(lost.after_effect()));

        let output = run_songs(&program(), &by_path(&mount.path().join("music")));

        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "it completed");
        assert!(
            errors.contains("not every one was made once"),
            "it failed otherwise: {errors}"
        );
        assert_fired(&mount, Op::Link);
    }

    /// The program that was not overridden.
    pub(super) fn program() -> String {
        std::env::var("SONGS_UPSTREAM").unwrap_or_else(|_| {
            panic!("SONGS_UPSTREAM must name the program built in `upstream/`, see README.md")
        })
    }
}
