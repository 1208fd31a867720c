//! Sweeping what an upload left: all of it or nothing, by its youngest file.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use object_store_localfs_engine::fault::{self, Fault, Op};
use object_store_localfs_engine::{Engine, SweepEvent, SweepOptions, Swept, Use, Verdict};

use super::{NAME, Upload, claimed, files, is_over, kind};

/// And the kinds of what was removed, in order. Made again while another test's child, between
/// fork(2) and execve(2), has what this process had open.
fn sweep(
    dir: &Path,
    older_than: Duration,
    mut at_event: impl FnMut(&SweepEvent<'_>) -> ControlFlow<()>,
) -> (Swept, String) {
    loop {
        let mut removed = String::new();
        let mut is_open = false;
        let swept = Engine::new().sweep(dir, SweepOptions::older_than(older_than), |event| {
            if let SweepEvent::Decided { file, verdict } = &event {
                let name = file.path.file_name().unwrap().to_str().unwrap();
                match verdict {
                    Verdict::Removed => removed.push(kind(name).unwrap_or('-')),
                    Verdict::InUse(Use::OpenIn(_)) => {
                        is_open = true;
                        return ControlFlow::Break(());
                    }
                    _ => {}
                }
            }
            at_event(&event)
        });
        if !is_open {
            return (swept.unwrap(), removed);
        }
    }
}

fn go_on(_: &SweepEvent<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn an_upload_is_as_old_as_its_youngest_file() {
    const AGE: Duration = Duration::from_millis(1500);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let upload = Upload::new(dir);
    let first = upload.put(0, b"new ").unwrap();
    std::fs::write(dir.join("b#1"), "of another kind").unwrap();
    std::thread::sleep(AGE);
    let second = upload.put(1, b"data").unwrap();
    let (swept, removed) = sweep(dir, AGE, go_on);
    assert_eq!(
        (swept.found, swept.young, &*removed),
        (4, 3, "-"),
        "{swept:?}"
    );
    assert_eq!(files(dir).len(), 3);
    // It can go on.
    assert_eq!(upload.parts().unwrap().len(), 2);
    std::thread::sleep(AGE);
    let (swept, removed) = sweep(dir, AGE, go_on);
    assert_eq!((swept.removed, &*removed), (3, "011"), "{swept:?}");
    assert!(is_over(&upload.complete(&[first, second])));
    assert_eq!(files(dir), [""; 0]);
}

#[test]
fn an_upload_that_gets_a_part_meanwhile_stays() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let upload = Upload::new(dir);
    upload.put(0, b"data").unwrap();
    let (swept, removed) = sweep(dir, Duration::ZERO, |event| {
        if let SweepEvent::Found { .. } = event {
            upload.put(1, b"more").unwrap();
        }
        ControlFlow::Continue(())
    });
    assert_eq!((swept.in_use, &*removed), (2, ""), "{swept:?}");
    assert_eq!(upload.parts().unwrap().len(), 2);
}

/// Each time after one file more.
#[test]
fn a_sweep_that_is_stopped_leaves_no_other_upload_than_it_was() {
    for stop_after in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let (upload, parts) = claimed(dir);
        let mut decided = 0;
        let (_, removed) = sweep(dir, Duration::ZERO, |event| {
            if let SweepEvent::Decided { .. } = event {
                decided += 1;
            }
            match decided > 0 && decided == stop_after {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        assert!("3211".starts_with(&*removed), "{removed}");
        // Never an answer that it was published.
        assert!(is_over(&upload.complete(&parts)), "{removed}");
        assert!(!files(dir).contains(&NAME.to_owned()));
        sweep(dir, Duration::ZERO, go_on);
        assert_eq!(files(dir), [""; 0]);
    }
}

/// It was read whole for each upload in it.
#[test]
fn a_directory_of_many_uploads_is_not_read_for_each_of_them() {
    const UPLOADS: usize = 300;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    for _ in 0..UPLOADS {
        Upload::new(dir).put(0, b"data").unwrap();
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let _counting = fault::inject(dir, move |call| {
        if call.op == Op::ReadDir {
            counted.fetch_add(1, Relaxed);
        }
        Fault::none()
    });
    let (swept, _) = sweep(dir, Duration::ZERO, go_on);
    assert_eq!(swept.removed as usize, 2 * UPLOADS, "{swept:?}");
    let reads = reads.load(Relaxed);
    assert!(reads < UPLOADS / 2, "read {reads} times");
}

#[test]
fn two_uploads_to_one_object_are_two() {
    const AGE: Duration = Duration::from_millis(1500);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let old = Upload::new(dir);
    old.put(0, b"old").unwrap();
    std::thread::sleep(AGE);
    let new = Upload::new(dir);
    let part = new.put(0, b"new").unwrap();
    let (swept, _) = sweep(dir, AGE, go_on);
    assert_eq!((swept.removed, swept.young), (2, 2), "{swept:?}");
    new.complete(&[part]).unwrap();
    assert_eq!(files(dir), [NAME]);
}
