//! Growth of a full list, in the very memory that the lists describe.

use super::owner::Owner;
use super::state::Memblock;
use super::types::{
    Bounds, Fatal, MemblockError, MemblockFlags, MemblockType, NodeId, Region, round_up, unless_fatal,
};
use crate::mem::{PAGE_SIZE, PhysAddr};

impl Memblock {
    /// Doubles the capacity of a list. The new array takes whole pages; the old one is given back, unless it is
    /// the one built into the kernel. `busy_base` and `busy_size` say which range the caller is about to work on:
    /// a grown `reserved` list must not lie there. Source: `mm/memblock.c: memblock_double_array()`.
    pub(super) fn double_array(
        &mut self,
        kind: MemblockType,
        busy_base: PhysAddr,
        busy_size: u64,
    ) -> Result<(), MemblockError> {
        if !self.can_resize {
            let stops = self.rules.resize_panics;
            return Err(if stops { Fatal::CannotResize(kind).into() } else { MemblockError::NoMemory });
        }
        let old_max = self.list(kind).max;
        let old_bytes = round_up(old_max * Region::BYTES, PAGE_SIZE);
        let new_bytes = round_up(old_max * Region::BYTES * 2, PAGE_SIZE);
        if self.slab_available {
            return self.double_array_in_slab(kind, old_bytes);
        }
        let addr = self.find_place_for_list(kind, busy_base, busy_size, new_bytes)?;

        let list = self.list_mut(kind);
        list.max = old_max * 2;
        if let Some(old) = list.grown_at.replace(addr) {
            // This may grow the other list, which then may choose the same place: `addr` is not reserved yet.
            unless_fatal(self.remove_range(MemblockType::Reserved, old, old_bytes))?;
        }
        let array =
            Region { base: addr, size: new_bytes, flags: MemblockFlags::NONE, nid: NodeId::MAX_NUMNODES };
        let entries = u32::try_from(old_max * 2).unwrap_or(u32::MAX);
        let owner = Owner::new("memblock_double_array", self.last_request_ns).tagged(entries);
        unless_fatal(self.add_range(MemblockType::Reserved, array, owner, true))?
            .ok_or_else(|| Fatal::GrownListNotReserved(kind).into())
    }

    /// The same once there is a slab allocator: the array comes from there and is nothing that memblock knows of, and
    /// an old one goes back to where it came from.
    fn double_array_in_slab(&mut self, kind: MemblockType, old_bytes: u64) -> Result<(), MemblockError> {
        let list = self.list_mut(kind);
        list.max *= 2;
        list.in_slab = true;
        if let Some(old) = list.grown_at.take() {
            unless_fatal(self.remove_range(MemblockType::Reserved, old, old_bytes))?;
        }
        Ok(())
    }

    /// Above the busy range, else below it.
    fn find_place_for_list(
        &self,
        kind: MemblockType,
        busy_base: PhysAddr,
        busy_size: u64,
        bytes: u64,
    ) -> Result<PhysAddr, MemblockError> {
        let (base, size) = match kind {
            MemblockType::Reserved if self.rules.growth_avoids_request => (busy_base, busy_size),
            MemblockType::Reserved | MemblockType::Memory => (PhysAddr(0), 0),
        };
        let above = Bounds::between(base.wrapping_add(size), self.current_limit);
        self.find_in_range(above, bytes, PAGE_SIZE)
            .or_else(|| {
                // Below a range that begins at 0 the upper bound is 0, which stands for the current limit.
                let below = Bounds::below(base.min(self.current_limit));
                if size == 0 { None } else { self.find_in_range(below, bytes, PAGE_SIZE) }
            })
            .ok_or(MemblockError::NoMemory)
    }
}
