//! The workspace's root manifest: our entries in `[patch.crates-io]`.
//!
//! toml_edit says where things are; the text is changed only there, so that comments, order, line
//! ends and everything else stay to the byte, and taking the entries out gives back what was.

use std::ops::Range;
use std::path::{Path, PathBuf};

use cargo_metadata::semver::Version;
use toml_edit::{Document, DocumentMut, InlineTable, Item, TableLike, Value};

use super::paths;
use super::stamp::Stamp;
use crate::error::{Error, Result};

/// Ends each line that we write.
const MARK: &str = "# localfs patch";

/// An entry of ours, as it is.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    key: String,
    /// The copy's directory.
    pub(super) dir: PathBuf,
}

/// An entry of ours, as it should be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) version: Version,
    /// The copy's directory, as it is to be written.
    pub(super) path: String,
}

impl Wanted {
    fn same_minor(&self, entry: &Entry) -> bool {
        copied_version(&entry.dir)
            .is_some_and(|it| (it.major, it.minor) == (self.version.major, self.version.minor))
    }
}

/// The name of a copy's directory.
pub(super) fn copy_name(version: &Version) -> String {
    format!("object_store-{version}")
}

/// The version in the name of a copy's directory.
pub(super) fn copied_version(dir: &Path) -> Option<Version> {
    let name = dir.file_name()?.to_str()?;
    Version::parse(name.strip_prefix("object_store-")?).ok()
}

/// Our entries: those that carry our mark, or whose directory carries our stamp, or is named as
/// ours, in the usual place, and gone.
pub(super) fn entries(text: &str, root: &Path) -> Result<Vec<Entry>> {
    let manifest = Manifest::parse(text)?;
    let Some(patches) = manifest.patches().and_then(Item::as_table_like) else {
        return Ok(Vec::new());
    };
    let ours = |(key, item): (&str, &Item)| {
        let dir = paths::plain(&root.join(item.get("path")?.as_str()?));
        let stamped = Stamp::read(&dir).is_some_and(|stamp| stamp.package == "object_store");
        // A mark may be stripped, and the copies of a fresh clone be left out of it.
        let package = item.get("package").and_then(Item::as_str).unwrap_or(key);
        let usual = dir.parent().is_some_and(|dir| dir == root.join(super::DIR));
        let gone = package == "object_store" && usual && !dir.exists();
        let named = copied_version(&dir).is_some();
        let marked = named && (gone || manifest.marked(item.span()));
        (stamped || marked).then(|| Entry {
            key: key.to_string(),
            dir,
        })
    };
    Ok(patches.iter().filter_map(ours).collect())
}

/// The text with exactly `wanted` in the place of `entries`.
pub(super) fn with(text: &str, entries: &[Entry], wanted: &[Wanted]) -> Result<String> {
    let mut manifest = Manifest::parse(text)?;
    let alone = wanted.len() == 1;
    for wanted in wanted {
        manifest = match entries.iter().find(|entry| wanted.same_minor(entry)) {
            Some(entry) => manifest.redirected(&entry.key, &wanted.path)?,
            None => {
                let key = manifest.free_key(wanted, alone);
                manifest.added(&key, &wanted.path)?
            }
        };
    }
    for entry in entries {
        if !wanted.iter().any(|wanted| wanted.same_minor(entry)) {
            manifest = manifest.removed(&entry.key)?;
        }
    }
    Ok(manifest.without_empty_table()?.text)
}

/// The text without `entries`.
pub(super) fn without(text: &str, entries: &[Entry]) -> Result<String> {
    with(text, entries, &[])
}

struct Manifest {
    text: String,
    doc: Document<String>,
}

impl Manifest {
    fn parse(text: &str) -> Result<Self> {
        let doc = Document::parse(text.to_string())
            .map_err(|error| Error::new("the workspace's Cargo.toml is not TOML").why(error))?;
        Ok(Self {
            text: text.to_string(),
            doc,
        })
    }

    /// `[patch.crates-io]`, however it is written.
    fn patches(&self) -> Option<&Item> {
        self.doc.as_table().get("patch")?.get("crates-io")
    }

    fn patch(&self, key: &str) -> Option<&Item> {
        self.patches()?.get(key)
    }

    /// Whether the rest of the line after `span` is our mark.
    fn marked(&self, span: Option<Range<usize>>) -> bool {
        span.is_some_and(|span| {
            let line = self.lines(&span);
            self.text[span.end..line.end].trim().starts_with(MARK)
        })
    }

    /// The whole lines that `span` is on, the last line's end included.
    fn lines(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[span.end..].find('\n');
        start..end.map_or(self.text.len(), |at| span.end + at + 1)
    }

    /// The lines of an entry, if it has lines of its own.
    fn entry_lines(&self, key: &str) -> Option<Range<usize>> {
        let value = self.patches()?.as_table()?.get(key)?.as_value()?;
        Some(self.lines(&value.span()?))
    }

