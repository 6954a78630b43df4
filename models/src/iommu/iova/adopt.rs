//! Bringing an allocator into the state that a recording shows: for a replay that begins in the middle, or goes on after
//! the kernel did something else than the model.

use super::domain::IovaDomain;
use super::ranges::Node;
use super::rcache::order_base_2;
use super::types::{Cpu, IovaPfn, IovaRange};

/// Where the next searches of a domain begin, and what is known not to fit.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    cached: Option<Node>,
    cached32: Option<Node>,
    max32_alloc_size: u64,
}

impl IovaDomain {
    /// Where the next searches begin; to be given back to [`Self::undo_alloc`].
    #[must_use]
    pub const fn remembered(&self) -> Remembered {
        let Self { cached, cached32, max32_alloc_size, .. } = self;
        Remembered { cached: *cached, cached32: *cached32, max32_alloc_size: *max32_alloc_size }
    }

    /// Unlinks the range that an allocation from the ranges has just linked at `pfn`, if it did, and lets searches begin
    /// where they would have begun before.
    pub fn undo_alloc(&mut self, before: Remembered, pfn: Option<IovaPfn>) {
        if let Some(pfn) = pfn {
            self.retract_iova(pfn);
        }
        self.cached = before.cached;
        self.cached32 = before.cached32;
        self.max32_alloc_size = before.max32_alloc_size;
    }

    /// Links a range that a recorded kernel holds. With `remember`, the next search begins there, as if a search had
    /// just found it. Nothing changes, and the answer is `false`, if it overlaps another range.
    pub fn adopt_iova(&mut self, range: IovaRange, remember: bool) -> bool {
        let node = Node { lo: range.lo.0, hi: range.hi.0 };
        if node.hi < node.lo || self.ranges.first_overlap(node.lo, node.hi).is_some() {
            return false;
        }
        let linked = self.ranges.insert(node);
        if linked && remember {
            if node.hi < self.dma_32bit_pfn() {
                self.cached32 = Some(node);
            } else {
                self.cached = Some(node);
            }
        }
        linked
    }

    /// Unlinks the range that holds `pfn` as if it had never been there; where a search would have begun there, it
    /// begins at the range above. Returns the range, or `None` if there is none.
    pub fn retract_iova(&mut self, pfn: IovaPfn) -> Option<IovaRange> {
        let node = self.ranges.find(pfn.0).filter(|node| !self.ranges.is_anchor(*node))?;
        let above = self.ranges.next_above(node.lo);
        for remembered in [&mut self.cached, &mut self.cached32] {
            if *remembered == Some(node) {
                *remembered = above;
            }
        }
        self.ranges.remove(node);
        Some(node.range())
    }

    /// Takes a page frame out of whichever cache of its size class holds it, as if it had been handed out. Says
    /// whether one did.
    pub fn uncache_iova(&mut self, cpus: u32, pfn: IovaPfn, pages: u64) -> bool {
        let class = order_base_2(pages);
        let Some(rcache) = self.rcaches_mut().and_then(|rcaches| rcaches.get_mut(class)) else {
            return false;
        };
        (0..cpus).any(|cpu| rcache.take_from(Cpu(cpu), pfn)) || rcache.take_from_depot(pfn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::iova::{IovaRules, Plenty};
    use crate::mem::PAGE_SIZE;

    const LIMIT: IovaPfn = IovaPfn(0xfffff);

    fn domain() -> IovaDomain {
        let mut iovad =
            IovaDomain::init_iova_domain(IovaRules::v6_12(), PAGE_SIZE, IovaPfn(1)).expect("a domain");
        iovad.iova_domain_init_rcaches();
        iovad
    }

    fn alloc(iovad: &mut IovaDomain, pages: u64) -> u64 {
        iovad.alloc_iova_fast(Cpu(0), pages, LIMIT, false, &mut Plenty).expect("an address").0
    }

    #[test]
    fn a_search_goes_on_below_what_is_remembered() {
        let mut iovad = domain();
        assert!(iovad.adopt_iova(IovaRange::new(0xff000, 0xff00f), true));
        assert!(!iovad.adopt_iova(IovaRange::new(0xff00f, 0xff010), true), "it overlaps");
        assert_eq!(alloc(&mut iovad, 1), 0xfefff);
        let mut unmoved = domain();
        assert!(unmoved.adopt_iova(IovaRange::new(0xfffff, 0xfffff), false));
        assert_eq!(alloc(&mut unmoved, 1), 0xffffe);
    }

    #[test]
    fn an_allocation_undone_is_made_again() {
        let mut iovad = domain();
        let first = alloc(&mut iovad, 4);
        let before = iovad.remembered();
        let second = alloc(&mut iovad, 2);
        iovad.undo_alloc(before, Some(IovaPfn(second)));
        assert_eq!(alloc(&mut iovad, 2), second);
        assert_eq!(iovad.retract_iova(IovaPfn(first)), Some(IovaRange::new(first, first + 3)));
        assert_eq!(iovad.retract_iova(IovaPfn(first)), None);
    }

    #[test]
    fn a_cached_page_frame_is_taken_from_wherever_it_is() {
        let mut iovad = domain();
        let (low, high) = (alloc(&mut iovad, 1), alloc(&mut iovad, 1));
        for pfn in [low, high] {
            iovad.free_iova_fast(Cpu(1), IovaPfn(pfn), 1, &mut Plenty).expect("a domain with caches");
        }
        assert!(iovad.uncache_iova(2, IovaPfn(low), 1));
        assert!(!iovad.uncache_iova(2, IovaPfn(low), 1));
        assert_eq!(iovad.rcache(0).loaded(Cpu(1)), [IovaPfn(high)]);
    }
}
