//! What lies in memory, as far as a log tells: runs of one byte value.

use std::collections::BTreeMap;

/// Known bytes by address; all others are unknown.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    /// First address of a run, to its end (excluded) and its value.
    runs: BTreeMap<u64, (u64, u8)>,
}

impl Bytes {
    /// The byte at `addr`.
    pub(super) fn at(&self, addr: u64) -> Option<u8> {
        let (_, (end, value)) = self.runs.range(..=addr).next_back()?;
        (addr < *end).then_some(*value)
    }

    /// Writes `len` bytes of `value`.
    pub(super) fn fill(&mut self, addr: u64, len: u64, value: u8) {
        self.forget(addr, len);
        if len > 0 {
            self.runs.insert(addr, (addr.saturating_add(len), value));
        }
    }

    /// `len` bytes are unknown from now on.
    pub(super) fn forget(&mut self, addr: u64, len: u64) {
        let end = addr.saturating_add(len);
        let touched: Vec<_> = self
            .runs
            .range(..end)
            .rev()
            .take_while(|(_, (until, _))| *until > addr)
            .map(|(from, run)| (*from, *run))
            .collect();
        for (from, (until, value)) in touched {
            self.runs.remove(&from);
            if from < addr {
                self.runs.insert(from, (addr, value));
            }
            if until > end {
                self.runs.insert(end, (until, value));
            }
        }
    }

    /// Copies `len` bytes, the unknown ones, too.
    pub(super) fn copy(&mut self, from: u64, to: u64, len: u64) {
        let end = from.saturating_add(len);
        let pieces: Vec<_> = self
            .runs
            .range(..end)
            .rev()
            .take_while(|(_, (until, _))| *until > from)
            .map(|(start, (until, value))| ((*start).max(from), (*until).min(end), *value))
            .collect();
        self.forget(to, len);
        for (start, until, value) in pieces {
            self.fill(to + (start - from), until - start, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_cut_what_was_there() {
        let mut bytes = Bytes::default();
        bytes.fill(100, 50, 1);
        bytes.fill(120, 10, 2);
        bytes.forget(140, 5);
        let values = [99, 100, 119, 120, 129, 130, 139, 140, 144, 145, 149, 150].map(|addr| bytes.at(addr));
        let (one, two) = (Some(1), Some(2));
        assert_eq!(values, [None, one, one, two, two, one, one, None, None, one, one, None]);
    }

    #[test]
    fn copies_take_holes_along() {
        let mut bytes = Bytes::default();
        bytes.fill(0, 4, 1);
        bytes.fill(6, 4, 2);
        bytes.fill(1000, 20, 9);
        bytes.copy(2, 1000, 6);
        let values: Vec<_> = (1000..1008).map(|addr| bytes.at(addr)).collect();
        assert_eq!(values, [Some(1), Some(1), None, None, Some(2), Some(2), Some(9), Some(9)]);
    }
}
