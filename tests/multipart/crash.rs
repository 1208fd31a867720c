//! Each step, killed at each system call it makes, and another process that goes on. Needs strace,
//! and where nothing renames root and `/dev/fuse`.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use object_store_0_14::local::LocalFileSystem as Upstream;
use object_store_0_14::multipart::PartId;

use super::*;
use crate::quirkfs::{QuirkFs, Recipe};
use crate::strace::Worker;

const OLD: &str = "old";

/// More than one write, and no round number.
fn part(index: usize) -> Vec<u8> {
    let len = 70_001 + index as u32;
    (0..len).map(|i| (i as usize % 251 + index) as u8).collect()
}

fn whole() -> Vec<u8> {
    [part(0), part(1), part(2)].concat()
}

/// What the worker does.
pub(super) fn make(step: &str, upload: &Upload, parts: &[PartId]) {
    match step {
        "create" => drop(Upload::new(Path::new(&upload_root(upload)))),
        "put" => drop(upload.put(1, &part(1)).unwrap()),
        "complete" => drop(upload.complete(parts).unwrap()),
        "abort" => upload.abort().unwrap(),
        _ => panic!("{step}"),
    }
}

fn upload_root(upload: &Upload) -> String {
    let at = upload.store.path_to_filesystem(&Location::from(NAME));
    at.unwrap().parent().unwrap().to_str().unwrap().to_owned()
}

/// What is done after the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Complete,
    /// Somebody overwrites the object first.
    OverwriteAndComplete,
    DeleteAndComplete,
    Abort,
}

struct Case<'a> {
    root: &'a Path,
    step: &'a str,
    fsync: bool,
    then: Then,
    /// Whether what is aborted was claimed already.
    is_claimed: bool,
    /// Whether the destination is never seen in part.
    is_atomic: bool,
}

impl Case<'_> {
    fn prepare(&self) -> (Upload, Vec<PartId>) {
        for name in files(self.root) {
            std::fs::remove_file(self.root.join(name)).unwrap();
        }
        put_plainly(self.root, OLD);
        let upload = Upload::new(self.root);
        // What nobody names goes as well.
        upload.put(0, b"superseded").unwrap();
        let puts = if self.step == "put" {
            vec![0, 2]
        } else {
            vec![0, 1, 2]
        };
        let parts = puts.into_iter().map(|i| upload.put(i, &part(i)).unwrap());
        let parts: Vec<_> = parts.collect();
        if self.is_claimed {
            let is_name = |name: &str| name == NAME;
            let _failing = fails(self.root, Op::Rename, is_name, Fault::before_effect);
            upload.complete(&parts).unwrap_err();
        }
        (upload, parts)
    }

    fn worker(&self, upload: &Upload, parts: &[PartId]) -> Worker<'_> {
        let parts: Vec<_> = parts.iter().map(|part| &*part.content_id).collect();
        let job = [
            format!("traced {}", self.step),
            self.fsync.to_string(),
            self.root.display().to_string(),
            upload.id.clone(),
            parts.join("|"),
        ];
        Worker {
            test: "worker",
            variable: JOB,
            job: job.join("|"),
        }
    }

    fn at_each_call(&self) {
        let (upload, parts) = self.prepare();
        let calls = self.worker(&upload, &parts).calls();
        let mut kills = 0;
        for name in &calls {
            for nth in 1.. {
                let (upload, parts) = self.prepare();
                let status = self.worker(&upload, &parts).kill_at(name, nth);
                let what = format!(
                    "{} with fsync {}, killed at {name} {nth}, then {:?}",
                    self.step, self.fsync, self.then
                );
                self.assert_nothing_is_listed(&what);
                self.go_on(&upload, parts, &what);
                if status.success() {
                    break;
                }
                assert_eq!(status.signal(), Some(libc::SIGKILL), "{what}");
                kills += 1;
            }
        }
        eprintln!(
            "{} {:?}: killed {kills} times, at {calls:?}",
            self.step, self.then
        );
        assert!(kills >= 5, "{kills}");
    }

    fn assert_nothing_is_listed(&self, what: &str) {
        let upstream = Upstream::new_with_prefix(self.root).unwrap();
        let listed = block_on(upstream.list_with_delimiter(None)).unwrap();
        assert!(listed.common_prefixes.is_empty(), "{what}");
        for meta in listed.objects {
            assert_eq!(meta.location.as_ref(), NAME, "{what}");
        }
    }

    /// In this process, which knows the id and the parts that were answered.
    fn go_on(&self, upload: &Upload, mut parts: Vec<PartId>, what: &str) {
        let upload = Upload::of(self.root, &upload.id);
        if self.step == "create" {
            self.begin_anew(what);
            return;
        }
        if self.step == "put" {
            let told = upload.parts().unwrap();
            let known = told.into_iter().find(|(index, ..)| *index == 1);
            let again = || upload.put(1, &part(1)).unwrap();
            parts.insert(1, known.map_or_else(again, |(_, id, _)| id));
        }
        let was_published = read(self.root) == whole();
        assert!(
            !self.is_atomic || was_published || read(self.root) == OLD.as_bytes(),
            "{what}: part of an object"
        );
        match self.then {
            Then::Complete => {}
            Then::OverwriteAndComplete => put_plainly(self.root, "newer"),
            Then::DeleteAndComplete => {
                std::fs::remove_file(self.root.join(NAME)).unwrap();
            }
            Then::Abort => return self.abort(&upload, &parts, was_published, what),
        }
        let done = upload.complete(&parts);
        // Of an abort it may be that nothing is left to complete, or to be aborted again.
        if self.step == "abort" && done.is_err() {
            let aborted = upload.abort();
            assert!(aborted.is_ok() || is_over(&aborted), "{what}: {aborted:?}");
            assert_eq!(read(self.root), OLD.as_bytes(), "{what}");
            assert_eq!(files(self.root), [NAME], "{what}");
            return;
        }
        // All was done by then but the answer.
        let is_over = is_over(&done) && was_published;
        assert!(done.is_ok() || is_over, "{what}: {done:?}");
        let expected = match (self.then, was_published) {
            (Then::OverwriteAndComplete, true) => Some(b"newer".to_vec()),
            (Then::DeleteAndComplete, true) => None,
            _ => Some(whole()),
        };
        let there = std::fs::read(self.root.join(NAME)).ok();
        assert!(
            there == expected,
            "{what}: neither whole nor what came since"
        );
        if is_over && !self.is_atomic {
            // There the claim goes first, or the pass would be made again.
            let aborted = upload.abort();
            assert!(aborted.is_ok() || super::is_over(&aborted), "{what}");
        }
        let left = expected.map(|_| NAME.to_owned());
        assert_eq!(files(self.root), Vec::from_iter(left), "{what}");
        assert!(super::is_over(&upload.complete(&parts)), "{what}");
    }

    fn abort(&self, upload: &Upload, parts: &[PartId], was_published: bool, what: &str) {
        let aborted = upload.abort();
        if was_published {
            assert!(aborted.is_err(), "{what}");
            let done = upload.complete(parts);
            assert!(done.is_ok() || is_over(&done), "{what}: {done:?}");
            assert_eq!(read(self.root), whole(), "{what}");
        } else {
            let is_over = self.step == "abort" && is_over(&aborted);
            assert!(aborted.is_ok() || is_over, "{what}: {aborted:?}");
            assert!(super::is_over(&upload.complete(parts)), "{what}");
            assert_eq!(read(self.root), OLD.as_bytes(), "{what}");
        }
        assert_eq!(files(self.root), [NAME], "{what}");
    }

    /// Nobody knows the id of what was not answered: that is swept, and another is begun.
    fn begin_anew(&self, what: &str) {
        let store = LocalFileSystem::new_with_prefix(self.root).unwrap();
        block_on(store.sweep(std::time::Duration::ZERO)).unwrap();
        assert_eq!(files(self.root), [NAME], "{what}");
        let upload = Upload::new(self.root);
        let parts = [0, 1, 2].map(|i| upload.put(i, &part(i)).unwrap());
        upload.complete(&parts).unwrap();
        assert_eq!(read(self.root), whole(), "{what}");
    }
}

