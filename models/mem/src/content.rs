//! What was last written at each physical byte: extents of provenance, and the bytes when somebody asks.
//!
//! A page is a short sorted list of breakpoints that covers it. A breakpoint stores *bias = source offset - address*,
//! so that splitting an extent changes nothing in its halves, and two neighbours that continue the same buffer are
//! equal and become one.

use super::addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange};
use super::extents::Extents;
use super::pagemap::PageMap;
use super::piece::{Break, INLINE, Page, UNTOUCHED, covering, in_page, offset_16};
use super::source::{Source, materialise};

/// End of physical memory: `MAXPHYADDR` is at most 52 bits on x86-64.
pub const PHYS_END: u64 = 1 << 52;
/// Longest single write or copy: 16 TiB. A longer one is a negative length in disguise.
pub const MAX_LEN: u64 = 1 << 44;

/// Why memory could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// The range leaves the 52 bits of physical memory: on a real machine a page fault with the reserved bit set.
    OutsidePhysical {
        /// First byte of the access.
        addr: PhysAddr,
        /// Its length in bytes.
        len: u64,
    },
    /// More than [`MAX_LEN`] bytes.
    TooLong {
        /// The length in bytes.
        len: u64,
    },
    /// More than 4 GiB of distinct known bytes, or 2^32 pieces of them, were written in one run.
    ArenaFull,
}

impl std::fmt::Display for ContentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutsidePhysical { addr, len } => {
                write!(f, "{len} bytes at {addr} lie outside the 52-bit physical address space")
            }
            Self::TooLong { len } => write!(f, "an access of {len} bytes is longer than 16 TiB"),
            Self::ArenaFull => f.write_str("more than 4 GiB of single bytes were written in one run"),
        }
    }
}

impl std::error::Error for ContentError {}

/// The bytes of physical memory, as provenance.
///
/// Every byte starts as [`Source::Untouched`]. Reads never fail: bytes outside the physical address space read as
/// untouched memory, and whoever modelled the access must have judged it before.
#[derive(Debug)]
pub struct Content {
    pages: PageMap<Page>,
    spills: Vec<Vec<Break>>,
    spills_used: usize,
    spills_free: Vec<u32>,
    arena: Vec<u8>,
    /// Where each `Raw` id begins in the arena.
    arena_starts: Vec<u32>,
    untouched_seed: u64,
    /// Scratch of `copy`, kept so that copying allocates nothing.
    scratch: Vec<Break>,
}

impl Content {
    /// Memory as the firmware leaves it. The seed determines what untouched bytes hold.
    #[must_use]
    pub const fn new(untouched_seed: u64) -> Self {
        Self {
            pages: PageMap::new(Page::uniform(UNTOUCHED)),
            spills: Vec::new(),
            spills_used: 0,
            spills_free: Vec::new(),
            arena: Vec::new(),
            arena_starts: Vec::new(),
            untouched_seed,
            scratch: Vec::new(),
        }
    }

    /// Back to the firmware's memory, keeping allocated capacity.
    pub fn reset(&mut self, untouched_seed: u64) {
        self.pages.reset(Page::uniform(UNTOUCHED));
        self.spills_used = 0;
        self.spills_free.clear();
        self.arena.clear();
        self.arena_starts.clear();
        self.untouched_seed = untouched_seed;
    }

    /// Writes `len` bytes of `source` from its offset 0 on.
    ///
    /// # Errors
    /// The range leaves physical memory or is absurdly long; nothing is written then.
    pub fn write(&mut self, addr: PhysAddr, len: u64, source: Source) -> Result<(), ContentError> {
        self.write_at(addr, len, source, 0)
    }

    /// Writes `len` bytes of `source` from byte `offset` of it on.
    ///
    /// # Errors
    /// The range leaves physical memory or is absurdly long; nothing is written then.
    #[inline]
    pub fn write_at(
        &mut self,
        addr: PhysAddr,
        len: u64,
        source: Source,
        offset: u64,
    ) -> Result<(), ContentError> {
        check(addr, len)?;
        let piece = Break::new(source, offset, addr.0);
        let end = addr.0 + len;
        let mut at = addr.0;
        while at < end {
            let pfn = PhysAddr(at).pfn();
            let whole = (end - at) >> PAGE_SHIFT;
            if whole > 1 && at.is_multiple_of(PAGE_SIZE) {
                self.pages.fill(pfn, whole, Page::uniform(piece));
                at += whole << PAGE_SHIFT;
                continue;
            }
            let page_end = (pfn.0 + 1) << PAGE_SHIFT;
            let stop = end.min(page_end);
            self.replace(pfn, in_page(at, pfn), in_page(stop, pfn), &[piece]);
            at = stop;
        }
        Ok(())
    }

