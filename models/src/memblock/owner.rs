//! Who reserved what: kept beside the reserved list, and never consulted by it.

use std::cell::RefCell;

use super::list::count_by;
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
    /// Whether memblock chose the place, so that nobody else may have it. A reservation of a given place, as of what
    /// firmware left there, may lie over another.
    pub allocated: bool,
}

/// So many stretches are kept together: adding one moves no more than these, however many there are.
const CHUNK: usize = 64;

/// Some neighbouring stretches; never empty.
#[derive(Clone, Debug)]
struct Chunk {
    /// Where the last of them ends: what a search looks at.
    end: PhysAddr,
    ranges: Vec<OwnedRange>,
}

/// What has become of reserved memory and is not sorted in yet.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A reservation. If it is `alone`, nobody owned any byte of it.
    Claim {
        wanted: OwnedRange,
        alone: bool,
    },
    Release(PhysRange),
}

/// So many changes wait at most.
const WAITING: usize = 256;

/// Who owns the bytes of the reserved list: all of them, and no others.
///
/// Boot code reserves and frees all the time, and hardly ever asks who has what. So a change is only noted, and sorted
/// in when somebody asks or when many wait; what is taken and given back at once is never sorted in at all.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnerMap(RefCell<Noted>);

#[derive(Clone, Debug, Default)]
struct Noted {
    waiting: Vec<Change>,
    stretches: Stretches,
}

impl OwnerMap {
    /// Forgets everything, keeps some of the capacity.
    pub(super) fn clear(&mut self) {
        let noted = self.0.get_mut();
        noted.waiting.clear();
        noted.stretches.chunks.clear();
    }

    /// Gives `owner` those bytes of `range` that nobody owns. The caller knows if that is all of them: `alone`.
    #[inline]
    pub(super) fn claim(&mut self, range: PhysRange, owner: Owner, allocated: bool, alone: bool) {
        debug_assert!(range.start < range.end, "an empty range is never claimed");
        let wanted = OwnedRange { range, owner, allocated };
        self.0.get_mut().note(Change::Claim { wanted, alone });
    }

    /// Makes every byte of `freed` nobody's.
    #[inline]
    pub(super) fn release(&mut self, freed: PhysRange) {
        let noted = self.0.get_mut();
        match noted.waiting.last() {
            Some(Change::Claim { wanted, alone: true }) if wanted.range == freed => {
                noted.waiting.pop();
            }
            _ => noted.note(Change::Release(freed)),
        }
    }

    /// Who owns the byte at `addr`.
    pub(super) fn get(&self, addr: PhysAddr) -> Option<Owner> {
        self.ask(|stretches| stretches.get(addr))
    }

    /// The stretches that have bytes of `range`, in address order.
    pub(super) fn overlapping(&self, range: PhysRange) -> Vec<OwnedRange> {
        self.ask(|stretches| stretches.overlapping(range).copied().collect())
    }

    /// All stretches, in address order.
    pub(super) fn all(&self) -> Vec<OwnedRange> {
        self.ask(|stretches| stretches.iter().copied().collect())
    }

    fn ask<T>(&self, question: impl FnOnce(&Stretches) -> T) -> T {
        let mut noted = self.0.borrow_mut();
        noted.settle();
        question(&noted.stretches)
    }
}

impl Noted {
    #[inline]
    fn note(&mut self, change: Change) {
        if self.waiting.len() == WAITING {
            self.settle();
        }
        self.waiting.push(change);
    }

    fn settle(&mut self) {
        for change in self.waiting.drain(..) {
            match change {
                Change::Claim { wanted, .. } => {
                    self.stretches.claim(wanted.range, wanted.owner, wanted.allocated);
                }
                Change::Release(freed) => self.stretches.release(freed),
            }
        }
    }
}

/// Sorted and disjoint stretches, which together cover what the reserved list covered at some time.
///
/// Neighbours are not joined: two reservations stay two, whatever the kernel's list makes of them.
#[derive(Clone, Debug, Default)]
struct Stretches {
    chunks: Vec<Chunk>,
}

impl Stretches {
    fn iter(&self) -> impl Iterator<Item = &OwnedRange> {
        self.chunks.iter().flat_map(|chunk| &chunk.ranges)
    }

