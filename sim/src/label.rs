//! Names of contexts and objects, and the labels that a step announces.

use std::fmt;

use crate::probe::Op;

/// At most this many contexts are alive at one time; one machine word holds a set of them.
pub const MAX_CONTEXTS: usize = 64;

/// A live context's slot. Slots are reused after a context ends; [`Name`]s are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtxId(pub(crate) u8);

impl CtxId {
    /// Slot number, below [`MAX_CONTEXTS`].
    #[must_use]
    pub const fn index(self) -> usize {
        // No number is larger. Said so that nothing has to check it where slots are looked up.
        self.0 as usize % MAX_CONTEXTS
    }

    pub(crate) const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// A set of contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtxSet(pub(crate) u64);

impl CtxSet {
    /// Number of contexts in the set.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `id` is in the set.
    #[must_use]
    pub const fn contains(self, id: CtxId) -> bool {
        self.0 & id.bit() != 0
    }

    /// The lowest context, if any.
    #[must_use]
    pub fn first(self) -> Option<CtxId> {
        (self.0 != 0).then(|| CtxId(slot(self.0)))
    }

    /// The `n`-th context counted from the lowest; the last one if there are fewer.
    #[must_use]
    pub fn nth(self, n: u32) -> Option<CtxId> {
        let mut rest = self.0;
        for _ in 0..n {
            let without = rest & rest.wrapping_sub(1);
            if without == 0 {
                break;
            }
            rest = without;
        }
        (rest != 0).then(|| CtxId(slot(rest)))
    }

    /// Position of `id` counted from the lowest member.
    #[must_use]
    pub const fn rank(self, id: CtxId) -> u32 {
        (self.0 & (id.bit() - 1)).count_ones()
    }

    /// The members in rising order.
    pub fn iter(self) -> impl Iterator<Item = CtxId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let id = Self(rest).first()?;
            rest &= rest - 1;
            Some(id)
        })
    }
}

/// Index of the lowest set bit of a non-zero word.
#[expect(clippy::cast_possible_truncation, reason = "a bit index of a 64-bit word is below 64")]
const fn slot(word: u64) -> u8 {
    word.trailing_zeros() as u8
}

/// A shared object that steps touch: a lock, a variable, a field. 0 is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjId(pub u32);

impl ObjId {
    /// No object: the step touches nothing that others see.
    pub const NONE: Self = Self(0);
}

/// What a step does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A context's first step.
    Start,
    /// Plain or marked load.
    Read,
    /// Plain or marked store.
    Write,
    /// Atomic read-modify-write.
    Atomic,
    /// Taking a lock (enabled only while it can be taken).
    Acquire,
    /// Giving a lock back.
    Release,
    /// Waiting for an event.
    Wait,
    /// Announcing an event.
    Signal,
    /// Taking memory.
    Alloc,
    /// Giving memory back.
    Free,
    /// A device or its bus.
    Io,
    /// Letting time pass.
    Sleep,
    /// A preemption point that touches nothing.
    Point,
}

impl Kind {
    /// What a step of this kind does to its object, for partial-order reduction: what is not known to commute counts as
    /// a change.
    #[must_use]
    pub const fn op(self) -> Op {
        match self {
            Self::Read => Op::Read,
            Self::Acquire => Op::Acquire,
            _ => Op::Write,
        }
    }

    /// The word used in traces and tokens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Read => "read",
            Self::Write => "write",
            Self::Atomic => "atomic",
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Wait => "wait",
            Self::Signal => "signal",
            Self::Alloc => "alloc",
            Self::Free => "free",
            Self::Io => "io",
            Self::Sleep => "sleep",
            Self::Point => "point",
        }
    }
}

/// What a context is about to do: the unit of scheduling, of the digest, and of partial-order reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// What is done.
    pub kind: Kind,
    /// To what.
    pub obj: ObjId,
}

impl Label {
    /// A label of `kind` on `obj`.
    #[must_use]
    pub const fn new(kind: Kind, obj: ObjId) -> Self {
        Self { kind, obj }
    }
}

/// A stable name: a text and a number that tells apart those with the same text. Contexts and objects are named
/// by who they are and not by arrival, so that a recorded choice survives unrelated changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The text.
    pub text: &'static str,
    /// 0 for the first one of this text; shown from 1 on.
    pub nth: u32,
}

impl Name {
    /// A name that stands alone.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, nth: 0 }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        if self.nth > 0 {
            write!(f, "#{}", self.nth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_of_a_set_is_what_its_iterator_gives_and_beyond_it_the_last() {
        for bits in [0, 1, 0b1011, 1 << 63, u64::MAX, 0x8000_0000_0000_0101] {
            let set = CtxSet(bits);
            let all: Vec<_> = set.iter().collect();
            for n in 0..70 {
                assert_eq!(set.nth(n), all.get(n as usize).or(all.last()).copied(), "{bits:x} {n}");
            }
            for (n, id) in (0..).zip(&all) {
                assert_eq!((set.rank(*id), set.contains(*id)), (n, true));
            }
            assert_eq!((set.len() as usize, set.first()), (all.len(), all.first().copied()));
        }
    }
}
