//! The slab allocator: kmalloc and named caches on top of the page allocator. Source: `mm/slub.c`, v6.1.
//!
//! Per slab one LIFO list of free objects; per cache and CPU one active slab; per cache one list of partly used slabs.
//! The kernel's second free list of an active slab and its per-CPU lists of partly used slabs are folded into these:
//! what was freed last into a slab is handed out first, from any CPU. Free lists are not shuffled.

use super::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use super::buddy::PageAllocator;
use super::pagemap::PageMap;
use super::slab_cache::{
    Cache, CacheId, DMA_KMALLOC_NAMES, KMALLOC_NAMES, KMALLOC_SIZES, SlabError, SlabFreed, SlabObject,
    order_for,
};
use super::zone::{Gfp, MAX_PAGE_ORDER, Placement};

/// Who asks, and for memory of which zone and node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabContext {
    /// The CPU that runs.
    pub cpu: u32,
    /// Zone preference, for the pages of a new slab.
    pub gfp: Gfp,
    /// Node preference, for the pages of a new slab.
    pub node: u32,
}

#[derive(Debug)]
pub(super) struct Slab {
    pub(super) base: u64,
    pub(super) cache: u32,
    /// Free slots: the last one is handed out next.
    pub(super) free: Vec<u16>,
    /// A bit per slot: in use.
    pub(super) used: Vec<u64>,
    /// Objects in use.
    pub(super) in_use: u16,
    /// Whether some CPU allocates from it.
    pub(super) active: bool,
}

/// What a page belongs to: nothing (0), a slab (its index + 1), or a large allocation (its order, tagged).
const LARGE: u32 = 1 << 31;

/// All slab caches of a machine.
#[derive(Debug)]
pub struct SlabAllocator {
    pub(super) caches: Vec<Cache>,
    pub(super) slabs: Vec<Slab>,
    pub(super) slabs_free: Vec<u32>,
    pub(super) by_page: PageMap<u32>,
    cpus: u32,
}

impl SlabAllocator {
    /// The kmalloc caches, without a page.
    #[must_use]
    pub fn new(cpus: u32) -> Self {
        let cpus = cpus.max(1);
        let names = KMALLOC_NAMES.iter().chain(&DMA_KMALLOC_NAMES);
        let sizes = KMALLOC_SIZES.iter().chain(&KMALLOC_SIZES);
        Self {
            caches: names.zip(sizes).map(|(name, &size)| Cache::new(name, size, cpus)).collect(),
            slabs: Vec::new(),
            slabs_free: Vec::new(),
            by_page: PageMap::new(0),
            cpus,
        }
    }

    /// Back to empty kmalloc caches, for another run, keeping allocated capacity. Named caches are gone.
    pub fn reset(&mut self) {
        self.caches.truncate(2 * KMALLOC_SIZES.len());
        for cache in &mut self.caches {
            cache.active.fill(None);
            cache.partial.clear();
        }
        self.slabs_free.clear();
        // Taken from the end: in ascending order again, as in a fresh allocator.
        let count = u32::try_from(self.slabs.len()).unwrap_or(u32::MAX);
        self.slabs_free.extend((0..count).rev());
        for slab in &mut self.slabs {
            slab.in_use = 0;
        }
        self.by_page.reset(0);
    }

    /// Adds a cache (`kmem_cache_create()`) of objects of `size` bytes, aligned to `align` (a power of two; 0 counts
    /// as 8).
    pub fn create_cache(&mut self, name: &'static str, size: u32, align: u32) -> CacheId {
        let align = align.max(8).next_power_of_two();
        self.caches.push(Cache::new(name, size.max(1).next_multiple_of(align), self.cpus));
        CacheId(u32::try_from(self.caches.len() - 1).unwrap_or(u32::MAX))
    }

