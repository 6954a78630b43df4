//! What the bytes of a mapping ought to be, stretch by stretch, whatever copies lie between the buffer and the device.

use smallvec::SmallVec;

use crate::kernel::Kx;
use crate::mem::{PhysAddr, PhysRange, Source};

/// So many stretches of a buffer are told apart when it is given to a device; of what lies behind, nothing is known.
const STRETCHES: usize = 16;

/// Who wrote last, as far as the rules of the DMA API tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ought {
    /// The CPU may have written anything.
    Open,
    /// What the buffer held when it was given to the device: its source, and the offset there.
    Given(Source, u64),
    /// What the device wrote: its tag, and the offset in what it wrote.
    Device(u32, u64),
}

impl Ought {
    /// The same, `bytes` further on.
    const fn after(self, bytes: u64) -> Self {
        match self {
            Self::Open => Self::Open,
            Self::Given(source, offset) => Self::Given(source, offset + bytes),
            Self::Device(tag, offset) => Self::Device(tag, offset + bytes),
        }
    }

    /// The source that a byte must have then, and the offset in it.
    pub(super) const fn source(self) -> Option<(Source, u64)> {
        match self {
            Self::Open => None,
            Self::Given(source, offset) => Some((source, offset)),
            Self::Device(tag, offset) => Some((Source::Data { tag }, offset)),
        }
    }
}

/// A stretch of a piece of a mapping; bytes are counted from the piece's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) ought: Ought,
}

/// All stretches of a piece, in order and without gaps.
#[derive(Clone, Debug)]
pub(super) struct Stretches(SmallVec<[Stretch; 1]>);

impl Stretches {
    /// Nothing is known of `len` bytes.
    pub(super) fn open(len: u64) -> Self {
        Self(SmallVec::from_buf([Stretch { from: 0, to: len, ought: Ought::Open }]))
    }

    /// Those that reach into `from..to`, cut to it.
    pub(super) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = Stretch> {
        let inside = self.0.iter().filter(move |stretch| stretch.from < to && from < stretch.to);
        inside.map(move |stretch| {
            let begin = stretch.from.max(from);
            Stretch { from: begin, to: stretch.to.min(to), ought: stretch.ought.after(begin - stretch.from) }
        })
    }

    /// From now on this is true of `from..to`.
    pub(super) fn set(&mut self, from: u64, to: u64, ought: Ought) {
        let end = self.0.last().map_or(0, |last| last.to);
        let (from, to) = (from.min(end), to.min(end));
        if from >= to {
            return;
        }
        if from == 0 && to == end {
            *self = Self(SmallVec::from_buf([Stretch { from, to, ought }]));
            return;
        }
        let mut new: SmallVec<[Stretch; 1]> = self.within(0, from).collect();
        new.push(Stretch { from, to, ought });
        new.extend(self.within(to, end));
        self.0 = new;
    }

    /// From now on `from..to` ought to be what the buffer at `phys` (the piece's first byte) holds now.
    pub(super) fn give(&mut self, kx: &Kx, phys: PhysAddr, from: u64, to: u64) {
        let found = extents(kx, phys.wrapping_add(from), to.saturating_sub(from));
        for (nth, (range, source, offset)) in found.into_iter().enumerate() {
            let begin = range.start.0 - phys.0;
            let ought = if nth < STRETCHES { Ought::Given(source, offset) } else { Ought::Open };
            self.set(begin, if nth < STRETCHES { begin + range.size() } else { to }, ought);
        }
    }
}

/// Where the bytes of a range come from; one extent more than are told apart, if there are so many.
fn extents(kx: &Kx, phys: PhysAddr, len: u64) -> SmallVec<[(PhysRange, Source, u64); 2]> {
    let mem = kx.k.mem.borrow();
    mem.heap.content().extents(phys, len).take(STRETCHES + 1).collect()
}

/// The first extent of `len` bytes at `phys` that is not what it ought to be.
pub(super) fn differs(
    kx: &Kx,
    phys: PhysAddr,
    len: u64,
    (source, offset): (Source, u64),
) -> Option<(PhysRange, Source, u64)> {
    let mem = kx.k.mem.borrow();
    mem.heap.content().extents(phys, len).find(|(range, found, at)| {
        let same_place = source.is_position_free() || *at == offset + (range.start.0 - phys.0);
        *found != source || !same_place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(stretches: &Stretches) -> Vec<(u64, u64, Ought)> {
        stretches.0.iter().map(|stretch| (stretch.from, stretch.to, stretch.ought)).collect()
    }

    #[test]
    fn stretches_are_cut_and_never_overlap() {
        let given = |offset| Ought::Given(Source::Data { tag: 1 }, offset);
        let mut stretches = Stretches::open(4096);
        stretches.set(0, 4096, given(0));
        stretches.set(1024, 2048, Ought::Device(2, 0));
        let cut = [(0, 1024, given(0)), (1024, 2048, Ought::Device(2, 0)), (2048, 4096, given(2048))];
        assert_eq!(shape(&stretches), cut);
        let within: Vec<_> = stretches.within(1500, 2100).map(|s| (s.from, s.to, s.ought)).collect();
        assert_eq!(within, [(1500, 2048, Ought::Device(2, 476)), (2048, 2100, given(2048))]);
        // What lies behind the end is nobody's.
        stretches.set(4000, 9000, Ought::Open);
        assert_eq!(stretches.0.last().map(|last| (last.from, last.to)), Some((4000, 4096)));
        stretches.set(0, 4096, Ought::Open);
        assert_eq!(shape(&stretches), [(0, 4096, Ought::Open)]);
    }
}
