//! The operations, as one minor has them; `super::object_store` is that minor. Each is judged by
//! what is in the directory afterwards, not by its answer alone.

use std::fs;
use std::future::Future;
use std::path::{Path as Dir, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::Operation;
use super::super::super::errno::{steadily, told};
use super::super::super::pace::{Pace, Part, TOO_SLOW};
use super::super::verdict::{Due, Failure, Files, Outcome, Verdict, files, judge};
use super::object_store::path::Path;
use super::object_store::*;

/// Makes `operation`, several times and with what belongs to it, in the folder `below` of the
/// directory `root` that the store is of.
pub(crate) async fn run(
    store: &dyn ObjectStore,
    operation: Operation,
    root: &Dir,
    below: &str,
    pace: &Pace,
) -> Verdict {
    let mut trial = Trial {
        store,
        root: root.to_path_buf(),
        dir: root.join(below),
        below: below.to_string(),
        pace,
        verdict: Verdict::holds(),
    };
    match operation {
        Operation::PutOverwrite => trial.put_overwrite().await,
        Operation::PutCreate => trial.put_create().await,
        Operation::PutMultipart => trial.put_multipart().await,
        Operation::Get => trial.get().await,
        Operation::GetRanges => trial.get_ranges().await,
        Operation::Head => trial.head().await,
        Operation::List => trial.list().await,
        Operation::ListWithOffset => trial.list_with_offset().await,
        Operation::ListWithDelimiter => trial.list_with_delimiter().await,
        Operation::Copy => trial.copy().await,
        Operation::CopyIfNotExists => trial.copy_if_not_exists().await,
        Operation::Rename => trial.rename().await,
        Operation::RenameIfNotExists => trial.rename_if_not_exists().await,
        Operation::Delete => trial.delete().await,
        Operation::DeleteStream => trial.delete_stream().await,
    }
    trial.verdict
}

struct Trial<'a> {
    store: &'a dyn ObjectStore,
    root: PathBuf,
    dir: PathBuf,
    below: String,
    pace: &'a Pace,
    /// The worst so far.
    verdict: Verdict,
}

