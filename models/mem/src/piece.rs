//! Breakpoints: how a page says where its bytes came from.

use super::addr::Pfn;
use super::source::Source;

/// From byte `start` of its page on, up to the next one, bytes come from `source` at (address + `bias`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) bias: u64,
    pub(super) source: Source,
    pub(super) start: u16,
}

impl Break {
    /// For bytes of which the one at `addr` is byte `offset` of `source`.
    pub(super) const fn new(source: Source, offset: u64, addr: u64) -> Self {
        let bias = if source.is_position_free() { 0 } else { offset.wrapping_sub(addr) };
        Self { bias, source, start: 0 }
    }

    /// Whether this one goes on where the other left off.
    pub(super) fn continues(&self, other: &Self) -> bool {
        self.bias == other.bias && self.source == other.source
    }
}

/// All of physical memory, before anybody wrote.
pub(super) const UNTOUCHED: Break = Break { bias: 0, source: Source::Untouched, start: 0 };

/// "The breakpoints are in the page itself".
pub(super) const INLINE: u32 = u32::MAX;

/// The breakpoints of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) inline: [Break; 2],
    /// How many of `inline` count, 1 or 2.
    pub(super) count: u8,
    /// Index of the list that holds the breakpoints when there are more than two, else [`INLINE`].
    pub(super) spill: u32,
}

impl Page {
    /// A page of one piece.
    pub(super) const fn uniform(only: Break) -> Self {
        Self { inline: [only; 2], count: 1, spill: INLINE }
    }
}

/// Index of the breakpoint that covers byte `at` of its page.
pub(super) fn covering(breaks: &[Break], at: u16) -> usize {
    if breaks.len() <= 2 {
        return usize::from(breaks.len() == 2 && breaks[1].start <= at);
    }
    breaks.partition_point(|piece| piece.start <= at) - 1
}

/// An offset in a page, which may be its end.
#[expect(clippy::cast_possible_truncation, reason = "an offset in a page")]
pub(super) const fn offset_16(offset: u64) -> u16 {
    offset as u16
}

/// Offset of `addr` in the page, which may be the page's end.
#[expect(clippy::cast_possible_truncation, reason = "at most 4096")]
pub(super) const fn in_page(addr: u64, pfn: Pfn) -> u16 {
    (addr - pfn.phys().0) as u16
}
