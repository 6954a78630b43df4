//! What buffers hold before a mapping function runs: that is what their devices are given. A look afterwards would take
//! for given what a wrong copy has put there.

use smallvec::SmallVec;

use super::ought::Stretches;
use crate::kernel::Kx;
use crate::mem::PhysAddr;

/// The content of the buffers of one request, in their order.
#[derive(Debug, Default)]
pub struct Before {
    entries: SmallVec<[(PhysAddr, u64, Stretches); 1]>,
    /// Those before it have been asked for.
    next: usize,
}

impl Before {
    /// Looks at buffers of (address, bytes).
    #[must_use]
    pub fn of(kx: &Kx, entries: impl IntoIterator<Item = (PhysAddr, u64)>) -> Self {
        let look = |(phys, len)| {
            let mut held = Stretches::open(len);
            held.give(kx, phys, 0, len);
            (phys, len, held)
        };
        Self { entries: entries.into_iter().map(look).collect(), next: 0 }
    }

    /// What this buffer held. Buffers are asked for in their order; some may be left out.
    pub(super) fn take(&mut self, phys: PhysAddr, len: u64) -> Option<Stretches> {
        let found = self.entries[self.next..].iter().position(|entry| (entry.0, entry.1) == (phys, len))?;
        self.next += found + 1;
        self.entries.get(self.next - 1).map(|entry| entry.2.clone())
    }
}