impl Trial<'_> {
    fn at(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.below))
    }

    fn prefix(&self) -> Path {
        Path::from(self.below.as_str())
    }

    fn add(&mut self, verdict: Verdict) {
        let so_far = std::mem::replace(&mut self.verdict, Verdict::holds());
        self.verdict = so_far.and(verdict);
    }

    fn wrong(&mut self, outcome: Outcome, why: &str) {
        self.add(Verdict::new(outcome, why));
    }

    fn failed(&mut self, error: Error) {
        let failure = self.failure(error);
        self.add(Verdict::fails(failure.text));
    }

    /// The error, with paths from the folder on.
    fn failure(&self, error: Error) -> Failure {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        let root = format!("{}/", self.root.display());
        // It is another folder for each store.
        let below = format!("{}/", self.below);
        Failure {
            is: match error {
                Error::AlreadyExists { .. } => Some(Due::AlreadyExists),
                Error::NotFound { .. } => Some(Due::NotFound),
                _ => None,
            },
            text: text.replace(&root, "").replace(&below, "").replace('\n', " "),
        }
    }

    /// Whether there is time for another step; nobody asked us to stop.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.pace.allows(Part::Stores).unwrap_or(false);
        if !goes_on {
            self.add(Verdict::not_tried(TOO_SLOW));
        }
        goes_on
    }

    /// Makes files without the store. Without them there is nothing to try.
    fn prepare(&mut self, names: &[&str]) -> bool {
        for name in names {
            if !self.goes_on() {
                return false;
            }
            let path = self.dir.join(name);
            let made = steadily(|| {
                // Of the folder itself it is known that it is there.
                if let Some((folder, _)) = name.rsplit_once('/') {
                    fs::create_dir_all(self.dir.join(folder))?;
                }
                fs::write(&path, format!("the old {name}"))
            });
            if let Err(e) = made {
                let why = format!("the doctor cannot write {name}: {}", told(&e));
                self.add(Verdict::not_tried(why));
                return false;
            }
        }
        self.goes_on()
    }

    /// Makes a call that changes files as `promise` tells, and judges it.
    async fn change<T>(
        &mut self,
        due: Due,
        call: impl Future<Output = Result<T>>,
        promise: impl FnOnce(&mut Files),
    ) -> Option<T> {
        if !self.goes_on() {
            return None;
        }
        let before = match steadily(|| files(&self.dir)) {
            Ok(before) => before,
            Err(e) => {
                self.cannot_read(&e);
                return None;
            }
        };
        let (answer, value) = match call.await {
            Ok(value) => (Ok(()), Some(value)),
            Err(error) => (Err(self.failure(error)), None),
        };
        // What a failed call dropped may be at work yet.
        let _ = tokio::task::spawn_blocking(|| ()).await;
        match steadily(|| files(&self.dir)) {
            Ok(after) => {
                let mut promised = before.clone();
                if due == Due::Success {
                    promise(&mut promised);
                }
                self.add(judge(due, answer, &before, after, &promised));
            }
            Err(e) => self.cannot_read(&e),
        }
        value
    }

    fn cannot_read(&mut self, error: &std::io::Error) {
        let why = format!("the doctor cannot read the folder: {}", told(error));
        self.add(Verdict::not_tried(why));
    }

    /// Whether `head` gives the e_tag that was told, and gives it again.
    async fn heads(&mut self, name: &str, first: &str, e_tag: Option<String>) {
        let location = self.at(name);
        for who in [first, "head"] {
            if !self.goes_on() {
                return;
            }
            match self.store.head(&location).await {
                Ok(meta) if meta.e_tag != e_tag => {
                    self.wrong(
                        Outcome::WrongETag,
                        &format!("head gives another e_tag than {who}"),
                    );
                    return;
                }
                Ok(_) => {}
                Err(error) => return self.failed(error),
            }
        }
    }

    /// Puts an object over another one and another, of one size, as fast as can be.
    async fn put_overwrite(&mut self) {
        if !self.prepare(&["object"]) {
            return;
        }
        let mut last = None;
        for text in ["the 1st version", "the 2nd version", "the 3rd version"] {
            let location = self.at("object");
            let put = self.store.put_opts(&location, text.into(), PutOptions::default());
            let promise = |files: &mut Files| {
                files.insert("object".into(), text.into());
            };
            let Some(put) = self.change(Due::Success, put, promise).await else {
                return;
            };
            if put.e_tag.is_some() && put.e_tag == last {
                self.wrong(Outcome::WrongETag, "two versions have one e_tag");
            }
            last.clone_from(&put.e_tag);
            self.heads("object", "put", put.e_tag).await;
        }
    }

    async fn put_create(&mut self) {
        let location = self.at("object");
        let create = || PutOptions::from(PutMode::Create);
        let put = self.store.put_opts(&location, "new".into(), create());
        let promise = |files: &mut Files| {
            files.insert("object".into(), "new".into());
        };
        let Some(put) = self.change(Due::Success, put, promise).await else {
            return;
        };
        self.heads("object", "put", put.e_tag).await;
        let second = self.store.put_opts(&location, "newer".into(), create());
        self.change(Due::AlreadyExists, second, |_| ()).await;
    }

    /// Two parts, the second of which is written first.
    async fn put_multipart(&mut self) {
        if !self.prepare(&["object"]) {
            return;
        }
        let (location, store) = (self.at("object"), self.store);
        let (first, second) = ("1".repeat(70_000), "2".repeat(30_000));
        let whole = first.clone() + &second;
        let upload = async {
            let mut upload = store
                .put_multipart_opts(&location, Default::default())
                .await?;
            let parts = [upload.put_part(first.into()), upload.put_part(second.into())];
            for part in parts.into_iter().rev() {
                part.await?;
            }
            upload.complete().await
        };
        let promise = |files: &mut Files| {
            files.insert("object".into(), whole.into());
        };
        let Some(put) = self.change(Due::Success, upload, promise).await else {
            return;
        };
        self.heads("object", "complete", put.e_tag).await;
    }

    async fn get(&mut self) {
        if !self.prepare(&["object"]) {
            return;
        }
        let location = self.at("object");
        let got = match self.store.get_opts(&location, GetOptions::default()).await {
            Ok(got) => got,
            Err(error) => return self.failed(error),
        };
        let e_tag = got.meta.e_tag.clone();
        match got.bytes().await {
            Ok(bytes) if bytes == "the old object" => {}
            Ok(_) => self.wrong(Outcome::FalseSuccess, "it reads something else"),
            Err(error) => self.failed(error),
        }
        self.heads("object", "get", e_tag).await;
    }

    async fn get_ranges(&mut self) {
        if !self.prepare(&["object"]) {
            return;
        }
        let location = self.at("object");
        match self.store.get_ranges(&location, &[0..3, 4..7, 8..14]).await {
            Ok(ranges) if ranges == ["the", "old", "object"] => {}
            Ok(_) => self.wrong(Outcome::FalseSuccess, "it reads something else"),
            Err(error) => self.failed(error),
        }
    }

    async fn head(&mut self) {
        if !self.prepare(&["object"]) {
            return;
        }
        match self.store.head(&self.at("object")).await {
            Ok(meta) if meta.size == "the old object".len() as u64 => {
                self.heads("object", "head", meta.e_tag).await;
            }
            Ok(_) => self.wrong(Outcome::FalseSuccess, "it gives another size"),
            Err(error) => self.failed(error),
        }
        let missing = self.at("missing");
        let head = self.store.head(&missing);
        self.change(Due::NotFound, head, |_| ()).await;
    }

    async fn list(&mut self) {
        if !self.prepare(&["a", "b", "c/d"]) {
            return;
        }
        let listed = self.store.list(Some(&self.prefix())).try_collect();
        let listed = listed.await;
        self.listed(listed, &["a", "b", "c/d"]).await;
    }

    async fn list_with_offset(&mut self) {
        if !self.prepare(&["a", "b", "c/d"]) {
            return;
        }
        let offset = self.at("a");
        let listed = self.store.list_with_offset(Some(&self.prefix()), &offset);
        let listed = listed.try_collect().await;
        self.listed(listed, &["b", "c/d"]).await;
    }

    async fn list_with_delimiter(&mut self) {
        if !self.prepare(&["a", "b", "c/d"]) {
            return;
        }
        let listed = self.store.list_with_delimiter(Some(&self.prefix())).await;
        if listed
            .as_ref()
            .is_ok_and(|listed| listed.common_prefixes != [self.at("c")])
        {
            self.wrong(Outcome::FalseSuccess, "it lists other prefixes");
        }
        self.listed(listed.map(|listed| listed.objects), &["a", "b"])
            .await;
    }

    async fn listed(&mut self, listed: Result<Vec<ObjectMeta>>, names: &[&str]) {
        let mut listed = match listed {
            Ok(listed) => listed,
            Err(error) => return self.failed(error),
        };
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        let locations: Vec<_> = names.iter().map(|name| self.at(name)).collect();
        if !locations.iter().eq(listed.iter().map(|meta| &meta.location)) {
            return self.wrong(Outcome::FalseSuccess, "it lists something else");
        }
        for (name, meta) in names.iter().zip(listed) {
            self.heads(name, "list", meta.e_tag).await;
        }
    }

    /// Twice, since the second one goes over an object.
    async fn copy(&mut self) {
        if !self.prepare(&["from"]) {
            return;
        }
        let (from, to) = (self.at("from"), self.at("to"));
        for _ in 0..2 {
            let copy = self.store.copy(&from, &to);
            self.change(Due::Success, copy, copied).await;
        }
    }

    async fn copy_if_not_exists(&mut self) {
        if !self.prepare(&["from"]) {
            return;
        }
        let (from, to) = (self.at("from"), self.at("to"));
        let copy = self.store.copy_if_not_exists(&from, &to);
        if self.change(Due::Success, copy, copied).await.is_some() {
            let copy = self.store.copy_if_not_exists(&from, &to);
            self.change(Due::AlreadyExists, copy, |_| ()).await;
        }
    }

    async fn rename(&mut self) {
        if !self.prepare(&["from", "to"]) {
            return;
        }
        let (from, to) = (self.at("from"), self.at("to"));
        let rename = self.store.rename(&from, &to);
        self.change(Due::Success, rename, renamed).await;
    }

    async fn rename_if_not_exists(&mut self) {
        if !self.prepare(&["from"]) {
            return;
        }
        let (from, to) = (self.at("from"), self.at("to"));
        let rename = self.store.rename_if_not_exists(&from, &to);
        if self.change(Due::Success, rename, renamed).await.is_some() {
            if !self.prepare(&["from"]) {
            return;
        }
            let rename = self.store.rename_if_not_exists(&from, &to);
            self.change(Due::AlreadyExists, rename, |_| ()).await;
        }
    }

    async fn delete(&mut self) {
        if !self.prepare(&["object"]) {
            return;
        }
        let location = self.at("object");
        let delete = self.store.delete(&location);
        self.change(Due::Success, delete, |files| files.clear()).await;
        let delete = self.store.delete(&location);
        self.change(Due::NotFound, delete, |_| ()).await;
    }

    async fn delete_stream(&mut self) {
        if !self.prepare(&["a", "b", "c"]) {
            return;
        }
        let locations: Vec<_> = ["a", "b", "c"].map(|name| Ok(self.at(name))).into();
        let deletes = self.store.delete_stream(stream::iter(locations).boxed());
        let deletes = deletes.try_collect::<Vec<_>>();
        self.change(Due::Success, deletes, |files| files.clear())
            .await;
    }
}

fn copied(files: &mut Files) {
    let data = files.get("from").cloned().unwrap_or_default();
    files.insert("to".into(), data);
}

fn renamed(files: &mut Files) {
    let data = files.remove("from").unwrap_or_default();
    files.insert("to".into(), data);
}
