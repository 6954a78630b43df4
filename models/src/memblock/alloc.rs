//! Allocation: find a place and reserve it.

use super::owner::Owner;
use super::state::Memblock;
use super::types::{Bounds, Fatal, MemblockError, MemblockFlags, NodeId, unless_fatal};
use crate::mem::PhysAddr;

/// Alignment of a request that names none. Source: `include/linux/cache.h: SMP_CACHE_BYTES` on x86.
const SMP_CACHE_BYTES: u64 = 64;

impl Memblock {
    /// Allocates from any node. Source: `mm/memblock.c: memblock_phys_alloc_range()`.
    pub fn phys_alloc_range(
        &mut self,
        size: u64,
        align: u64,
        bounds: Bounds,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        self.alloc_range_nid(size, align, bounds, NodeId::NO_NODE, false, owner)
    }

    /// Allocates below the current limit, from `nid` if it can. Source: `mm/memblock.c: memblock_phys_alloc_try_nid()`.
    pub fn phys_alloc_try_nid(
        &mut self,
        size: u64,
        align: u64,
        nid: NodeId,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        self.alloc_range_nid(size, align, Bounds::ACCESSIBLE, nid, false, owner)
    }

    /// Allocates from `nid`, else, unless `exact_nid`, from any node; once some memory is mirrored, first from
    /// mirrored memory only. Source: `mm/memblock.c: memblock_alloc_range_nid()`.
    pub fn alloc_range_nid(
        &mut self,
        size: u64,
        align: u64,
        bounds: Bounds,
        nid: NodeId,
        exact_nid: bool,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        let align = if align == 0 { SMP_CACHE_BYTES } else { align };
        let names_node = if self.rules.invalid_nid_is_any {
            nid.is_valid()
        } else {
            nid != NodeId::NO_NODE && nid != NodeId::MAX_NUMNODES
        };
        let mut flags = self.choose_flags();
        loop {
            if let Some(found) = self.try_alloc(size, align, bounds, nid, flags, owner)? {
                return Ok(found);
            }
            if names_node
                && !exact_nid
                && let Some(found) = self.try_alloc(size, align, bounds, NodeId::NO_NODE, flags, owner)?
            {
                return Ok(found);
            }
            if flags == MemblockFlags::NONE {
                return Err(MemblockError::NoMemory);
            }
            flags = MemblockFlags::NONE;
        }
    }

    /// One attempt. A place that cannot be reserved counts as not found.
    fn try_alloc(
        &mut self,
        size: u64,
        align: u64,
        bounds: Bounds,
        nid: NodeId,
        flags: MemblockFlags,
        owner: Owner,
    ) -> Result<Option<PhysAddr>, Fatal> {
        match self.find_in_range_node(size, align, bounds, nid, flags) {
            Some(found) => Ok(unless_fatal(self.reserve_for(found, size, owner, true))?.map(|()| found)),
            None => Ok(None),
        }
    }

    /// What `memblock_alloc()` and its relatives do: allocates from `nid` if it can, above `bounds.min` if it can,
    /// never above the current limit. Source: `mm/memblock.c: memblock_alloc_try_nid()`.
    pub fn alloc_try_nid(
        &mut self,
        size: u64,
        align: u64,
        bounds: Bounds,
        nid: NodeId,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        self.alloc_internal(size, align, bounds, nid, false, owner)
    }

    /// Allocates anywhere below the current limit. Source: `include/linux/memblock.h: memblock_alloc()`.
    pub fn alloc(&mut self, size: u64, align: u64, owner: Owner) -> Result<PhysAddr, MemblockError> {
        self.alloc_try_nid(size, align, Bounds::ACCESSIBLE, NodeId::NO_NODE, owner)
    }

    /// Allocates above `min` if it can. Source: `include/linux/memblock.h: memblock_alloc_from()`.
    pub fn alloc_from(
        &mut self,
        size: u64,
        align: u64,
        min: PhysAddr,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        let bounds = Bounds { min, ..Bounds::ACCESSIBLE };
        self.alloc_try_nid(size, align, bounds, NodeId::NO_NODE, owner)
    }

    /// Allocates what 32 bits can address, as x86-64 and others ask for it.
    /// Source: `include/linux/memblock.h: memblock_alloc_low()`.
    pub fn alloc_low(&mut self, size: u64, align: u64, owner: Owner) -> Result<PhysAddr, MemblockError> {
        self.alloc_try_nid(size, align, Bounds::LOW, NodeId::NO_NODE, owner)
    }

    /// Allocates from `nid` if it can. Source: `include/linux/memblock.h: memblock_alloc_node()`.
    pub fn alloc_node(
        &mut self,
        size: u64,
        align: u64,
        nid: NodeId,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        self.alloc_try_nid(size, align, Bounds::ACCESSIBLE, nid, owner)
    }

    /// Allocates a physical place below the current limit. Source: `memblock_phys_alloc()`.
    pub fn phys_alloc(&mut self, size: u64, align: u64, owner: Owner) -> Result<PhysAddr, MemblockError> {
        self.phys_alloc_range(size, align, Bounds::ACCESSIBLE, owner)
    }

    /// As [`Self::alloc_try_nid`], but from `nid` only. Source: `mm/memblock.c: memblock_alloc_exact_nid_raw()`.
    pub fn alloc_exact_nid(
        &mut self,
        size: u64,
        align: u64,
        bounds: Bounds,
        nid: NodeId,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        self.alloc_internal(size, align, bounds, nid, true, owner)
    }

    /// Source: `mm/memblock.c: memblock_alloc_internal()`.
    fn alloc_internal(
        &mut self,
        size: u64,
        align: u64,
        bounds: Bounds,
        nid: NodeId,
        exact_nid: bool,
        owner: Owner,
    ) -> Result<PhysAddr, MemblockError> {
        let bounds = Bounds { max: bounds.max.min(self.current_limit), ..bounds };
        match self.alloc_range_nid(size, align, bounds, nid, exact_nid, owner) {
            Err(MemblockError::NoMemory) if bounds.min != PhysAddr(0) => {
                let anywhere = Bounds::below(bounds.max);
                self.alloc_range_nid(size, align, anywhere, nid, exact_nid, owner)
            }
            result => result,
        }
    }
}
