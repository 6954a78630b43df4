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

/// Something that is due now and then.
#[derive(Debug)]
pub(crate) struct Every {
    last: Stopwatch,
    interval: Duration,
}

impl Every {
    /// Due every so many milliseconds.
    pub(crate) fn ms(ms: u64) -> Self {
        Self { last: Stopwatch::start(), interval: Duration::from_millis(ms) }
    }

    /// Whether it is due; the next time then begins.
    pub(crate) fn due(&mut self) -> bool {
        let due = self.last.elapsed() >= self.interval;
        if due {
            self.last = Stopwatch::start();
        }
        due
    }
}

/// A line that says what goes on, for whoever watches.
#[derive(Debug)]
pub(crate) struct Spinner(indicatif::ProgressBar);

impl Spinner {
    pub(crate) fn new(quiet: bool) -> Self {
        if !crate::output::progress_visible(quiet) {
            return Self(indicatif::ProgressBar::hidden());
        }
        let target = indicatif::ProgressDrawTarget::stderr_with_hz(8);
        let bar = indicatif::ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(crate) fn say(&self, text: &str) {
        if !self.0.is_hidden() {
            self.0.set_message(text.to_owned());
        }
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
