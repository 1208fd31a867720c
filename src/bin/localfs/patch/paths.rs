//! Paths as cargo sees them: by name, without a look at the disk.

use std::path::{Component, Path, PathBuf};

/// Without `.` and `..`, where that can be done.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// The way to `to` from inside the directory `from`, with `/` between its parts.
pub(super) fn from(from: &Path, to: &Path) -> String {
    let (from, to) = (plain(from), plain(to));
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b);
    let common = common.count();
    if common == 0 {
        // Two drives of Windows: there is no way.
        return to.to_string_lossy().into_owned();
    }
    let up = from.components().skip(common).map(|_| "..".into());
    let down = to
        .components()
        .skip(common)
        .map(|part| part.as_os_str().to_string_lossy());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_goes_up_and_down() {
        let way = |a: &str, b: &str| from(Path::new(a), Path::new(b));
        assert_eq!(way("/a/b", "/a/b/c/d"), "c/d");
        assert_eq!(way("/a/b/../c", "/a/e/./f"), "../e/f");
        assert_eq!(way("/a", "/b"), "../b");
    }
}
