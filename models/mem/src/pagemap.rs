//! A map from page frame to a small value, in which filling, reading and forgetting are cheap.
//!
//! Three levels: chunks of 128 MiB, slots of 256 KiB, pages. Each level carries a *base* value for all that was not
//! set below it. A chunk's stamp says which of its slots are still valid, a slot's bits which of its pages. So filling
//! a 16 GiB machine costs a hundred steps, filling 64 MiB one short loop over neighbouring slots, and a reset costs
//! one step per chunk that was touched. Nothing is cleared: what is stale is told by its stamp.

use std::collections::BTreeMap;

use super::addr::Pfn;

/// Pages of a slot: 256 KiB, as many as a word has bits.
const SLOT_SHIFT: u32 = 6;
const SLOT_PAGES: usize = 1 << SLOT_SHIFT;
/// Slots in a chunk: 128 MiB.
const CHUNK_SHIFT: u32 = 9;
const CHUNK_SLOTS: usize = 1 << CHUNK_SHIFT;
/// log2 of the pages in a chunk.
const CHUNK_PAGE_SHIFT: u32 = SLOT_SHIFT + CHUNK_SHIFT;
/// Chunks below this number (16 TiB) are found through a vector, those above through a tree: a single touch of the
/// last page of a 52-bit address space must not allocate a directory for all that lies below it.
const DENSE_CHUNKS: u64 = 1 << 17;

/// "No such chunk", "no pages of its own".
const NONE: u32 = u32::MAX;

/// Longest range that [`PageMap::fill`] takes: 16 TiB, in pages.
pub(crate) const MAX_FILL_PAGES: u64 = 1 << (44 - 12);

#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    base: T,
    /// Valid when equal to the chunk's stamp.
    stamp: u64,
    /// Pages with a value of their own.
    set: u64,
    /// Where those values are: kept for as long as the run lasts, so that a slot which is filled over and over does
    /// not take new ones each time.
    leaf: u32,
}

impl<T: Copy> Slot<T> {
    #[inline]
    fn fill(&mut self, base: T, chunk: (u64, u64)) {
        let (stamp, born) = chunk;
        if self.stamp < born {
            self.leaf = NONE;
        }
        self.base = base;
        self.set = 0;
        self.stamp = stamp;
    }
}

#[derive(Debug)]
struct Chunk<T> {
    base: T,
    stamp: u64,
    /// Its first stamp in this run. What is older belongs to another run.
    born: u64,
    /// Empty until less than the whole chunk is set for the first time.
    slots: Vec<Slot<T>>,
}

/// A value for each page frame of a 64-bit address space.
#[derive(Debug)]
pub(crate) struct PageMap<T> {
    base: T,
    /// The last stamp that was given out. Stamps only rise, also from run to run.
    stamp: u64,
    dense: Vec<u32>,
    sparse: BTreeMap<u64, u32>,
    chunks: Vec<Chunk<T>>,
    chunks_used: usize,
    /// Values of single pages, [`SLOT_PAGES`] to a leaf.
    pages: Vec<T>,
    leaves_used: u32,
    /// Dense directory entries in use, so that a reset need not walk the directory.
    touched: Vec<u32>,
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both are masked below their table's size")]
const fn split(pfn: Pfn) -> (u64, usize, usize) {
    (
        pfn.0 >> CHUNK_PAGE_SHIFT,
        (pfn.0 >> SLOT_SHIFT) as usize & (CHUNK_SLOTS - 1),
        pfn.0 as usize & (SLOT_PAGES - 1),
    )
}

/// Counts used here stay far below 2^32: a leaf stands for 256 KiB that was really touched.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

/// Bits `from..to` of a word; `from < to <= 64`.
#[inline]
const fn bits(from: usize, to: usize) -> u64 {
    (u64::MAX >> (SLOT_PAGES - (to - from))) << from
}

#[inline]
const fn place(leaf: u32, page: usize) -> usize {
    leaf as usize * SLOT_PAGES + page
}

impl<T: Copy + PartialEq> PageMap<T> {
    /// A map in which every page has the value `base`.
    pub(crate) const fn new(base: T) -> Self {
        Self {
            base,
            stamp: 0,
            dense: Vec::new(),
            sparse: BTreeMap::new(),
            chunks: Vec::new(),
            chunks_used: 0,
            pages: Vec::new(),
            leaves_used: 0,
            touched: Vec::new(),
        }
    }

    /// Forgets everything, and gives every page the value `base`. Keeps the memory for the next run.
    pub(crate) fn reset(&mut self, base: T) {
        for &chunk in &self.touched {
            self.dense[chunk as usize] = NONE;
        }
        self.touched.clear();
        self.sparse.clear();
        self.chunks_used = 0;
        self.leaves_used = 0;
        self.base = base;
    }

    /// Value of the page.
    #[inline]
    pub(crate) fn get(&self, pfn: Pfn) -> &T {
        let (chunk, slot, page) = split(pfn);
        let Some(chunk) = self.chunk_index(chunk) else { return &self.base };
        let chunk = &self.chunks[chunk];
        match chunk.slots.get(slot) {
            Some(slot) if slot.stamp != chunk.stamp => &chunk.base,
            Some(slot) if slot.set >> page & 1 != 0 => &self.pages[place(slot.leaf, page)],
            Some(slot) => &slot.base,
            None => &chunk.base,
        }
    }

