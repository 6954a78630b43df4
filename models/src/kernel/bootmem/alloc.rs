//! What is taken from memblock: allocations, objects, reservations, and its own lists where they grow.

use std::rc::Rc;

use sim::Draft;

use super::super::{GfpFlags, Kx, reserved_by};
use super::SlabArray;
use crate::mem::{Kobject, PhysAddr, PhysRange, Ptr, Source};
use crate::memblock::{Bounds, MemblockError, Misuse, NodeId, Owner, Request};
use crate::scenario::limits::PHYS_MAX;

/// The largest request that slab serves. Source: `include/linux/slab.h: KMALLOC_MAX_SIZE`.
const KMALLOC_MAX_SIZE: u64 = 4 << 20;

impl Kx {
    /// Allocates boot memory (`memblock_alloc`), zeroed. The memory is entered as an object without fields. Once there is
    /// a slab allocator the kernel warns, and the memory comes from there.
    ///
    /// # Errors
    /// There is none in `bounds`.
    ///
    /// Source: `mm/memblock.c: memblock_alloc_internal()`.
    pub fn memblock_alloc(
        &self,
        type_name: &'static str,
        size: u64,
        align: u64,
        bounds: Bounds,
    ) -> Result<(PhysAddr, u32), MemblockError> {
        if self.k.mem.borrow().memblock.slab_available() {
            return self.memblock_alloc_from_slab(type_name, size);
        }
        let addr = self.memblock_reserve_found(size, align, bounds)?;
        Ok((addr, self.enter_boot_memory(type_name, addr, size)))
    }

    /// Allocates a physical place (`memblock_phys_alloc_range`), which is not cleared. Up to 6.10 nothing looks whether
    /// memblock is still the allocator: then somebody else has the memory, too.
    ///
    /// # Errors
    /// There is none in `bounds`.
    ///
    /// Source: `mm/memblock.c: memblock_phys_alloc_range(), memblock_alloc_range_nid()`.
    pub fn memblock_phys_alloc(
        &self,
        type_name: &'static str,
        size: u64,
        align: u64,
        bounds: Bounds,
    ) -> Result<(PhysAddr, u32), MemblockError> {
        let (slab, warns) = {
            let mem = self.k.mem.borrow();
            (mem.memblock.slab_available(), mem.memblock.rules().phys_alloc_sees_slab)
        };
        if slab && warns {
            return self.memblock_alloc_from_slab(type_name, size);
        }
        let addr = self.memblock_reserve_found(size, align, bounds)?;
        let id =
            self.k.mem.borrow_mut().heap.alloc_buffer(type_name, PhysRange::new(addr, size), self.site());
        Ok((addr, id.unwrap_or(0)))
    }

    fn memblock_alloc_from_slab(
        &self,
        type_name: &'static str,
        size: u64,
    ) -> Result<(PhysAddr, u32), MemblockError> {
        if !self.k.bootmem.warned.replace(true) {
            let title = format!(
                "WARNING in memblock_alloc_internal: {} asks for boot memory after the slab allocator is up",
                self.function()
            );
            self.report(Draft::warning("warn-on", title), Vec::new);
        }
        if size > KMALLOC_MAX_SIZE {
            return Err(MemblockError::NoMemory);
        }
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let taken = mem.kmalloc(type_name, size, self.slab_context(GfpFlags::ZEROED), site);
        let (addr, id) = taken.map_err(|_| MemblockError::NoMemory)?;
        let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        drop(mem);
        self.sim().mix(addr.0);
        self.note_stack(id, false);
        Ok((addr, id))
    }

    /// Allocates a kernel object from boot memory.
    ///
    /// # Errors
    /// There is no memory in `bounds`.
    pub fn memblock_alloc_object<T: Kobject>(
        &self,
        size: u64,
        align: u64,
        bounds: Bounds,
        object: Rc<T>,
    ) -> Result<Ptr<T>, MemblockError> {
        let addr = self.memblock_reserve_found(size, align, bounds)?;
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        let ptr = mem.heap.alloc_object(addr, size, site, object).unwrap_or(Ptr::wild(addr.virt()));
        drop(mem);
        self.k.enter_labels::<T>(self.sim(), ptr.id);
        self.note_stack(ptr.id, false);
        Ok(ptr)
    }

    /// Allocates an array of kernel objects of `each` bytes from boot memory, as one block.
    ///
    /// # Errors
    /// There is no memory in `bounds`.
    pub fn memblock_alloc_array<T: Kobject>(
        &self,
        each: u64,
        align: u64,
        bounds: Bounds,
        objects: impl ExactSizeIterator<Item = Rc<T>>,
    ) -> Result<Vec<Ptr<T>>, MemblockError> {
        let size = each * objects.len() as u64;
        let base = self.memblock_reserve_found(size, align, bounds)?;
        let site = self.site();
        let _ = self.k.mem.borrow_mut().heap.write_at(base, size, Source::Zero, 0);
        let mut pointers = Vec::with_capacity(objects.len());
        for (nth, object) in objects.enumerate() {
            let addr = base.wrapping_add(each * nth as u64);
            let made = self.k.mem.borrow_mut().heap.alloc_object(addr, each, site, object);
            let ptr = made.unwrap_or(Ptr::wild(addr.virt()));
            self.k.enter_labels::<T>(self.sim(), ptr.id);
            self.note_stack(ptr.id, false);
            pointers.push(ptr);
        }
        Ok(pointers)
    }

