//! One possible state of a lazy domain: its addresses, and when its timer may fire.

use models::iommu::dma::fq_timer_ticks;
use models::mem::DmaAddr;

use super::flushes::Call;
use crate::replay::IovaSpace;

/// Ticks a second of the kernels that were recorded.
const HZ: u32 = 250;
/// A tick, in microseconds.
pub(super) const TICK: u64 = 1_000_000 / HZ as u64;
/// The timer fires in the fourth tick after the one in which it was armed: not before three whole ticks are over, less
/// what the clock of the log may be off.
const EARLIEST: u64 = (fq_timer_ticks(HZ) - 1) * TICK - 250;
/// Not after four, save for what keeps interrupts off, such as a warning that is printed.
const LATEST: u64 = ON_TIME + 16_000;
/// Four whole ticks.
const ON_TIME: u64 = fq_timer_ticks(HZ) * TICK;
/// What is taken where nothing tells more: three and a half ticks.
pub(super) const USUAL: u64 = TICK * 7 / 2;

/// When the timer was armed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Armed {
    /// The times, in microseconds of the log, between which that was.
    pub(super) at: Window,
    pub(super) cpu: u32,
}

/// The times between which something happened, in microseconds of the log, as far as it has time stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) after: Option<u64>,
    pub(super) before: Option<u64>,
}

/// One possible state.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) space: IovaSpace,
    /// When the timer was armed, in microseconds of the log, and on which CPU.
    pub(super) armed: Option<Armed>,
    /// Flushes that are behind it.
    pub(super) flushed: usize,
    /// What a map gave that the log does not tell of.
    pub(super) unseen: Option<DmaAddr>,
    /// Microseconds by which its flushes came later than a timer should fire.
    pub(super) late: u64,
}

impl State {
    pub(super) fn flush(&mut self, cpu: u32) {
        self.space.flush(cpu);
        self.armed = None;
        self.flushed += 1;
    }

    pub(super) fn arm(&mut self, call: &Call<'_>) {
        if self.space.pending() > 0 {
            self.armed.get_or_insert(Armed { at: call.at, cpu: call.cpu });
        }
    }

    /// By how much a flush within `at` comes later than the timer should fire.
    pub(super) fn lateness(&self, at: Window) -> u64 {
        let armed = self.armed.and_then(|armed| armed.at.before);
        armed.zip(at.after).map_or(0, |(armed, after)| after.saturating_sub(armed + ON_TIME))
    }

    /// Whether the timer may have fired within `at`.
    pub(super) fn due(&self, at: Window) -> Due {
        if self.space.pending() == 0 {
            return Due::NotYet;
        }
        let armed = self.armed.map(|armed| armed.at).unwrap_or_default();
        // Without time stamps it may come whenever something waits.
        if let (Some(armed), Some(before)) = (armed.after, at.before)
            && before < armed.saturating_add(EARLIEST)
        {
            return Due::NotYet;
        }
        match (armed.before, at.after) {
            (Some(armed), Some(after)) if after > armed.saturating_add(LATEST) => Due::Over,
            _ => Due::Perhaps,
        }
    }

    /// The CPUs on which the timer may have fired: where it was armed, or where the driver is now.
    pub(super) fn flushers(&self, cpu: u32) -> impl Iterator<Item = u32> + use<> {
        let armed = self.armed.map_or(cpu, |armed| armed.cpu);
        std::iter::once(armed).chain((armed != cpu).then_some(cpu))
    }
}

/// Whether the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    NotYet,
    Perhaps,
    Over,
}

/// Whether two timers fire at about the same time.
pub(super) fn alike(mine: Option<Armed>, theirs: Option<Armed>) -> bool {
    match (mine, theirs) {
        (None, None) => true,
        (Some(mine), Some(theirs)) => {
            mine.cpu == theirs.cpu
                && mine.at.after.unwrap_or_default().abs_diff(theirs.at.after.unwrap_or_default()) < TICK / 4
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}
