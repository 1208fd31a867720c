//! A run of the doctor, and what it said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// `localfs doctor`, ready to be run.
pub(crate) fn doctor(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_localfs"));
    command.arg("doctor").arg(dir).args(arguments);
    // Whatever the terminal of the tests says of colour.
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"] {
        command.env_remove(variable);
    }
    command
}

/// What people read.
pub(crate) fn text(dir: &Path) -> (String, Option<i32>) {
    said(doctor(dir, &[]).output().unwrap())
}

pub(crate) fn said(output: Output) -> (String, Option<i32>) {
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "");
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.code())
}

/// What programs read.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) Value);

impl Report {
    /// Examines `dir`, and sees that the exit status and the report agree.
    pub(crate) fn of(dir: &Path) -> Self {
        Self::from_run(&mut doctor(dir, &["--json"]))
    }

    pub(crate) fn from_run(command: &mut Command) -> Self {
        let (text, status) = said(command.output().unwrap());
        let report: Value = serde_json::from_str(&text).expect("JSON and nothing else");
        assert_eq!(report["status"].as_i64(), status.map(i64::from));
        Self(report)
    }

    pub(crate) fn status(&self) -> i64 {
        self.0["status"].as_i64().unwrap()
    }

    pub(crate) fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap()
    }

    /// The entry of a list whose `key` is `value`.
    fn entry(&self, list: &str, key: &str, value: &str) -> &Value {
        let entries = self.0[list].as_array().unwrap();
        let found = entries.iter().find(|entry| entry[key] == value);
        found.unwrap_or_else(|| panic!("no {list} with {key} {value}: {:#}", self.0))
    }

    pub(crate) fn answer(&self, capability: &str) -> &Value {
        &self.entry("capabilities", "id", capability)["answer"]
    }

    pub(crate) fn evidence(&self, capability: &str) -> &str {
        let evidence = &self.entry("capabilities", "id", capability)["evidence"];
        evidence.as_str().unwrap()
    }

    /// The ids of the capabilities that are not there.
    pub(crate) fn lacks(&self) -> Vec<&str> {
        let capabilities = self.0["capabilities"].as_array().unwrap();
        let lacks = capabilities.iter().filter(|it| it["answer"] == "no");
        lacks.map(|it| it["id"].as_str().unwrap()).collect()
    }

    /// What a store came to, `upstream_0_12` or `this`.
    pub(crate) fn outcome(&self, operation: &str, store: &str) -> &str {
        let outcome = &self.entry("operations", "operation", operation)[store]["outcome"];
        outcome.as_str().unwrap()
    }

    /// The operations at which this crate does not do what it should.
    pub(crate) fn failing(&self) -> Vec<&str> {
        let operations = self.0["operations"].as_array().unwrap();
        let failing = operations
            .iter()
            .filter(|row| row["this"]["outcome"] != "holds");
        failing
            .map(|row| row["operation"].as_str().unwrap())
            .collect()
    }

    pub(crate) fn by(&self, operation: &str) -> &str {
        let by = &self.entry("operations", "operation", operation)["by"];
        by.as_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn finds(&self, id: &str, level: &str) {
        assert_eq!(self.entry("findings", "id", id)["level"], level);
    }

    /// Why nothing more was said.
    pub(crate) fn problem(&self) -> &str {
        self.0["problem"]["id"].as_str().unwrap()
    }
}

/// Every name below a directory with what it is, however deep; files with what they hold.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    fn walk(dir: &Path, tree: &mut Vec<String>) {
        use std::os::unix::fs::MetadataExt;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let holds = found.is_file().then(|| std::fs::read(&path).unwrap());
            tree.push(format!(
                "{path:?} {} {:o} {} {}.{} {:?} {holds:?}",
                found.ino(),
                found.mode(),
                found.nlink(),
                // A directory of ours comes and goes in the root alone, which is not here.
                found.mtime(),
                found.mtime_nsec(),
                path.read_link().ok(),
            ));
            if found.is_dir() {
                walk(&path, tree);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, &mut found);
    found.sort();
    found
}

/// The doctor's folders in a directory.
pub(crate) fn folders(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let is_ours = |name: Option<&OsStr>| {
        let name = name.unwrap().to_str().unwrap();
        name.starts_with(".localfs-doctor-")
    };
    entries.filter(|path| is_ours(path.file_name())).collect()
}
