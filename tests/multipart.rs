//! Uploads that survive their process: what a crash leaves of one, and who goes on with it.

#[path = "multipart/answers.rs"]
mod answers;
#[cfg(feature = "mount-tests")]
#[path = "multipart/crash.rs"]
mod crash;
#[cfg(feature = "mount-tests")]
mod disks;
#[cfg(feature = "mount-tests")]
#[path = "multipart/extents.rs"]
mod extents;
#[cfg(feature = "mount-tests")]
mod quirkfs;
#[cfg(feature = "mount-tests")]
mod strace;
#[path = "multipart/sweep.rs"]
mod sweep;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures::executor::block_on;
use object_store_0_14 as object_store;
use object_store_localfs::LocalFileSystem;
use object_store_localfs_engine::fault::{self, Fault, Op};

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Location;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutResult, Result};

/// Where a worker finds what it is to do; without it the test `worker` is not one.
const JOB: &str = "LOCALFS_TEST_MULTIPART";

const NAME: &str = "a";

/// An upload to [`NAME`] as a process sees it that knows no more of it than its id.
#[derive(Clone)]
struct Upload {
    store: LocalFileSystem,
    id: String,
}

impl Upload {
    fn new(root: &Path) -> Self {
        let store = LocalFileSystem::new_with_prefix(root).unwrap();
        let id = block_on(store.create_multipart(&Location::from(NAME))).unwrap();
        Self { store, id }
    }

    fn of(root: &Path, id: &str) -> Self {
        let store = LocalFileSystem::new_with_prefix(root).unwrap();
        let id = id.to_owned();
        Self { store, id }
    }

    fn put(&self, index: usize, data: &[u8]) -> Result<PartId> {
        let data = data.to_vec().into();
        block_on(
            self.store
                .put_part(&Location::from(NAME), &self.id, index, data),
        )
    }

    fn parts(&self) -> Result<Vec<(usize, PartId, u64)>> {
        block_on(self.store.multipart_parts(&Location::from(NAME), &self.id))
    }

    fn complete(&self, parts: &[PartId]) -> Result<PutResult> {
        let at = Location::from(NAME);
        block_on(self.store.complete_multipart(&at, &self.id, parts.to_vec()))
    }

    fn abort(&self) -> Result<()> {
        block_on(self.store.abort_multipart(&Location::from(NAME), &self.id))
    }
}

fn is_over<T>(done: &Result<T>) -> bool {
    matches!(done, Err(Error::NotFound { .. }))
}

/// The names of what is in a directory, sorted.
fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(NAME)).unwrap()
}

fn put_plainly(dir: &Path, data: &str) {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    block_on(store.put(&Location::from(NAME), data.to_owned().into())).unwrap();
}

/// A call to `path`'s file by the last component, that fails as often as it is made.
fn fails(dir: &Path, op: Op, is_it: fn(&str) -> bool, fault: fn(i32) -> Fault) -> fault::Injected {
    fault::inject(dir, move |call| {
        let name = call.path.file_name().and_then(|name| name.to_str());
        match call.op == op && name.is_some_and(is_it) {
            true => fault(libc::EACCES),
            false => Fault::none(),
        }
    })
}

/// The digit of a file's kind, behind the upload's.
fn kind(name: &str) -> Option<char> {
    name.split_once('#')?.1.chars().nth(19)
}

/// A crash between the claim and the publish.
fn claimed(dir: &Path) -> (Upload, Vec<PartId>) {
    let upload = Upload::new(dir);
    let parts = [
        upload.put(0, b"new ").unwrap(),
        upload.put(1, b"data").unwrap(),
    ];
    let failing = fails(dir, Op::Rename, |name| name == NAME, Fault::before_effect);
    upload.complete(&parts).unwrap_err();
    drop(failing);
    let kinds: String = files(dir).iter().filter_map(|name| kind(name)).collect();
    assert_eq!(kinds, "1123", "{:?}", files(dir));
    (upload, parts.to_vec())
}

