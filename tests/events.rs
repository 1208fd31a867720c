//! Each recovery is an event: at `warn` where a user should know, with step, path and errno.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use object_store_0_14 as object_store;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use object_store_localfs::LocalFileSystem;
use object_store_localfs_engine::fault::{self, Fault, Op};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

#[derive(Debug, Default, Clone)]
struct Heard(Arc<Mutex<Vec<(Level, Fields)>>>);

#[derive(Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("object_store_localfs")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        self.0.lock().unwrap().push((level, fields));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Puts an object while the first call of `op` meets `fault`, and says which events came.
fn heard(op: Op, fault: fn(i32) -> Fault, errno: i32) -> Vec<(Level, Fields)> {
    let heard = Heard::default();
    let dir = tempfile::tempdir().unwrap();
    let _remote = fault::pretend_remote(dir.path());
    let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let fired = Mutex::new(false);
    let _injected = fault::inject(dir.path(), move |call| {
        let first = call.op == op && !std::mem::replace(&mut *fired.lock().unwrap(), call.op == op);
        if first { fault(errno) } else { Fault::none() }
    });
    // Outside of tokio the work is done in this thread.
    tracing::subscriber::with_default(heard.clone(), || {
        futures::executor::block_on(store.put(&Path::from("song"), "la".into())).unwrap();
    });
    std::mem::take(&mut *heard.0.lock().unwrap())
}

fn assert_event(events: &[(Level, Fields)], level: Level, step: &str, errno: Option<i32>) {
    let is_meant = |(l, f): &&(Level, Fields)| {
        *l == level
            && f.0.get("step").is_some_and(|s| s.contains(step))
            && f.0.get("path").is_some_and(|p| p.contains("song"))
            && errno.is_none_or(|e| f.0.get("errno").is_some_and(|n| n.contains(&e.to_string())))
    };
    assert!(events.iter().any(|e| is_meant(&e)), "{events:?}");
}

#[test]
fn a_lost_reply_is_a_warning() {
    let events = heard(Op::Rename, Fault::after_effect, libc::ETIMEDOUT);
    assert_event(&events, Level::WARN, "rename", Some(libc::ETIMEDOUT));
}

#[test]
fn a_stale_handle_is_a_warning() {
    let events = heard(Op::Write, Fault::before_effect, libc::ESTALE);
    assert_event(&events, Level::WARN, "write", None);
}

#[test]
fn a_call_made_again_is_an_event() {
    let events = heard(Op::Rename, Fault::before_effect, libc::EBUSY);
    assert_event(&events, Level::DEBUG, "publish", Some(libc::EBUSY));
}

#[test]
fn a_healthy_put_warns_of_nothing() {
    let events = heard(Op::Link, Fault::before_effect, libc::EIO);
    assert!(events.iter().all(|(l, _)| *l > Level::WARN), "{events:?}");
}

/// Its error has no text.
#[test]
fn attributes_that_object_store_0_12_cannot_keep_are_a_warning() {
    use object_store_0_12::{Attribute, Attributes, Error, ObjectStore, PutOptions, path::Path};

    let heard = Heard::default();
    let dir = tempfile::tempdir().unwrap();
    let store = object_store_localfs::v0_12::LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let _remote = fault::pretend_remote(dir.path());
    let _injected = fault::inject(dir.path(), |call| match call.op {
        Op::SetXattr => Fault::before_effect(libc::EOPNOTSUPP),
        _ => Fault::none(),
    });
    let attributes = Attributes::from_iter([(Attribute::ContentType, "audio/ogg")]);
    let refused = tracing::subscriber::with_default(heard.clone(), || {
        let song = Path::from("song");
        let put = store.put_opts(&song, "la".into(), PutOptions::from(attributes));
        futures::executor::block_on(put).unwrap_err()
    });
    assert!(matches!(refused, Error::NotImplemented), "{refused}");
    let told = |(level, fields): &(Level, Fields)| {
        let has = |field, text| fields.0.get(field).is_some_and(|f| f.contains(text));
        *level == Level::WARN && has("path", "song") && has("error", "no extended attributes")
    };
    let events = heard.0.lock().unwrap();
    assert!(events.iter().any(told), "{events:?}");
}
