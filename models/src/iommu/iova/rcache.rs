//! Magazines of recently freed page frames: per CPU and size class, with a depot behind them.

use super::rules::DepotRule;
use super::types::{Cpu, IovaPfn};

/// Size classes that are cached: 1, 2, 4, … 32 pages. Source: `drivers/iommu/iova.c: IOVA_RANGE_CACHE_MAX_SIZE`.
pub const IOVA_RANGE_CACHE_MAX_SIZE: usize = 6;

/// Whether the kernel's allocations succeed; the door through which a fault is injected.
pub trait IovaMemory {
    /// Is there memory for one `struct iova`? Source: `drivers/iommu/iova.c: alloc_iova_mem()`.
    fn alloc_iova_mem(&mut self) -> bool {
        true
    }

    /// Is there memory for one magazine? Source: `drivers/iommu/iova.c: iova_magazine_alloc()`.
    fn iova_magazine_alloc(&mut self) -> bool {
        true
    }
}

/// Memory without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plenty;

impl IovaMemory for Plenty {}

/// The size class of `size` pages: the logarithm of the next power of two, 0 for sizes 0 and 1.
///
/// Source: `include/linux/log2.h: order_base_2()`.
#[must_use]
pub const fn order_base_2(size: u64) -> usize {
    if size <= 1 { 0 } else { (u64::BITS - (size - 1).leading_zeros()) as usize }
}

/// Page frames of one size class, the newest last. Source: `drivers/iommu/iova.c: struct iova_magazine`.
#[derive(Clone, Debug, Default)]
pub(super) struct Magazine {
    pfns: Vec<IovaPfn>,
}

impl Magazine {
    pub(super) fn len(&self) -> usize {
        self.pfns.len()
    }

    pub(super) fn as_slice(&self) -> &[IovaPfn] {
        &self.pfns
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn push(&mut self, pfn: IovaPfn) {
        self.pfns.push(pfn);
    }

    fn take_one(&mut self, pfn: IovaPfn) -> bool {
        let found = self.pfns.iter().rposition(|held| *held == pfn);
        found.map(|index| self.pfns.remove(index)).is_some()
    }

    /// Takes the newest entry that is at most `limit`; the newest of all moves into its place.
    fn pop(&mut self, limit: u64) -> Option<IovaPfn> {
        let index = self.pfns.iter().rposition(|pfn| pfn.0 <= limit)?;
        Some(self.pfns.swap_remove(index))
    }
}

/// The two magazines of one CPU. Source: `drivers/iommu/iova.c: struct iova_cpu_rcache`.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuRcache {
    pub(super) loaded: Magazine,
    pub(super) prev: Magazine,
}

/// One size class. Source: `drivers/iommu/iova.c: struct iova_rcache`.
#[derive(Clone, Debug, Default)]
pub(super) struct Rcache {
    /// By CPU; grown when a CPU first frees something, so that a new domain owns no memory.
    pub(super) cpus: Vec<CpuRcache>,
    /// Full magazines, the newest last.
    pub(super) depot: Vec<Magazine>,
    /// Whether the trim work is queued.
    pub(super) trim_queued: bool,
    /// Whether a magazine went to the depot since somebody asked ([`IovaDomain::depots_to_trim`](super::IovaDomain)).
    pub(super) pushed: bool,
}

/// What became of a page frame offered to a cache.
#[derive(Debug)]
pub(super) enum Insert {
    Cached,
    /// It is cached, and this magazine found no room in the depot: its page frames are to be freed now.
    Evicted(Magazine),
    /// There was no memory for a new magazine.
    Refused,
}

impl Rcache {
    fn cpu_mut(&mut self, cpu: Cpu) -> &mut CpuRcache {
        let index = cpu.index();
        if index >= self.cpus.len() {
            self.cpus.resize_with(index + 1, CpuRcache::default);
        }
        &mut self.cpus[index]
    }

    /// Source: `drivers/iommu/iova.c: __iova_rcache_insert()`, v6.1 and v6.12.
    pub(super) fn insert(
        &mut self,
        cpu: Cpu,
        pfn: IovaPfn,
        magazine_size: usize,
        depot: DepotRule,
        memory: &mut impl IovaMemory,
    ) -> Insert {
        let own = self.cpu_mut(cpu);
        debug_assert!(own.loaded.len() <= magazine_size && own.prev.len() <= magazine_size);
        if own.loaded.len() < magazine_size {
            own.loaded.push(pfn);
            return Insert::Cached;
        }
        if own.prev.len() < magazine_size {
            std::mem::swap(&mut own.loaded, &mut own.prev);
            own.loaded.push(pfn);
            return Insert::Cached;
        }
        if !memory.iova_magazine_alloc() {
            return Insert::Refused;
        }
        let full = own.loaded.take();
        own.loaded.push(pfn);
        match depot {
            DepotRule::Bounded(most) if self.depot.len() >= most => return Insert::Evicted(full),
            DepotRule::Bounded(_) => {}
            DepotRule::Trimmed => {
                self.trim_queued = true;
                self.pushed = true;
            }
        }
        self.depot.push(full);
        Insert::Cached
    }

