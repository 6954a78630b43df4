//! Vector clocks over the transitions of one run.

use crate::MAX_CONTEXTS;

/// For each slot, how many transitions of the run had been taken when the last one of this slot that is known was
/// taken, counting it; 0 for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock([u32; MAX_CONTEXTS]);

impl Clock {
    pub(super) const NONE: Self = Self([0; MAX_CONTEXTS]);

    pub(super) fn join(&mut self, other: &Self) {
        for (into, from) in self.0.iter_mut().zip(&other.0) {
            *into = (*into).max(*from);
        }
    }

    /// Whether transition number `event` of slot `ctx` happened before.
    #[inline]
    pub(super) const fn knows(&self, ctx: u8, event: usize) -> bool {
        self.0[ctx as usize] as usize > event
    }

    #[inline]
    pub(super) fn add(&mut self, ctx: u8, event: usize) {
        let at = &mut self.0[ctx as usize];
        *at = (*at).max(u32::try_from(event + 1).unwrap_or(u32::MAX));
    }
}
