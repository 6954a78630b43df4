//! Zones and nodes of the page allocator, its errors and its per-CPU lists.

use std::collections::VecDeque;
use std::fmt;

use super::addr::{Pfn, PhysAddr, PhysRange};
use super::freelist::List;

/// Largest order: blocks of 4 MiB. The kernel called the number of orders `MAX_ORDER` (11) up to 6.3, made
/// `MAX_ORDER` the largest one (10) in 6.4 and named that `MAX_PAGE_ORDER` in 6.8.
pub const MAX_PAGE_ORDER: u8 = 10;

/// The zones of x86-64. Source: `arch/x86/mm/init.c: zone_sizes_init()`, v6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZoneKind {
    /// Below 16 MiB.
    Dma,
    /// Below 4 GiB.
    Dma32,
    /// All the rest.
    Normal,
}

impl ZoneKind {
    /// From the lowest up.
    pub const ALL: [Self; 3] = [Self::Dma, Self::Dma32, Self::Normal];

    /// First frame of the zone and of the one above it.
    pub(super) const fn span(self) -> (u64, u64) {
        match self {
            Self::Dma => (0, 1 << 12),
            Self::Dma32 => (1 << 12, 1 << 20),
            Self::Normal => (1 << 20, u64::MAX),
        }
    }
}

/// From which zone down an allocation may be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gfp {
    /// `GFP_KERNEL`: Normal, else DMA32, else DMA.
    #[default]
    Kernel,
    /// `GFP_DMA32`: DMA32, else DMA.
    Dma32,
    /// `GFP_DMA`: DMA only.
    Dma,
}

impl Gfp {
    /// The zones to try, in order.
    pub(super) const fn zones(self) -> &'static [ZoneKind] {
        match self {
            Self::Kernel => &[ZoneKind::Normal, ZoneKind::Dma32, ZoneKind::Dma],
            Self::Dma32 => &[ZoneKind::Dma32, ZoneKind::Dma],
            Self::Dma => &[ZoneKind::Dma],
        }
    }
}

/// Where in its free list a freed block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// To the head: it is the next to be handed out again. Kernels before 5.10 do this at boot, too.
    Head,
    /// To the tail: it is the last. Memory from memblock since 5.10 (`FPI_TO_TAIL`).
    Tail,
    /// As an ordinary free does: to the head, but to the tail if the block one order up would merge with *its*
    /// buddy, so that this one stays free a little longer. Source: `mm/page_alloc.c: buddy_merge_likely()`, v6.1.
    Usual,
}

/// What the page allocator knows of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Never handed over to it: a hole, or reserved in memblock.
    Absent,
    /// In a free block, or at the head of one of the largest order.
    Free,
    /// First page of a free block of less than the largest order.
    FreeHead {
        /// log2 of the block's pages.
        order: u8,
        /// Its node in the free list.
        node: u32,
    },
    /// On a CPU's list of free pages.
    PerCpu,
    /// First page of an allocation.
    Allocated {
        /// log2 of its pages.
        order: u8,
    },
    /// Another page of an allocation.
    AllocatedTail,
}

/// What is wrong with a request to the page allocator. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuddyError {
    /// The page is free already.
    DoubleFree {
        /// The page.
        addr: PhysAddr,
    },
    /// The page was never allocated here.
    NeverAllocated {
        /// The page.
        addr: PhysAddr,
    },
    /// The address is no multiple of the block size.
    Misaligned {
        /// The address.
        addr: PhysAddr,
        /// The order it was freed with.
        order: u8,
    },
    /// The page lies inside a larger allocation.
    InsideAllocation {
        /// The page.
        addr: PhysAddr,
    },
    /// It was allocated with another order.
    WrongOrder {
        /// The page.
        addr: PhysAddr,
        /// Order of the allocation.
        allocated: u8,
        /// Order of the free.
        freed: u8,
    },
    /// The order is above [`MAX_PAGE_ORDER`].
    BadOrder {
        /// The order.
        order: u8,
    },
    /// Part of the range was handed over before.
    AlreadyManaged {
        /// The range.
        range: PhysRange,
    },
    /// Part of the range lies in no node.
    NoZone {
        /// The range.
        range: PhysRange,
    },
    /// There is no such CPU.
    NoCpu {
        /// Its number.
        cpu: u32,
    },
}

