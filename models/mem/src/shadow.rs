//! Who owns each page and each byte.

use std::fmt;

use super::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange, pages_to};
use super::object::{ObjectRecord, ObjectTable, Site};
use super::pagemap::PageMap;

/// To whom a page belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageOwner {
    /// Not memory that the kernel was told of: a hole, firmware, MMIO.
    #[default]
    Unknown,
    /// Reserved in memblock: the kernel image, early allocations.
    Memblock,
    /// In the page allocator.
    Free {
        /// Who freed it last: an id of the caller's table of sites; 0 for the hand-over at boot.
        site: u32,
    },
    /// Allocated from the page allocator.
    Pages {
        /// The allocation: an identity given by the caller.
        alloc: u32,
        /// log2 of its size in pages.
        order: u8,
    },
    /// Of a slab cache.
    Slab {
        /// The slab, as returned by [`Shadow::set_slab`].
        slab: u32,
    },
}

/// What the shadow knows of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// To whom its page belongs.
    pub page: PageOwner,
    /// The living object that it is part of; 0 if none.
    pub object: u32,
}

/// Why the shadow refused a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowError {
    /// A living object lies there already.
    Overlap {
        /// That object.
        existing: u32,
    },
    /// The object is dead already.
    DoubleFree {
        /// That object.
        id: u32,
    },
    /// There is no object of this id.
    NoSuchObject {
        /// The id.
        id: u32,
    },
    /// Empty, or beyond the 52-bit address space.
    BadRange {
        /// The range.
        range: PhysRange,
    },
    /// More than 2^30 objects in one run.
    TooManyObjects,
}

impl fmt::Display for ShadowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { existing } => write!(f, "object {existing} lives there already"),
            Self::DoubleFree { id } => write!(f, "object {id} was freed before"),
            Self::NoSuchObject { id } => write!(f, "there is no object {id}"),
            Self::BadRange { range } => write!(f, "{}..{} is no range of memory", range.start, range.end),
            Self::TooManyObjects => f.write_str("more than 2^30 objects in one run"),
        }
    }
}

impl std::error::Error for ShadowError {}

/// What of a page belongs to objects: nothing (0), all to one (its id), some to each of a list, or a slab's. The tags
/// keep the entry at 4 bytes, which is what a look-up loads.
const TAG: u32 = 3 << 30;
const LIST: u32 = 1 << 30;
const SLAB: u32 = 2 << 30;

/// Part of a page that belongs to an object.
#[derive(Clone, Copy, Debug)]
struct Part {
    range: PhysRange,
    id: u32,
}

#[derive(Debug)]
struct SlabPages {
    base: u64,
    object_size: u32,
    ids: Vec<u32>,
}

/// Owners of all pages, and the register of objects.
#[derive(Debug)]
pub struct Shadow {
    owners: PageMap<PageOwner>,
    parts: PageMap<u32>,
    /// Pages that the host, or a device without the key, may read: decrypted ones.
    shared: PageMap<bool>,
    any_shared: bool,
    lists: Vec<Vec<Part>>,
    lists_used: usize,
    lists_free: Vec<u32>,
    slabs: Vec<SlabPages>,
    slabs_used: usize,
    objects: ObjectTable,
}

impl Default for Shadow {
    fn default() -> Self {
        Self::new()
    }
}

