//! Whether the allocators' lists say the same as the pages: what `CONFIG_DEBUG_VM`, `CONFIG_DEBUG_LIST` and `slub_debug`
//! look at while a kernel runs, done once, when everything has settled.
//!
//! It takes time in proportion to the blocks that are listed; the inside of blocks of the largest order is not looked at.

use super::addr::{Pfn, PhysAddr};
use super::buddy::PageAllocator;
use super::slab::SlabAllocator;
use super::zone::{MAX_PAGE_ORDER, PageState, Zone};

/// What is wrong with the lists of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenList {
    /// Where.
    pub addr: PhysAddr,
    /// What.
    pub what: &'static str,
}

const fn broken(pfn: u64, what: &'static str) -> Result<(), BrokenList> {
    Err(BrokenList { addr: Pfn(pfn).phys(), what })
}

impl PageAllocator {
    /// Looks at all lists of free pages.
    ///
    /// # Errors
    /// The first thing that contradicts another.
    pub fn check(&self) -> Result<(), BrokenList> {
        for zone in &self.zones {
            for order in 0..=MAX_PAGE_ORDER {
                self.check_list(zone, order)?;
            }
            for &pfn in zone.pcp.iter().flat_map(|pcp| &pcp.pages) {
                if !zone.contains(pfn) {
                    return broken(pfn, "a page is on a CPU's list of another zone");
                }
                if *self.pages.get(Pfn(pfn)) != PageState::PerCpu {
                    return broken(pfn, "a page is on a CPU's list and not marked so");
                }
            }
        }
        Ok(())
    }

    fn check_list(&self, zone: &Zone, order: u8) -> Result<(), BrokenList> {
        let list = zone.lists[usize::from(order)];
        let mut blocks = 0;
        for (node, first, count) in self.nodes.runs(list) {
            blocks += count;
            let end = first + (count << order);
            if !zone.contains(first) || end > zone.end {
                return broken(first, "a free block is on the list of another zone");
            }
            if !first.is_multiple_of(1 << order) {
                return broken(first, "a free block is not aligned to its size");
            }
            if order == MAX_PAGE_ORDER {
                continue;
            }
            if *self.pages.get(Pfn(first)) != (PageState::FreeHead { order, node }) {
                return broken(first, "a block is on a free list, and its first page does not say so");
            }
            let buddy = first ^ (1 << order);
            let free =
                matches!(self.pages.get(Pfn(buddy)), PageState::FreeHead { order: of, .. } if *of == order);
            if free && zone.contains(buddy) {
                return broken(first, "two free buddies are not joined");
            }
            let mut pfn = first + 1;
            while pfn < end {
                let (state, run) = self.pages.run(Pfn(pfn), end - pfn);
                if !matches!(state, PageState::Free | PageState::Absent) {
                    return broken(pfn, "a page inside a free block is not marked as free");
                }
                pfn += run.max(1);
            }
        }
        match self.nodes.first(list) {
            _ if blocks == list.blocks => Ok(()),
            Some(pfn) => broken(pfn, "a free list counts other than the blocks that it has"),
            None => broken(zone.start, "an empty free list counts blocks"),
        }
    }
}

impl SlabAllocator {
    /// Looks at all slabs and the lists of those that are partly used.
    ///
    /// # Errors
    /// The first thing that contradicts another.
    pub fn check(&self) -> Result<(), BrokenList> {
        let mut listed = vec![false; self.slabs.len()];
        for (number, cache) in (0u32..).zip(&self.caches) {
            for &index in &cache.partial {
                let slab = &self.slabs[index as usize];
                let what = if std::mem::replace(&mut listed[index as usize], true) {
                    "a slab is twice on the list of partly used slabs"
                } else if slab.cache != number {
                    "a slab is on the list of another cache"
                } else if slab.active {
                    "a slab from which a CPU allocates is on the list of partly used slabs"
                } else if slab.free.is_empty() {
                    "a full slab is on the list of partly used slabs"
                } else {
                    continue;
                };
                return Err(BrokenList { addr: PhysAddr(slab.base), what });
            }
        }
        let mut gone = vec![false; self.slabs.len()];
        for &index in &self.slabs_free {
            gone[index as usize] = true;
        }
        for (index, slab) in self.slabs.iter().enumerate().filter(|(index, _)| !gone[*index]) {
            let objects = usize::from(self.caches[slab.cache as usize].objects);
            let used: u32 = slab.used.iter().map(|word| word.count_ones()).sum();
            let what =
                if used != u32::from(slab.in_use) || slab.free.len() + usize::from(slab.in_use) != objects {
                    "a slab's objects are not those on its free list and those in use"
                } else if !slab.active && !listed[index] && !slab.free.is_empty() {
                    "a slab with free objects is on no list"
                } else {
                    continue;
                };
            return Err(BrokenList { addr: PhysAddr(slab.base), what });
        }
        for (index, &gone) in gone.iter().enumerate() {
            if gone && listed[index] {
                let addr = PhysAddr(self.slabs[index].base);
                return Err(BrokenList { addr, what: "a slab that was given back is on a list" });
            }
        }
        Ok(())
    }

