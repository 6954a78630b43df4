//! The page allocator. Source: `mm/page_alloc.c`, v6.1.
//!
//! One free list per zone and order: migrate types are left out, as are watermarks, reserves, compaction and
//! shuffling. Blocks of the largest order are kept as runs behind their list, which is exact (they never merge) and
//! makes the hand-over of a 16 GiB machine a matter of a few steps.

use super::addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange};
use super::freelist::{List, Nodes};
use super::pagemap::PageMap;
use super::zone::{
    BuddyError, Gfp, MAX_PAGE_ORDER, PageState, PcpLimits, Placement, Zone, ZoneKind, zones_of,
};

/// Pages in a block of the largest order.
const MAX_BLOCK: u64 = 1 << MAX_PAGE_ORDER;

/// All free pages of a machine.
#[derive(Debug)]
pub struct PageAllocator {
    pub(super) zones: Vec<Zone>,
    pub(super) nodes: Nodes,
    pub(super) pages: PageMap<PageState>,
    /// What was handed over, in page frames: sorted, disjoint, joined.
    managed: Vec<(u64, u64)>,
    node_count: u32,
    limits: PcpLimits,
}

impl PageAllocator {
    /// An allocator without pages. `nodes` are the spans of the NUMA nodes, by number, which must not overlap; `cpus`
    /// is the number of per-CPU lists of each zone.
    #[must_use]
    pub fn new(nodes: &[PhysRange], cpus: u32) -> Self {
        Self {
            zones: zones_of(nodes, cpus),
            nodes: Nodes::default(),
            pages: PageMap::new(PageState::Absent),
            managed: Vec::new(),
            node_count: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            limits: PcpLimits::BOOT,
        }
    }

    /// Takes all pages away, for another boot of the same machine, keeping allocated capacity.
    pub fn reset(&mut self) {
        for zone in &mut self.zones {
            zone.lists = [List::EMPTY; MAX_PAGE_ORDER as usize + 1];
            for pcp in &mut zone.pcp {
                pcp.pages.clear();
                pcp.free_factor = 0;
            }
        }
        self.nodes.clear();
        self.pages.reset(PageState::Absent);
        self.managed.clear();
        self.limits = PcpLimits::BOOT;
    }

    /// What is known of the page that holds `addr`.
    #[must_use]
    pub fn page_state(&self, addr: PhysAddr) -> PageState {
        match *self.pages.get(addr.pfn()) {
            PageState::Absent if self.is_managed(addr.pfn().0) => PageState::Free,
            state => state,
        }
    }

    /// Free pages in the lists of a node's zone, without those on per-CPU lists (`NR_FREE_PAGES`).
    #[must_use]
    pub fn free_page_count(&self, node: u32, kind: ZoneKind) -> u64 {
        self.find(node, kind).map_or(0, |zone| self.zones[zone].free_pages())
    }

    /// Free blocks of one order in a node's zone, from the head of the list to its tail.
    pub fn free_blocks(&self, node: u32, kind: ZoneKind, order: u8) -> impl Iterator<Item = PhysAddr> {
        let zone = self.find(node, kind).map(|zone| &self.zones[zone]);
        let list = zone.and_then(|zone| zone.lists.get(usize::from(order))).copied().unwrap_or(List::EMPTY);
        self.nodes.iter(list, 1 << order.min(MAX_PAGE_ORDER)).map(|pfn| Pfn(pfn).phys())
    }

    /// Hands over a free range of memblock, and returns the number of pages: whole pages only, in the largest aligned
    /// blocks that fit, in ascending order, each to the tail of its list (to the head before 5.10).
    /// Source: `mm/memblock.c: __free_memory_core()`, `__free_pages_memory()`, `mm/page_alloc.c: __free_pages_core()`.
    ///
    /// # Errors
    /// Part of it was handed over before, or lies in no node.
    pub fn free_boot_range(&mut self, range: PhysRange, placement: Placement) -> Result<u64, BuddyError> {
        let Some((mut pfn, end)) = self.take_over(range)? else { return Ok(0) };
        let pages = end - pfn;
        // The pages need no mark: one that was handed over and has none is free.
        while pfn < end {
            let fits = (end - pfn).ilog2();
            let order = pfn.trailing_zeros().min(fits).min(u32::from(MAX_PAGE_ORDER));
            // Blocks do not straddle zones, whose borders are aligned to 4 MiB, but for the end of a node.
            let Some(zone) = self.zone_of(pfn) else { break };
            if order == u32::from(MAX_PAGE_ORDER) && placement == Placement::Tail {
                let blocks = (end.min(self.zones[zone].end) - pfn) / MAX_BLOCK;
                if blocks > 0 {
                    let list = &mut self.zones[zone].lists[usize::from(MAX_PAGE_ORDER)];
                    self.nodes.join_tail(list, pfn, blocks, MAX_BLOCK);
                    pfn += blocks * MAX_BLOCK;
                    continue;
                }
            }
            let order = order.min((self.zones[zone].end - pfn).ilog2());
            self.insert(zone, pfn, u8::try_from(order).unwrap_or(0), placement);
            pfn += 1 << order;
        }
        Ok(pages)
    }