    /// Value of the page, and for how many pages from it on, at least, that is the value. The search ends with the
    /// chunk, and when `wanted` pages are found.
    pub(crate) fn run(&self, pfn: Pfn, wanted: u64) -> (&T, u64) {
        let (number, slot, page) = split(pfn);
        let left = (1 << CHUNK_PAGE_SHIFT) - (pfn.0 & ((1 << CHUNK_PAGE_SHIFT) - 1));
        let Some(chunk) = self.chunk_index(number) else { return (&self.base, left) };
        let chunk = &self.chunks[chunk];
        let Some((first, rest)) = chunk.slots.get(slot..).and_then(<[_]>::split_first) else {
            return (&chunk.base, left);
        };
        let to_end = (SLOT_PAGES - page) as u64;
        let (value, mut run) = if first.stamp == chunk.stamp {
            let ahead = first.set >> page;
            if ahead & 1 != 0 {
                return (&self.pages[place(first.leaf, page)], 1);
            }
            (&first.base, u64::from(ahead.trailing_zeros()).min(to_end))
        } else {
            (&chunk.base, to_end)
        };
        if run == to_end && run < wanted {
            for slot in rest {
                let stale = slot.stamp != chunk.stamp;
                let (base, set) = if stale { (&chunk.base, 0) } else { (&slot.base, slot.set) };
                if base != value {
                    break;
                }
                run += u64::from(set.trailing_zeros());
                if set != 0 || run >= wanted {
                    break;
                }
            }
        }
        (value, run)
    }

    /// The page's own value, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, pfn: Pfn) -> &mut T {
        let (chunk, slot, page) = split(pfn);
        let chunk = self.make_chunk(chunk);
        let (slot, pages) = self.own_pages(chunk, slot);
        let value = &mut pages[page];
        if slot.set >> page & 1 == 0 {
            slot.set |= 1 << page;
            *value = slot.base;
        }
        value
    }

    /// Gives `count` pages from `first` the value `value`. `count` is at most [`MAX_FILL_PAGES`].
    pub(crate) fn fill(&mut self, first: Pfn, count: u64, value: T) {
        debug_assert!(count <= MAX_FILL_PAGES);
        if count == 1 {
            *self.get_mut(first) = value;
            return;
        }
        let end = first.0.saturating_add(count);
        let mut pfn = first.0;
        while pfn < end {
            let (number, slot, page) = split(Pfn(pfn));
            let index = self.make_chunk(number);
            let chunk_end = ((pfn >> CHUNK_PAGE_SHIFT) + 1) << CHUNK_PAGE_SHIFT;
            let stop = end.min(chunk_end);
            if stop - pfn == 1 << CHUNK_PAGE_SHIFT {
                self.stamp += 1;
                let chunk = &mut self.chunks[index];
                chunk.stamp = self.stamp;
                chunk.base = value;
                pfn = stop;
                continue;
            }
            if page == 0 && stop - pfn >= SLOT_PAGES as u64 {
                let chunk = &mut self.chunks[index];
                if chunk.slots.is_empty() {
                    chunk.make_slots();
                }
                // At most 512: it was cut at the chunk's end.
                let whole = usize::try_from((stop - pfn) >> SLOT_SHIFT).unwrap_or(CHUNK_SLOTS);
                let stamps = (chunk.stamp, chunk.born);
                chunk.slots[slot..slot + whole].iter_mut().for_each(|slot| slot.fill(value, stamps));
                pfn += (whole as u64) << SLOT_SHIFT;
                continue;
            }
            let slot_end = (pfn | (SLOT_PAGES as u64 - 1)) + 1;
            let to = page + usize::try_from(stop.min(slot_end) - pfn).unwrap_or(SLOT_PAGES);
            let (slot, pages) = self.own_pages(index, slot);
            slot.set |= bits(page, to);
            pages[page..to].fill(value);
            pfn += (to - page) as u64;
        }
    }

    #[inline]
    fn chunk_index(&self, chunk: u64) -> Option<usize> {
        let index = if chunk < DENSE_CHUNKS {
            usize::try_from(chunk).ok().and_then(|chunk| self.dense.get(chunk)).copied().unwrap_or(NONE)
        } else {
            self.sparse.get(&chunk).copied().unwrap_or(NONE)
        };
        (index != NONE).then_some(index as usize)
    }

    #[inline]
    fn make_chunk(&mut self, chunk: u64) -> usize {
        match self.chunk_index(chunk) {
            Some(index) => index,
            None => self.new_chunk(chunk),
        }
    }

