//! Timing: everything that is compared is run in turn, in several rounds, and the fastest round of each counts.

#[expect(clippy::disallowed_types, reason = "a bench measures time, and no result depends on it")]
use std::time::Instant;

/// One thing to be timed.
pub(crate) struct Row<'a> {
    /// Does some work and tells how many units it was.
    work: Box<dyn FnMut() -> u64 + 'a>,
    /// Units a second in the fastest round.
    pub(crate) rate: f64,
}

impl<'a> Row<'a> {
    pub(crate) fn new(work: impl FnMut() -> u64 + 'a) -> Self {
        Self { work: Box::new(work), rate: 0.0 }
    }
}

/// Times `rows` in turn, `rounds` times.
pub(crate) fn interleaved<const N: usize>(rounds: u32, mut rows: [Row<'_>; N]) -> [f64; N] {
    for _ in 0..rounds {
        for row in &mut rows {
            #[expect(clippy::disallowed_types, reason = "see above")]
            let start = Instant::now();
            let units = (row.work)();
            let rate = units as f64 / start.elapsed().as_secs_f64();
            row.rate = row.rate.max(rate);
        }
    }
    rows.map(|row| row.rate)
}

/// A rate in few digits.
pub(crate) fn short(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e5 => format!("{:.0} k", r / 1e3),
        r if r >= 1e3 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// How many times `one` is of `other`.
pub(crate) fn times(one: f64, other: f64) -> String {
    if one / other < 9.95 { format!("{:.2}", one / other) } else { format!("{:.0}", one / other) }
}

/// The middle one of some counts, of which those that are absent are the largest.
pub(crate) fn median(mut counts: Vec<Option<u64>>) -> String {
    counts.sort_unstable_by_key(|count| count.unwrap_or(u64::MAX));
    let missed = counts.iter().filter(|count| count.is_none()).count();
    let middle = counts[counts.len() / 2].map_or_else(|| "never".to_owned(), |count| count.to_string());
    if missed == 0 { middle } else { format!("{middle} ({missed} of {} without)", counts.len()) }
}