/// A crash between the publish and the end.
fn published(dir: &Path) -> (Upload, Vec<PartId>, PutResult) {
    let upload = Upload::new(dir);
    let parts = [upload.put(0, b"new data").unwrap()];
    let failing = fails(dir, Op::Unlink, |_| true, Fault::before_effect);
    let put = upload.complete(&parts).unwrap();
    drop(failing);
    let kinds: String = files(dir).iter().filter_map(|name| kind(name)).collect();
    assert_eq!(kinds, "13", "{:?}", files(dir));
    (upload, parts.to_vec(), put)
}

#[test]
fn what_is_claimed_is_published_by_another() {
    for overwritten in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        put_plainly(dir, "before");
        let (upload, parts) = claimed(dir);
        assert_eq!(read(dir), b"before");
        if overwritten {
            // It was not published yet: it is as if the completion came after this.
            put_plainly(dir, "between");
        }
        // It takes no more parts, and those that it has are told.
        assert!(is_over(&upload.put(2, b"more")));
        let again = Upload::of(dir, &upload.id);
        assert_eq!(again.parts().unwrap().len(), 2);
        let put = again.complete(&parts).unwrap();
        assert_eq!(read(dir), b"new data");
        assert_eq!(files(dir), [NAME]);
        let head = block_on(again.store.head(&Location::from(NAME))).unwrap();
        assert_eq!(put.e_tag, head.e_tag);
    }
}

#[test]
fn what_is_claimed_with_some_parts_is_not_completed_with_others() {
    let home = tempfile::tempdir().unwrap();
    let (upload, parts) = claimed(home.path());
    let error = upload.complete(&parts[..1]).unwrap_err().to_string();
    assert!(
        error.contains("being completed with other parts"),
        "{error}"
    );
    upload.complete(&parts).unwrap();
    assert_eq!(read(home.path()), b"new data");
}

#[test]
fn what_is_claimed_can_be_aborted() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    put_plainly(dir, "before");
    let (upload, parts) = claimed(dir);
    upload.abort().unwrap();
    assert_eq!(
        (read(dir), files(dir)),
        (b"before".to_vec(), vec![NAME.to_owned()])
    );
    assert!(is_over(&upload.complete(&parts)));
}

/// The claim was not removed yet when it crashed, but the whole was taken away.
#[test]
fn an_abort_that_a_crash_ended_is_not_taken_for_a_publish() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (upload, parts) = claimed(dir);
    let is_left = |name: &str| kind(name) != Some('0');
    let failing = fails(dir, Op::Unlink, is_left, Fault::before_effect);
    upload.abort().unwrap_err();
    drop(failing);
    // As if it had been published, and replaced.
    put_plainly(dir, "between");
    let error = upload.complete(&parts).unwrap_err().to_string();
    assert!(error.contains("it is being aborted"), "{error}");
    upload.abort().unwrap();
    assert_eq!(
        (read(dir), files(dir)),
        (b"between".to_vec(), vec![NAME.to_owned()])
    );
}

#[test]
fn what_was_published_is_not_published_again() {
    for since in ["nothing", "overwritten", "deleted"] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let (upload, parts, put) = published(dir);
        match since {
            "overwritten" => put_plainly(dir, "newer"),
            "deleted" => std::fs::remove_file(dir.join(NAME)).unwrap(),
            _ => {}
        }
        let error = upload.abort().unwrap_err().to_string();
        assert!(error.contains("it was completed"), "{error}");
        let again = upload.complete(&parts).unwrap();
        assert_eq!(again.e_tag, put.e_tag, "{since}");
        match since {
            "overwritten" => assert_eq!(read(dir), b"newer"),
            "deleted" => assert_eq!(files(dir), [""; 0]),
            _ => assert_eq!(read(dir), b"new data"),
        }
        assert!(files(dir).len() <= 1, "{since}: {:?}", files(dir));
        assert!(is_over(&upload.complete(&parts)));
    }
}