    /// The kmalloc cache for objects of `size` bytes; `None` above 8 KiB, where whole pages are handed out, and for 0.
    #[must_use]
    pub fn kmalloc_cache(size: u64, gfp: Gfp) -> Option<CacheId> {
        let index = (0u32..).zip(KMALLOC_SIZES).find(|&(_, slot)| size <= u64::from(slot))?.0;
        let dma = if gfp == Gfp::Dma { 13 } else { 0 };
        (size != 0).then_some(CacheId(index + dma))
    }

    /// Name, slot size in bytes, and order of the slabs of a cache.
    #[must_use]
    pub fn cache(&self, cache: CacheId) -> Option<(&'static str, u32, u8)> {
        self.caches.get(cache.0 as usize).map(|cache| (cache.name, cache.size, cache.order))
    }

    /// `kmalloc()`: an object of the smallest sufficient size class, or whole pages above 8 KiB.
    ///
    /// # Errors
    /// No memory; a size of 0, or above 4 MiB; no such CPU.
    pub fn kmalloc(
        &mut self,
        pages: &mut PageAllocator,
        size: u64,
        context: SlabContext,
    ) -> Result<SlabObject, SlabError> {
        if size == 0 {
            return Err(SlabError::ZeroSize);
        }
        if let Some(cache) = Self::kmalloc_cache(size, context.gfp) {
            return self.cache_alloc(pages, cache, context);
        }
        let order = if size > PAGE_SIZE << MAX_PAGE_ORDER { u8::MAX } else { order_for(size) };
        if order > MAX_PAGE_ORDER {
            return Err(SlabError::TooLarge { size });
        }
        let addr = pages.alloc_pages(order, context.gfp, context.node).ok_or(SlabError::NoMemory)?;
        *self.by_page.get_mut(addr.pfn()) = LARGE | u32::from(order);
        Ok(SlabObject { addr, size: PAGE_SIZE << order, new_slab: None })
    }

    /// `kmem_cache_alloc()`: the object that was freed last into the CPU's active slab; else from the first slab of
    /// the list, else from a new one.
    ///
    /// # Errors
    /// No memory; no such cache or CPU.
    pub fn cache_alloc(
        &mut self,
        pages: &mut PageAllocator,
        cache: CacheId,
        context: SlabContext,
    ) -> Result<SlabObject, SlabError> {
        let number = cache.0;
        let cache = self.caches.get_mut(number as usize).ok_or(SlabError::NoCache { cache })?;
        let size = u64::from(cache.size);
        let cpu = context.cpu as usize;
        let active = *cache.active.get(cpu).ok_or(super::zone::BuddyError::NoCpu { cpu: context.cpu })?;
        let mut new_slab = None;
        let index = match active {
            Some(index) if !self.slabs[index as usize].free.is_empty() => index,
            _ => {
                let next = match cache.partial.pop_front() {
                    Some(next) => next,
                    None => {
                        let (index, range) = self.new_slab(pages, number, context)?;
                        new_slab = Some(range);
                        index
                    }
                };
                if let Some(full) = active {
                    self.slabs[full as usize].active = false;
                }
                self.slabs[next as usize].active = true;
                self.caches[number as usize].active[cpu] = Some(next);
                next
            }
        };
        let slab = &mut self.slabs[index as usize];
        let slot = slab.free.pop().ok_or(SlabError::NoMemory)?;
        slab.used[usize::from(slot >> 6)] |= 1 << (slot & 63);
        slab.in_use += 1;
        Ok(SlabObject { addr: PhysAddr(slab.base + u64::from(slot) * size), size, new_slab })
    }

