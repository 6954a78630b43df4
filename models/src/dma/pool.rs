//! Small blocks of coherent memory (`mm/dmapool.c`): which block comes next.

use crate::mem::{DmaAddr, PAGE_SIZE, align_up};

/// In which order free blocks are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOrder {
    /// Each page has a chain of its own; the newest page with a free block serves. Up to v6.3.
    NewestPage,
    /// One chain through all pages, the block freed last first. Since v6.4.
    OneChain,
}

/// Why there is no such pool (`dma_pool_create()` returns NULL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPool;

/// A page of a pool.
#[derive(Clone, Debug)]
struct Page {
    dma: DmaAddr,
    /// Offsets of free blocks, the next one last. Only under [`PoolOrder::NewestPage`].
    free: Vec<u64>,
    in_use: u64,
}

/// A pool of blocks, by their bus addresses.
///
/// Source: `mm/dmapool.c: struct dma_pool`, v6.1 and v6.12.
#[derive(Clone, Debug)]
pub struct DmaPool {
    order: PoolOrder,
    size: u64,
    boundary: u64,
    allocation: u64,
    /// The newest last.
    pages: Vec<Page>,
    /// Free blocks of all pages, the next one last. Only under [`PoolOrder::OneChain`].
    free: Vec<DmaAddr>,
}

impl DmaPool {
    /// An empty pool of blocks of `size` bytes, aligned to `align`, that do not cross a multiple of `boundary`
    /// (0: that of the allocation).
    ///
    /// Source: `mm/dmapool.c: dma_pool_create()`, v6.1 and v6.12.
    ///
    /// # Errors
    ///
    /// [`BadPool`] for an alignment or a boundary that is no power of two, a size of 0, a boundary below the size,
    /// and, since v6.4, a size of 2 GiB and more. Larger sizes than any kernel gets memory for are refused always.
    pub fn create(order: PoolOrder, size: u64, align: u64, boundary: u64) -> Result<Self, BadPool> {
        let align = align.max(1);
        if !align.is_power_of_two() || size == 0 || size > 1 << 31 || align > 1 << 31 {
            return Err(BadPool);
        }
        let least = match order {
            PoolOrder::NewestPage => 4,
            PoolOrder::OneChain => 16,
        };
        let size = align_up(size.max(least), align);
        let allocation = size.max(PAGE_SIZE);
        let boundary = match boundary {
            0 => allocation,
            boundary if boundary < size || !boundary.is_power_of_two() => return Err(BadPool),
            boundary => boundary,
        };
        let boundary = match order {
            PoolOrder::NewestPage => boundary,
            PoolOrder::OneChain => boundary.min(allocation),
        };
        Ok(Self { order, size, boundary, allocation, pages: Vec::new(), free: Vec::new() })
    }

    /// Bytes that [`Self::add_page`] needs: the size of each coherent allocation.
    #[must_use]
    pub const fn allocation(&self) -> u64 {
        self.allocation
    }

    /// Takes a block. `None`: there is none, and the caller is to get memory and [`Self::add_page`] it.
    ///
    /// Source: `mm/dmapool.c: dma_pool_alloc()`, v6.1; `pool_block_pop()`, v6.12.
    pub fn alloc(&mut self) -> Option<DmaAddr> {
        match self.order {
            PoolOrder::NewestPage => {
                let page = self.pages.iter_mut().rev().find(|page| !page.free.is_empty())?;
                page.in_use += 1;
                page.free.pop().map(|offset| page.dma.wrapping_add(offset))
            }
            PoolOrder::OneChain => {
                let block = self.free.pop()?;
                if let Some(page) = self.page_of(block) {
                    self.pages[page].in_use += 1;
                }
                Some(block)
            }
        }
    }

    /// Cuts new memory at `dma` into blocks.
    ///
    /// Source: `mm/dmapool.c: pool_initialise_page()`, v6.1 and v6.12.
    pub fn add_page(&mut self, dma: DmaAddr) {
        let mut offsets = self.offsets();
        offsets.reverse();
        match self.order {
            PoolOrder::NewestPage => self.pages.push(Page { dma, free: offsets, in_use: 0 }),
            PoolOrder::OneChain => {
                self.free.extend(offsets.into_iter().map(|offset| dma.wrapping_add(offset)));
                self.pages.push(Page { dma, free: Vec::new(), in_use: 0 });
            }
        }
    }

