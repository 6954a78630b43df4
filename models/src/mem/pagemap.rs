//! A map from page frame to a small value, in which filling, reading and forgetting are cheap.
//!
//! Three levels: chunks of 128 MiB, leaves of 256 KiB, pages. Each level carries a *base* value for all that was not
//! set below it, and a stamp that says which entries below are still valid. So filling a 16 GiB machine costs a
//! hundred steps, and a reset costs one step per chunk that was touched.

use std::collections::BTreeMap;

use super::addr::Pfn;

/// Pages in a leaf: 256 KiB.
const LEAF_SHIFT: u32 = 6;
const LEAF_PAGES: usize = 1 << LEAF_SHIFT;
/// Leaves in a chunk: 128 MiB.
const CHUNK_SHIFT: u32 = 9;
const CHUNK_LEAVES: usize = 1 << CHUNK_SHIFT;
/// log2 of the pages in a chunk.
const CHUNK_PAGE_SHIFT: u32 = LEAF_SHIFT + CHUNK_SHIFT;
/// Chunks below this number (16 TiB) are found through a vector, those above through a tree: a single touch of the
/// last page of a 52-bit address space must not allocate a directory for all that lies below it.
const DENSE_CHUNKS: u64 = 1 << 17;

/// "No such leaf", "no such chunk".
const NONE: u32 = u32::MAX;

/// Longest range that [`PageMap::fill`] takes: 16 TiB, in pages.
pub(crate) const MAX_FILL_PAGES: u64 = 1 << (44 - 12);

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    value: T,
    /// Valid when equal to the leaf's stamp. 0 is never valid.
    stamp: u32,
}

#[derive(Debug)]
struct Leaf<T> {
    base: T,
    stamp: u32,
    /// Whether a single page was set since the last fill.
    mixed: bool,
    /// Empty until a single page is set.
    pages: Vec<Entry<T>>,
}

impl<T: Copy> Leaf<T> {
    /// Makes `base` the value of every page.
    fn fill(&mut self, base: T) {
        if self.stamp == u32::MAX {
            // Once in four thousand million fills: a stamp that came round again would bring back dead entries.
            for page in &mut self.pages {
                page.stamp = 0;
            }
            self.stamp = 0;
        }
        self.stamp += 1;
        self.base = base;
        self.mixed = false;
    }

    fn get(&self, page: usize) -> &T {
        match self.pages.get(page) {
            Some(entry) if entry.stamp == self.stamp => &entry.value,
            _ => &self.base,
        }
    }

    fn get_mut(&mut self, page: usize) -> &mut T {
        if self.pages.is_empty() {
            self.pages.resize(LEAF_PAGES, Entry { value: self.base, stamp: 0 });
        }
        self.mixed = true;
        let entry = &mut self.pages[page];
        if entry.stamp != self.stamp {
            *entry = Entry { value: self.base, stamp: self.stamp };
        }
        &mut entry.value
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    leaf: u32,
    /// Valid when equal to the chunk's stamp.
    stamp: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    base: T,
    stamp: u32,
    /// Empty until less than the whole chunk is set.
    slots: Vec<Slot>,
}

/// A value for each page frame of a 64-bit address space.
#[derive(Debug)]
pub(crate) struct PageMap<T> {
    base: T,
    dense: Vec<u32>,
    sparse: BTreeMap<u64, u32>,
    chunks: Vec<Chunk<T>>,
    chunks_used: usize,
    leaves: Vec<Leaf<T>>,
    leaves_used: usize,
    /// Dense directory entries in use, so that a reset need not walk the directory.
    touched: Vec<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "both are masked below their table's size")]
const fn split(pfn: Pfn) -> (u64, usize, usize) {
    (
        pfn.0 >> CHUNK_PAGE_SHIFT,
        (pfn.0 >> LEAF_SHIFT) as usize & (CHUNK_LEAVES - 1),
        pfn.0 as usize & (LEAF_PAGES - 1),
    )
}

/// Counts used here stay far below 2^32: a leaf stands for 256 KiB that was really touched.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

