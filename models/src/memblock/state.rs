//! The allocator's state, and the changes that callers make to its lists.

use super::list::{RegionList, Span};
use super::owner::{OwnedRange, Owner, OwnerMap};
use super::rules::MemblockRules;
use super::stage::Stage;
use super::types::{MemblockError, MemblockFlags, MemblockType, NodeId, PHYS_ADDR_MAX, Region, cap_size};
use crate::mem::{PhysAddr, PhysRange};

/// The allocator of early boot. Source: `include/linux/memblock.h: struct memblock`, and the file-scope state of
/// `mm/memblock.c`.
#[derive(Clone, Debug)]
pub struct Memblock {
    pub(super) rules: MemblockRules,
    pub(super) memory: RegionList,
    pub(super) reserved: RegionList,
    pub(super) current_limit: PhysAddr,
    pub(super) bottom_up: bool,
    pub(super) can_resize: bool,
    /// Source: `mm/memblock.c: system_has_some_mirror`.
    pub(super) has_mirror: bool,
    pub(super) owners: OwnerMap,
    pub(super) stage: Stage,
    /// Source: `mm/slab_common.c: slab_is_available()`.
    pub(super) slab_available: bool,
    /// Time of the last request that named its owner: the owner of a grown list has no better one.
    pub(super) last_request_ns: u64,
}

impl Memblock {
    /// An allocator with empty lists, as at the kernel's first instruction. Allocates nothing.
    #[must_use]
    pub fn new(rules: MemblockRules) -> Self {
        Self {
            rules,
            memory: RegionList::new(MemblockType::Memory, rules.init_memory_regions),
            reserved: RegionList::new(MemblockType::Reserved, rules.init_reserved_regions),
            current_limit: PhysAddr(PHYS_ADDR_MAX),
            bottom_up: false,
            can_resize: rules.can_resize,
            has_mirror: false,
            owners: OwnerMap::default(),
            stage: Stage::Early,
            slab_available: false,
            last_request_ns: 0,
        }
    }

    /// As new, under `rules`, but keeps what the lists have allocated: for one boot after the other.
    pub fn reset(&mut self, rules: MemblockRules) {
        self.memory.reset(rules.init_memory_regions);
        self.reserved.reset(rules.init_reserved_regions);
        self.owners.clear();
        self.rules = rules;
        self.current_limit = PhysAddr(PHYS_ADDR_MAX);
        self.bottom_up = false;
        self.can_resize = rules.can_resize;
        self.has_mirror = false;
        self.stage = Stage::Early;
        self.slab_available = false;
        self.last_request_ns = 0;
    }

    /// The behaviours in force.
    #[must_use]
    pub const fn rules(&self) -> &MemblockRules {
        &self.rules
    }

    /// From now on lists may grow. Source: `mm/memblock.c: memblock_allow_resize()`.
    pub const fn allow_resize(&mut self) {
        self.can_resize = true;
    }

    /// Direction of searches. Source: `include/linux/memblock.h: memblock_set_bottom_up()`.
    pub const fn set_bottom_up(&mut self, enable: bool) {
        self.bottom_up = enable;
    }

    /// Upper bound of requests that name none. Source: `mm/memblock.c: memblock_set_current_limit()`.
    pub const fn set_current_limit(&mut self, limit: PhysAddr) {
        self.current_limit = limit;
    }

    /// `movable_node` was read from the command line. Source: `mm/memory_hotplug.c: cmdline_parse_movable_node()`.
    pub const fn set_movable_node(&mut self, enabled: bool) {
        self.rules.movable_node = enabled;
    }

    /// `kernelcore=mirror` was read from the command line. Source: `cmdline_parse_kernelcore()`.
    pub const fn set_mirrored_kernelcore(&mut self, enabled: bool) {
        self.rules.mirrored_kernelcore = enabled;
    }

    /// Registers RAM without a node. Source: `mm/memblock.c: memblock_add()`.
    pub fn add(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.add_node(base, size, NodeId::MAX_NUMNODES, MemblockFlags::NONE)
    }