    /// Writes bytes whose values are known.
    ///
    /// # Errors
    /// The range leaves physical memory, or the arena is full; nothing is written then.
    pub fn write_bytes(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), ContentError> {
        let len = bytes.len() as u64;
        check(addr, len)?;
        let (Ok(id), Ok(start), Ok(_)) = (
            u32::try_from(self.arena_starts.len()),
            u32::try_from(self.arena.len()),
            u32::try_from(self.arena.len() + bytes.len()),
        ) else {
            return Err(ContentError::ArenaFull);
        };
        self.arena.extend_from_slice(bytes);
        self.arena_starts.push(start);
        self.write(addr, len, Source::Raw { id })
    }

    /// Copies `len` bytes; ranges may overlap, as for `memmove`. Provenance is copied, not bytes.
    ///
    /// # Errors
    /// A range leaves physical memory or is absurdly long; nothing is written then.
    pub fn copy(&mut self, dst: PhysAddr, src: PhysAddr, len: u64) -> Result<(), ContentError> {
        check(dst, len)?;
        check(src, len)?;
        if dst == src || len == 0 {
            return Ok(());
        }
        if len >= 2 * PAGE_SIZE && self.copy_runs(dst, src, len) {
            return Ok(());
        }
        let mut pieces = std::mem::take(&mut self.scratch);
        let first = dst.pfn().0;
        let last = (dst.0 + len - 1) >> PAGE_SHIFT;
        // Page by page of the destination; from the end if the destination lies behind the source, so that no
        // source byte is overwritten before it was read.
        for step in 0..=last - first {
            let pfn = Pfn(if dst.0 > src.0 { last - step } else { first + step });
            let start = dst.0.max(pfn.phys().0);
            let end = (dst.0 + len).min(pfn.phys().0 + PAGE_SIZE);
            self.gather(src.0 + (start - dst.0), end - start, start, &mut pieces);
            self.replace(pfn, in_page(start, pfn), in_page(end, pfn), &pieces);
        }
        self.scratch = pieces;
        Ok(())
    }

    /// Copies long runs as runs, if that is what there is: otherwise does nothing, and says so.
    fn copy_runs(&mut self, dst: PhysAddr, src: PhysAddr, len: u64) -> bool {
        /// Runs that are held on the stack.
        const RUNS: usize = 16;
        // Below four pages to a run, the borders cost more than the pages.
        let most = usize::try_from(len / (4 * PAGE_SIZE)).unwrap_or(RUNS).clamp(1, RUNS);
        let mut runs = [(PhysRange::default(), Source::Zero, 0); RUNS];
        let mut count = 0;
        for run in self.extents(src, len) {
            let Some(place) = runs[..most].get_mut(count) else { return false };
            *place = run;
            count += 1;
        }
        for (range, source, offset) in &runs[..count] {
            let to = PhysAddr(dst.0 + (range.start.0 - src.0));
            // Cannot fail: both ranges were checked as a whole.
            let _ = self.write_at(to, range.size(), *source, *offset);
        }
        true
    }

    /// Fills `out` with the bytes at `addr`.
    pub fn read_bytes(&self, addr: PhysAddr, out: &mut [u8]) {
        let mut rest = out;
        for (range, source, offset) in self.extents(addr, rest.len() as u64) {
            let count = usize::try_from(range.size()).map_or(rest.len(), |size| size.min(rest.len()));
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(count);
            match source {
                Source::Raw { id } => self.arena_bytes(id, offset, head),
                _ => materialise(source, self.untouched_seed, offset, head),
            }
            rest = tail;
        }
    }

    /// The byte at `addr`.
    #[must_use]
    pub fn read_u8(&self, addr: PhysAddr) -> u8 {
        let mut out = [0; 1];
        self.read_bytes(addr, &mut out);
        out[0]
    }

