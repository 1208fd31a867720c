//! Ctrl-C and its relatives: noted, so that a change half made can be taken back first.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;

use crate::error::{Error, Result};

static SEEN: AtomicBool = AtomicBool::new(false);

/// Whether someone asked us to stop.
pub(crate) fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}

/// An error, if someone asked us to stop. To be called between steps.
pub(crate) fn check() -> Result<()> {
    if seen() {
        return Err(Error::new("interrupted"));
    }
    Ok(())
}

/// From here on the first signal is noted, and the second one ends the process.
pub(crate) fn watch() -> Result<()> {
    start().map_err(|error| Error::new("cannot watch for Ctrl-C").why(error))
}

fn start() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        sys::signals()?
    };
    thread::Builder::new()
        .name("signals".to_string())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    poll_fn(|context| any(&mut signals, context)).await;
                    if SEEN.swap(true, Ordering::Relaxed) {
                        std::process::exit(130);
                    }
                }
            })
        })?;
    Ok(())
}

fn any(signals: &mut [sys::Signal], context: &mut Context<'_>) -> Poll<()> {
    for signal in signals {
        if signal.poll_recv(context).is_ready() {
            return Poll::Ready(());
        }
    }
    Poll::Pending
}

#[cfg(unix)]
mod sys {
    use std::io;
    use tokio::signal::unix::{SignalKind, signal};

    pub(super) use tokio::signal::unix::Signal;

    pub(super) fn signals() -> io::Result<Vec<Signal>> {
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .into_iter()
        .map(signal)
        .collect()
    }
}

#[cfg(windows)]
mod sys {
    use std::io;

    pub(super) use tokio::signal::windows::CtrlC as Signal;

    pub(super) fn signals() -> io::Result<Vec<Signal>> {
        Ok(vec![tokio::signal::windows::ctrl_c()?])
    }
}