    /// Hands over a reserved range after the page allocator has taken over, and returns the number of pages: whole
    /// pages only, one by one in ascending order, to the tail (to the head before 5.10).
    /// Source: `mm/memblock.c: memblock_free_late()`, v6.1.
    ///
    /// # Errors
    /// Part of it was handed over before, or lies in no node.
    pub fn free_late(&mut self, range: PhysRange, placement: Placement) -> Result<u64, BuddyError> {
        if placement == Placement::Tail {
            // Freed one by one in rising order, pages end up in the largest aligned blocks, each at the tail when its
            // last page comes: the same lists as when the blocks are freed whole. The tests compare both.
            return self.free_boot_range(range, placement);
        }
        let Some((first, end)) = self.take_over(range)? else { return Ok(0) };
        for pfn in first..end {
            if let Some(zone) = self.zone_of(pfn) {
                self.insert(zone, pfn, 0, placement);
            }
        }
        Ok(end - first)
    }

    /// Allocates a block of 2^`order` pages, past the per-CPU lists. `None` if there is none.
    ///
    /// The smallest sufficient block is taken from the head of its list; the upper halves that remain of a larger
    /// one go to the heads of theirs. Zones are tried as [`Gfp`] says, first those of `node`, then of the nodes behind
    /// it, and then of those before it; watermarks and lowmem reserves are ignored, so a low zone is used up where
    /// the kernel would have kept some of it back.
    /// Source: `mm/page_alloc.c: __rmqueue_smallest()`, `expand()`, v6.1.
    pub fn alloc_pages(&mut self, order: u8, gfp: Gfp, node: u32) -> Option<PhysAddr> {
        if order > MAX_PAGE_ORDER {
            return None;
        }
        let pfn = self.try_zones(gfp, node, |this, zone| this.remove_smallest(zone, order))?;
        self.mark_allocated(pfn, order);
        Some(Pfn(pfn).phys())
    }

    /// Frees a block, past the per-CPU lists. Source: `mm/page_alloc.c: __free_one_page()`, v6.1.
    ///
    /// # Errors
    /// It is not a living allocation of that order.
    pub fn free_pages(&mut self, addr: PhysAddr, order: u8, placement: Placement) -> Result<(), BuddyError> {
        let (zone, pfn) = self.living(addr, order)?;
        self.pages.fill(Pfn(pfn), 1 << order, PageState::Free);
        self.insert(zone, pfn, order, placement);
        Ok(())
    }

    /// How many pages each CPU keeps per zone from now on. [`PcpLimits::BOOT`] after a reset.
    pub const fn set_pcp_limits(&mut self, limits: PcpLimits) {
        self.limits = limits;
    }

    /// Allocates one page from the CPU's list, which is refilled with a batch when empty: the page that the CPU freed
    /// last comes first. Source: `mm/page_alloc.c: rmqueue_pcplist()`, `rmqueue_bulk()`, v6.1.
    ///
    /// # Errors
    /// There is no such CPU.
    pub fn alloc_page(&mut self, cpu: u32, gfp: Gfp, node: u32) -> Result<Option<PhysAddr>, BuddyError> {
        self.check_cpu(cpu)?;
        let cpu = cpu as usize;
        let pfn = self.try_zones(gfp, node, |this, zone| {
            this.zones[zone].pcp[cpu].free_factor >>= 1;
            if this.zones[zone].pcp[cpu].pages.is_empty() {
                for _ in 0..this.limits.batch.max(1) {
                    let Some(pfn) = this.remove_smallest(zone, 0) else { break };
                    *this.pages.get_mut(Pfn(pfn)) = PageState::PerCpu;
                    this.zones[zone].pcp[cpu].pages.push_back(pfn);
                }
            }
            this.zones[zone].pcp[cpu].pages.pop_front()
        });
        Ok(pfn.map(|pfn| {
            self.mark_allocated(pfn, 0);
            Pfn(pfn).phys()
        }))
    }