    /// The little-endian 4 bytes at `addr`, which need not be aligned.
    #[must_use]
    pub fn read_u32(&self, addr: PhysAddr) -> u32 {
        let mut out = [0; 4];
        self.read_bytes(addr, &mut out);
        u32::from_le_bytes(out)
    }

    /// The little-endian 8 bytes at `addr`, which need not be aligned.
    #[must_use]
    pub fn read_u64(&self, addr: PhysAddr) -> u64 {
        let mut out = [0; 8];
        self.read_bytes(addr, &mut out);
        u64::from_le_bytes(out)
    }

    /// What lies in `len` bytes from `addr`: maximal runs of one source, in order, without gaps, each with the source
    /// offset of its first byte (0 for sources without positions). Runs to the end of the address space at most.
    ///
    /// This is what the leak and clobber oracles read: any extent of a buffer that is not (expected source, expected
    /// offset) is a byte that should not be there.
    #[must_use]
    pub fn extents(&self, addr: PhysAddr, len: u64) -> Extents<'_> {
        Extents::new(self, addr.0, addr.0.saturating_add(len))
    }

    /// Breakpoints that cover the page.
    #[inline]
    pub(super) fn breaks(&self, pfn: Pfn) -> &[Break] {
        let page = self.pages.get(pfn);
        if page.spill == INLINE {
            &page.inline[..usize::from(page.count)]
        } else {
            &self.spills[page.spill as usize]
        }
    }

    /// Breakpoints that cover the page, and how many pages from it on have the same.
    #[inline]
    pub(super) fn breaks_run(&self, pfn: Pfn, wanted: u64) -> (&[Break], u64) {
        let (page, run) = self.pages.run(pfn, wanted);
        if page.spill == INLINE {
            (&page.inline[..usize::from(page.count)], run)
        } else {
            (&self.spills[page.spill as usize], 1)
        }
    }

    /// Collects the extents of `len` bytes from `src` as breakpoints of the page of `dst`.
    fn gather(&self, src: u64, len: u64, dst: u64, out: &mut Vec<Break>) {
        out.clear();
        let moved = src.wrapping_sub(dst);
        let page = PhysAddr(dst).pfn().phys().0;
        let end = src + len;
        let mut at = src;
        while at < end {
            let pfn = PhysAddr(at).pfn();
            let stop = end.min(pfn.phys().0 + PAGE_SIZE);
            let (from, to) = (in_page(at, pfn), in_page(stop, pfn));
            let breaks = self.breaks(pfn);
            let covers = covering(breaks, from);
            let until = covers + breaks[covers..].partition_point(|piece| piece.start < to);
            // `from` and all breaks behind it, as offsets in the destination's page.
            let shift = pfn.phys().0.wrapping_sub(moved).wrapping_sub(page);
            let pieces = breaks[covers..until].iter().map(|piece| {
                let bias = if piece.source.is_position_free() { 0 } else { piece.bias.wrapping_add(moved) };
                let start = offset_16(shift.wrapping_add(u64::from(piece.start.max(from))));
                Break { bias, source: piece.source, start }
            });
            // Only the first can continue what came before it, in the page before.
            let merged = out
                .last()
                .is_some_and(|last| pieces.clone().next().is_some_and(|first| first.continues(last)));
            out.extend(pieces.skip(usize::from(merged)));
            at = stop;
        }
    }

    /// Puts `pieces` in the place of bytes `from..to` of the page. The first piece starts at `from`, whatever its own
    /// `start` says; no two neighbours among them continue each other.
    fn replace(&mut self, pfn: Pfn, from: u16, to: u16, pieces: &[Break]) {
        if from == to || pieces.is_empty() {
            return;
        }
        let page = self.pages.get_mut(pfn);
        if from == 0 && u64::from(to) == PAGE_SIZE && pieces.len() <= 2 {
            if page.spill != INLINE {
                self.spills_free.push(page.spill);
            }
            let first = Break { start: 0, ..pieces[0] };
            let count = if pieces.len() == 2 { 2 } else { 1 };
            *page = Page { inline: [first, pieces[pieces.len() - 1]], count, spill: INLINE };
            return;
        }
        let spill = page.spill;
        let mut inline = page.inline;
        let old: &[Break] =
            if spill == INLINE { &inline[..usize::from(page.count)] } else { &self.spills[spill as usize] };
        // What stays in front, what comes behind: the piece that covers `to` begins there from now on.
        let front = old.partition_point(|piece| piece.start < from);
        let merged = front > 0 && pieces[0].continues(&old[front - 1]);
        let added = &pieces[usize::from(merged)..];
        let mut back = old.len();
        let mut tail = None;
        if u64::from(to) < PAGE_SIZE {
            back = covering(old, to);
            let covers = Break { start: to, ..old[back] };
            back += 1;
            let before = &pieces[pieces.len() - 1];
            tail = (!covers.continues(before)).then_some(covers);
        }
        let first = added.iter().enumerate().map(|(index, piece)| {
            let first = index == 0 && !merged;
            Break { start: if first { from } else { piece.start }, ..*piece }
        });
        let total = front + added.len() + usize::from(tail.is_some()) + (old.len() - back);
        if spill == INLINE && total <= 2 {
            let copy = inline;
            let old = &copy[..usize::from(page.count)];
            let kept = old[..front].iter().copied();
            for (place, piece) in
                inline.iter_mut().zip(kept.chain(first).chain(tail).chain(old[back..].iter().copied()))
            {
                *place = piece;
            }
            page.inline = inline;
            page.count = if total == 2 { 2 } else { 1 };
            return;
        }
        if spill == INLINE {
            let index = self.spills_free.pop().unwrap_or_else(|| {
                self.spills_used += 1;
                if self.spills.len() < self.spills_used {
                    self.spills.push(Vec::new());
                }
                u32::try_from(self.spills_used - 1).unwrap_or(INLINE)
            });
            page.spill = index;
            let list = &mut self.spills[index as usize];
            list.clear();
            list.extend(inline[..front].iter().copied().chain(first).chain(tail));
            list.extend_from_slice(&inline[back..usize::from(page.count)]);
            return;
        }
        let list = &mut self.spills[spill as usize];
        if from == 0 && u64::from(to) == PAGE_SIZE {
            list.clear();
            list.extend_from_slice(pieces);
            list[0].start = 0;
            return;
        }
        let fill = first.chain(tail);
        if total == list.len() {
            // A slot that is bounced through again and again: as many pieces as before.
            list[front..back].iter_mut().zip(fill).for_each(|(place, piece)| *place = piece);
            return;
        }
        list.splice(front..back, fill);
        if total <= 2 {
            page.inline = [list[0], list[total - 1]];
            page.count = if total == 2 { 2 } else { 1 };
            page.spill = INLINE;
            self.spills_free.push(spill);
        }
    }

    fn arena_bytes(&self, id: u32, offset: u64, out: &mut [u8]) {
        let start = self.arena_starts.get(id as usize).map(|&start| u64::from(start) + offset);
        let start = start.and_then(|start| usize::try_from(start).ok());
        let bytes = start.and_then(|start| self.arena.get(start..start + out.len()));
        // A Raw source that was never written here (made up by the caller) reads as zeroes.
        match bytes {
            Some(bytes) => out.copy_from_slice(bytes),
            None => out.fill(0),
        }
    }
}

