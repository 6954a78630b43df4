//! Ticks, and when a timer of the kernel's wheel fires.

use sim::Nanos;

use super::Kernel;

/// Bits by which a level of the wheel is coarser than the one below. Source: `kernel/time/timer.c: LVL_CLK_SHIFT`, v6.12.
const LVL_CLK_SHIFT: u32 = 3;
/// Buckets of a level. Source: `kernel/time/timer.c: LVL_SIZE`, v6.12.
const LVL_SIZE: u64 = 64;
/// Levels. Source: `kernel/time/timer.c: LVL_DEPTH`, v6.12, for 100 ticks a second and fewer it is one less.
const LVL_DEPTH: u32 = 9;

/// The first distance, in ticks, that a level serves.
const fn lvl_start(level: u32) -> u64 {
    (LVL_SIZE - 1) << ((level - 1) * LVL_CLK_SHIFT)
}

/// Ticks for so many milliseconds, rounded up.
///
/// Source: `kernel/time/time.c: __msecs_to_jiffies()`, v6.12.
#[must_use]
pub const fn msecs_to_jiffies(msecs: u64, hz: u32) -> u64 {
    (msecs * hz as u64).div_ceil(1000)
}

/// Ticks from the one in which a timer is armed for `ticks` from now to the one in which it fires: one more than asked
/// for, so that it never fires early, and up to the granularity of the level of the wheel that serves the distance.
///
/// Source: `kernel/time/timer.c: calc_index()`, `calc_wheel_index()`, v4.8 to v6.12.
#[must_use]
pub const fn wheel_ticks(now: u64, ticks: u64) -> u64 {
    let mut level = 0;
    while level + 1 < LVL_DEPTH && ticks >= lvl_start(level + 1) {
        level += 1;
    }
    let shift = level * LVL_CLK_SHIFT;
    let fires = ((now + ticks + (1 << shift)) >> shift) << shift;
    fires - now
}

impl Kernel {
    /// When a timer fires that is armed at `now` for so many milliseconds later (`jiffies + msecs_to_jiffies(msecs)`), in
    /// nanoseconds of virtual time. Ticks are counted from the beginning.
    #[must_use]
    pub fn timer_fires(&self, now: Nanos, msecs: u64) -> Nanos {
        let hz = self.scenario.profile.config.hz;
        let tick = 1_000_000_000 / u64::from(hz);
        let jiffies = now / tick;
        (jiffies + wheel_ticks(jiffies, msecs_to_jiffies(msecs, hz))) * tick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_timers_take_one_tick_more_and_long_ones_whole_steps_of_their_level() {
        // Ten milliseconds: the fourth tick at 250 Hz, as recorded kernels show; the eleventh at 1000 Hz.
        assert_eq!(wheel_ticks(7, msecs_to_jiffies(10, 250)), 4);
        assert_eq!(wheel_ticks(7, msecs_to_jiffies(10, 1000)), 11);
        // A hundred: 25 ticks of 250 are on the finest level, 100 of 1000 on the next, in steps of eight.
        assert_eq!(wheel_ticks(0, msecs_to_jiffies(100, 250)), 26);
        assert_eq!(wheel_ticks(0, msecs_to_jiffies(100, 1000)), 104);
        assert_eq!(wheel_ticks(5, msecs_to_jiffies(100, 1000)), 107);
    }
}