    /// Chunk and index of the first stretch that ends above `addr`; the index one past the last chunk if none does.
    fn first_ending_above(&self, addr: PhysAddr) -> (usize, usize) {
        let at = self.chunks.partition_point(|chunk| chunk.end <= addr);
        let inside =
            self.chunks.get(at).map_or(0, |chunk| count_by(&chunk.ranges, |owned| owned.range.end <= addr));
        (at, inside)
    }

    fn at(&self, (chunk, index): (usize, usize)) -> Option<&OwnedRange> {
        self.chunks.get(chunk)?.ranges.get(index)
    }

    fn get(&self, addr: PhysAddr) -> Option<Owner> {
        let owned = self.at(self.first_ending_above(addr))?;
        owned.range.contains(addr).then_some(owned.owner)
    }

    fn overlapping(&self, range: PhysRange) -> impl Iterator<Item = &OwnedRange> {
        let (chunk, index) = self.first_ending_above(range.start);
        let rest = self.chunks.get(chunk..).unwrap_or_default().iter().flat_map(|chunk| &chunk.ranges);
        rest.skip(index).take_while(move |owned| owned.range.start < range.end)
    }

    /// Gives `owner` those bytes of `wanted` that nobody owns, as a reservation leaves what is already reserved.
    fn claim(&mut self, wanted: PhysRange, owner: Owner, allocated: bool) {
        let place = self.first_ending_above(wanted.start);
        // Nearly always nothing of the range is owned yet.
        if self.at(place).is_none_or(|owned| owned.range.start >= wanted.end) {
            self.insert(place, OwnedRange { range: wanted, owner, allocated });
            return;
        }
        let mut gaps = Vec::new();
        let mut at = wanted.start;
        for owned in self.overlapping(wanted) {
            if at < owned.range.start {
                gaps.push(PhysRange { start: at, end: owned.range.start });
            }
            at = owned.range.end;
        }
        if at < wanted.end {
            gaps.push(PhysRange { start: at, end: wanted.end });
        }
        for range in gaps {
            self.insert(self.first_ending_above(range.start), OwnedRange { range, owner, allocated });
        }
    }

    /// Inserts a stretch before the one at a place.
    fn insert(&mut self, (chunk, index): (usize, usize), owned: OwnedRange) {
        let count = self.chunks.len();
        // Behind the last stretch means at the end of the last chunk.
        let (chunk, index) = match self.chunks.last() {
            None => {
                let mut ranges = Vec::with_capacity(CHUNK + 1);
                ranges.push(owned);
                return self.chunks.push(Chunk { end: owned.range.end, ranges });
            }
            Some(last) if chunk == count => (count - 1, last.ranges.len()),
            Some(_) => (chunk, index),
        };
        let found = &mut self.chunks[chunk];
        found.ranges.insert(index, owned);
        if index + 1 == found.ranges.len() {
            found.end = owned.range.end;
        }
        if found.ranges.len() > CHUNK {
            let mut ranges = Vec::with_capacity(CHUNK + 1);
            ranges.extend(found.ranges.drain(CHUNK / 2..));
            let end = std::mem::replace(&mut found.end, found.ranges[CHUNK / 2 - 1].range.end);
            self.chunks.insert(chunk + 1, Chunk { end, ranges });
        }
    }

    /// Makes every byte of `freed` nobody's.
    fn release(&mut self, freed: PhysRange) {
        loop {
            let (at, index) = self.first_ending_above(freed.start);
            let Some(chunk) = self.chunks.get_mut(at) else { return };
            let owned = &mut chunk.ranges[index];
            if owned.range.start >= freed.end {
                return;
            }
            if owned.range.start < freed.start {
                let above = PhysRange { start: freed.end, end: owned.range.end };
                let upper = OwnedRange { range: above, ..*owned };
                owned.range.end = freed.start;
                if index + 1 == chunk.ranges.len() {
                    chunk.end = freed.start;
                }
                if above.start < above.end {
                    let place = self.first_ending_above(above.start);
                    self.insert(place, upper);
                    return;
                }
                continue;
            }
            if owned.range.end > freed.end {
                owned.range.start = freed.end;
                return;
            }
            let whole = chunk.ranges[index..].iter().take_while(|owned| owned.range.end <= freed.end).count();
            let done = chunk.ranges[index + whole - 1].range.end == freed.end;
            if whole == 1 {
                chunk.ranges.remove(index);
            } else {
                chunk.ranges.drain(index..index + whole);
            }
            match chunk.ranges.last() {
                Some(last) => chunk.end = last.range.end,
                None => {
                    self.chunks.remove(at);
                }
            }
            if done {
                return;
            }
        }
    }
}

