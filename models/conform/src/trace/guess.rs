//! A guess of the model, and what becomes of it.

use std::fmt;

use models::swiotlb::{DmaLimits, MapRequest};

/// One call of `swiotlb_tbl_map_single()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Number of the device.
    pub(super) dev: u32,
    /// What its driver demands.
    pub(super) limits: DmaLimits,
    /// The arguments.
    pub(super) request: MapRequest,
    /// Highest address that the caller accepts; it gives back what lies above.
    pub(super) mask: u64,
}

/// How sure a guess is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Basis {
    /// All that it rests on was seen.
    Seen,
    /// It takes slots for free that the trace has not shown so far.
    Unseen,
    /// Another thread took or freed slots of the area between the event before the search and the one behind it.
    Interleaved,
}

/// What the model would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Slots at this address.
    At(u64),
    /// No place.
    Full,
    /// A place, but outside the device's mask.
    Unreachable,
    /// A search without end.
    Hang,
    /// Where the search of this area begins was not seen yet.
    Unknown,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(tlb) => write!(f, "{tlb:#x}"),
            Self::Full => f.write_str("no place"),
            Self::Unreachable => f.write_str("a place that the device cannot reach"),
            Self::Hang => f.write_str("a search without end"),
            Self::Unknown => f.write_str("not determined"),
        }
    }
}

/// A guess that waits for what the kernel did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) ask: Ask,
    /// What the model would do.
    pub(super) answer: Answer,
    pub(super) cpu: u32,
    pub(super) line: u64,
    /// Area searched last, where its cursor stood before and after.
    pub(super) moved: Option<(u32, u32, u32)>,
    /// Slots in use after the search.
    pub(super) used: u64,
    pub(super) unseen: bool,
    pub(super) interleaved: bool,
    /// Changes to the pool when the search was done, and when the thread's next event came.
    pub(super) done_at: u64,
    pub(super) closed_at: Option<u64>,
}

/// Why a guess was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// Slots that the trace never showed must be in use since before.
    Older,
    /// The other order of two threads gives what was recorded.
    Order,
    /// The kernel got slots whose release another thread reported only afterwards.
    FreedEarlier,
    /// The place was released by another thread that had not reported anything after it.
    FreedLater,
}

/// What became of a guess.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Whether it was right.
    pub(super) agreed: bool,
    /// What it rests on.
    pub(super) basis: Basis,
    /// Why it was wrong.
    pub(super) why: Option<Why>,
    /// The recorded address cannot be the result of any search.
    pub(super) impossible: bool,
    /// Address of a mapping that the kernel must have freed earlier than it said.
    pub(super) freed_early: Option<u64>,
    /// What the model answered when it was asked.
    pub(super) modelled: Answer,
    /// The trace does not show enough for an answer.
    pub(super) undetermined: bool,
}

/// Whether the model's answer is the recorded one.
pub(super) const fn says_same(answer: Answer, recorded: Option<u64>) -> bool {
    match (answer, recorded) {
        (Answer::At(tlb), Some(recorded)) => tlb == recorded,
        (Answer::Full | Answer::Unreachable, None) => true,
        _ => false,
    }
}
