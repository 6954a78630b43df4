//! Walks memory extent by extent.

use super::addr::{PAGE_SIZE, PhysAddr, PhysRange, pages_to};
use super::content::Content;
use super::piece::{Break, covering, in_page};
use super::source::Source;

/// Iterator over the extents of a range: (where, source, source offset of the first byte). See
/// [`Content::extents`].
#[derive(Clone, Debug)]
pub struct Extents<'a> {
    content: &'a Content,
    at: u64,
    end: u64,
}

impl<'a> Extents<'a> {
    pub(super) const fn new(content: &'a Content, at: u64, end: u64) -> Self {
        Self { content, at, end }
    }
}

impl Iterator for Extents<'_> {
    type Item = (PhysRange, Source, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let begin = self.at;
        let mut current: Option<Break> = None;
        // An extent may go on in the next page, and in the one after that.
        'pages: while self.at < self.end {
            let pfn = PhysAddr(self.at).pfn();
            let (breaks, run) = self.content.breaks_run(pfn, pages_to(pfn, self.end));
            // Pages with a single piece, and with the same one, are one step.
            let pages = if breaks.len() == 1 { run } else { 1 };
            let page_end = pfn.phys().0.saturating_add(pages * PAGE_SIZE);
            let mut index = covering(breaks, in_page(self.at, pfn));
            while let Some(piece) = breaks.get(index) {
                match current {
                    Some(current) if !piece.continues(&current) => break 'pages,
                    Some(_) => {}
                    None => current = Some(*piece),
                }
                index += 1;
                self.at = breaks.get(index).map_or(page_end, |next| pfn.phys().0 + u64::from(next.start));
                if self.at >= self.end {
                    self.at = self.end;
                    break 'pages;
                }
            }
        }
        let piece = current?;
        let offset = if piece.source.is_position_free() { 0 } else { begin.wrapping_add(piece.bias) };
        let range = PhysRange { start: PhysAddr(begin), end: PhysAddr(self.at) };
        Some((range, piece.source, offset))
    }
}