impl<T: Copy> PageMap<T> {
    /// A map in which every page has the value `base`.
    pub(crate) const fn new(base: T) -> Self {
        Self {
            base,
            dense: Vec::new(),
            sparse: BTreeMap::new(),
            chunks: Vec::new(),
            chunks_used: 0,
            leaves: Vec::new(),
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
        for chunk in &mut self.chunks[..self.chunks_used] {
            chunk.slots.clear();
        }
        self.chunks_used = 0;
        self.leaves_used = 0;
        self.base = base;
    }

    /// Value of the page.
    #[inline]
    pub(crate) fn get(&self, pfn: Pfn) -> &T {
        let (chunk, leaf, page) = split(pfn);
        let Some(chunk) = self.chunk_index(chunk) else { return &self.base };
        let chunk = &self.chunks[chunk];
        match chunk.slots.get(leaf) {
            Some(slot) if slot.stamp == chunk.stamp => self.leaves[slot.leaf as usize].get(page),
            _ => &chunk.base,
        }
    }

    /// Value of the page, and for how many pages from it on, at least, that is the value.
    pub(crate) fn run(&self, pfn: Pfn) -> (&T, u64) {
        let (chunk, leaf, page) = split(pfn);
        let left_in = |shift: u32| (1 << shift) - (pfn.0 & ((1 << shift) - 1));
        let Some(chunk) = self.chunk_index(chunk) else { return (&self.base, left_in(CHUNK_PAGE_SHIFT)) };
        let chunk = &self.chunks[chunk];
        match chunk.slots.get(leaf) {
            Some(slot) if slot.stamp == chunk.stamp => {
                let leaf = &self.leaves[slot.leaf as usize];
                if leaf.mixed { (leaf.get(page), 1) } else { (&leaf.base, left_in(LEAF_SHIFT)) }
            }
            _ => (&chunk.base, left_in(LEAF_SHIFT)),
        }
    }

    /// The page's own value, to be changed.
    pub(crate) fn get_mut(&mut self, pfn: Pfn) -> &mut T {
        let (chunk, leaf, page) = split(pfn);
        let chunk = self.make_chunk(chunk);
        let leaf = self.make_leaf(chunk, leaf);
        self.leaves[leaf].get_mut(page)
    }

    /// Gives `count` pages from `first` the value `value`. `count` is at most [`MAX_FILL_PAGES`].
    pub(crate) fn fill(&mut self, first: Pfn, count: u64, value: T) {
        debug_assert!(count <= MAX_FILL_PAGES);
        let end = first.0.saturating_add(count);
        let mut pfn = first.0;
        while pfn < end {
            let left = end - pfn;
            let (chunk, leaf, _) = split(Pfn(pfn));
            let index = self.make_chunk(chunk);
            if left >> CHUNK_PAGE_SHIFT != 0 && pfn.trailing_zeros() >= CHUNK_PAGE_SHIFT {
                let chunk = &mut self.chunks[index];
                if chunk.stamp == u32::MAX {
                    chunk.slots.iter_mut().for_each(|slot| slot.stamp = 0);
                    chunk.stamp = 0;
                }
                chunk.stamp += 1;
                chunk.base = value;
                pfn += 1 << CHUNK_PAGE_SHIFT;
                continue;
            }
            let leaf = self.make_leaf(index, leaf);
            let leaf = &mut self.leaves[leaf];
            if left >> LEAF_SHIFT != 0 && pfn.trailing_zeros() >= LEAF_SHIFT {
                leaf.fill(value);
                pfn += 1 << LEAF_SHIFT;
                continue;
            }
            let leaf_end = (pfn | (LEAF_PAGES as u64 - 1)) + 1;
            while pfn < end.min(leaf_end) {
                let (_, _, page) = split(Pfn(pfn));
                *leaf.get_mut(page) = value;
                pfn += 1;
            }
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

    fn make_chunk(&mut self, chunk: u64) -> usize {
        if let Some(index) = self.chunk_index(chunk) {
            return index;
        }
        let index = self.chunks_used;
        self.chunks_used += 1;
        if let Some(recycled) = self.chunks.get_mut(index) {
            recycled.base = self.base;
            recycled.stamp = 1;
        } else {
            self.chunks.push(Chunk { base: self.base, stamp: 1, slots: Vec::new() });
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

    fn make_leaf(&mut self, chunk: usize, leaf: usize) -> usize {
        let chunk = &mut self.chunks[chunk];
        if chunk.slots.is_empty() {
            chunk.slots.resize(CHUNK_LEAVES, Slot { leaf: NONE, stamp: 0 });
        }
        let slot = &mut chunk.slots[leaf];
        if slot.stamp == chunk.stamp {
            return slot.leaf as usize;
        }
        slot.stamp = chunk.stamp;
        if slot.leaf == NONE {
            slot.leaf = small(self.leaves_used);
            self.leaves_used += 1;
            if self.leaves.len() < self.leaves_used {
                self.leaves.push(Leaf { base: chunk.base, stamp: 0, mixed: false, pages: Vec::new() });
            }
        }
        self.leaves[slot.leaf as usize].fill(chunk.base);
        slot.leaf as usize
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
        assert_eq!((map.chunks.len(), map.leaves.len()), (2, 2));
    }

    #[test]
    fn the_end_of_a_52_bit_space_costs_one_leaf() {
        let mut map = PageMap::new(0u8);
        *map.get_mut(Pfn((1 << 40) - 1)) = 1;
        assert_eq!((map.dense.len(), map.leaves.len()), (0, 1));
    }
}