const fn check(addr: PhysAddr, len: u64) -> Result<(), ContentError> {
    if len > MAX_LEN {
        return Err(ContentError::TooLong { len });
    }
    if addr.0 > PHYS_END - len {
        return Err(ContentError::OutsidePhysical { addr, len });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The extents would hide a breakpoint too many; the page would fill up with them.
    #[test]
    fn no_breakpoint_is_kept_that_changes_nothing() {
        let mut content = Content::new(0);
        let mut draw = 1u64;
        let mut next = |below: u64| {
            draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (draw >> 33) % below
        };
        let at = |offset: u64| PhysAddr(0x10_0000 + offset);
        for _ in 0..4000 {
            let (to, len) = (next(0x1f00), next(0x100));
            match next(3) {
                0 => content.write(at(to), len, Source::Zero),
                1 => content.write_at(at(to), len, Source::Data { tag: 1 }, to),
                _ => content.copy(at(to), at(next(0x1f00)), len),
            }
            .unwrap();
            for page in 0..2 {
                let breaks = content.breaks(at(page * PAGE_SIZE).pfn());
                assert_eq!(breaks[0].start, 0);
                assert!(breaks.windows(2).all(|pair| pair[0].start < pair[1].start));
                assert!(breaks.windows(2).all(|pair| !pair[1].continues(&pair[0])));
            }
        }
    }
}