    /// Whether the page belongs to a slab or to an object of whole pages (`PageSlab`).
    #[must_use]
    pub fn has_page(&self, addr: PhysAddr) -> bool {
        *self.by_page.get(addr.pfn()) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::addr::{PAGE_SIZE, PhysRange};
    use super::super::slab::SlabContext;
    use super::super::zone::{Gfp, Placement};
    use super::*;

    /// 64 MiB, of which some pages are taken and given back.
    fn used() -> (PageAllocator, SlabAllocator) {
        let all = PhysRange::new(PhysAddr(0), 64 << 20);
        let mut pages = PageAllocator::new(&[all], 2);
        pages.free_boot_range(all, Placement::Tail).expect("memory");
        let mut slabs = SlabAllocator::new(2);
        let context = SlabContext::default();
        let objects: Vec<PhysAddr> =
            (0..200).map(|_| slabs.kmalloc(&mut pages, 512, context).expect("an object").addr).collect();
        for addr in objects.iter().step_by(3) {
            slabs.kfree(&mut pages, *addr, 0).expect("it is in use");
        }
        let page = pages.alloc_pages(2, Gfp::Kernel, 0).expect("pages");
        pages.alloc_pages(0, Gfp::Kernel, 0).expect("a page");
        pages.free_pages(page, 2, Placement::Usual).expect("it is in use");
        (pages, slabs)
    }

    fn what(broken: Result<(), BrokenList>) -> &'static str {
        broken.expect_err("nothing is noticed").what
    }

    #[test]
    fn lists_that_are_right() {
        let (pages, slabs) = used();
        assert_eq!((pages.check(), slabs.check()), (Ok(()), Ok(())));
    }

    #[test]
    fn a_list_that_miscounts() {
        let found = |order: u8| {
            let (mut pages, _) = used();
            pages.zones[0].lists[usize::from(order)].blocks += 1;
            what(pages.check())
        };
        assert_eq!(found(MAX_PAGE_ORDER), "a free list counts other than the blocks that it has");
        // Nothing of the lowest zone was taken.
        assert_eq!(found(2), "an empty free list counts blocks");
    }

    #[test]
    fn a_page_in_a_free_block_that_is_taken() {
        let (mut pages, _) = used();
        let zone = pages.zones.iter().find(|zone| zone.lists[2].blocks > 0).expect("a block of four pages");
        let first = pages.nodes.first(zone.lists[2]).expect("the same");
        *pages.pages.get_mut(Pfn(first + 1)) = PageState::PerCpu;
        assert_eq!(what(pages.check()), "a page inside a free block is not marked as free");
        *pages.pages.get_mut(Pfn(first)) = PageState::Free;
        assert_eq!(what(pages.check()), "a block is on a free list, and its first page does not say so");
    }

    #[test]
    fn a_page_on_a_list_of_another_zone() {
        let (mut pages, _) = used();
        let zone = pages.zones.iter().position(|zone| zone.start > 0).expect("a second zone");
        pages.zones[zone].pcp[0].pages.push_back(1);
        assert_eq!(what(pages.check()), "a page is on a CPU's list of another zone");
    }

    #[test]
    fn a_slab_that_is_listed_twice() {
        let (_, mut slabs) = used();
        let cache = slabs.caches.iter().position(|cache| !cache.partial.is_empty()).expect("a list");
        let index = slabs.caches[cache].partial[0];
        slabs.caches[cache].partial.push_front(index);
        assert_eq!(what(slabs.check()), "a slab is twice on the list of partly used slabs");
    }

    #[test]
    fn a_slab_that_forgets_an_object() {
        let (_, mut slabs) = used();
        slabs.slabs[0].free.pop();
        slabs.slabs[1].free.pop();
        assert!(slabs.check().is_err());
        let base = slabs.slabs[0].base;
        assert!(slabs.has_page(PhysAddr(base)) && !slabs.has_page(PhysAddr(base + (32 << 20) * PAGE_SIZE)));
    }
}
