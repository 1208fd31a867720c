//! Asking cargo. Its own messages are passed on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::error::{Error, Result};
use crate::interrupt;

/// What cargo may do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Cargo.lock must not change.
    pub(super) locked: bool,
    /// No network.
    pub(super) offline: bool,
}

/// The root manifest of the workspace that `manifest` (or the current directory) is in.
pub(super) fn root_manifest(manifest: Option<&Path>) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["locate-project", "--workspace", "--message-format=plain"]);
    if let Some(manifest) = manifest {
        command.arg("--manifest-path").arg(manifest);
    }
    let found = run(&mut command, "cargo finds no workspace")?;
    Ok(PathBuf::from(found.trim_end_matches(['\r', '\n'])))
}

/// The resolved graph with every feature on. Writes Cargo.lock where that has to change.
///
/// Runs in the workspace's root, so that its `.cargo/config.toml`, which may replace the registry,
/// is the one that counts.
pub(super) fn metadata(root_manifest: &Path, limits: Limits) -> Result<Metadata> {
    let mut command = cargo();
    command.args(["metadata", "--format-version=1", "--all-features"]);
    command.arg("--manifest-path").arg(root_manifest);
    for (flag, given) in [("--locked", limits.locked), ("--offline", limits.offline)] {
        if given {
            command.arg(flag);
        }
    }
    if let Some(root) = root_manifest.parent() {
        command.current_dir(root);
    }
    let resolved = run(&mut command, "cargo does not resolve the workspace").map_err(|error| {
        if limits.offline {
            error.help(
                "with --offline, all that the workspace depends on must be there already, \
                 for every platform: `cargo fetch` gets it",
            )
        } else {
            error
        }
    })?;
    MetadataCommand::parse(resolved)
        .map_err(|error| Error::new("`cargo metadata` said something unexpected").why(error))
}

fn cargo() -> Command {
    // Set where cargo runs us.
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs cargo, and answers with what it printed.
fn run(command: &mut Command, what: &str) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::new("cannot run cargo").why(error))?;
    interrupt::check()?;
    if !output.status.success() {
        return Err(Error::new(what).why(String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| Error::new("cargo printed something that is not UTF-8").why(error))
}