    #[cold]
    fn new_chunk(&mut self, chunk: u64) -> usize {
        let index = self.chunks_used;
        self.chunks_used += 1;
        self.stamp += 1;
        if let Some(recycled) = self.chunks.get_mut(index) {
            recycled.base = self.base;
            recycled.stamp = self.stamp;
            recycled.born = self.stamp;
        } else {
            self.chunks.push(Chunk {
                base: self.base,
                stamp: self.stamp,
                born: self.stamp,
                slots: Vec::new(),
            });
        }
        match u32::try_from(chunk) {
            Ok(number) if chunk < DENSE_CHUNKS => {
                let needed = number as usize + 1;
                if self.dense.len() < needed {
                    self.dense.resize(needed, NONE);
                }
                self.dense[number as usize] = small(index);
                self.touched.push(number);
            }
            _ => {
                self.sparse.insert(chunk, small(index));
            }
        }
        index
    }

    /// The slot, valid, with room for values of single pages.
    #[inline]
    fn own_pages(&mut self, chunk: usize, slot: usize) -> (&mut Slot<T>, &mut [T]) {
        let chunk = &mut self.chunks[chunk];
        if chunk.slots.is_empty() {
            chunk.make_slots();
        }
        let slot = &mut chunk.slots[slot];
        if slot.stamp != chunk.stamp {
            slot.fill(chunk.base, (chunk.stamp, chunk.born));
        }
        if slot.leaf == NONE {
            slot.leaf = self.leaves_used;
            self.leaves_used += 1;
            let needed = place(self.leaves_used, 0);
            if self.pages.len() < needed {
                self.pages.resize(needed, slot.base);
            }
        }
        let first = place(slot.leaf, 0);
        (slot, &mut self.pages[first..first + SLOT_PAGES])
    }
}

impl<T: Copy> Chunk<T> {
    #[cold]
    fn make_slots(&mut self) {
        self.slots.resize(CHUNK_SLOTS, Slot { base: self.base, stamp: 0, set: 0, leaf: NONE });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fill_wins_at_every_level() {
        let mut map = PageMap::new(0u32);
        map.fill(Pfn(0), 1 << 22, 1);
        *map.get_mut(Pfn(5)) = 2;
        map.fill(Pfn(64), 64, 3);
        assert_eq!([0, 5, 63, 64, 127, 128].map(|pfn| *map.get(Pfn(pfn))), [1, 2, 1, 3, 3, 1]);
        map.fill(Pfn(0), 1 << 15, 4);
        assert_eq!([0, 5, 64, 1 << 15].map(|pfn| *map.get(Pfn(pfn))), [4, 4, 4, 1]);
        *map.get_mut(Pfn(6)) = 5;
        assert_eq!([5, 6, 7].map(|pfn| *map.get(Pfn(pfn))), [4, 5, 4]);
    }

    #[test]
    fn a_reset_forgets_and_keeps_the_memory() {
        let mut map = PageMap::new(0u32);
        for round in 1..4 {
            *map.get_mut(Pfn(7)) = round;
            *map.get_mut(Pfn(1 << 39)) = round;
            assert_eq!((*map.get(Pfn(7)), *map.get(Pfn(1 << 39))), (round, round));
            map.reset(9);
            assert_eq!((*map.get(Pfn(7)), *map.get(Pfn(1 << 39)), *map.get(Pfn(8))), (9, 9, 9));
        }
        assert_eq!((map.chunks.len(), map.pages.len()), (2, 2 * SLOT_PAGES));
    }

    #[test]
    fn the_end_of_a_52_bit_space_costs_one_leaf() {
        let mut map = PageMap::new(0u8);
        *map.get_mut(Pfn((1 << 40) - 1)) = 1;
        assert_eq!((map.dense.len(), map.pages.len()), (0, SLOT_PAGES));
    }

    /// Fills, single pages and resets in any order, against a plain array.
    #[test]
    fn it_is_an_array() {
        const PAGES: u64 = 3 << CHUNK_PAGE_SHIFT;
        let mut draw = 1u64;
        let mut next = |below: u64| {
            draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (draw >> 33) % below
        };
        let mut map = PageMap::new(0u32);
        let mut twin = vec![0u32; usize::try_from(PAGES).unwrap()];
        for round in 1..600u32 {
            let shift = next(17);
            let first = next(PAGES) >> shift << shift;
            let most = 1 << next(17);
            let count = (next(most) + 1).min(PAGES - first);
            let (from, to) = (usize::try_from(first).unwrap(), usize::try_from(first + count).unwrap());
            match next(12) {
                0 => {
                    map.reset(round);
                    twin.fill(round);
                }
                1..5 => {
                    *map.get_mut(Pfn(first)) = round;
                    twin[from] = round;
                }
                _ => {
                    // Few values, so that neighbours are often equal.
                    map.fill(Pfn(first), count, round % 3);
                    twin[from..to].fill(round % 3);
                }
            }
            let mut at = 0;
            while at < twin.len() {
                let wanted = next(200) << (7 * next(2));
                let (&value, run) = map.run(Pfn(at as u64), wanted);
                let end = at + usize::try_from(run).unwrap();
                assert!(
                    run > 0 && twin[at..end].iter().all(|&there| there == value),
                    "round {round}, page {at}"
                );
                assert_eq!(*map.get(Pfn(end as u64 - 1)), value, "round {round}, page {at}");
                at = end;
            }
        }
    }
}
