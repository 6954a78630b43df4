//! Who reserved what: kept beside the reserved list, and never consulted by it.

use crate::mem::{PhysAddr, PhysRange};

/// Who asked for a piece of memory, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The kernel function that asked, such as `swiotlb_memblock_alloc`.
    pub site: &'static str,
    /// Tells apart what one function asked for several times; means what the caller wants.
    pub tag: u32,
    /// Virtual time of the request, in nanoseconds.
    pub at_ns: u64,
}

impl Owner {
    /// A request by the function `site` at virtual time `at_ns`, with tag 0.
    #[must_use]
    pub const fn new(site: &'static str, at_ns: u64) -> Self {
        Self { site, tag: 0, at_ns }
    }

    /// The same with a tag.
    #[must_use]
    pub const fn tagged(self, tag: u32) -> Self {
        Self { tag, ..self }
    }
}

/// A stretch of reserved memory with one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnedRange {
    /// The bytes.
    pub range: PhysRange,
    /// Who reserved them.
    pub owner: Owner,
}

/// Sorted and disjoint stretches, which together cover exactly what the reserved list covers.
///
/// Neighbours are not joined: two reservations stay two, whatever the kernel's list makes of them.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnerMap {
    ranges: Vec<OwnedRange>,
}

impl OwnerMap {
    /// Forgets everything, keeps the capacity.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// All stretches, in address order.
    pub(super) fn as_slice(&self) -> &[OwnedRange] {
        &self.ranges
    }

    /// Index of the first stretch that ends above `addr`.
    fn first_ending_above(&self, addr: PhysAddr) -> usize {
        self.ranges.partition_point(|owned| owned.range.end <= addr)
    }

    /// Who owns the byte at `addr`.
    pub(super) fn get(&self, addr: PhysAddr) -> Option<Owner> {
        let owned = self.ranges.get(self.first_ending_above(addr))?;
        owned.range.contains(addr).then_some(owned.owner)
    }

    /// Gives `owner` those bytes of `wanted` that nobody owns, as a reservation leaves what is already reserved.
    pub(super) fn claim(&mut self, wanted: PhysRange, owner: Owner) {
        debug_assert!(wanted.start < wanted.end, "an empty range is never claimed");
        let first = self.first_ending_above(wanted.start);
        // Nearly always nothing of the range is owned yet.
        if self.ranges.get(first).is_none_or(|owned| owned.range.start >= wanted.end) {
            self.ranges.insert(first, OwnedRange { range: wanted, owner });
            return;
        }
        let mut replacement = Vec::new();
        let mut last = first;
        let mut at = wanted.start;
        for owned in &self.ranges[first..] {
            if owned.range.start >= wanted.end {
                break;
            }
            if at < owned.range.start {
                let range = PhysRange { start: at, end: owned.range.start };
                replacement.push(OwnedRange { range, owner });
            }
            replacement.push(*owned);
            at = owned.range.end;
            last += 1;
        }
        if at < wanted.end {
            replacement.push(OwnedRange { range: PhysRange { start: at, end: wanted.end }, owner });
        }
        self.ranges.splice(first..last, replacement);
    }

    /// Makes every byte of `freed` nobody's.
    pub(super) fn release(&mut self, freed: PhysRange) {
        let first = self.first_ending_above(freed.start);
        let last = self.ranges.partition_point(|owned| owned.range.start < freed.end);
        if first >= last {
            return;
        }
        let (head, tail) = (self.ranges[first], self.ranges[last - 1]);
        let below = (head.range.start < freed.start).then_some(OwnedRange {
            range: PhysRange { start: head.range.start, end: freed.start },
            owner: head.owner,
        });
        let above = (tail.range.end > freed.end).then_some(OwnedRange {
            range: PhysRange { start: freed.end, end: tail.range.end },
            owner: tail.owner,
        });
        self.ranges.splice(first..last, below.into_iter().chain(above));
    }
}

#[cfg(test)]
impl OwnerMap {
    /// For tests that break the cover on purpose.
    pub(super) fn ranges_mut(&mut self) -> &mut Vec<OwnedRange> {
        &mut self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner = Owner::new("a", 1);
    const B: Owner = Owner::new("b", 2);

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange { start: PhysAddr(start), end: PhysAddr(end) }
    }

    #[test]
    fn who_comes_first_keeps_it() {
        let mut map = OwnerMap::default();
        map.claim(range(10, 20), A);
        map.claim(range(30, 40), A);
        map.claim(range(0, 50), B);
        let owners: Vec<_> = [5, 10, 19, 20, 30, 45].map(|addr| map.get(PhysAddr(addr))).into();
        assert_eq!(owners, [Some(B), Some(A), Some(A), Some(B), Some(A), Some(B)]);
        assert_eq!(map.get(PhysAddr(50)), None);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "an empty range is never claimed")]
    fn nothing_is_not_claimed() {
        OwnerMap::default().claim(range(10, 10), A);
    }

    #[test]
    fn freeing_splits_a_stretch() {
        let mut map = OwnerMap::default();
        map.claim(range(0, 100), A);
        map.release(range(40, 60));
        assert_eq!(map.get(PhysAddr(39)), Some(A));
        assert_eq!(map.get(PhysAddr(40)), None);
        assert_eq!(map.get(PhysAddr(60)), Some(A));
        map.release(range(0, 100));
        assert!(map.as_slice().is_empty());
    }
}
