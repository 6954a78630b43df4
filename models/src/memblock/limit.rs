//! Cutting memory down: `mem=`, crash kernels, trimming to pages.

use super::state::Memblock;
use super::types::{Fatal, MemblockFlags, MemblockType, PHYS_ADDR_MAX, unless_fatal};
use crate::mem::PhysAddr;

impl Memblock {
    /// Forgets all mapped memory outside a range, and every reservation there. Failures are not reported, as in
    /// the kernel; only what ends the run is. Source: `mm/memblock.c: memblock_cap_memory_range()`.
    pub fn cap_memory_range(&mut self, base: PhysAddr, size: u64) -> Result<(), Fatal> {
        if size == 0 || self.memory.total_size == 0 {
            return Ok(());
        }
        let Some(inside) = unless_fatal(self.isolate_range(MemblockType::Memory, base, size))? else {
            return Ok(());
        };
        self.memory.remove_outside(inside, |region| !region.flags.intersects(MemblockFlags::NOMAP));
        // The borders stay even where the unmapped memory on both sides is alike.
        self.memory.merged = self.memory.regions.is_empty();
        unless_fatal(self.remove_range(MemblockType::Reserved, PhysAddr(0), base.0))?;
        // The sum may wrap: then reservations inside the range go, too.
        unless_fatal(self.remove_range(MemblockType::Reserved, base.wrapping_add(size), PHYS_ADDR_MAX))?;
        Ok(())
    }

    /// Keeps the lowest `limit` bytes of memory, and forgets everything above.
    /// Source: `mm/memblock.c: memblock_enforce_memory_limit()`.
    pub fn enforce_memory_limit(&mut self, limit: u64) -> Result<(), Fatal> {
        if let Some(end) = self.find_max_addr(limit) {
            unless_fatal(self.remove_range(MemblockType::Memory, end, PHYS_ADDR_MAX))?;
            unless_fatal(self.remove_range(MemblockType::Reserved, end, PHYS_ADDR_MAX))?;
        }
        Ok(())
    }

    /// Keeps the lowest `limit` bytes of memory, and all that is not mapped.
    /// Source: `mm/memblock.c: memblock_mem_limit_remove_map()`.
    pub fn mem_limit_remove_map(&mut self, limit: u64) -> Result<(), Fatal> {
        self.find_max_addr(limit).map_or(Ok(()), |end| self.cap_memory_range(PhysAddr(0), end.0))
    }

    /// Where the first `limit` bytes of memory end; `None` if there is no limit or no more memory than that.
    /// Source: `mm/memblock.c: __find_max_addr()`.
    fn find_max_addr(&self, limit: u64) -> Option<PhysAddr> {
        let mut left = limit;
        for region in &self.memory.regions {
            if left <= region.size {
                let end = region.base.wrapping_add(left);
                return (limit != 0 && end != PhysAddr(PHYS_ADDR_MAX)).then_some(end);
            }
            left -= region.size;
        }
        None
    }

    /// Shrinks each memory region to multiples of `align`, a power of two. The total keeps counting what shrunk
    /// regions lost. Source: `mm/memblock.c: memblock_trim_memory()`.
    pub fn trim_memory(&mut self, align: u64) {
        self.memory.trim(align);
    }
}