    /// Frees one page to the CPU's list; when that has grown too long, its oldest pages go back to the lists of the
    /// zone, the more of them the longer nothing was allocated.
    /// Source: `mm/page_alloc.c: free_unref_page_commit()`, `free_pcppages_bulk()`, v6.1.
    ///
    /// # Errors
    /// It is not a living allocation of one page, or there is no such CPU.
    pub fn free_page(&mut self, cpu: u32, addr: PhysAddr) -> Result<(), BuddyError> {
        self.check_cpu(cpu)?;
        let (zone, pfn) = self.living(addr, 0)?;
        *self.pages.get_mut(Pfn(pfn)) = PageState::PerCpu;
        let pcp = &mut self.zones[zone].pcp[cpu as usize];
        pcp.pages.push_front(pfn);
        if pcp.pages.len() >= self.limits.high as usize {
            let surplus = pcp.surplus(self.limits);
            self.shrink(zone, cpu as usize, surplus);
        }
        Ok(())
    }

    /// Gives all pages of a CPU back to the lists of the zones (`drain_pages()`, when a CPU goes offline or memory
    /// is short).
    ///
    /// # Errors
    /// There is no such CPU.
    pub fn drain_cpu(&mut self, cpu: u32) -> Result<(), BuddyError> {
        self.check_cpu(cpu)?;
        for zone in 0..self.zones.len() {
            self.shrink(zone, cpu as usize, u32::MAX);
        }
        Ok(())
    }

    fn check_cpu(&self, cpu: u32) -> Result<(), BuddyError> {
        let known = self.zones.iter().all(|zone| (cpu as usize) < zone.pcp.len());
        if known { Ok(()) } else { Err(BuddyError::NoCpu { cpu }) }
    }

    /// Gives the `count` oldest pages of the CPU's list back.
    fn shrink(&mut self, zone: usize, cpu: usize, count: u32) {
        for _ in 0..count {
            let Some(pfn) = self.zones[zone].pcp[cpu].pages.pop_back() else { return };
            *self.pages.get_mut(Pfn(pfn)) = PageState::Free;
            self.insert(zone, pfn, 0, Placement::Usual);
        }
    }

    fn mark_allocated(&mut self, pfn: u64, order: u8) {
        if order > 0 {
            self.pages.fill(Pfn(pfn), 1 << order, PageState::AllocatedTail);
        }
        *self.pages.get_mut(Pfn(pfn)) = PageState::Allocated { order };
    }

    fn find(&self, node: u32, kind: ZoneKind) -> Option<usize> {
        self.zones.iter().position(|zone| zone.node == node && zone.kind == kind)
    }

    fn zone_of(&self, pfn: u64) -> Option<usize> {
        self.zones.iter().position(|zone| zone.contains(pfn))
    }

