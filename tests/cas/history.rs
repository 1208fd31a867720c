//! What was done with an object and when, and whether it could have been done in some order, each
//! operation at one moment between its call and its answer (linearizability, Herlihy and Wing 1990).

use std::collections::HashMap;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// What an object holds; each is written once.
pub(crate) type Value = u64;

/// An operation and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// What was there.
    Read(Option<Value>),
    /// Whatever was there is replaced.
    Write(Value),
    /// `done`, or something was there.
    Create { to: Value, done: bool },
    /// `done`, or it was not at this version.
    Update { from: Value, to: Value, done: bool },
    /// `done`, or nothing was there.
    Delete { done: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) client: usize,
    /// By [`nanos`].
    pub(crate) called: u64,
    pub(crate) answered: u64,
    pub(crate) op: Op,
    /// If one was told: of the value that was read or written.
    pub(crate) e_tag: Option<String>,
}

/// On a clock that all processes of one kernel share, whatever their namespaces.
pub(crate) fn nanos() -> u64 {
    // SAFETY: all zeroes is a time, and it is there until the call returns.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time), 0);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Event {
    /// The value that the e_tag is of.
    fn value(&self) -> Option<Value> {
        match self.op {
            Op::Read(value) => value,
            Op::Write(value) => Some(value),
            Op::Create { to, done } | Op::Update { to, done, .. } => done.then_some(to),
            Op::Delete { .. } => None,
        }
    }

    /// For another process.
    pub(crate) fn to_line(&self) -> String {
        let op = match self.op {
            Op::Read(None) => "nothing".into(),
            Op::Read(Some(value)) => format!("read {value}"),
            Op::Write(value) => format!("write {value}"),
            Op::Create { to, done } => format!("create {to} {done}"),
            Op::Update { from, to, done } => format!("update {from} {to} {done}"),
            Op::Delete { done } => format!("delete {done}"),
        };
        let e_tag = self.e_tag.as_deref().unwrap_or_default();
        let (client, called, answered) = (self.client, self.called, self.answered);
        format!("{client},{called},{answered},{op},{e_tag}")
    }

    pub(crate) fn from_line(line: &str) -> Self {
        let [client, called, answered, op, e_tag] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let value = |word: &str| word.parse::<Value>().unwrap();
        let op = match op.split(' ').collect::<Vec<_>>()[..] {
            ["nothing"] => Op::Read(None),
            ["read", at] => Op::Read(Some(value(at))),
            ["write", to] => Op::Write(value(to)),
            ["create", to, done] => Op::Create {
                to: value(to),
                done: done == "true",
            },
            ["update", from, to, done] => Op::Update {
                from: value(from),
                to: value(to),
                done: done == "true",
            },
            ["delete", done] => Op::Delete {
                done: done == "true",
            },
            _ => panic!("{line}"),
        };
        Self {
            client: client.parse().unwrap(),
            called: called.parse().unwrap(),
            answered: answered.parse().unwrap(),
            op,
            e_tag: (!e_tag.is_empty()).then(|| e_tag.into()),
        }
    }
}

/// What one object is to do: nothing is there at first.
#[derive(Debug)]
struct Object;

impl Specification for Object {
    type State = Option<Value>;
    type Operation = Op;

    fn init() -> Self::State {
        None
    }

    fn apply(op: &Op, state: &Self::State) -> (bool, Self::State) {
        let (is_valid, then) = match *op {
            Op::Read(value) => (value == *state, *state),
            Op::Write(value) => (true, Some(value)),
            Op::Create { to, done: true } => (state.is_none(), Some(to)),
            Op::Create { done: false, .. } => (state.is_some(), *state),
            Op::Update {
                from,
                to,
                done: true,
            } => (*state == Some(from), Some(to)),
            Op::Update {
                from, done: false, ..
            } => (*state != Some(from), *state),
            Op::Delete { done } => (state.is_some() == done, None),
        };
        (is_valid, if is_valid { then } else { *state })
    }
}

/// The whole history of one object, if it could not have happened, and why.
pub(crate) fn fault(mut events: Vec<Event>) -> Option<String> {
    events.sort_by_key(|event| event.called);
    let why = if let Some(e_tag) = shared_e_tag(&events) {
        format!("two versions have the e_tag {e_tag}")
    } else if is_linearizable(&events) {
        return None;
    } else {
        "no order of these operations explains their answers".into()
    };
    let lines = events
        .iter()
        .map(|event| format!("\n  {}", event.to_line()));
    Some(why + &lines.collect::<String>())
}

fn shared_e_tag(events: &[Event]) -> Option<&str> {
    let mut values = HashMap::new();
    events.iter().find_map(|event| {
        let (value, e_tag) = (event.value()?, event.e_tag.as_deref()?);
        (*values.entry(e_tag).or_insert(value) != value).then_some(e_tag)
    })
}

fn is_linearizable(events: &[Event]) -> bool {
    let mut actions: Vec<_> = events
        .iter()
        .flat_map(|event| {
            // Of two at one moment the call is first: they may be in either order.
            let call = (event.called, 0, event.client, Action::Call(event.op));
            let answer = (event.answered, 1, event.client, Action::Response(event.op));
            [call, answer]
        })
        .collect();
    actions.sort_by_key(|(at, kind, ..)| (*at, *kind));
    let actions = actions.into_iter();
    let history = actions.map(|(_, _, client, action)| (client, action));
    WGLChecker::<Object>::is_linearizable(History::from_actions(history.collect()))
}