#[test]
fn a_whole_that_somebody_removed_was_not_published() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    put_plainly(dir, "before");
    let (upload, parts) = claimed(dir);
    let whole = files(dir).into_iter().find(|name| kind(name) == Some('2'));
    std::fs::remove_file(dir.join(whole.unwrap())).unwrap();
    let error = upload.complete(&parts).unwrap_err().to_string();
    assert!(error.contains("nothing was published"), "{error}");
    assert_eq!(read(dir), b"before");
}

#[test]
fn a_part_or_completion_that_fails_leaves_nothing_and_can_be_made_again() {
    let full = |_| Fault::before_effect(libc::ENOSPC);
    for op in [Op::Create, Op::Write, Op::Sync, Op::Close, Op::Rename] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let mut upload = Upload::new(dir);
        upload.store = upload.store.with_fsync(true);
        let before = files(dir);
        let failing = fails(dir, op, |_| true, full);
        upload.put(0, b"data").unwrap_err();
        assert_eq!(files(dir), before, "{op:?}");
        drop(failing);
        let parts = [upload.put(0, b"data").unwrap()];
        let before = files(dir);
        // The copy is made by the kernel.
        let op = if op == Op::Write { Op::CopyRange } else { op };
        let failing = fails(dir, op, |_| true, full);
        upload.complete(&parts).unwrap_err();
        drop(failing);
        assert_eq!(files(dir), before, "{op:?}");
        upload.complete(&parts).unwrap();
        assert_eq!(read(dir), b"data");
        assert_eq!(files(dir), [NAME], "{op:?}");
    }
}

/// Of each step once: the call took effect, and its reply was lost.
#[test]
fn lost_replies_are_no_failures_and_do_nothing_twice() {
    for op in [Op::Rename, Op::Unlink, Op::Create, Op::Close] {
        for errno in [libc::ESTALE, libc::EIO, libc::ENOENT] {
            // A close or create that answers EIO or ENOENT tells of something else.
            if matches!(op, Op::Create | Op::Close) && errno != libc::ESTALE {
                continue;
            }
            for ends in ["complete", "abort"] {
                let home = tempfile::tempdir().unwrap();
                let dir = home.path();
                let _remote = fault::pretend_remote(dir);
                let hits = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
                let counted = std::sync::Arc::clone(&hits);
                let _lost = fault::inject(dir, move |call| {
                    if call.op != op || call.path.file_name().is_none() {
                        return Fault::none();
                    }
                    // Each second one.
                    match counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
                        0 => Fault::after_effect(errno),
                        _ => Fault::none(),
                    }
                });
                let what = format!("{op:?} {errno} {ends}");
                let upload = Upload::new(dir);
                let put = |index, data: &[u8]| {
                    let put = upload.put(index, data);
                    put.unwrap_or_else(|e| panic!("{what}: {e}"))
                };
                let parts = [put(0, b"new "), put(1, b"data")];
                if ends == "complete" {
                    upload
                        .complete(&parts)
                        .unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert_eq!(read(dir), b"new data", "{what}");
                    assert_eq!(files(dir), [NAME], "{what}");
                } else {
                    upload.abort().unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert_eq!(files(dir), [""; 0], "{what}");
                }
                assert!(
                    hits.load(std::sync::atomic::Ordering::Relaxed) > 0,
                    "{what}"
                );
            }
        }
    }
}

/// A request to remove what is not there, that is made again, has removed nothing.
#[test]
fn a_stale_answer_does_not_make_an_upload_that_is_over_an_aborted_one() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let _remote = fault::pretend_remote(dir);
    let upload = Upload::new(dir);
    upload.complete(&[]).unwrap();
    let made = std::sync::atomic::AtomicU32::new(0);
    let _stale = fault::inject(dir, move |call| {
        let is_first = || made.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        match call.op == Op::Unlink && is_first() {
            true => Fault::before_effect(libc::ESTALE),
            false => Fault::none(),
        }
    });
    assert!(is_over(&upload.abort()));
}

// ---- several processes ------------------------------------------------------------------------