    fn line_end(&self) -> &'static str {
        match self.text.find('\n') {
            Some(at) if self.text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }

    /// A key that nobody uses: `object_store` if it is alone, else with the minor.
    fn free_key(&self, wanted: &Wanted, alone: bool) -> String {
        let minor = format!("object_store-0_{}", wanted.version.minor);
        let names = [
            "object_store".to_string(),
            minor.clone(),
            format!("{minor}-localfs"),
        ];
        let first = usize::from(!alone);
        let free = names[first..].iter().find(|key| self.patch(key).is_none());
        free.unwrap_or(&names[2]).clone()
    }

    fn added(&self, key: &str, path: &str) -> Result<Self> {
        let mut entry = InlineTable::new();
        if key != "object_store" {
            entry.insert("package", "object_store".into());
        }
        entry.insert("path", path.into());

        let end = self.line_end();
        let line = format!("{key} = {} {MARK}{end}", entry.to_string().trim());
        let new_table = format!("{end}[patch.crates-io] {MARK}{end}{line}");
        match self.patches() {
            None if self.doc.get("patch").is_none_or(Item::is_table) => {
                self.spliced(self.text.len()..self.text.len(), &new_table)
            }
            // Others write `[patch.crates-io.name]`: the table has no header yet.
            Some(Item::Table(table)) if table.is_implicit() && !table.is_dotted() => {
                self.spliced(self.text.len()..self.text.len(), &new_table)
            }
            Some(Item::Table(table)) if !table.is_dotted() => {
                let values = table.iter().filter(|(_, item)| item.is_value());
                let spans = values.filter_map(|(_, item)| item.span());
                let last = spans.max_by_key(|span| span.end).or(table.span());
                let after = last.map_or(self.text.len(), |span| self.lines(&span).end);
                self.spliced(after..after, &line)
            }
            patches => self.rewritten(|rewritten| {
                let mut entry = Value::InlineTable(entry);
                if patches.is_some_and(Item::is_table) {
                    entry.decor_mut().set_suffix(format!(" {MARK}"));
                }
                rewritten.insert(key, Item::Value(entry));
            }),
        }
    }

    fn redirected(&self, key: &str, path: &str) -> Result<Self> {
        let now = self.patch(key).and_then(|entry| entry.get("path"));
        match now.and_then(Item::span) {
            Some(_) if now.and_then(Item::as_str) == Some(path) => Self::parse(&self.text),
            Some(span) => self.spliced(span, Value::from(path).to_string().trim()),
            None => Err(Error::new(format!("lost the entry {key} in Cargo.toml"))),
        }
    }

    fn removed(&self, key: &str) -> Result<Self> {
        match self.entry_lines(key) {
            Some(lines) => self.spliced(lines, ""),
            None => self.rewritten(|patches| {
                patches.remove(key);
            }),
        }
    }

    /// Without the table, if we made it and nothing is left in it.
    fn without_empty_table(self) -> Result<Self> {
        let Some(Item::Table(table)) = self.patches() else {
            return Ok(self);
        };
        // What has a header of its own, `[patch.crates-io.name]`, does not need this one.
        let apart = |item: &Item| item.as_table().is_some_and(|it| !it.is_dotted());
        let empty = table.iter().all(|(_, item)| apart(item));
        let Some(header) = table.span().filter(|_| empty) else {
            return Ok(self);
        };
        if !self.marked(Some(header.clone())) {
            return Ok(self);
        }
        let mut lines = self.lines(&header);
        let before = &self.text[..lines.start];
        // The empty line that came with it.
        for end in ["\r\n", "\n"] {
            if before
                .strip_suffix(end)
                .is_some_and(|it| it.ends_with('\n'))
            {
                lines.start -= end.len();
                break;
            }
        }
        self.spliced(lines, "")
    }

