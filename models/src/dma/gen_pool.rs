//! Pages set aside in chunks (`lib/genalloc.c`), as the pools of atomic allocations use them.

use crate::mem::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};

/// Memory that was added in one piece.
#[derive(Clone, Debug)]
struct Chunk {
    start: PhysAddr,
    /// By page: whether it is handed out.
    taken: Vec<bool>,
}

impl Chunk {
    /// The pages of a range, if the chunk holds it.
    fn pages(&self, start: PhysAddr, bytes: u64) -> Option<std::ops::Range<usize>> {
        let first = usize::try_from(start.0.checked_sub(self.start.0)? >> PAGE_SHIFT).ok()?;
        let count = usize::try_from(bytes.div_ceil(PAGE_SIZE)).ok()?;
        let end = first.checked_add(count)?;
        (count > 0 && end <= self.taken.len()).then_some(first..end)
    }

    /// The first free pages that begin at a multiple of their rounded number.
    ///
    /// Source: `lib/genalloc.c: gen_pool_first_fit_order_align()`, v6.12. Multiples count from the chunk's start.
    fn find(&self, count: usize) -> Option<usize> {
        let step = count.checked_next_power_of_two()?;
        (0..self.taken.len()).step_by(step).find(|&first| {
            self.taken.get(first..first + count).is_some_and(|run| run.iter().all(|taken| !taken))
        })
    }
}

/// A pool of pages.
///
/// Source: `include/linux/genalloc.h: struct gen_pool`, v6.12, with granules of a page.
#[derive(Clone, Debug, Default)]
pub struct GenPool {
    /// The newest first.
    chunks: Vec<Chunk>,
}

impl GenPool {
    /// Adds memory. Source: `lib/genalloc.c: gen_pool_add_owner()`, v6.12.
    pub fn add(&mut self, start: PhysAddr, bytes: u64) {
        let pages = usize::try_from(bytes / PAGE_SIZE).unwrap_or(0);
        self.chunks.insert(0, Chunk { start, taken: vec![false; pages] });
    }

    /// Bytes in the pool.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.taken.len() as u64 * PAGE_SIZE).sum()
    }

    /// Bytes that are free. Source: `lib/genalloc.c: gen_pool_avail()`, v6.12.
    #[must_use]
    pub fn avail(&self) -> u64 {
        let free = |chunk: &Chunk| chunk.taken.iter().filter(|taken| !**taken).count() as u64;
        self.chunks.iter().map(free).sum::<u64>() * PAGE_SIZE
    }

    /// The pages that are handed out.
    pub fn taken(&self) -> impl Iterator<Item = PhysAddr> {
        self.chunks.iter().flat_map(|chunk| {
            let taken = chunk.taken.iter().enumerate().filter(|(_, taken)| **taken);
            taken.map(|(page, _)| chunk.start.wrapping_add(page as u64 * PAGE_SIZE))
        })
    }

    /// Takes whole pages for `bytes`. Source: `lib/genalloc.c: gen_pool_alloc_algo_owner()`, v6.12.
    pub fn alloc(&mut self, bytes: u64) -> Option<PhysAddr> {
        let count = usize::try_from(bytes.div_ceil(PAGE_SIZE)).ok().filter(|count| *count > 0)?;
        for chunk in &mut self.chunks {
            if let Some(first) = chunk.find(count) {
                chunk.taken[first..first + count].fill(true);
                return Some(chunk.start.wrapping_add(first as u64 * PAGE_SIZE));
            }
        }
        None
    }

    /// Gives them back; says whether they are the pool's. Source: `lib/genalloc.c: gen_pool_has_addr()`,
    /// `gen_pool_free_owner()`, v6.12.
    pub fn free(&mut self, start: PhysAddr, bytes: u64) -> bool {
        for chunk in &mut self.chunks {
            if let Some(pages) = chunk.pages(start, bytes) {
                chunk.taken[pages].fill(false);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fit_is_aligned_to_its_rounded_size() {
        let mut pool = GenPool::default();
        pool.add(PhysAddr(0x10_0000), 8 * PAGE_SIZE);
        assert_eq!(pool.alloc(PAGE_SIZE), Some(PhysAddr(0x10_0000)));
        assert_eq!(pool.alloc(3 * PAGE_SIZE), Some(PhysAddr(0x10_4000)), "page 1 is no multiple of 4");
        assert_eq!(pool.alloc(2 * PAGE_SIZE), Some(PhysAddr(0x10_2000)));
        assert_eq!(pool.alloc(1), Some(PhysAddr(0x10_1000)));
        assert_eq!((pool.alloc(2 * PAGE_SIZE), pool.avail()), (None, PAGE_SIZE));
        assert!(pool.free(PhysAddr(0x10_4000), 3 * PAGE_SIZE));
        assert_eq!(pool.alloc(4 * PAGE_SIZE), Some(PhysAddr(0x10_4000)));
    }

    #[test]
    fn new_memory_comes_first_and_foreign_memory_is_refused() {
        let mut pool = GenPool::default();
        pool.add(PhysAddr(0x10_0000), PAGE_SIZE);
        pool.add(PhysAddr(0x20_0000), PAGE_SIZE);
        assert_eq!(pool.alloc(1), Some(PhysAddr(0x20_0000)));
        assert_eq!(pool.alloc(1), Some(PhysAddr(0x10_0000)));
        assert_eq!((pool.alloc(1), pool.size(), pool.avail()), (None, 2 * PAGE_SIZE, 0));
        assert!(!pool.free(PhysAddr(0x30_0000), PAGE_SIZE) && !pool.free(PhysAddr(0x20_0000), 2 * PAGE_SIZE));
        assert_eq!(pool.alloc(0), None);
    }
}
