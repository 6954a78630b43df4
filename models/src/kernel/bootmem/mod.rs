//! Boot memory on code paths: memblock while it is there, what becomes of it at the hand-over and after, and the oracle
//! that watches who asks for what when.

mod alloc;
mod free;
mod hand_over;
mod report;

use sim::Nanos;
use sim::cell::{Cell, RefCell};

use super::Kx;
use crate::mem::{PhysAddr, PhysRange};
use crate::memblock::{DeferredInit, MemblockRules, MemblockType, Stage};
use crate::oracle::BootLog;
use crate::profile::{Behaviour, Profile};

/// A piece of boot memory that was given back.
#[derive(Clone, Copy, Debug)]
struct GivenBack {
    range: PhysRange,
    by: &'static str,
    at: Nanos,
}

/// What became of boot memory, beside the lists of memblock.
#[derive(Debug, Default)]
pub struct BootMemory {
    given_back: RefCell<Vec<GivenBack>>,
    /// Which pages have no structure yet; `None` with all initialised.
    deferred: Cell<Option<DeferredInit>>,
    /// The arrays of memblock that came from slab: whose, where, how long, heap id.
    in_slab: RefCell<Vec<SlabArray>>,
    warned: Cell<bool>,
    /// What callers asked for.
    log: BootLog,
}

/// An array of memblock that lies in slab memory.
#[derive(Clone, Copy, Debug)]
struct SlabArray {
    list: MemblockType,
    at: PhysAddr,
    bytes: u64,
    id: u32,
}

impl BootMemory {
    /// When some of a range was given back before, and by whom.
    fn before(&self, range: PhysRange) -> Option<GivenBack> {
        let given = self.given_back.borrow();
        given.iter().find(|one| one.range.start < range.end && range.start < one.range.end).copied()
    }

    /// From now on somebody has the range again.
    fn taken(&self, range: PhysRange) {
        let gone = |one: &GivenBack| one.range.start < range.end && range.start < one.range.end;
        self.given_back.borrow_mut().retain(|one| !gone(one));
    }
}

impl MemblockRules {
    /// What the kernel of a profile does: its version's rules, and those of its configuration.
    #[must_use]
    pub fn of_profile(profile: &Profile) -> Self {
        Self {
            keep_memblock: profile.config.arch_keep_memblock,
            growth_avoids_request: profile.has(Behaviour::MemblockGrowthAvoidsRequest),
            ..Self::of_version(profile.version.base())
        }
    }
}

impl Kx {
    /// How far memblock is.
    #[must_use]
    pub fn memblock_stage(&self) -> Stage {
        self.k.mem.borrow().memblock.stage()
    }
}
