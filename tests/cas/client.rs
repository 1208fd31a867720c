//! One who works with objects by one minor, and writes down what came of it.

use std::path::Path as Dir;
use std::sync::Arc;

use object_store_localfs::Exclusion;

use super::LocalFileSystem;
use super::object_store::path::Path;
use super::object_store::*;
use crate::history::{Event, Op, Value, nanos};
use crate::parties::{Party, Random};

pub(crate) fn store(dir: &Dir, exclusion: Exclusion) -> LocalFileSystem {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    store.with_update_exclusion(exclusion).unwrap()
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    store: Arc<dyn ObjectStore>,
    number: usize,
    random: Random,
    written: Value,
    /// The version that this one knows of the object.
    known: Option<(Value, String)>,
    /// Compares, and then puts: a fault for the checker to find.
    is_broken: bool,
}

/// All of one size.
fn data(value: Value) -> String {
    format!("{value:020}")
}

impl Client {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, number: usize) -> Self {
        Self {
            store,
            number,
            random: Random::of(number),
            written: 0,
            known: None,
            is_broken: false,
        }
    }

    pub(crate) fn broken(mut self) -> Self {
        self.is_broken = true;
        self
    }

    async fn read(&self, at: &Path) -> Option<(Value, String)> {
        let got = match self.store.get(at).await {
            Err(Error::NotFound { .. }) => return None,
            got => got.unwrap(),
        };
        let e_tag = got.meta.e_tag.clone().unwrap();
        let bytes = got.bytes().await.unwrap();
        Some((std::str::from_utf8(&bytes).unwrap().parse().unwrap(), e_tag))
    }

    /// The e_tag of the version that was made, unless there was another one.
    async fn update(&self, at: &Path, e_tag: &str, to: Value) -> Option<String> {
        if self.is_broken {
            let head = self.store.head(at).await;
            if head.ok().and_then(|meta| meta.e_tag).as_deref() != Some(e_tag) {
                return None;
            }
            return self.store.put(at, data(to).into()).await.unwrap().e_tag;
        }
        let mode = PutMode::Update(UpdateVersion {
            e_tag: Some(e_tag.into()),
            version: None,
        });
        match self.store.put_opts(at, data(to).into(), mode.into()).await {
            Ok(put) => Some(put.e_tag.unwrap()),
            Err(Error::Precondition { .. }) => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// Replaces whatever is there, in one of the ways that there are. The source of a copy is this
    /// one's own.
    async fn write(&self, at: &Path, to: Value, way: u64) -> (u64, Option<String>) {
        let (store, own) = (&self.store, Path::from(format!("{at}.of{}", self.number)));
        if way >= 2 {
            store.put(&own, data(to).into()).await.unwrap();
        }
        let mut called = nanos();
        let e_tag = match way {
            0 => store.put(at, data(to).into()).await.unwrap().e_tag,
            1 => {
                let mut upload = store.put_multipart(at).await.unwrap();
                upload.put_part(data(to).into()).await.unwrap();
                called = nanos();
                upload.complete().await.unwrap().e_tag
            }
            2 => store.copy(&own, at).await.map(|()| None).unwrap(),
            _ => store.rename(&own, at).await.map(|()| None).unwrap(),
        };
        (called, e_tag)
    }

    async fn create(&self, at: &Path, to: Value, way: u64) -> (u64, Option<Option<String>>) {
        let (store, own) = (&self.store, Path::from(format!("{at}.of{}", self.number)));
        if way >= 1 {
            store.put(&own, data(to).into()).await.unwrap();
        }
        let called = nanos();
        let created = match way {
            0 => {
                let put = store.put_opts(at, data(to).into(), PutMode::Create.into());
                put.await.map(|put| put.e_tag)
            }
            1 => store.copy_if_not_exists(&own, at).await.map(|()| None),
            _ => store.rename_if_not_exists(&own, at).await.map(|()| None),
        };
        match created {
            Err(Error::AlreadyExists { .. }) => (called, None),
            created => (called, Some(created.unwrap())),
        }
    }

    async fn operation(&mut self, at: &Path) -> Event {
        let mut called = nanos();
        self.written += 1;
        let to = self.number as u64 * 1_000_000 + self.written;
        let (op, e_tag) = match (self.random.below(10), self.known.take()) {
            (0..=3, Some((from, e_tag))) => {
                let made = self.update(at, &e_tag, to).await;
                let done = made.is_some();
                (Op::Update { from, to, done }, made)
            }
            (4 | 5, _) => {
                let way = self.random.below(4);
                let (then, e_tag) = self.write(at, to, way).await;
                called = then;
                (Op::Write(to), e_tag)
            }
            (6, _) => {
                let way = self.random.below(3);
                let (then, made) = self.create(at, to, way).await;
                called = then;
                let done = made.is_some();
                (Op::Create { to, done }, made.flatten())
            }
            (7, _) => {
                let done = match self.store.delete(at).await {
                    Err(Error::NotFound { .. }) => false,
                    deleted => deleted.map(|()| true).unwrap(),
                };
                (Op::Delete { done }, None)
            }
            _ => match self.read(at).await {
                None => (Op::Read(None), None),
                Some((value, e_tag)) => (Op::Read(Some(value)), Some(e_tag)),
            },
        };
        let answered = nanos();
        self.known = match (&op, &e_tag) {
            (Op::Read(Some(value)), Some(e_tag)) => Some((*value, e_tag.clone())),
            (Op::Write(_) | Op::Update { .. } | Op::Create { .. }, Some(e_tag)) => {
                Some((to, e_tag.clone()))
            }
            _ => None,
        };
        Event {
            client: self.number,
            called,
            answered,
            op,
            e_tag,
        }
    }

    pub(crate) async fn work(&mut self, at: &str, operations: usize) -> Vec<Event> {
        let at = Path::from(at);
        self.known = None;
        let mut events = Vec::new();
        for _ in 0..operations {
            events.push(self.operation(&at).await);
        }
        events
    }

    /// Adds one to the number that is the object, and comes again where another was quicker.
    pub(crate) async fn add_one(&mut self, at: &str) {
        let at = Path::from(at);
        loop {
            let (value, e_tag) = self.read(&at).await.unwrap();
            if self.update(&at, &e_tag, value + 1).await.is_some() {
                return;
            }
        }
    }

    pub(crate) async fn start_count(&self, at: &str) {
        let at = Path::from(at);
        self.store.put(&at, data(0).into()).await.unwrap();
    }

    pub(crate) async fn counted(&self, at: &str) -> Value {
        self.read(&Path::from(at)).await.unwrap().0
    }
}

impl Party for Client {
    fn history(&mut self, at: &str, operations: usize) -> Vec<Event> {
        futures::executor::block_on(self.work(at, operations))
    }

    fn increment(&mut self, at: &str) -> bool {
        futures::executor::block_on(self.add_one(at));
        true
    }
}
