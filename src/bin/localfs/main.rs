//! `localfs`, the command line: puts the store under programs that cannot change a line, and tells
//! what a mount is good for.

#[cfg(unix)]
mod doctor;
mod error;
mod interrupt;
mod patch;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tools around object_store_localfs.
#[derive(Parser)]
#[command(name = "localfs", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Puts this crate's LocalFileSystem in the place of object_store's, for a whole workspace
    ///
    /// Makes a patched copy of each object_store 0.12, 0.13 and 0.14 in the workspace's graph, from
    /// the sources that cargo has, and adds it to `[patch.crates-io]` in the workspace's root
    /// manifest. Versions stay as they are. Run again, it renews what is no longer right.
    ///
    /// Cargo keeps to a patched version while it can. To take a newer object_store: `localfs
    /// unpatch`, `cargo update`, `localfs patch`.
    ///
    /// Exit status: 0 done, or nothing to do; 1 an error, no object_store can be overridden, or
    /// `--check` found something to do; 2 wrong usage; 130 interrupted.
    Patch(patch::PatchArgs),
    /// Takes out what `localfs patch` put in
    Unpatch(patch::UnpatchArgs),
    /// Removes staging files that a crash left
    ///
    /// A staging file is where an object is written until it is whole, `name#` and digits, this
    /// crate's or upstream's. What is in use is kept: on this host that is seen (run as root to see
    /// all of it), of other hosts and containers `--older-than` has to tell. Symlinks and other
    /// file systems below DIR are not entered.
    ///
    /// Exit status: 0 done, or nothing to do; 1 an error, or something could not be removed; 2
    /// wrong usage; 130 interrupted.
    Sweep(sweep::SweepArgs),
    /// Tells what a mount is and can do, and what a store does on it
    ///
    /// Works in a folder of its own in DIR, which it removes, also after Ctrl-C: about a megabyte,
    /// and at most about a minute of calls (`--within`). It touches nothing else.
    ///
    /// Exit status: 0 fine; 1 works, with fallbacks or weaker promises than on a local disk; 2 does
    /// not work, or wrong usage; 130 interrupted.
    #[cfg(unix)]
    Doctor(doctor::DoctorArgs),
    /// Tries to take a lock that the doctor holds
    #[cfg(unix)]
    #[command(name = doctor::TRY_LOCK, hide = true)]
    TryLock { path: std::path::PathBuf },
}

/// What a command came to, when it did not fail.
enum Outcome {
    /// Done, or there was nothing to do.
    Fine,
    /// `--check` found something to do.
    Work,
    /// It speaks by its exit status.
    #[cfg(unix)]
    Status(u8),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = interrupt::watch().and_then(|()| match cli.command {
        Command::Patch(args) => patch::patch(&args),
        Command::Unpatch(args) => patch::unpatch(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        #[cfg(unix)]
        Command::Doctor(args) => doctor::doctor(&args),
        #[cfg(unix)]
        Command::TryLock { path } => Ok(Outcome::Status(doctor::try_lock(&path))),
    });
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Work) => ExitCode::from(1),
        #[cfg(unix)]
        Ok(Outcome::Status(status)) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if interrupt::seen() { 130 } else { 1 })
        }
    }
}
