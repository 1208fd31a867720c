//! Deleting a file.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::{self, Before};
use crate::sys::{self, is, same_error};
use crate::{Engine, lock};

pub(crate) fn delete(engine: &Engine, path: &Path) -> Result<()> {
    let failed = |e| {
        let kind = match is::not_found(&e) {
            true => ErrorKind::NotFound,
            false => ErrorKind::Other,
        };
        Error::new("delete file", path, e).kind_of(kind)
    };
    let place = engine.locate(path).map_err(failed)?;
    let _guard = lock::lock(place.key());
    let before = Before::look(engine, &place.mount, path);
    if matches!(before, Before::Absent) {
        return Err(failed(same_error::not_found()));
    }
    let mut retry = engine.retry.start();
    loop {
        let Err(e) = sys::unlink(path) else {
            return Ok(());
        };
        // It was there a moment ago: the reply to the first of two requests was lost.
        if is::not_found(&e) && matches!(before, Before::There(_)) {
            engine.resolved("unlink", path, &e);
            return Ok(());
        }
        let in_use = is::denied(&e)
            && !place.mount.is_native()
            && sys::may_write_dir(crate::place::split(path).0);
        if !is::ambiguous(&e) && !in_use {
            return Err(failed(e));
        }
        match observe::look(engine, path) {
            Ok(None) => {
                engine.resolved("unlink", path, &e);
                return Ok(());
            }
            Ok(Some(now)) if now.is_dir => return Err(failed(e)),
            Ok(Some(_)) if retry.again() => engine.retried("unlink", path, &e),
            Ok(Some(_)) => return Err(failed(e)),
            Err(_) => {
                return Err(failed(e).hint("whether it took effect is unknown"));
            }
        }
    }
}