#[test]
fn worker() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let job: Vec<_> = job.split('|').collect();
    let [step, fsync, root, id, ref parts @ ..] = job[..] else {
        panic!("{job:?}");
    };
    let mut upload = Upload::of(Path::new(root), id);
    upload.store = upload.store.with_fsync(fsync == "true");
    let part = |content_id: &&str| PartId {
        content_id: (*content_id).to_owned(),
    };
    let parts: Vec<_> = parts.iter().map(part).collect();
    #[cfg(feature = "mount-tests")]
    if let Some(step) = step.strip_prefix("traced ") {
        strace::wait_for_strace();
        strace::traced(|| crash::make(step, &upload, &parts));
        println!("\npeak {}", peak_memory());
        return;
    }
    assert_eq!(step, "complete");
    println!("\nready");
    let _ = std::io::stdin().read(&mut [0]);
    let done = upload.complete(&parts);
    assert!(done.is_ok() || is_over(&done), "{done:?}");
    println!(
        "\n{} {}",
        if done.is_ok() { "done" } else { "over" },
        peak_memory()
    );
}

/// In KiB, as far as the system tells.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    peak.map_or(0, |peak| peak.trim().parse().unwrap())
}

fn spawn_completer(dir: &Path, id: &str, parts: &[PartId]) -> Child {
    let parts: Vec<_> = parts.iter().map(|part| &*part.content_id).collect();
    let job = format!("complete|false|{}|{id}|{}", dir.display(), parts.join("|"));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture"])
        .env(JOB, job)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// As soon as one of them has answered, the object is overwritten: it must stay so.
#[test]
fn of_many_processes_one_publishes_once() {
    const ROUNDS: usize = 25;
    const PROCESSES: usize = 4;
    for _ in 0..ROUNDS {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let upload = Upload::new(dir);
        let parts = [0, 1, 2].map(|index| upload.put(index, b"data").unwrap());
        let mut processes: Vec<_> = (0..PROCESSES)
            .map(|_| {
                let mut process = spawn_completer(dir, &upload.id, &parts);
                let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
                assert!(lines.any(|line| line.unwrap() == "ready"));
                (process, lines)
            })
            .collect();
        for (process, _) in &mut processes {
            process.stdin.take().unwrap().write_all(b".").unwrap();
        }
        let (told, answers) = std::sync::mpsc::channel();
        let readers: Vec<_> = processes
            .into_iter()
            .map(|(mut process, mut lines)| {
                let told = told.clone();
                std::thread::spawn(move || {
                    let is_answer = |line: &String| line.starts_with(['d', 'o']);
                    let answer = lines.find_map(|line| line.ok().filter(is_answer));
                    let _ = told.send(answer.unwrap_or_default());
                    lines.for_each(drop);
                    assert!(process.wait().unwrap().success());
                })
            })
            .collect();
        drop(told);
        let mut done = 0;
        for answer in answers {
            if answer.starts_with("done") {
                if done == 0 {
                    put_plainly(dir, "newer");
                }
                done += 1;
            }
        }
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(done > 0);
        assert_eq!(read(dir), b"newer");
        assert_eq!(files(dir), [NAME]);
    }
}

/// 256 MiB, of which no more than a few are held at once.
#[cfg(target_os = "linux")]
#[test]
fn an_object_is_never_held_in_memory() {
    const PARTS: usize = 16;
    const MIB: usize = 1 << 20;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let upload = Upload::new(dir);
    let put = |index| upload.put(index, &vec![index as u8; 16 * MIB]).unwrap();
    let parts: Vec<_> = (0..PARTS).map(put).collect();
    let mut process = spawn_completer(dir, &upload.id, &parts);
    process.stdin.take().unwrap().write_all(b".").unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let answers = lines.filter_map(|line| Some(line.ok()?.strip_prefix("done ")?.to_owned()));
    let peak: usize = answers.last().unwrap().parse().unwrap();
    assert!(process.wait().unwrap().success());
    assert_eq!(
        std::fs::metadata(dir.join(NAME)).unwrap().len(),
        (256 * MIB) as u64
    );
    eprintln!("peak of {peak} KiB");
    assert!(peak > 0 && peak * 1024 < 48 * MIB, "{peak} KiB");
}
