//! What goes wrong: which request, when, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

macro_rules! ops {
    ($($op:ident),* $(,)?) => {
        /// A kind of request, as FUSE has them (`include/uapi/linux/fuse.h`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Op { $($op),* }

        impl Op {
            /// All of them, in the order of their discriminants.
            pub(crate) const ALL: [Op; [$(Op::$op),*].len()] = [$(Op::$op),*];
        }
    };
}

ops! {
    Lookup, Getattr, Setattr, Readlink, Symlink, Mkdir, Rmdir, Unlink, Rename, Link,
    Open, Create, Read, Write, Flush, Fsync, Release,
    Opendir, Readdir, Fsyncdir, Releasedir, Statfs,
    Getxattr, Setxattr, Listxattr, Removexattr,
}

/// One thing that goes wrong with one kind of request.
///
/// `Fault::on(Op::Rename).errno(libc::ESTALE).every(3).after_effect()`. Of several faults that
/// meet in one request, the first one added is answered; each counts all requests that it matches.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(super) op: Op,
    pub(super) answer: Answer,
    pub(super) after_effect: bool,
    when: When,
    names: Names,
}

/// What the kernel is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Errno(i32),
    /// That all is well, though of a write only the first bytes were done, of others nothing.
    Lost {
        keeping: usize,
    },
    /// The truth, late.
    Late(Duration),
}

#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    Nth(u64),
    Every(u64),
    First(u64),
    Burst { period: u64, len: u64 },
}

#[derive(Clone)]
enum Names {
    All,
    Those(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Fault {
    /// The request fails, with EIO unless [`errno`](Fault::errno) says otherwise.
    pub(crate) fn on(op: Op) -> Fault {
        Fault {
            op,
            answer: Answer::Errno(libc::EIO),
            after_effect: false,
            when: When::Always,
            names: Names::All,
        }
    }

    /// The request is acknowledged and not done: a write that never reaches the disk.
    ///
    /// # Panics
    ///
    /// For requests that must answer with more than "done", which a lost one cannot.
    pub(crate) fn lose(op: Op) -> Fault {
        use Op::*;
        assert!(
            matches!(
                op,
                Write | Rename | Unlink | Rmdir | Flush | Fsync | Fsyncdir | Setxattr | Removexattr
            ),
            "{op:?} answers with what it did; it cannot be lost"
        );
        Fault {
            answer: Answer::Lost { keeping: 0 },
            ..Fault::on(op)
        }
    }

    /// The request is done, `late` by so much.
    pub(crate) fn delay(op: Op, late: Duration) -> Fault {
        Fault {
            answer: Answer::Late(late),
            ..Fault::on(op)
        }
    }

    /// The error that is answered.
    pub(crate) fn errno(mut self, errno: i32) -> Fault {
        self.answer = Answer::Errno(errno);
        self
    }

    /// Of each lost write the first `bytes` are kept: the tail is lost.
    pub(crate) fn keeping(mut self, bytes: usize) -> Fault {
        assert_eq!(self.op, Op::Write, "only a write can be lost in part");
        self.answer = Answer::Lost { keeping: bytes };
        self
    }

    /// Only the `n`th request, counted from 1.
    pub(crate) fn nth(self, n: u64) -> Fault {
        self.when(When::Nth(n), n)
    }

    /// Every `n`th request: the nth, the 2nth, and so on.
    pub(crate) fn every(self, n: u64) -> Fault {
        self.when(When::Every(n), n)
    }

    /// The first `n` requests.
    pub(crate) fn first(self, n: u64) -> Fault {
        self.when(When::First(n), n)
    }

    /// Of each `period` requests the first `len`.
    pub(crate) fn burst(self, period: u64, len: u64) -> Fault {
        self.when(When::Burst { period, len }, period.min(len))
    }

    fn when(mut self, when: When, least: u64) -> Fault {
        assert!(least > 0, "{when:?} never strikes: requests count from 1");
        self.when = when;
        self
    }

    /// The request fails and does nothing. The default.
    pub(crate) fn before_effect(mut self) -> Fault {
        self.after_effect = false;
        self
    }

    /// The request is done, then the error is answered: the reply was lost on its way.
    ///
    /// A request that fails by itself has no effect; its own error is answered.
    pub(crate) fn after_effect(mut self) -> Fault {
        self.after_effect = true;
        self
    }

    /// Only requests on files of such a name: the last component, and of a rename or a link either
    /// the old name or the new one. A file with several names goes by the one last used.
    ///
    /// The request waits for the answer: a test may let it wait there for something else to happen,
    /// or make it happen. A panic costs a worker and answers EIO.
    pub(crate) fn where_name(
        mut self,
        is_meant: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Fault {
        self.names = Names::Those(Arc::new(is_meant));
        self
    }

    /// Only requests on files whose name contains this.
    pub(crate) fn where_name_has(self, part: &str) -> Fault {
        let part = part.to_owned();
        self.where_name(move |name| name.contains(&part))
    }

    /// Only requests on staging files; a rename or a link of one is such a request.
    pub(crate) fn where_staging_file(self) -> Fault {
        self.where_name(is_staging_file)
    }

    /// Whether requests on these names are counted.
    pub(super) fn is_about(&self, op: Op, names: &[String]) -> bool {
        self.op == op
            && match &self.names {
                Names::All => true,
                Names::Those(is_meant) => names.iter().any(|name| is_meant(name)),
            }
    }

    /// Whether it strikes at the `n`th of them, counted from 1.
    pub(super) fn strikes_at(&self, n: u64) -> bool {
        match self.when {
            When::Always => true,
            When::Nth(nth) => n == nth,
            When::Every(every) => n % every == 0,
            When::First(first) => n <= first,
            When::Burst { period, len } => (n - 1) % period < len,
        }
    }
}

/// Whether this is the name of a staging file: `name#digits`.
pub(crate) fn is_staging_file(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Names::All => "All",
            Names::Those(_) => "Those",
        })
    }
}