impl fmt::Display for BuddyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoubleFree { addr } => write!(f, "page {addr} is free already"),
            Self::NeverAllocated { addr } => write!(f, "page {addr} was never allocated"),
            Self::Misaligned { addr, order } => write!(f, "{addr} is no block of order {order}"),
            Self::InsideAllocation { addr } => write!(f, "page {addr} is inside a larger allocation"),
            Self::WrongOrder { addr, allocated, freed } => {
                write!(f, "page {addr} was allocated with order {allocated} and freed with order {freed}")
            }
            Self::BadOrder { order } => write!(f, "order {order} is above {MAX_PAGE_ORDER}"),
            Self::AlreadyManaged { range } => {
                write!(f, "part of {}..{} was handed over before", range.start, range.end)
            }
            Self::NoZone { range } => write!(f, "part of {}..{} is in no node", range.start, range.end),
            Self::NoCpu { cpu } => write!(f, "there is no CPU {cpu}"),
        }
    }
}

impl std::error::Error for BuddyError {}

/// How many free pages a CPU keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcpLimits {
    /// Pages fetched at a time.
    pub batch: u32,
    /// Number of pages at which some go back.
    pub high: u32,
}

impl PcpLimits {
    /// Before `setup_per_cpu_pageset()`: nothing is kept. Source: `mm/page_alloc.c: BOOT_PAGESET_BATCH`, v6.1.
    pub const BOOT: Self = Self { batch: 1, high: 0 };
    /// Of a zone of 1 GiB and more, with the smallest `high` that the kernel allows.
    /// Source: `mm/page_alloc.c: zone_batchsize()`, `zone_highsize()`, v6.1.
    pub const USUAL: Self = Self { batch: 63, high: 252 };
}

/// Most often that the amount given back is doubled. Source: `mm/page_alloc.c: CONFIG_PCP_BATCH_SCALE_MAX`, v6.1.
const FREE_FACTOR_MAX: u32 = 5;

/// A CPU's free pages of one zone: `struct per_cpu_pages`, order 0 only.
#[derive(Debug, Default)]
pub(super) struct Pcp {
    /// Head first.
    pub(super) pages: VecDeque<u64>,
    /// How often the amount given back was doubled since the last allocation.
    pub(super) free_factor: u32,
}

impl Pcp {
    /// How many pages go back now that there are too many. Source: `mm/page_alloc.c: nr_pcp_free()`, v6.1.
    pub(super) fn surplus(&mut self, limits: PcpLimits) -> u32 {
        let PcpLimits { batch, high } = limits;
        if high < batch {
            return 1;
        }
        let most = high - batch;
        let scaled = batch << self.free_factor;
        if scaled < most && self.free_factor < FREE_FACTOR_MAX {
            self.free_factor += 1;
        }
        // The upper bound wins when the two cross, as in the kernel: then nothing goes back.
        scaled.max(batch).min(most)
    }
}

/// A zone of a node.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) kind: ZoneKind,
    pub(super) node: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) lists: [List; MAX_PAGE_ORDER as usize + 1],
    /// By CPU.
    pub(super) pcp: Vec<Pcp>,
}

impl Zone {
    pub(super) const fn contains(&self, pfn: u64) -> bool {
        self.start <= pfn && pfn < self.end
    }

    /// Free pages in its lists, without those on per-CPU lists.
    pub(super) fn free_pages(&self) -> u64 {
        (0u32..).zip(&self.lists).map(|(order, list)| list.blocks << order).sum()
    }
}

/// The zones of a machine, by node and then from the lowest up.
pub(super) fn zones_of(nodes: &[PhysRange], cpus: u32) -> Vec<Zone> {
    let mut zones = Vec::new();
    for (node, range) in (0u32..).zip(nodes) {
        for kind in ZoneKind::ALL {
            let (low, high) = kind.span();
            let start = range.start.pfn().0.max(low);
            let Pfn(end) = range.end.pfn();
            let end = end.min(high);
            if start < end {
                let pcp = (0..cpus).map(|_| Pcp::default()).collect();
                zones.push(Zone { kind, node, start, end, lists: [List::EMPTY; 11], pcp });
            }
        }
    }
    zones
}
