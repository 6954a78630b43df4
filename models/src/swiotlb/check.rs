//! What always holds between a pool's counters, its free slots and its records, as values for an oracle.

use std::fmt;

use super::pool::Pool;
use super::sizing::IO_TLB_SEGSIZE;

/// An invariant that does not hold. The names are those of `docs/invariants-swiotlb.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// SW-USED: the areas count other slots in use than are taken.
    UsedDiffers {
        /// Sum of the areas' counters, modulo 2^64.
        used: u64,
        /// Slots that are not free.
        busy: u64,
    },
    /// SW-INDEX: the next search would begin outside its area.
    IndexOutside {
        /// The area.
        area: u32,
        /// Its index.
        index: u32,
    },
    /// SW-LIST: a free counter is not one more than that of the next slot in the segment.
    ListBroken {
        /// The slot.
        slot: u32,
        /// Its counter.
        list: u32,
    },
    /// SW-RECORD: something is recorded for a free slot.
    RecordOfFree {
        /// The slot.
        slot: u32,
    },
    /// SW-BOUND: a segment has a longer free run than searches believe. A bug of the model.
    RunUnderrated {
        /// The segment.
        segment: u32,
    },
    /// SW-OWNER: a busy slot belongs to no record, or a record to no slot. A bug of the model.
    NoOwner {
        /// The slot.
        slot: u32,
    },
    /// SW-STRAY: slots outside the pool were written.
    StrayWrites {
        /// How often.
        count: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsedDiffers { used, busy } => {
                write!(f, "the areas count {} slots in use, and {busy} are", used.cast_signed())
            }
            Self::IndexOutside { area, index } => {
                write!(f, "area {area} would search from slot {index} on, which it does not have")
            }
            Self::ListBroken { slot, list } => {
                write!(f, "slot {slot} counts {list} free slots, not one more than the next one")
            }
            Self::RecordOfFree { slot } => write!(f, "slot {slot} is free, and a mapping is recorded for it"),
            Self::RunUnderrated { segment } => {
                write!(f, "segment {segment} has more free slots in a row than searches believe")
            }
            Self::NoOwner { slot } => write!(f, "slot {slot} is in use, and no mapping is recorded for it"),
            Self::StrayWrites { count } => write!(f, "slots outside the pool were written, {count} times"),
        }
    }
}

impl Pool {
    /// The first invariant that does not hold, if any. Costs a look at what was ever taken from, and at every slot only
    /// where an unmap has spoilt the counters.
    ///
    /// Callers that unmap what they mapped, with the limits they mapped it with, can break none on a
    /// kernel whose counters are clamped; others break the kernel's own book-keeping.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        let slots = self.slots();
        if slots.stray_writes() > 0 {
            return Some(Violation::StrayWrites { count: slots.stray_writes() });
        }
        for (area, state) in (0u32..).zip(self.areas()) {
            if state.index() >= state.nslabs().max(1) {
                return Some(Violation::IndexOutside { area, index: state.index() });
            }
        }
        if let Some(inner) = slots.inner_violation() {
            return Some(inner);
        }
        let differs =
            |busy| (busy != self.used()).then(|| Violation::UsedDiffers { used: self.used(), busy });
        if let Some(busy) = slots.busy_by_segments() {
            // Counters and records follow from the free bits here, so they cannot differ from them.
            return differs(busy);
        }
        let kept = slots.kept();
        let mut busy = 0u64;
        let mut above = 0;
        for slot in (0..kept).rev() {
            let list = slots.list(slot);
            let next = if (slot + 1) % IO_TLB_SEGSIZE == 0 { 0 } else { above };
            if list != 0 && list != next + 1 {
                return Some(Violation::ListBroken { slot, list });
            }
            let recorded =
                slots.orig_addr(slot).is_some() || slots.alloc_size(slot) != 0 || slots.pad_slots(slot) != 0;
            if list != 0 && recorded {
                return Some(Violation::RecordOfFree { slot });
            }
            busy += u64::from(list == 0);
            above = list;
        }
        differs(busy)
    }
}
