//! What is legal when: before the hand-over, after it, and after the arrays are discarded.

use super::owner::Owner;
use super::state::Memblock;
use super::types::{MemblockError, MemblockType, Region, round_up};
use crate::mem::{PAGE_SIZE, PhysAddr, PhysRange};

/// How far memblock's life is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It is the allocator.
    #[default]
    Early,
    /// The page allocator has what was free. The lists still exist, and changing them changes nothing else.
    HandedOver,
    /// The lists are gone: what lies at their place is somebody else's.
    Discarded,
}

/// What a caller is about to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To add, remove, mark or cut memory.
    Change,
    /// To reserve a given range.
    Reserve(PhysRange),
    /// To allocate.
    Alloc,
    /// To give a range back (`memblock_free`, `memblock_phys_free`).
    Free(PhysRange),
    /// To give a range to the page allocator (`memblock_free_late`).
    FreeLate(PhysRange),
    /// To look at the lists.
    Query,
}

/// Why a request is wrong, although the kernel says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// The page allocator is not there yet.
    TooEarly,
    /// The page allocator has taken over: the lists change, and nobody looks at them any more.
    TooLate,
    /// The lists are no more: what is read and written there is freed memory.
    Gone,
    /// Nobody has reserved the byte at this address.
    NotReserved(PhysAddr),
    /// The range holds the memory of two owners: of the first, and of this one.
    TwoOwners(PhysAddr, Owner),
    /// The byte at this address was allocated for somebody else.
    Taken(PhysAddr, Owner),
}

/// An array of regions that outgrew the kernel's image, and goes back where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardedArray {
    /// Whose it was.
    pub list: MemblockType,
    /// Where it lies, if it came from memblock: `memblock_free_late()` gets it. Else `kfree()` does.
    pub at: Option<PhysAddr>,
    /// Its length in bytes, whole pages.
    pub bytes: u64,
}

impl Memblock {
    /// How far memblock's life is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// From now on there is a slab allocator: lists grow there. Source: `mm/slab_common.c: slab_is_available()`.
    pub const fn set_slab_available(&mut self) {
        self.slab_available = true;
    }

    /// Whether there is a slab allocator.
    #[must_use]
    pub const fn slab_available(&self) -> bool {
        self.slab_available
    }

    /// What is wrong with a request now; `None` if it is legal. A report's question: the kernel does not ask.
    ///
    /// A part of an allocation may be given back, and so may neighbours that one function has reserved. What firmware
    /// left may be reserved twice; what memblock has chosen for somebody may not.
    #[must_use]
    pub fn misuse(&self, request: Request) -> Option<Misuse> {
        let late = self.stage != Stage::Early;
        if self.stage == Stage::Discarded && !matches!(request, Request::FreeLate(_)) {
            return Some(Misuse::Gone);
        }
        match request {
            Request::Change if late && !self.rules.keep_memblock => Some(Misuse::TooLate),
            Request::Alloc | Request::Free(_) if late => Some(Misuse::TooLate),
            Request::Reserve(range) if late => self.handed_over(range).then_some(Misuse::TooLate),
            Request::Reserve(range) => self
                .owners_in(range)
                .iter()
                .find(|owned| owned.allocated)
                .map(|owned| Misuse::Taken(owned.range.start.max(range.start), owned.owner)),
            Request::Free(range) => self.misuse_of_free(range),
            Request::FreeLate(_) if !late => Some(Misuse::TooEarly),
            Request::FreeLate(range) => self.unreserved(range).map(Misuse::NotReserved),
            Request::Change | Request::Alloc | Request::Query => None,
        }
    }

    /// The first byte of a range that nobody has reserved.
    #[must_use]
    pub fn unreserved(&self, range: PhysRange) -> Option<PhysAddr> {
        let mut at = range.start;
        for owned in self.owners_in(range) {
            if owned.range.start > at {
                break;
            }
            at = owned.range.end;
        }
        (at < range.end).then_some(at)
    }

    fn misuse_of_free(&self, range: PhysRange) -> Option<Misuse> {
        if let Some(at) = self.unreserved(range) {
            return Some(Misuse::NotReserved(at));
        }
        let owners = self.owners_in(range);
        let (first, others) = owners.split_first()?;
        others
            .iter()
            .find(|other| other.owner.site != first.owner.site)
            .map(|other| Misuse::TwoOwners(other.range.start, other.owner))
    }

    /// Whether the page allocator has got some of a range.
    fn handed_over(&self, range: PhysRange) -> bool {
        let memory = self.regions(MemblockType::Memory);
        let ends_above = memory.iter().filter(|region| region.end() > range.start);
        let mut inside = ends_above.take_while(|region| region.base < range.end);
        inside.any(|region| {
            let part = PhysRange { start: region.base.max(range.start), end: region.end().min(range.end) };
            part.start < part.end && self.unreserved(part).is_some()
        })
    }

    /// The end of the lists, and what becomes of arrays that have grown, in the order in which they go. The model keeps
    /// the lists for reports.
    ///
    /// # Errors
    /// A kernel that keeps memblock has no such function.
    ///
    /// Source: `mm/memblock.c: memblock_discard()`.
    pub fn discard(&mut self) -> Result<Vec<DiscardedArray>, MemblockError> {
        if self.rules.keep_memblock {
            return Err(MemblockError::NotInThisKernel);
        }
        self.stage = Stage::Discarded;
        let lists = [&self.reserved, &self.memory];
        let grown = lists.into_iter().filter(|list| list.grown_at.is_some() || list.in_slab);
        let array = |list: &super::list::RegionList| DiscardedArray {
            list: list.kind,
            at: list.grown_at.filter(|_| !list.in_slab),
            bytes: round_up(list.max * Region::BYTES, PAGE_SIZE),
        };
        Ok(grown.map(array).collect())
    }
}