macro_rules! killed {
    ($($name:ident: $step:literal, $fsync:literal, $then:ident $(, claimed: $claimed:literal)?);+ $(;)?) => {$(
        #[test]
        fn $name() {
            let home = tempfile::tempdir().unwrap();
            Case {
                root: home.path(),
                step: $step,
                fsync: $fsync,
                then: Then::$then,
                is_claimed: false $(|| $claimed)?,
                is_atomic: true,
            }
            .at_each_call();
        }
    )+};
}

killed! {
    a_creation: "create", false, Complete;
    a_part: "put", false, Complete;
    a_part_with_fsync: "put", true, Complete;
    a_part_of_what_is_then_aborted: "put", false, Abort;
    a_completion: "complete", false, Complete;
    a_completion_with_fsync: "complete", true, Complete;
    a_completion_after_which_another_writes: "complete", false, OverwriteAndComplete;
    a_completion_after_which_another_deletes: "complete", false, DeleteAndComplete;
    a_completion_that_is_then_aborted: "complete", false, Abort;
    a_completion_of_what_was_claimed: "complete", false, Complete, claimed: true;
    an_abort: "abort", false, Abort;
    an_abort_that_is_then_completed: "abort", false, Complete;
    an_abort_of_what_was_claimed: "abort", false, Abort, claimed: true;
    an_abort_of_what_was_claimed_that_is_then_completed: "abort", false, Complete, claimed: true;
}

/// There a crash in the pass leaves a part of the object, until it is completed.
#[test]
fn a_completion_where_nothing_renames() {
    let mount = QuirkFs::mount(Recipe::plain().no_rename(libc::ENOSYS));
    Case {
        root: mount.path(),
        step: "complete",
        fsync: false,
        then: Then::Complete,
        is_claimed: false,
        is_atomic: false,
    }
    .at_each_call();
}

/// The kernel copies nothing there: what is read at a time is all that is held.
#[test]
fn an_object_is_never_held_in_memory_where_the_kernel_does_not_copy() {
    const MIB: usize = 1 << 20;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let upload = Upload::new(dir);
    let put = |index| upload.put(index, &vec![index as u8; 16 * MIB + 1]).unwrap();
    let parts: Vec<_> = (0..16).map(put).collect();
    let ids: Vec<_> = parts.iter().map(|part| &*part.content_id).collect();
    let worker = Worker {
        test: "worker",
        variable: JOB,
        job: format!(
            "traced complete|false|{}|{}|{}",
            dir.display(),
            upload.id,
            ids.join("|")
        ),
    };
    let fails = "inject=copy_file_range:error=EXDEV";
    let log = dir.join("log");
    let (status, printed) = worker.run(&["-o", log.to_str().unwrap(), "-e", fails]);
    assert!(status.success(), "{printed:?}");
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("(INJECTED)").count(), 16);
    let peak = printed.iter().find_map(|line| line.strip_prefix("peak "));
    let peak: usize = peak.unwrap().parse().unwrap();
    assert!(peak > 0 && peak * 1024 < 48 * MIB, "{peak} KiB");
    let read = read(dir);
    assert_eq!(read.len(), 16 * (16 * MIB + 1));
    for (index, part) in read.chunks(16 * MIB + 1).enumerate() {
        assert!(part.iter().all(|byte| *byte == index as u8), "part {index}");
    }
}