impl Shadow {
    /// A shadow in which nothing belongs to anybody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            owners: PageMap::new(PageOwner::Unknown),
            parts: PageMap::new(0),
            shared: PageMap::new(false),
            any_shared: false,
            lists: Vec::new(),
            lists_used: 0,
            lists_free: Vec::new(),
            slabs: Vec::new(),
            slabs_used: 0,
            objects: ObjectTable::default(),
        }
    }

    /// Forgets everything, keeping allocated capacity. Ids count from 1 again: it is another run.
    pub fn reset(&mut self) {
        self.owners.reset(PageOwner::Unknown);
        self.parts.reset(0);
        if std::mem::take(&mut self.any_shared) {
            self.shared.reset(false);
        }
        self.lists_used = 0;
        self.lists_free.clear();
        self.slabs_used = 0;
        self.objects.clear();
    }

    /// The register of objects.
    #[must_use]
    pub const fn objects(&self) -> &ObjectTable {
        &self.objects
    }

    /// Owner of the byte at `addr`.
    #[must_use]
    pub fn owner_at(&self, addr: PhysAddr) -> Owner {
        Owner { page: *self.owners.get(addr.pfn()), object: self.object_at(addr) }
    }

    /// Owner of the page that holds `addr`.
    #[must_use]
    pub fn page_owner(&self, addr: PhysAddr) -> PageOwner {
        *self.owners.get(addr.pfn())
    }

    /// The living object at `addr`, 0 if none.
    #[must_use]
    pub fn object_at(&self, addr: PhysAddr) -> u32 {
        let entry = *self.parts.get(addr.pfn());
        match entry & TAG {
            0 => entry,
            SLAB => {
                let slab = &self.slabs[(entry & !TAG) as usize];
                let id = slab.slot(addr.0).and_then(|slot| slab.ids.get(slot)).copied().unwrap_or(0);
                // A slot is larger than the object that was asked for: the rest of it is nobody's.
                if self.objects.get(id).is_some_and(|object| object.range.contains(addr)) { id } else { 0 }
            }
            _ => {
                let list = &self.lists[(entry & !TAG) as usize];
                list.iter().find(|part| part.range.contains(addr)).map_or(0, |part| part.id)
            }
        }
    }

    /// Calls `visit` with each living object that overlaps the range, in the order of addresses, once.
    pub fn for_each_object(&self, range: PhysRange, mut visit: impl FnMut(u32, &ObjectRecord)) {
        let mut at = range.start.0;
        let mut last = 0;
        let mut meet = |id: u32| {
            if id != last
                && id != 0
                && let Some(object) = self.objects.get(id)
                && object.range.start < range.end
                && range.start < object.range.end
            {
                last = id;
                visit(id, object);
            }
        };
        while at < range.end.0 {
            let pfn = PhysAddr(at).pfn();
            // Long stretches of nobody, or of one object, are one step.
            let (&entry, run) = self.parts.run(pfn, pages_to(pfn, range.end.0));
            let pages = if entry & TAG == 0 { run } else { 1 };
            let page_end = pfn.phys().0.saturating_add(pages * PAGE_SIZE);
            match entry & TAG {
                0 => meet(entry),
                SLAB => {
                    let slab = &self.slabs[(entry & !TAG) as usize];
                    let end = page_end.min(range.end.0);
                    let first = slab.slot(at).unwrap_or(slab.ids.len()).min(slab.ids.len());
                    let last = slab.slot(end - 1).map_or(0, |slot| slot + 1).clamp(first, slab.ids.len());
                    slab.ids[first..last].iter().for_each(|&id| meet(id));
                }
                _ => {
                    let list = self.lists[(entry & !TAG) as usize].iter();
                    let hit = |part: &&Part| part.range.start < range.end && range.start < part.range.end;
                    list.filter(hit).for_each(|part| meet(part.id));
                }
            }
            at = page_end;
        }
    }

    /// Says to whom the pages that lie wholly in `range` belong from now on. Objects there are left alone: a page can
    /// be freed under a living object, and that is for an oracle to say.
    ///
    /// # Errors
    /// The range is empty or beyond the address space.
    pub fn set_owner(&mut self, range: PhysRange, owner: PageOwner) -> Result<(), ShadowError> {
        let (first, count) = pages(range).ok_or(ShadowError::BadRange { range })?;
        self.owners.fill(first, count, owner);
        Ok(())
    }

    /// Says that the whole pages of `range` are shared with the host from now on (decrypted), or private again.
    pub fn set_shared(&mut self, range: PhysRange, shared: bool) {
        if let Some((first, count)) = pages(range) {
            self.shared.fill(first, count, shared);
            self.any_shared |= shared;
        }
    }

    /// The first page of `range` that is shared with the host, if any is. A page of which the range holds a part
    /// counts.
    #[must_use]
    pub fn first_shared(&self, range: PhysRange) -> Option<PhysAddr> {
        if !self.any_shared {
            return None;
        }
        self.first_of(range, true)
    }

    /// The first page of `range` that is not shared with the host, if any is not. A page of which the range holds a part
    /// counts.
    #[must_use]
    pub fn first_private(&self, range: PhysRange) -> Option<PhysAddr> {
        self.first_of(range, false)
    }

    fn first_of(&self, range: PhysRange, wanted: bool) -> Option<PhysAddr> {
        let mut pfn = range.start.pfn();
        while pfn.phys() < range.end {
            let (&shared, run) = self.shared.run(pfn, pages_to(pfn, range.end.0));
            if shared == wanted {
                return Some(pfn.phys());
            }
            pfn = Pfn(pfn.0 + run.max(1));
        }
        None
    }

    /// Says that the pages of `range` are a slab of objects of `object_size` bytes, and returns its id.
    ///
    /// # Errors
    /// The range is empty or beyond the address space, or an object lives there.
    pub fn set_slab(&mut self, range: PhysRange, object_size: u32) -> Result<u32, ShadowError> {
        let bad = ShadowError::BadRange { range };
        let (first, count) = pages(range).filter(|_| object_size != 0).ok_or(bad)?;
        self.require_vacant(range)?;
        let objects = usize::try_from(range.size() / u64::from(object_size)).map_err(|_| bad)?;
        let index = u32::try_from(self.slabs_used).ok().filter(|index| index & TAG == 0).ok_or(bad)?;
        if self.slabs.len() == self.slabs_used {
            self.slabs.push(SlabPages { base: 0, object_size: 0, ids: Vec::new() });
        }
        self.slabs_used += 1;
        let slab = &mut self.slabs[index as usize];
        slab.base = first.phys().0;
        slab.object_size = object_size;
        slab.ids.clear();
        slab.ids.resize(objects, 0);
        self.owners.fill(first, count, PageOwner::Slab { slab: index });
        self.parts.fill(first, count, SLAB | index);
        Ok(index)
    }

    /// Takes back [`set_slab`](Self::set_slab): the pages go to `owner`.
    ///
    /// # Errors
    /// The range is empty or beyond the address space, or an object still lives there.
    pub fn clear_slab(&mut self, range: PhysRange, owner: PageOwner) -> Result<(), ShadowError> {
        let (first, count) = pages(range).ok_or(ShadowError::BadRange { range })?;
        self.require_vacant(range)?;
        self.owners.fill(first, count, owner);
        self.parts.fill(first, count, 0);
        Ok(())
    }

    /// Enters a new living object.
    ///
    /// # Errors
    /// The range is no range of memory, or another object lives there.
    pub fn add_object(
        &mut self,
        type_name: &'static str,
        range: PhysRange,
        site: Site,
    ) -> Result<u32, ShadowError> {
        if range.size() == 0 || range.end.0 > super::content::PHYS_END {
            return Err(ShadowError::BadRange { range });
        }
        self.require_vacant(range)?;
        let id = self.objects.insert(type_name, range, site).ok_or(ShadowError::TooManyObjects)?;
        self.mark(range, id);
        Ok(id)
    }

    /// Marks an object dead. Its record stays.
    ///
    /// # Errors
    /// It is dead already, or never lived.
    pub fn remove_object(&mut self, id: u32, site: Site) -> Result<PhysRange, ShadowError> {
        let record = self.objects.get_mut(id).ok_or(ShadowError::NoSuchObject { id })?;
        if !record.alive {
            return Err(ShadowError::DoubleFree { id });
        }
        record.alive = false;
        record.free = Some(site);
        let range = record.range;
        self.unmark(range, id);
        Ok(range)
    }

    fn require_vacant(&self, range: PhysRange) -> Result<(), ShadowError> {
        let mut existing = 0;
        self.for_each_object(range, |id, _| existing = id);
        if existing == 0 { Ok(()) } else { Err(ShadowError::Overlap { existing }) }
    }

    fn mark(&mut self, range: PhysRange, id: u32) {
        self.for_each_piece(
            range,
            |shadow, pfn, part| match part {
                None => shadow.parts.fill(pfn.0, pfn.1, id),
                Some(part) => {
                    let entry = *shadow.parts.get(pfn.0);
                    let list = if entry & TAG == LIST { entry & !TAG } else { shadow.new_list(pfn.0) };
                    shadow.lists[list as usize].push(Part { range: part, id });
                }
            },
            id,
        );
    }

    fn unmark(&mut self, range: PhysRange, id: u32) {
        self.for_each_piece(
            range,
            |shadow, pfn, part| match part {
                None => shadow.parts.fill(pfn.0, pfn.1, 0),
                Some(_) => {
                    let entry = *shadow.parts.get(pfn.0);
                    if entry & TAG == LIST {
                        let list = &mut shadow.lists[(entry & !TAG) as usize];
                        list.retain(|part| part.id != id);
                        if list.is_empty() {
                            shadow.lists_free.push(entry & !TAG);
                            *shadow.parts.get_mut(pfn.0) = 0;
                        }
                    }
                }
            },
            0,
        );
    }

    /// Splits the range into whole pages (`None`) and parts of pages; in a slab, sets the slot's id to `slot_id`.
    fn for_each_piece(
        &mut self,
        range: PhysRange,
        mut apply: impl FnMut(&mut Self, (Pfn, u64), Option<PhysRange>),
        slot_id: u32,
    ) {
        let entry = *self.parts.get(range.start.pfn());
        if entry & TAG == SLAB {
            let slab = &mut self.slabs[(entry & !TAG) as usize];
            if let Some(id) = slab.slot(range.start.0).and_then(|slot| slab.ids.get_mut(slot)) {
                *id = slot_id;
            }
            return;
        }
        let mut at = range.start;
        while at < range.end {
            let pfn = at.pfn();
            let whole = (range.end.0 - at.0) / PAGE_SIZE;
            if at.page_offset() == 0 && whole > 0 {
                apply(self, (pfn, whole), None);
                at = PhysAddr(at.0 + whole * PAGE_SIZE);
            } else {
                let end = PhysAddr((pfn.phys().0 + PAGE_SIZE).min(range.end.0));
                apply(self, (pfn, 1), Some(PhysRange { start: at, end }));
                at = end;
            }
        }
    }

    fn new_list(&mut self, pfn: Pfn) -> u32 {
        let index = self.lists_free.pop().unwrap_or_else(|| {
            if self.lists.len() == self.lists_used {
                self.lists.push(Vec::new());
            }
            self.lists_used += 1;
            u32::try_from(self.lists_used - 1).unwrap_or(0) & !TAG
        });
        self.lists[index as usize].clear();
        *self.parts.get_mut(pfn) = LIST | index;
        index
    }
}

impl SlabPages {
    /// Index of the object slot that holds `addr`.
    fn slot(&self, addr: u64) -> Option<usize> {
        usize::try_from(addr.checked_sub(self.base)? / u64::from(self.object_size.max(1))).ok()
    }
}

/// The whole pages in a range, if there are any and they exist.
fn pages(range: PhysRange) -> Option<(Pfn, u64)> {
    let first = range.start.0.checked_add(PAGE_SIZE - 1)? / PAGE_SIZE;
    let end = range.end.0 / PAGE_SIZE;
    (first < end && range.end.0 <= super::content::PHYS_END)
        .then(|| (Pfn(first), end - first))
        .filter(|&(_, count)| count <= super::pagemap::MAX_FILL_PAGES)
}
