//! Recorded events.

use std::borrow::Cow;

use crate::{CtxId, Label, Name, Nanos};

/// One event of a recorded run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of steps executed before it.
    pub step: u64,
    /// Virtual time.
    pub time: Nanos,
    /// Serial number of the context that did it (see [`Trace::contexts`]).
    pub ctx: u32,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A step was executed.
    Step {
        /// Its label.
        label: Label,
        /// Name of the object, resolved.
        object: Name,
        /// Innermost frame at that moment.
        frame: &'static str,
    },
    /// The context was preempted here although it could have gone on; the other context's serial follows.
    Preempted {
        /// Serial number of the context that runs next.
        by: u32,
    },
    /// The context cannot go on.
    Blocked {
        /// On what.
        on: Name,
    },
    /// The context holds a lock from here on.
    Took {
        /// Which.
        lock: Name,
    },
    /// The context gave a lock back.
    Released {
        /// Which.
        lock: Name,
    },
    /// A quantity of a model changed: slots in use, free pages.
    Counter {
        /// What is counted.
        name: Cow<'static, str>,
        /// How many there are now.
        value: u64,
    },
    /// Part of a space of numbers (memory, slots, addresses of a device) has somebody from here on, or has him no longer.
    Interval {
        /// Which space.
        space: String,
        /// First number.
        start: u64,
        /// How many.
        len: u64,
        /// Who or what has it.
        what: String,
        /// Whether that begins here, or ends.
        begins: bool,
    },
    /// A context began.
    Spawned,
    /// A context ended.
    Ended,
    /// A function was entered.
    Enter(&'static str),
    /// A function was left.
    Leave(&'static str),
    /// A line of the modelled kernel's log.
    Log(String),
    /// A remark of a model: an allocation, a free, a decision worth telling.
    Note(String),
    /// An injection fired.
    Injected(String),
    /// A choice was answered: what, answer, alternatives.
    Choice {
        /// What it decided.
        what: &'static str,
        /// The answer.
        taken: u64,
        /// How many alternatives there were.
        of: u64,
    },
    /// A finding was made; its title.
    Found(String),
}

/// A context as it appears in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtxRecord {
    /// Its name.
    pub name: Name,
    /// Its slot at the time.
    pub slot: CtxId,
    /// CPU, if it runs on one.
    pub cpu: Option<u8>,
}

/// A recorded run. Empty unless recording was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Every context that ever lived, by serial number.
    pub contexts: Vec<CtxRecord>,
    /// Everything that happened, in order.
    pub events: Vec<Event>,
    /// What was drawn for the run as a whole, in words.
    pub notes: Vec<String>,
    /// After each step that is among the events, 8 bits of the digest so far.
    pub marks: Vec<u8>,
    /// Whether events were dropped since the limit was reached.
    pub truncated: bool,
}