    /// A cached page frame of at most `limit`. Source: `drivers/iommu/iova.c: __iova_rcache_get()`, v6.12.
    pub(super) fn get(&mut self, cpu: Cpu, limit: u64) -> Option<IovaPfn> {
        let index = cpu.index();
        if index >= self.cpus.len() && self.depot.is_empty() {
            return None;
        }
        let own = self.cpu_mut(cpu);
        if own.loaded.len() == 0 {
            if own.prev.len() > 0 {
                std::mem::swap(&mut own.loaded, &mut own.prev);
            } else {
                let newest = self.depot.pop()?;
                self.cpus[index].loaded = newest;
            }
        }
        self.cpus[index].loaded.pop(limit)
    }

    /// Takes one page frame out of a CPU's magazines; the others keep their order.
    pub(super) fn take_from(&mut self, cpu: Cpu, pfn: IovaPfn) -> bool {
        let own = self.cpus.get_mut(cpu.index());
        own.is_some_and(|own| own.loaded.take_one(pfn) || own.prev.take_one(pfn))
    }

    /// Takes one page frame out of the depot.
    pub(super) fn take_from_depot(&mut self, pfn: IovaPfn) -> bool {
        self.depot.iter_mut().any(|magazine| magazine.take_one(pfn))
    }

    /// Takes the magazine out of the depot that holds this page frame.
    pub(super) fn remove_from_depot(&mut self, pfn: IovaPfn) -> Option<Magazine> {
        let at = self.depot.iter().position(|magazine| magazine.as_slice().contains(&pfn))?;
        Some(self.depot.remove(at))
    }

    /// Empties the depot, in the order in which the kernel frees its magazines.
    pub(super) fn drain_depot(&mut self, depot: DepotRule) -> Vec<Magazine> {
        let mut magazines = std::mem::take(&mut self.depot);
        match depot {
            // An array, walked from its start.
            DepotRule::Bounded(_) => {}
            // A list, popped from its head.
            DepotRule::Trimmed => magazines.reverse(),
        }
        magazines
    }

    /// Page frames in all magazines of this class.
    pub(super) fn cached(&self) -> usize {
        let on_cpus: usize = self.cpus.iter().map(|own| own.loaded.len() + own.prev.len()).sum();
        on_cpus + self.depot.iter().map(Magazine::len).sum::<usize>()
    }
}

/// What one run of the depot's trim work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepotTrim {
    /// It was not queued.
    Idle,
    /// The depot holds no more magazines than CPUs are online; the work is no longer queued.
    Enough,
    /// The newest magazine was freed, and the work has queued itself again, 100 ms later.
    Freed {
        /// Page frames in that magazine.
        pfns: usize,
    },
}

/// The contents of the caches of one size class.
#[derive(Clone, Copy, Debug)]
pub struct MagazineView<'a> {
    rcache: Option<&'a Rcache>,
}

impl<'a> MagazineView<'a> {
    pub(super) const fn new(rcache: Option<&'a Rcache>) -> Self {
        Self { rcache }
    }

    /// The page frames in a CPU's loaded magazine, oldest first.
    #[must_use]
    pub fn loaded(&self, cpu: Cpu) -> &'a [IovaPfn] {
        self.cpu(cpu).map_or(&[], |own| own.loaded.as_slice())
    }

    /// The page frames in a CPU's previous magazine, oldest first.
    #[must_use]
    pub fn prev(&self, cpu: Cpu) -> &'a [IovaPfn] {
        self.cpu(cpu).map_or(&[], |own| own.prev.as_slice())
    }

    /// Magazines in the depot.
    #[must_use]
    pub fn depot_size(&self) -> usize {
        self.rcache.map_or(0, |rcache| rcache.depot.len())
    }

    /// The magazines of the depot, newest first.
    pub fn depot(&self) -> impl Iterator<Item = &'a [IovaPfn]> {
        self.rcache.into_iter().flat_map(|rcache| rcache.depot.iter().rev().map(Magazine::as_slice))
    }

    /// Whether the trim work is queued. Always false under [`DepotRule::Bounded`].
    #[must_use]
    pub fn trim_queued(&self) -> bool {
        self.rcache.is_some_and(|rcache| rcache.trim_queued)
    }

    fn cpu(&self, cpu: Cpu) -> Option<&'a CpuRcache> {
        self.rcache.and_then(|rcache| rcache.cpus.get(cpu.index()))
    }
}