    /// Puts `new` in the place of `span`. A file without a line end at its end stays one.
    fn spliced(&self, span: Range<usize>, new: &str) -> Result<Self> {
        let end = self.line_end();
        let open = !self.text.is_empty() && !self.text.ends_with('\n');
        let mut text = self.text.clone();
        let glue = if open && span.start == text.len() {
            end
        } else {
            ""
        };
        text.replace_range(span, &format!("{glue}{new}"));
        if open {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        Self::parse(&text)
    }

    /// For notations that have no lines of their own: toml_edit writes the document.
    fn rewritten(&self, change: impl FnOnce(&mut dyn TableLike)) -> Result<Self> {
        let (mark, text) = match self.text.strip_prefix('\u{feff}') {
            Some(text) => ("\u{feff}", text),
            None => ("", self.text.as_str()),
        };
        let mut doc: DocumentMut = text
            .parse()
            .map_err(|error| Error::new("the workspace's Cargo.toml is not TOML").why(error))?;
        let patches = doc["patch"]["crates-io"].or_insert(Item::Value(InlineTable::new().into()));
        if let Some(patches) = patches.as_table_like_mut() {
            change(patches);
        }
        let text = doc.to_string().replace('\n', self.line_end());
        Self::parse(&format!("{mark}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(version: &str) -> Wanted {
        Wanted {
            version: Version::parse(version).unwrap(),
            path: format!("patches/object_store-{version}"),
        }
    }

    fn ours(text: &str) -> Vec<Entry> {
        entries(text, Path::new("/nowhere")).unwrap()
    }

    /// What `with` and then `without` make of it is checked to be what it was.
    fn there_and_back(text: &str, versions: &[&str]) -> String {
        let wanted: Vec<_> = versions.iter().map(|version| wanted(version)).collect();
        let patched = with(text, &ours(text), &wanted).unwrap();
        let again = with(&patched, &ours(&patched), &wanted).unwrap();
        assert_eq!(again, patched, "twice is once");
        let parsed: DocumentMut = patched.trim_start_matches('\u{feff}').parse().unwrap();
        for wanted in &wanted {
            let entries = parsed["patch"]["crates-io"].as_table_like().unwrap();
            let mut paths = entries.iter().filter_map(|(_, item)| item["path"].as_str());
            assert!(paths.any(|path| path == wanted.path), "{patched}");
        }
        patched
    }

    fn round(text: &str, versions: &[&str]) -> String {
        let patched = there_and_back(text, versions);
        assert_eq!(without(&patched, &ours(&patched)).unwrap(), text);
        patched
    }

    #[test]
    fn comes_out_as_it_went_in_however_the_file_is_written() {
        for text in [
            "[package]\nname = \"a\"\n",
            "[package]\nname = \"a\"",
            "[package]\nname = \"a\"\n\n\n",
            "[package]\r\nname = \"a\"\r\n# c\r\n[dependencies]\r\n",
            "[package]\r\nname = \"a\"\r\n# c\r\n[dependencies]",
            "\u{feff}[package]\nname = \"a\"\n",
            "[package]\nname = \"a\"\n[dependencies]\n# b = \"1\"\n",
            "[b]\n[a]\n[c]\n[a.x]\n# end",
            "[patch.crates-io.foo]\npath = \"x\"\n[a]\n",
            "[patch.crates-io]\nfoo = { path = \"x\" } # foo\n# after\n\n[a]\nb = 1\n",
            "[patch.crates-io]\n# none yet\n\n[a]\nb = 1\n",
            "[a]\n[patch.crates-io]\nfoo = { path = \"x\" }\nfoo2.path = \"y\"",
            "[patch.\"https://example.com/a\"]\nfoo = { path = \"x\" }\n",
        ] {
            round(text, &["0.14.2"]);
            round(text, &["0.12.5", "0.14.2"]);
        }
    }

    #[test]
    fn other_notations_take_the_entries_too() {
        let dotted = "patch.crates-io.foo.path = \"x\"\n[package]\nname = \"a\"\n";
        round(dotted, &["0.14.2"]);
        // A comment has no place in these. It is the copy's stamp that tells our entry.
        for text in [
            "[patch]\ncrates-io = { foo = { path = \"x\" } }\n[a]\n",
            "patch = { crates-io = { foo = { path = \"x\" } } }\n[a]\n",
        ] {
            let patched = with(text, &[], &[wanted("0.14.2")]).unwrap();
            let parsed: DocumentMut = patched.parse().unwrap();
            let entry = &parsed["patch"]["crates-io"]["object_store"];
            assert_eq!(entry["path"].as_str(), Some("patches/object_store-0.14.2"));
            assert!(patched.ends_with("[a]\n"));
        }
    }

    #[test]
    fn a_new_version_takes_the_old_one_s_line() {
        let old = round("[a]\nb = 1 # c\n", &["0.14.1"]);
        let new = with(&old, &ours(&old), &[wanted("0.14.2")]).unwrap();
        assert_eq!(new, old.replace("0.14.1", "0.14.2"));
    }

    #[test]
    fn a_minor_that_came_or_went_leaves_the_other_s_line_alone() {
        let one = round("[a]\n", &["0.14.2"]);
        let two = with(&one, &ours(&one), &[wanted("0.12.5"), wanted("0.14.2")]).unwrap();
        assert!(two.starts_with(&one));
        assert!(two.ends_with(
            "object_store-0_12 = { package = \"object_store\", \
             path = \"patches/object_store-0.12.5\" } # localfs patch\n"
        ));
        assert_eq!(with(&two, &ours(&two), &[wanted("0.14.2")]).unwrap(), one);
    }

    #[test]
    fn an_entry_of_somebody_else_s_is_not_ours() {
        let text = "[patch.crates-io]\nobject_store = { path = \"object_store-0.14.2\" }\n";
        assert!(ours(text).is_empty());
        let patched = round(text, &["0.14.2"]);
        assert!(patched.contains("object_store-0_14 = "));
    }
}