    fn try_zones(
        &mut self,
        gfp: Gfp,
        node: u32,
        mut attempt: impl FnMut(&mut Self, usize) -> Option<u64>,
    ) -> Option<u64> {
        let count = self.node_count;
        let start = if node < count { node } else { 0 };
        for node in (start..count).chain((0..start).rev()) {
            for &kind in gfp.zones() {
                let found = self.find(node, kind).and_then(|zone| attempt(self, zone));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn is_managed(&self, pfn: u64) -> bool {
        let place = self.managed.partition_point(|&(_, end)| end <= pfn);
        self.managed.get(place).is_some_and(|&(start, _)| start <= pfn)
    }

    /// Enters a range as handed over: its whole pages, if there are any.
    fn take_over(&mut self, range: PhysRange) -> Result<Option<(u64, u64)>, BuddyError> {
        let first = range.start.0.div_ceil(PAGE_SIZE);
        let end = range.end.0 >> PAGE_SHIFT;
        if first >= end {
            return Ok(None);
        }
        let mut pfn = first;
        while pfn < end {
            let zone = self.zone_of(pfn).ok_or(BuddyError::NoZone { range })?;
            pfn = self.zones[zone].end;
        }
        let place = self.managed.partition_point(|&(_, other_end)| other_end <= first);
        if self.managed.get(place).is_some_and(|&(other, _)| other < end) {
            return Err(BuddyError::AlreadyManaged { range });
        }
        let joins = place.checked_sub(1).filter(|&before| self.managed[before].1 == first);
        match joins {
            Some(before) => self.managed[before].1 = end,
            None => self.managed.insert(place, (first, end)),
        }
        Ok(Some((first, end)))
    }

    /// Zone and frame of a block that is really allocated with this order.
    fn living(&self, addr: PhysAddr, order: u8) -> Result<(usize, u64), BuddyError> {
        if order > MAX_PAGE_ORDER {
            return Err(BuddyError::BadOrder { order });
        }
        if !addr.0.is_multiple_of(PAGE_SIZE << order) {
            return Err(BuddyError::Misaligned { addr, order });
        }
        let pfn = addr.pfn();
        match self.page_state(addr) {
            PageState::Absent => Err(BuddyError::NeverAllocated { addr }),
            PageState::Free | PageState::FreeHead { .. } | PageState::PerCpu => {
                Err(BuddyError::DoubleFree { addr })
            }
            PageState::AllocatedTail => Err(BuddyError::InsideAllocation { addr }),
            PageState::Allocated { order: allocated } if allocated != order => {
                Err(BuddyError::WrongOrder { addr, allocated, freed: order })
            }
            PageState::Allocated { .. } => {
                let zone = self.zone_of(pfn.0).ok_or(BuddyError::NeverAllocated { addr })?;
                Ok((zone, pfn.0))
            }
        }
    }

    /// Node of the block's buddy, if that is free as a whole and of the same order and zone.
    fn free_buddy(&self, zone: usize, pfn: u64, order: u8) -> Option<(u64, u32)> {
        let buddy = pfn ^ (1 << order);
        match *self.pages.get(Pfn(buddy)) {
            PageState::FreeHead { order: found, node } if found == order => {
                self.zones[zone].contains(buddy).then_some((buddy, node))
            }
            _ => None,
        }
    }

    /// Puts a free block, whose pages are marked so, into its list, merged with its buddies.
    fn insert(&mut self, zone: usize, mut pfn: u64, mut order: u8, placement: Placement) {
        while order < MAX_PAGE_ORDER {
            let Some((buddy, node)) = self.free_buddy(zone, pfn, order) else { break };
            self.nodes.unlink(&mut self.zones[zone].lists[usize::from(order)], node);
            *self.pages.get_mut(Pfn(buddy)) = PageState::Free;
            pfn &= buddy;
            order += 1;
        }
        let tail = match placement {
            Placement::Head => false,
            Placement::Tail => true,
            Placement::Usual => {
                order < MAX_PAGE_ORDER - 1 && {
                    let merged = pfn & !(1 << order);
                    self.free_buddy(zone, merged, order + 1).is_some()
                }
            }
        };
        let list = &mut self.zones[zone].lists[usize::from(order)];
        if order == MAX_PAGE_ORDER {
            if tail {
                self.nodes.join_tail(list, pfn, 1, MAX_BLOCK);
            } else {
                self.nodes.join_head(list, pfn, MAX_BLOCK);
            }
            return;
        }
        let node = if tail { self.nodes.push_tail(list, pfn, 1) } else { self.nodes.push_head(list, pfn, 1) };
        *self.pages.get_mut(Pfn(pfn)) = PageState::FreeHead { order, node };
    }

    /// Takes a block of this order out of the zone's lists; its pages are for the caller to mark.
    fn remove_smallest(&mut self, zone: usize, order: u8) -> Option<u64> {
        let lists = &mut self.zones[zone].lists;
        let (found, pfn) = (order..=MAX_PAGE_ORDER).find_map(|found| {
            let list = &mut lists[usize::from(found)];
            self.nodes.pop_head(list, 1 << found).map(|pfn| (found, pfn))
        })?;
        for half in (order..found).rev() {
            let upper = pfn + (1 << half);
            let node = self.nodes.push_head(&mut lists[usize::from(half)], upper, 1);
            *self.pages.get_mut(Pfn(upper)) = PageState::FreeHead { order: half, node };
        }
        Some(pfn)
    }
}
