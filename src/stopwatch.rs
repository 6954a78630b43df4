//! How long things take, for the person who waits. No result depends on it.

#![expect(clippy::disallowed_types, reason = "only shown to whoever waits; no result depends on it")]

use std::time::{Duration, Instant};

/// Measures from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// So many things in that time are how many a second.
pub(crate) fn per_second(things: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(things) * 1_000_000_000 / elapsed.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