    /// `kfree()` and `kmem_cache_free()`: the object becomes the next of its slab to be handed out.
    ///
    /// A slab that was full goes to the front of its cache's list. A slab that is empty now and not active goes back
    /// to the page allocator if the list holds `min_partial` slabs (5 to 10, by size) already, itself included.
    ///
    /// # Errors
    /// No object in use begins there; no such CPU.
    pub fn kfree(
        &mut self,
        pages: &mut PageAllocator,
        addr: PhysAddr,
        cpu: u32,
    ) -> Result<SlabFreed, SlabError> {
        let entry = *self.by_page.get(addr.pfn());
        if entry & LARGE != 0 {
            let order = entry.to_le_bytes()[0];
            let range = PhysRange::new(addr, PAGE_SIZE << order);
            pages.free_pages(addr, order, Placement::Usual)?;
            *self.by_page.get_mut(addr.pfn()) = 0;
            return Ok(SlabFreed { range, released: Some(range) });
        }
        let index = entry.checked_sub(1).ok_or(SlabError::NotSlab { addr })?;
        if cpu >= self.cpus {
            return Err(super::zone::BuddyError::NoCpu { cpu }.into());
        }
        let slab = &mut self.slabs[index as usize];
        let cache = &mut self.caches[slab.cache as usize];
        let size = u64::from(cache.size);
        let offset = addr.0 - slab.base;
        let slot = u16::try_from(offset / size).ok().filter(|&slot| slot < cache.objects);
        let slot = slot.filter(|_| offset.is_multiple_of(size)).ok_or(SlabError::NotAnObject { addr })?;
        let (word, bit) = (usize::from(slot >> 6), 1 << (slot & 63));
        if slab.used[word] & bit == 0 {
            return Err(SlabError::DoubleFree { addr });
        }
        slab.used[word] &= !bit;
        slab.in_use -= 1;
        let was_full = slab.free.is_empty();
        slab.free.push(slot);
        let range = PhysRange::new(addr, size);
        if slab.active {
            return Ok(SlabFreed { range, released: None });
        }
        if slab.in_use == 0 && cache.partial.len() >= cache.min_partial {
            cache.partial.retain(|&other| other != index);
            let released = PhysRange::new(PhysAddr(slab.base), PAGE_SIZE << cache.order);
            let order = cache.order;
            self.by_page.fill(released.start.pfn(), 1 << order, 0);
            self.slabs_free.push(index);
            if order == 0 {
                pages.free_page(cpu, released.start)?;
            } else {
                pages.free_pages(released.start, order, Placement::Usual)?;
            }
            return Ok(SlabFreed { range, released: Some(released) });
        }
        if was_full {
            cache.partial.push_front(index);
        }
        Ok(SlabFreed { range, released: None })
    }

    /// Objects in use in a cache.
    #[must_use]
    pub fn in_use(&self, cache: CacheId) -> u64 {
        let slabs = self.slabs.iter().filter(|slab| slab.cache == cache.0);
        slabs.map(|slab| u64::from(slab.in_use)).sum()
    }

    fn new_slab(
        &mut self,
        pages: &mut PageAllocator,
        number: u32,
        context: SlabContext,
    ) -> Result<(u32, PhysRange), SlabError> {
        let cache = &self.caches[number as usize];
        let (order, objects) = (cache.order, cache.objects);
        let base = if order == 0 {
            pages.alloc_page(context.cpu, context.gfp, context.node)?
        } else {
            pages.alloc_pages(order, context.gfp, context.node)
        }
        .ok_or(SlabError::NoMemory)?;
        let index = self.slabs_free.pop().unwrap_or_else(|| {
            let slab =
                Slab { base: 0, cache: 0, free: Vec::new(), used: Vec::new(), in_use: 0, active: false };
            self.slabs.push(slab);
            u32::try_from(self.slabs.len() - 1).unwrap_or(u32::MAX)
        });
        let slab = &mut self.slabs[index as usize];
        slab.base = base.0;
        slab.cache = number;
        slab.in_use = 0;
        slab.active = false;
        slab.free.clear();
        slab.free.extend((0..objects).rev());
        slab.used.clear();
        slab.used.resize(usize::from(objects).div_ceil(64), 0);
        self.by_page.fill(base.pfn(), 1 << order, index + 1);
        Ok((index, PhysRange::new(base, PAGE_SIZE << order)))
    }
}