    /// Where blocks begin in a page. The older cut leaves out a block that would end just on a boundary, and does
    /// not look at the end of the memory where the boundary lies behind it.
    fn offsets(&self) -> Vec<u64> {
        let mut offsets = Vec::new();
        let mut next_boundary = self.boundary;
        let mut offset = 0;
        match self.order {
            PoolOrder::NewestPage => {
                while offset < self.allocation {
                    offsets.push(offset);
                    offset += self.size;
                    if offset + self.size >= next_boundary {
                        offset = next_boundary;
                        next_boundary += self.boundary;
                    }
                }
            }
            PoolOrder::OneChain => {
                while offset + self.size <= self.allocation {
                    if offset + self.size > next_boundary {
                        offset = next_boundary;
                        next_boundary += self.boundary;
                        continue;
                    }
                    offsets.push(offset);
                    offset += self.size;
                }
            }
        }
        offsets
    }

    /// Gives a block back. Says whether it lies in a page of the pool; if not, the kernel complains.
    ///
    /// Source: `mm/dmapool.c: dma_pool_free()`, v6.1 and v6.12. The newer one looks for the page only in debug
    /// builds; a wrong address then poisons the chain.
    pub fn free(&mut self, block: DmaAddr) -> bool {
        let page = self.page_of(block);
        if let Some(page) = page {
            let page = &mut self.pages[page];
            page.in_use = page.in_use.wrapping_sub(1);
            if self.order == PoolOrder::NewestPage {
                page.free.push(block.0.wrapping_sub(page.dma.0));
            }
        }
        if self.order == PoolOrder::OneChain {
            self.free.push(block);
        }
        page.is_some()
    }

    fn page_of(&self, block: DmaAddr) -> Option<usize> {
        self.pages.iter().rposition(|page| page.dma <= block && block.0 - page.dma.0 < self.allocation)
    }

    /// Destroys the pool; the memory that is given back, in the kernel's order. What has blocks in use is leaked:
    /// that page in the older kernels, everything in the newer ones.
    ///
    /// Source: `mm/dmapool.c: dma_pool_destroy()`, v6.1 and v6.12.
    #[must_use]
    pub fn destroy(self) -> Vec<DmaAddr> {
        let busy = self.order == PoolOrder::OneChain && self.pages.iter().any(|page| page.in_use != 0);
        let given = self.pages.iter().rev();
        given.filter(|page| !busy && page.in_use == 0).map(|page| page.dma).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(order: PoolOrder, size: u64, align: u64, boundary: u64) -> Vec<u64> {
        let mut pool = DmaPool::create(order, size, align, boundary).expect("a possible pool");
        pool.add_page(DmaAddr(0x1000));
        std::iter::from_fn(|| pool.alloc()).map(|block| block.0 - 0x1000).collect()
    }

    #[test]
    fn blocks_keep_off_the_boundary() {
        assert_eq!(drained(PoolOrder::OneChain, 192, 64, 1024)[..7], [0, 192, 384, 576, 768, 1024, 1216]);
        assert_eq!(drained(PoolOrder::NewestPage, 1000, 8, 0), [0, 1000, 2000, 3000]);
    }

    #[test]
    fn the_older_cut_loses_a_block_that_ends_on_the_boundary() {
        assert_eq!(drained(PoolOrder::OneChain, 64, 64, 0).len(), 64);
        assert_eq!(drained(PoolOrder::NewestPage, 64, 64, 0).len(), 63);
        assert_eq!(drained(PoolOrder::NewestPage, 4096, 4096, 0), [0]);
    }

    #[test]
    fn the_block_freed_last_comes_first_only_on_one_chain() {
        for (order, expected) in [(PoolOrder::NewestPage, 0x5000), (PoolOrder::OneChain, 0x1000)] {
            let mut pool = DmaPool::create(order, 4096, 0, 0).expect("a possible pool");
            pool.add_page(DmaAddr(0x1000));
            assert_eq!(pool.alloc(), Some(DmaAddr(0x1000)));
            assert_eq!(pool.alloc(), None);
            pool.add_page(DmaAddr(0x5000));
            assert_eq!(pool.alloc(), Some(DmaAddr(0x5000)));
            assert!(pool.free(DmaAddr(0x5000)));
            assert!(pool.free(DmaAddr(0x1000)));
            assert_eq!(pool.alloc(), Some(DmaAddr(expected)), "{order:?}");
            assert!(pool.free(DmaAddr(expected)));
            assert_eq!(pool.destroy(), [DmaAddr(0x5000), DmaAddr(0x1000)]);
        }
    }

    #[test]
    fn impossible_pools_are_refused() {
        for (size, align, boundary) in [(0, 0, 0), (8, 3, 0), (64, 0, 32), (64, 0, 96), (u64::MAX, 0, 0)] {
            assert!(DmaPool::create(PoolOrder::OneChain, size, align, boundary).is_err());
        }
    }
}
