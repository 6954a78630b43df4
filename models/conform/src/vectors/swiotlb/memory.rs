//! Plain bytes, for the data operations of sequences.

use std::collections::BTreeMap;

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;
/// No sequence writes to more pages (256 MiB).
const MAX_PAGES: usize = 1 << 16;

/// Zero-filled memory, a page at a time. Addresses wrap.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    exhausted: bool,
}

/// Where `addr` lies in its page, and how many of `len` bytes are in there from it on.
fn piece(addr: u64, len: u64) -> (usize, usize) {
    let from = addr % PAGE;
    let small = |bytes: u64| usize::try_from(bytes).unwrap_or(PAGE_BYTES);
    (small(from), small((PAGE - from).min(len)))
}

impl Memory {
    /// Whether a sequence wrote to more memory than there is; what it wrote then is lost.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Calls `take` with all bytes of a range, in order and in pieces.
    fn pieces(&self, addr: u64, len: u64, mut take: impl FnMut(u64, &[u8])) {
        let mut done = 0;
        while done < len {
            let at = addr.wrapping_add(done);
            let (from, count) = piece(at, len - done);
            match self.pages.get(&(at / PAGE)) {
                Some(page) => take(at, &page[from..from + count]),
                None => take(at, &[0; PAGE_BYTES][..count]),
            }
            done += count as u64;
        }
    }

    /// CRC-32 of a range.
    pub(super) fn crc(&self, addr: u64, len: u64) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        self.pieces(addr, len, |_, bytes| crc.update(bytes));
        crc.finalize()
    }

    /// Writes to each byte of a range what `byte` says for its index.
    pub(super) fn fill(&mut self, addr: u64, len: u64, byte: impl Fn(u64) -> u8) {
        self.pieces_mut(addr, len, |done, bytes| {
            for (i, place) in (done..).zip(bytes) {
                *place = byte(i);
            }
        });
    }

    /// Calls `change` with all bytes of a range, in order and in pieces, and with how many were before them.
    fn pieces_mut(&mut self, addr: u64, len: u64, mut change: impl FnMut(u64, &mut [u8])) {
        let mut done = 0;
        while done < len {
            let at = addr.wrapping_add(done);
            let (from, count) = piece(at, len - done);
            let Some(page) = self.page(at / PAGE) else { return };
            change(done, &mut page[from..from + count]);
            done += count as u64;
        }
    }

    /// Copies bytes to somewhere that does not overlap, or backwards as if it did not.
    pub(super) fn copy(&mut self, from: u64, to: u64, len: u64) {
        let mut bytes = Vec::new();
        self.pieces(from, len, |_, piece| bytes.extend_from_slice(piece));
        let mut left = bytes.as_slice();
        self.pieces_mut(to, len, |_, place| {
            let (now, later) = left.split_at(place.len());
            place.copy_from_slice(now);
            left = later;
        });
    }

    /// Makes all pages zero that a range touches.
    pub(super) fn clear(&mut self, addr: u64, len: u64) {
        let last = addr.saturating_add(len).div_ceil(PAGE);
        let mut kept = self.pages.split_off(&(addr / PAGE));
        self.pages.append(&mut kept.split_off(&last));
    }

    fn page(&mut self, number: u64) -> Option<&mut [u8; PAGE_BYTES]> {
        if self.pages.len() >= MAX_PAGES && !self.pages.contains_key(&number) {
            self.exhausted = true;
            return None;
        }
        Some(self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE_BYTES])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_across_pages_and_past_the_top() {
        let mut memory = Memory::default();
        for start in [0, 4095, 8192 - 3, u64::MAX - 5] {
            memory.fill(start, 5000, |i| u8::try_from(i % 251).unwrap_or(0));
            let bytes: Vec<u8> = (0..5000u64).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
            assert_eq!(memory.crc(start, 5000), crc32fast::hash(&bytes));
            memory.copy(start, 1 << 30, 5000);
            assert_eq!(memory.crc(1 << 30, 5000), crc32fast::hash(&bytes));
        }
        memory.clear(1 << 30, 5000);
        assert_eq!(memory.crc(1 << 30, 5000), crc32fast::hash(&[0; 5000]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for page in 0..MAX_PAGES as u64 {
            memory.fill(page * PAGE * 2, 1, |_| 1);
        }
        assert!(!memory.is_exhausted());
        memory.fill(PAGE, 1, |_| 1);
        assert!(memory.is_exhausted());
    }
}