#[cfg(test)]
impl OwnerMap {
    /// For tests that break the cover on purpose.
    pub(super) fn ranges_mut(&mut self) -> &mut Vec<OwnedRange> {
        let noted = self.0.get_mut();
        noted.settle();
        assert_eq!(noted.stretches.chunks.len(), 1, "a small map");
        &mut noted.stretches.chunks[0].ranges
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
        map.claim(range(10, 20), A, false, false);
        map.claim(range(30, 40), A, false, false);
        map.claim(range(0, 50), B, false, false);
        let owners: Vec<_> = [5, 10, 19, 20, 30, 45].map(|addr| map.get(PhysAddr(addr))).into();
        assert_eq!(owners, [Some(B), Some(A), Some(A), Some(B), Some(A), Some(B)]);
        assert_eq!(map.get(PhysAddr(50)), None);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "an empty range is never claimed")]
    fn nothing_is_not_claimed() {
        OwnerMap::default().claim(range(10, 10), A, false, false);
    }

    #[test]
    fn freeing_splits_a_stretch() {
        let mut map = OwnerMap::default();
        map.claim(range(0, 100), A, false, false);
        map.release(range(40, 60));
        assert_eq!(map.get(PhysAddr(39)), Some(A));
        assert_eq!(map.get(PhysAddr(40)), None);
        assert_eq!(map.get(PhysAddr(60)), Some(A));
        map.release(range(0, 100));
        assert_eq!(map.all().len(), 0);
    }

    /// Many small stretches in an order that fills chunks in the middle, then holes through all of them.
    #[test]
    fn many_stretches_stay_in_order() {
        let mut map = OwnerMap::default();
        let bytes = |index: u64| range(index * 10, index * 10 + 5);
        for index in 0..1000 {
            map.claim(bytes(index * 7 % 1000), A, false, false);
        }
        assert!(map.all().iter().map(|owned| owned.range).eq((0..1000).map(bytes)));
        let chunks = map.0.borrow().stretches.chunks.clone();
        assert!(chunks.iter().all(|chunk| chunk.ranges.len() <= CHUNK));
        assert!(
            chunks.iter().all(|chunk| chunk.ranges.last().is_some_and(|last| last.range.end == chunk.end))
        );
        map.claim(range(0, 10_000), B, false, false);
        assert_eq!(map.all().iter().filter(|owned| owned.owner == B).count(), 1000);
        assert_eq!(map.overlapping(range(4_003, 4_012)).len(), 3);
        map.release(range(3, 9_998));
        let left: Vec<_> = map.all().iter().map(|owned| (owned.range, owned.owner)).collect();
        assert_eq!(left, [(range(0, 3), A), (range(9_998, 10_000), B)]);
    }
    /// A reservation that is given back at once leaves nothing; one that lay over another's leaves that.
    #[test]
    fn what_is_given_back_at_once_is_forgotten() {
        let mut map = OwnerMap::default();
        map.claim(range(0, 10), A, false, true);
        map.claim(range(20, 30), B, false, true);
        map.release(range(20, 30));
        assert_eq!(map.0.borrow().waiting.len(), 1);
        assert_eq!(map.all().len(), 1);
        map.claim(range(0, 15), B, false, false);
        map.release(range(0, 15));
        assert_eq!(map.all(), []);
    }

    /// The order of changes counts, however many wait.
    #[test]
    fn changes_are_sorted_in_as_they_came() {
        let mut map = OwnerMap::default();
        for round in 0..3 * WAITING as u64 {
            let owner = if round % 2 == 0 { A } else { B };
            map.claim(range(0, 10), owner, false, true);
            assert!(map.0.borrow().waiting.len() <= WAITING);
            map.claim(range(10, 20), owner, false, true);
            map.release(range(0, 10));
            if round % 5 == 0 {
                assert_eq!(map.get(PhysAddr(10)), Some(owner));
            }
            map.release(range(10, 20));
        }
        assert_eq!(map.all(), []);
    }
}
