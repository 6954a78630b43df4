//! Deferred initialisation of page structures: which pages the hand-over leaves out, and in which order they follow.

use super::handover::PfnRange;
use super::state::Memblock;
use super::types::NodeId;
use crate::mem::Pfn;

/// Pages of a section of the memory map: 128 MiB on x86-64. Source: `PAGES_PER_SECTION`, `SECTION_SIZE_BITS`.
pub const SECTION_PAGES: u64 = 1 << 15;
/// Pages of a block of the largest order. Source: `MAX_ORDER_NR_PAGES`.
const MAX_BLOCK: u64 = 1 << 10;

/// Which pages of one node have no page structure yet: those of its last zone from some frame on.
///
/// In the kernel several threads share the work (`padata_do_multithreaded()`), and blocks of their parts reach the page
/// allocator in no fixed order; here it is one thread.
///
/// Source: `mm/mm_init.c` with `CONFIG_DEFERRED_STRUCT_PAGE_INIT`, v6.12; `mm/page_alloc.c`, v6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeferredInit {
    nid: NodeId,
    zone_start: Pfn,
    node_end: Pfn,
    /// Source: `pgdat->first_deferred_pfn`; `None` for `ULONG_MAX`.
    first: Option<Pfn>,
}

impl DeferredInit {
    /// Decides what is left for later: in the node's last zone, which reaches from `zone_start` to `node_end`, all from
    /// the first border of a section on before which more than a section's worth of memory was seen.
    /// Source: `mm/mm_init.c: defer_init()`, called for each page of the node's memory.
    #[must_use]
    pub fn new(mb: &Memblock, nid: NodeId, zone_start: Pfn, node_end: Pfn) -> Self {
        let mut seen = 0;
        let mut first = None;
        for run in mb.pfn_ranges(nid) {
            let (start, end) = (run.start.0.max(zone_start.0), run.end.0.min(node_end.0));
            if start >= end {
                continue;
            }
            // The page at `start + n` is the n+1st of this run.
            let enough = start.max(start.saturating_add(SECTION_PAGES).saturating_sub(seen));
            let border = enough.checked_next_multiple_of(SECTION_PAGES).unwrap_or(u64::MAX);
            if border < end {
                first = Some(Pfn(border));
                break;
            }
            seen += end - start;
        }
        Self { nid, zone_start, node_end, first }
    }

    /// The first frame without a page structure, if there is one.
    #[must_use]
    pub const fn first(&self) -> Option<Pfn> {
        self.first
    }

    /// Whether the page has its structure. Source: `mm/mm_init.c: early_page_initialised()`.
    #[must_use]
    pub fn is_initialised(&self, pfn: Pfn) -> bool {
        self.first.is_none_or(|first| pfn < first || pfn >= self.node_end)
    }

    /// What of a run really reaches the page allocator now. The rest is passed over without a word: a block is looked at
    /// by its first page, and none lies across the border. Source: `mm/mm_init.c: memblock_free_pages()`.
    #[must_use]
    pub fn cut(&self, run: PfnRange) -> PfnRange {
        let end = match self.first {
            Some(first) if run.start < self.node_end => run.end.min(first.max(run.start)),
            _ => run.end,
        };
        PfnRange { start: run.start, end }
    }

    /// Initialises all that is left, and returns what of it is free, in the order in which the page allocator gets it:
    /// whole blocks of the largest order as they are, smaller pieces page by page.
    /// Source: `mm/mm_init.c: deferred_init_memmap(), deferred_free_pages()`.
    pub fn finish(&mut self, mb: &Memblock) -> Vec<PfnRange> {
        let pieces = self.pieces(mb);
        self.first = None;
        pieces
    }

    /// Initialises so many sections that a block of 2^`order` pages may come of it, and returns what of them is free.
    /// Source: `mm/mm_init.c: deferred_grow_zone()`.
    pub fn grow(&mut self, mb: &Memblock, order: u8) -> Vec<PfnRange> {
        let needed = (1_u64 << order.min(32)).next_multiple_of(SECTION_PAGES);
        let pieces = self.pieces(mb);
        let (mut taken, mut pages) = (0, 0);
        self.first = None;
        while let Some(piece) = pieces.get(taken) {
            let block = piece.start.0 / MAX_BLOCK;
            while let Some(same) = pieces.get(taken).filter(|next| next.start.0 / MAX_BLOCK == block) {
                pages += same.pages();
                taken += 1;
            }
            let Some(next) = pieces.get(taken) else { break };
            // Only at the border of a section, and with enough.
            if next.start.0 / SECTION_PAGES != piece.start.0 / SECTION_PAGES && pages >= needed {
                self.first = Some(next.start);
                break;
            }
        }
        pieces[..taken].to_vec()
    }

    /// What is free of the rest, cut at the borders of blocks of the largest order.
    fn pieces(&self, mb: &Memblock) -> Vec<PfnRange> {
        let Some(first) = self.first else { return Vec::new() };
        let mut pieces = Vec::new();
        for run in mb.free_pfn_ranges_in_zone(self.nid, self.zone_start, self.node_end) {
            let mut start = run.start.max(first);
            while start < run.end {
                let end = Pfn((start.0 + 1).next_multiple_of(MAX_BLOCK)).min(run.end);
                pieces.push(PfnRange { start, end });
                start = end;
            }
        }
        pieces
    }
}