    /// Enters zeroed boot memory as an object without fields; returns its id.
    fn enter_boot_memory(&self, type_name: &'static str, addr: PhysAddr, size: u64) -> u32 {
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let id = mem.heap.alloc_buffer(type_name, PhysRange::new(addr, size), site).unwrap_or(0);
        let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        drop(mem);
        self.note_stack(id, false);
        id
    }

    fn memblock_reserve_found(
        &self,
        size: u64,
        align: u64,
        bounds: Bounds,
    ) -> Result<PhysAddr, MemblockError> {
        let owner = Owner::new(self.function(), self.stamp());
        let misuse = self.k.mem.borrow().memblock.misuse(Request::Alloc);
        let addr =
            self.k.mem.borrow_mut().memblock.alloc_try_nid(size, align, bounds, NodeId::NO_NODE, owner)?;
        self.sim().mix(addr.0);
        self.note(|| format!("memblock: {size} bytes at {addr} for {}", owner.site));
        self.took_memory(addr, size, owner.site);
        if self.k.scenario.command_line.memblock_debug {
            self.log(|| format!("memblock_alloc_try_nid: {size} bytes align={align:#x} nid=-1 from={:#018x} max_addr={:#018x} {}", bounds.min.0, bounds.max.0, owner.site));
            self.log(|| {
                format!(
                    "memblock_reserve: [{:#018x}-{:#018x}] memblock_alloc_range_nid",
                    addr.0,
                    addr.0 + size - 1
                )
            });
        }
        let range = PhysRange::new(addr, size);
        self.k.bootmem.taken(range);
        self.k.bootmem.log.taken(range);
        match misuse {
            Some(Misuse::Gone) => self.report_gone("an allocation"),
            Some(_) => self.report_two_owners(range, "the page allocator, since memblock_free_all"),
            None => {
                let mem = self.k.mem.borrow();
                let other = mem.memblock.owners_in(range).into_iter().find(|owned| owned.owner != owner);
                drop(mem);
                if let Some(other) = other {
                    self.report_two_owners(range, &reserved_by(&other.owner));
                }
            }
        }
        Ok(addr)
    }

    /// Reserves a given range (`memblock_reserve`) for the current function. Failures are not looked at, as in most of
    /// the kernel.
    pub fn memblock_reserve(&self, range: PhysRange) {
        self.memblock_reserve_for(self.function(), range);
    }

    /// The same for somebody named.
    pub fn memblock_reserve_for(&self, who: &'static str, range: PhysRange) {
        let misuse = self.k.mem.borrow().memblock.misuse(Request::Reserve(range));
        let owner = Owner::new(who, self.stamp());
        let reserved = self.k.mem.borrow_mut().memblock.reserve(range.start, range.size(), owner);
        self.k.bootmem.taken(range);
        if reserved.is_ok() {
            self.k.bootmem.log.taken(range);
        }
        self.check_reachable(range);
        self.follow_growth();
        match misuse {
            Some(Misuse::Gone) => self.report_gone("a reservation"),
            Some(Misuse::Taken(_, other)) => self.report_two_owners(range, &reserved_by(&other)),
            Some(_) => self.report_two_owners(range, "the page allocator, since memblock_free_all"),
            None => {}
        }
    }

    /// A reservation is of physical memory, and no bus has more than 52 address lines.
    fn check_reachable(&self, range: PhysRange) {
        if range.start.0 > PHYS_MAX {
            let title = format!(
                "{} reserves {}..{}, where no physical memory can be",
                self.function(),
                range.start,
                range.end
            );
            self.report(Draft::warning("reserve-outside-memory", title), Vec::new);
        }
    }

    /// Lists that have grown since there is a slab allocator lie there: takes the memory.
    ///
    /// Source: `mm/memblock.c: memblock_double_array()`, which calls `kmalloc()` then.
    fn follow_growth(&self) {
        if !self.k.mem.borrow().memblock.slab_available() {
            return;
        }
        let grown = self.k.mem.borrow().memblock.grown_arrays();
        for array in grown.iter().filter(|array| array.at.is_none()) {
            let old = {
                let mut arrays = self.k.bootmem.in_slab.borrow_mut();
                let known = arrays.iter().position(|known| known.list == array.list);
                if known.is_some_and(|at| arrays[at].bytes == array.bytes) {
                    continue;
                }
                known.map(|at| arrays.remove(at))
            };
            let _frame = self.enter("memblock_double_array");
            let site = self.site();
            let mut mem = self.k.mem.borrow_mut();
            if let Some(old) = old {
                let _ = mem.kfree(old.at, u32::from(self.cpu()), site);
            }
            let context = self.slab_context(GfpFlags::ZEROED);
            let Ok((at, id)) = mem.kmalloc("struct memblock_region[]", array.bytes, context, site) else {
                continue;
            };
            drop(mem);
            self.sim().mix(at.0);
            self.note_stack(id, false);
            let new = SlabArray { list: array.list, at, bytes: array.bytes, id };
            self.k.bootmem.in_slab.borrow_mut().push(new);
        }
    }
}
