//! A machine's memory: allocators, owners, contents and objects, kept in step.

use std::fmt;
use std::rc::Rc;

use super::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use super::buddy::PageAllocator;
use super::heap::Heap;
use super::layout::Kobject;
use super::object::Site;
use super::ptr::Ptr;
use super::shadow::{PageOwner, ShadowError};
use super::slab::{SlabAllocator, SlabContext};
use super::slab_cache::{CacheId, SlabError, SlabObject};
use super::zone::{BuddyError, Gfp, PcpLimits, Placement};

/// Why an allocator or the shadow refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The page allocator.
    Pages(BuddyError),
    /// The slab allocator.
    Slab(SlabError),
    /// The shadow: the allocators gave out memory in which an object still lives. Somebody freed it under the object.
    Shadow(ShadowError),
}

impl From<BuddyError> for MemoryError {
    fn from(error: BuddyError) -> Self {
        Self::Pages(error)
    }
}

impl From<SlabError> for MemoryError {
    fn from(error: SlabError) -> Self {
        Self::Slab(error)
    }
}

impl From<ShadowError> for MemoryError {
    fn from(error: ShadowError) -> Self {
        Self::Shadow(error)
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages(error) => error.fmt(f),
            Self::Slab(error) => error.fmt(f),
            Self::Shadow(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MemoryError {}

/// All of a machine's memory. The parts can be used alone; this keeps the shadow in step with the allocators.
#[derive(Debug)]
pub struct Memory {
    /// Contents, owners, objects.
    pub heap: Heap,
    pages: PageAllocator,
    slabs: SlabAllocator,
    /// Who freed ([`PageOwner::Free`]) or allocated ([`PageOwner::Pages`]) pages: the numbers there count from 1.
    sites: Vec<Site>,
}

impl Memory {
    /// Memory of a machine with these nodes, of which no page was handed over yet. `untouched_seed` determines what
    /// the firmware left, `variant` the layouts of structures.
    #[must_use]
    pub fn new(nodes: &[PhysRange], cpus: u32, untouched_seed: u64, variant: u8) -> Self {
        Self {
            heap: Heap::new(untouched_seed, variant),
            pages: PageAllocator::new(nodes, cpus),
            slabs: SlabAllocator::new(cpus),
            sites: Vec::new(),
        }
    }

    /// As new, for another run on the same machine, keeping allocated capacity.
    pub fn reset(&mut self, untouched_seed: u64, variant: u8) {
        self.heap.reset(untouched_seed, variant);
        self.pages.reset();
        self.slabs.reset();
        self.sites.clear();
    }

    /// The page allocator.
    #[must_use]
    pub const fn pages(&self) -> &PageAllocator {
        &self.pages
    }

    /// The slab allocator.
    #[must_use]
    pub const fn slabs(&self) -> &SlabAllocator {
        &self.slabs
    }

    /// Adds a slab cache: see [`SlabAllocator::create_cache`].
    pub fn create_cache(&mut self, name: &'static str, size: u32, align: u32) -> CacheId {
        self.slabs.create_cache(name, size, align)
    }

    /// See [`PageAllocator::set_pcp_limits`].
    pub const fn set_pcp_limits(&mut self, limits: PcpLimits) {
        self.pages.set_pcp_limits(limits);
    }

    /// Who freed or allocated a page, by the number in its [`PageOwner`].
    #[must_use]
    pub fn site(&self, number: u32) -> Option<&Site> {
        self.sites.get((number as usize).checked_sub(1)?)
    }

    /// Hands a range over at boot: see [`PageAllocator::free_boot_range`].
    ///
    /// # Errors
    /// Part of it was handed over before, or lies in no node.
    pub fn free_boot_range(&mut self, range: PhysRange, placement: Placement) -> Result<u64, MemoryError> {
        let pages = self.pages.free_boot_range(range, placement)?;
        if pages > 0 {
            self.heap.shadow_mut().set_owner(range, PageOwner::Free { site: 0 })?;
        }
        Ok(pages)
    }

    /// Hands a reserved range over late: see [`PageAllocator::free_late`]. Objects in it live on until
    /// [`Heap::free_object`].
    ///
    /// # Errors
    /// Part of it was handed over before, or lies in no node.
    pub fn free_late(
        &mut self,
        range: PhysRange,
        placement: Placement,
        site: Site,
    ) -> Result<u64, MemoryError> {
        let pages = self.pages.free_late(range, placement)?;
        if pages > 0 {
            let site = self.enter(site);
            self.heap.shadow_mut().set_owner(range, PageOwner::Free { site })?;
        }
        Ok(pages)
    }

    /// Allocates pages. Order 0 goes through the CPU's list, as in the kernel. `None` when there are none left.
    ///
    /// # Errors
    /// There is no such CPU.
    pub fn alloc_pages(
        &mut self,
        order: u8,
        context: SlabContext,
        site: Site,
    ) -> Result<Option<PhysAddr>, MemoryError> {
        let SlabContext { cpu, gfp, node } = context;
        let found = if order == 0 {
            self.pages.alloc_page(cpu, gfp, node)?
        } else {
            self.pages.alloc_pages(order, gfp, node)
        };
        if let Some(addr) = found {
            let alloc = self.enter(site);
            let range = PhysRange::new(addr, PAGE_SIZE << order);
            self.heap.shadow_mut().set_owner(range, PageOwner::Pages { alloc, order })?;
        }
        Ok(found)
    }

    /// Frees pages. Objects in them live on until [`Heap::free_object`].
    ///
    /// # Errors
    /// It is not a living allocation of that order, or there is no such CPU.
    pub fn free_pages(&mut self, addr: PhysAddr, order: u8, cpu: u32, site: Site) -> Result<(), MemoryError> {
        if order == 0 {
            self.pages.free_page(cpu, addr)?;
        } else {
            self.pages.free_pages(addr, order, Placement::Usual)?;
        }
        let site = self.enter(site);
        let range = PhysRange::new(addr, PAGE_SIZE << order);
        self.heap.shadow_mut().set_owner(range, PageOwner::Free { site })?;
        Ok(())
    }

    /// `kmalloc()` of a buffer of `size` bytes; returns where it is, and its object id.
    ///
    /// # Errors
    /// No memory, or a bad size.
    pub fn kmalloc(
        &mut self,
        type_name: &'static str,
        size: u64,
        context: SlabContext,
        site: Site,
    ) -> Result<(PhysAddr, u32), MemoryError> {
        let slot = self.take_slot(None, size, context, site)?;
        let id = self.heap.alloc_buffer(type_name, PhysRange::new(slot.addr, size), site)?;
        Ok((slot.addr, id))
    }

    /// `kmalloc()` of a structure of `size` bytes, at least that of its layout.
    ///
    /// # Errors
    /// No memory, or a bad size.
    pub fn kmalloc_object<T: Kobject>(
        &mut self,
        size: u64,
        context: SlabContext,
        site: Site,
        object: Rc<T>,
    ) -> Result<Ptr<T>, MemoryError> {
        let slot = self.take_slot(None, size, context, site)?;
        Ok(self.heap.alloc_object(slot.addr, size, site, object)?)
    }

    /// `kmem_cache_alloc()` of a structure of `size` bytes, at least that of its layout.
    ///
    /// # Errors
    /// No memory, no such cache, or a size above that of its slots.
    pub fn cache_alloc_object<T: Kobject>(
        &mut self,
        cache: CacheId,
        size: u64,
        context: SlabContext,
        site: Site,
        object: Rc<T>,
    ) -> Result<Ptr<T>, MemoryError> {
        let slot = self.take_slot(Some(cache), size, context, site)?;
        Ok(self.heap.alloc_object(slot.addr, size, site, object)?)
    }

    /// `kfree()` and `kmem_cache_free()`: ends the life of the object that begins at `addr`, if one does, and gives its slot back.
    ///
    /// # Errors
    /// No slot in use begins there; the object, if any, lives on then.
    pub fn kfree(&mut self, addr: PhysAddr, cpu: u32, site: Site) -> Result<(), MemoryError> {
        let id = self.heap.shadow().object_at(addr);
        let freed = self.slabs.kfree(&mut self.pages, addr, cpu)?;
        if id != 0 {
            self.heap.free_object(id, site)?;
        }
        if let Some(range) = freed.released {
            let site = self.enter(site);
            self.heap.shadow_mut().clear_slab(range, PageOwner::Free { site })?;
        }
        Ok(())
    }

    /// Takes a slot of the cache, or by size.
    fn take_slot(
        &mut self,
        cache: Option<CacheId>,
        size: u64,
        context: SlabContext,
        site: Site,
    ) -> Result<SlabObject, MemoryError> {
        let slot = match cache {
            Some(cache) => {
                let (_, slot_size, _) = self.slabs.cache(cache).ok_or(SlabError::NoCache { cache })?;
                if size > u64::from(slot_size) {
                    return Err(SlabError::TooLarge { size }.into());
                }
                self.slabs.cache_alloc(&mut self.pages, cache, context)?
            }
            None => self.slabs.kmalloc(&mut self.pages, size, context)?,
        };
        let slot_size = u32::try_from(slot.size).unwrap_or(u32::MAX);
        if let Some(range) = slot.new_slab {
            self.heap.shadow_mut().set_slab(range, slot_size)?;
        } else if cache.is_none() && SlabAllocator::kmalloc_cache(size, Gfp::Kernel).is_none() {
            let range = PhysRange::new(slot.addr, slot.size);
            let order = u8::try_from((slot.size / PAGE_SIZE).trailing_zeros()).unwrap_or(0);
            let alloc = self.enter(site);
            self.heap.shadow_mut().set_owner(range, PageOwner::Pages { alloc, order })?;
        }
        Ok(slot)
    }

    fn enter(&mut self, site: Site) -> u32 {
        self.sites.push(site);
        u32::try_from(self.sites.len()).unwrap_or(0)
    }
}
