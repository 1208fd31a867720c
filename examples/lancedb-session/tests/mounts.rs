//! LanceDB with the store handed to it in a session, and no override, on mounts that misbehave.

#[path = "../../lancedb/tests/shared/mod.rs"]
mod shared;

use lance_table::io::commit::commit_handler_from_url;

use shared::{Way, by_path, by_uri, check_table};

const PROGRAM: &str = env!("CARGO_BIN_EXE_songs-session");

#[test]
fn the_readme_tells_what_is_measured() {
    check_table(&[
        // The session's store is behind `file-object-store://` only.
        Way {
            name: "0.41.0 as it comes",
            program: PROGRAM.into(),
            uri: by_path,
            works_everywhere: false,
        },
        Way {
            name: "0.41.0 by session",
            program: PROGRAM.into(),
            uri: by_uri,
            works_everywhere: true,
        },
    ]);
}

/// Why the store takes the place of a scheme that Lance knows: for any other nothing keeps two
/// commits apart.
#[tokio::test]
async fn lance_keeps_commits_apart_on_schemes_that_it_knows() {
    let handler = async |url| format!("{:?}", commit_handler_from_url(url, &None).await.unwrap());

    let known = handler("file-object-store:///mnt/d/music").await;
    assert_eq!(known, "ConditionalPutCommitHandler");
    let unknown = handler("localfs:///mnt/d/music").await;
    assert_eq!(unknown, "UnsafeCommitHandler");
}

/// What is in README.md to be pasted is what is tested here.
#[test]
fn the_readme_shows_this_store() {
    let readme = include_str!("../../../README.md");
    let shown = readme
        .split("```")
        .find(|block| block.contains("impl ObjectStoreProvider"));
    let shown = shown
        .expect("the README shows it")
        .trim_start_matches("rust,ignore");
    assert_eq!(code(shown), code(include_str!("../src/store.rs")));
}

/// The lines that are no comment.
fn code(source: &str) -> Vec<&str> {
    let lines = source.lines().map(str::trim);
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    lines.filter(is_code).collect()
}