    /// Registers RAM of a node. Parts that are registered already keep their node and flags.
    /// Source: `mm/memblock.c: memblock_add_node()`.
    pub fn add_node(
        &mut self,
        base: PhysAddr,
        size: u64,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Result<(), MemblockError> {
        let region = Region { base, size, flags, nid };
        let owner = Owner::new("memblock_add", self.last_request_ns);
        self.add_range(MemblockType::Memory, region, owner, false)
    }

    /// Forgets RAM. Source: `mm/memblock.c: memblock_remove()`.
    pub fn remove(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.remove_range(MemblockType::Memory, base, size)
    }

    /// Takes a range for `owner`; parts that are taken already stay with whoever has them.
    /// Source: `mm/memblock.c: memblock_reserve()`.
    pub fn reserve(&mut self, base: PhysAddr, size: u64, owner: Owner) -> Result<(), MemblockError> {
        self.reserve_for(base, size, owner, false)
    }

    /// The same, and says whether memblock chose the place.
    pub(super) fn reserve_for(
        &mut self,
        base: PhysAddr,
        size: u64,
        owner: Owner,
        allocated: bool,
    ) -> Result<(), MemblockError> {
        self.last_request_ns = owner.at_ns;
        let region = Region { base, size, flags: MemblockFlags::NONE, nid: NodeId::MAX_NUMNODES };
        self.add_range(MemblockType::Reserved, region, owner, allocated)
    }

    /// Gives a range back, whoever had it. Source: `mm/memblock.c: memblock_phys_free()`.
    pub fn free(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.remove_range(MemblockType::Reserved, base, size)
    }

    /// Source: `mm/memblock.c: memblock_mark_hotplug()`.
    pub fn mark_hotplug(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.setclr_flag(MemblockType::Memory, base, size, true, MemblockFlags::HOTPLUG)
    }

    /// Source: `mm/memblock.c: memblock_clear_hotplug()`.
    pub fn clear_hotplug(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.setclr_flag(MemblockType::Memory, base, size, false, MemblockFlags::HOTPLUG)
    }

    /// Does nothing unless [`MemblockRules::mirrored_kernelcore`]; then allocations prefer mirrored memory from
    /// now on, whether or not the range holds any. Source: `mm/memblock.c: memblock_mark_mirror()`.
    pub fn mark_mirror(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        if !self.rules.mirrored_kernelcore {
            return Ok(());
        }
        self.has_mirror = true;
        self.setclr_flag(MemblockType::Memory, base, size, true, MemblockFlags::MIRROR)
    }

    /// Source: `mm/memblock.c: memblock_mark_nomap()`.
    pub fn mark_nomap(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.setclr_flag(MemblockType::Memory, base, size, true, MemblockFlags::NOMAP)
    }

    /// Source: `mm/memblock.c: memblock_clear_nomap()`.
    pub fn clear_nomap(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        self.setclr_flag(MemblockType::Memory, base, size, false, MemblockFlags::NOMAP)
    }

    /// Exists with [`MemblockRules::noinit_flag`]. Source: `mm/memblock.c: memblock_reserved_mark_noinit()`, v6.12.
    pub fn reserved_mark_noinit(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        if !self.rules.noinit_flag {
            return Err(MemblockError::NotInThisKernel);
        }
        self.setclr_flag(MemblockType::Reserved, base, size, true, MemblockFlags::RSRV_NOINIT)
    }

    /// Gives the regions of a list inside a range to a node. Source: `mm/memblock.c: memblock_set_node()`.
    pub fn set_node(
        &mut self,
        base: PhysAddr,
        size: u64,
        kind: MemblockType,
        nid: NodeId,
    ) -> Result<(), MemblockError> {
        self.change_inside(kind, base, size, |region| region.nid = nid)
    }

    /// Who reserved the byte at `addr`; `None` if it is not reserved. A report's question, not the kernel's.
    #[must_use]
    pub fn owner_of(&self, addr: PhysAddr) -> Option<Owner> {
        self.owners.get(addr)
    }

    /// All reserved memory by owner, in address order. Unlike the reserved list, nothing is merged.
    #[must_use]
    pub fn owned_ranges(&self) -> Vec<OwnedRange> {
        self.owners.all()
    }

    /// Who reserved bytes of a range, in address order. A report's question.
    #[must_use]
    pub fn owners_in(&self, range: PhysRange) -> Vec<OwnedRange> {
        self.owners.overlapping(range)
    }

    /// Virtual time of the last reservation; the owner of a grown list carries it. A report's question.
    #[must_use]
    pub const fn last_request_ns(&self) -> u64 {
        self.last_request_ns
    }

    pub(super) const fn list(&self, kind: MemblockType) -> &RegionList {
        match kind {
            MemblockType::Memory => &self.memory,
            MemblockType::Reserved => &self.reserved,
        }
    }

    pub(super) const fn list_mut(&mut self, kind: MemblockType) -> &mut RegionList {
        match kind {
            MemblockType::Memory => &mut self.memory,
            MemblockType::Reserved => &mut self.reserved,
        }
    }

    /// Adds those parts of `wanted` that a list does not cover yet. Source: `mm/memblock.c: memblock_add_range()`.
    pub(super) fn add_range(
        &mut self,
        kind: MemblockType,
        wanted: Region,
        owner: Owner,
        allocated: bool,
    ) -> Result<(), MemblockError> {
        let base = wanted.base;
        let size = cap_size(base, wanted.size);
        if size == 0 {
            return Ok(());
        }
        let range = PhysRange::new(base, size);
        let list = self.list_mut(kind);
        if list.regions.is_empty() {
            list.set_first(Region { size, ..wanted });
            self.claim(kind, range, owner, allocated, true);
            return Ok(());
        }
        self.make_room_for(kind, range)?;
        let rules = self.rules;
        let list = self.list_mut(kind);
        if list.insert_alone(Region { size, ..wanted }, &rules) {
            self.claim(kind, range, owner, allocated, true);
            return Ok(());
        }
        if let Some(inserted) = list.insert_pieces(range.start, range.end, wanted.nid, wanted.flags)? {
            list.merge(inserted, &rules)?;
            self.claim(kind, range, owner, allocated, false);
        }
        Ok(())
    }

    /// Grows a list until the pieces of `range` fit. Source: `mm/memblock.c: memblock_add_range()`, first round.
    fn make_room_for(&mut self, kind: MemblockType, range: PhysRange) -> Result<(), MemblockError> {
        let list = self.list(kind);
        // With n regions no range has more than n + 1 uncovered parts: mostly there is no need to count. The kernel
        // before 6.12 counts also where this fits exactly, which changes nothing.
        if list.cnt(&self.rules) * 2 < list.max {
            return Ok(());
        }
        let pieces = list.count_pieces(range.start, range.end);
        if pieces == 0 {
            return Ok(());
        }
        // The number of pieces stays the one counted first, whatever growing does to the list.
        while self.list(kind).cnt(&self.rules) + pieces > self.list(kind).max {
            self.double_array(kind, range.start, range.size())?;
        }
        Ok(())
    }

    /// Notes whose `range` is. If it is `alone`, no byte of it was reserved.
    #[inline]
    fn claim(&mut self, kind: MemblockType, range: PhysRange, owner: Owner, allocated: bool, alone: bool) {
        if kind == MemblockType::Reserved {
            self.owners.claim(range, owner, allocated, alone);
        }
    }

    /// Makes regions end at the borders of a range, growing the list for the regions that this adds.
    /// Source: `mm/memblock.c: memblock_isolate_range()`.
    pub(super) fn isolate_range(
        &mut self,
        kind: MemblockType,
        base: PhysAddr,
        size: u64,
    ) -> Result<Span, MemblockError> {
        let size = cap_size(base, size);
        if size == 0 {
            return Ok(Span::default());
        }
        self.make_room_for_borders(kind, base, size)?;
        Ok(self.list_mut(kind).isolate(base, base.wrapping_add(size))?)
    }

    /// Grows a list until two more regions fit: so many come of isolating a range.
    fn make_room_for_borders(
        &mut self,
        kind: MemblockType,
        base: PhysAddr,
        size: u64,
    ) -> Result<(), MemblockError> {
        while self.list(kind).cnt(&self.rules) + 2 > self.list(kind).max {
            self.double_array(kind, base, size)?;
        }
        Ok(())
    }

    /// Source: `mm/memblock.c: memblock_remove_range()`.
    pub(super) fn remove_range(
        &mut self,
        kind: MemblockType,
        base: PhysAddr,
        size: u64,
    ) -> Result<(), MemblockError> {
        let size = cap_size(base, size);
        if size == 0 {
            return Ok(());
        }
        self.make_room_for_borders(kind, base, size)?;
        let range = PhysRange::new(base, size);
        let list = self.list_mut(kind);
        let removed = if list.sorted {
            list.remove_in_order(range.start, range.end)
        } else {
            let inside = list.isolate(range.start, range.end)?;
            list.remove_span(inside);
            inside != Span::default()
        };
        if kind == MemblockType::Reserved && removed {
            self.owners.release(range);
        }
        Ok(())
    }

    /// Source: `mm/memblock.c: memblock_setclr_flag()`.
    fn setclr_flag(
        &mut self,
        kind: MemblockType,
        base: PhysAddr,
        size: u64,
        set: bool,
        flag: MemblockFlags,
    ) -> Result<(), MemblockError> {
        self.change_inside(kind, base, size, |region| {
            region.flags = if set { region.flags | flag } else { region.flags & !flag };
        })
    }

    /// Isolates a range, changes what is inside, and merges.
    fn change_inside(
        &mut self,
        kind: MemblockType,
        base: PhysAddr,
        size: u64,
        mut change: impl FnMut(&mut Region),
    ) -> Result<(), MemblockError> {
        let rules = self.rules;
        let size = cap_size(base, size);
        if size > 0 && self.list_mut(kind).change_part(base, base.wrapping_add(size), &rules, &mut change) {
            return Ok(());
        }
        let inside = self.isolate_range(kind, base, size)?;
        let list = self.list_mut(kind);
        list.regions[inside.start..inside.end].iter_mut().for_each(change);
        list.merge(inside, &rules)?;
        Ok(())
    }
}
