//! `swiotlb buffer is full` in the log, held against the searches that found no place.

use super::tally::{Compared, Tally};
use crate::Exception;

const SUBJECT: &str = "slots in use where the buffer is full";
/// Messages and failures that are kept.
const MAX: usize = 1 << 14;
/// Nanoseconds by which a message may be off: it is printed after the search.
const NEAR: u64 = 2_000_000;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    nanos: u64,
    dev: String,
    size: u64,
    used: u64,
}

impl Message {
    /// Reads `DRIVER DEV: swiotlb buffer is full (sz: N bytes), total N (slots), used N (slots)`.
    pub(super) fn read(nanos: u64, text: &str) -> Option<Self> {
        let (who, rest) = text.split_once(": swiotlb buffer is full (sz: ")?;
        let (size, rest) = rest.split_once(" bytes), total ")?;
        let (_, used) = rest.split_once(" (slots), used ")?;
        let used = used.split(' ').next()?.parse().ok()?;
        Some(Self { nanos, dev: who.rsplit(' ').next()?.to_owned(), size: size.parse().ok()?, used })
    }
}

/// A search that found no place, and what was in use then by what the trace shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) line: u64,
    pub(super) nanos: u64,
    pub(super) dev: String,
    pub(super) size: u64,
    pub(super) used: u64,
}

/// Adds to a bounded list.
pub(super) fn keep<T>(list: &mut Vec<T>, entry: T) {
    if list.len() < MAX {
        list.push(entry);
    }
}

/// Compares the numbers of slots in use. The clocks of log and trace differ by a constant, which is the one that puts
/// every message of the trace's time next to a failure of the same device and size. Unless the trace shows the pool's
/// whole life, the first message tells how many slots were in use before.
pub(super) fn compare(messages: &[Message], refused: &[Refused], whole: bool, tally: &mut Tally) {
    let Some((shift, pairs)) = align(messages, refused) else { return };
    let mut before = whole.then_some(0);
    for (message, failure) in pairs {
        let hidden = i128::from(message.used) - i128::from(failure.used);
        let Some(before) = before else {
            before = Some(hidden);
            tally.open(
                SUBJECT,
                "the first message tells how many slots were in use before the trace",
                failure.line,
            );
            continue;
        };
        let compared = Compared { subject: SUBJECT, row: SUBJECT, sure: true, agreed: hidden == before };
        tally.compare(&compared, None, || Exception {
            line: failure.line,
            what: format!("{} finds no place for {} bytes", failure.dev, failure.size),
            recorded: format!("{} slots in use", message.used),
            modelled: format!("{} slots in use", i128::from(failure.used) + before),
            why: None,
            detail: vec![format!("the log is {shift} ns behind the trace")],
        });
    }
}

type Pairs<'a> = Vec<(&'a Message, &'a Refused)>;

/// The distance of the clocks, and which message belongs to which failure.
fn align<'a>(messages: &'a [Message], refused: &'a [Refused]) -> Option<(i128, Pairs<'a>)> {
    let fits =
        |message: &Message, failure: &Refused| (&message.dev, message.size) == (&failure.dev, failure.size);
    let first = messages.iter().find(|message| refused.iter().any(|failure| fits(message, failure)))?;
    let mut best: Option<(i128, Pairs<'a>)> = None;
    for start in refused.iter().filter(|failure| fits(first, failure)).take(256) {
        let shift = i128::from(start.nanos) - i128::from(first.nanos);
        let mut pairs: Pairs<'a> = Vec::new();
        for message in messages {
            let wanted = i128::from(message.nanos) + shift;
            let near =
                |failure: &&Refused| (i128::from(failure.nanos) - wanted).unsigned_abs() < u128::from(NEAR);
            let last = pairs.last().map_or(0, |(_, failure)| failure.line);
            let found =
                refused.iter().filter(|failure| failure.line > last && fits(message, failure)).filter(near);
            if let Some(failure) =
                found.min_by_key(|failure| (i128::from(failure.nanos) - wanted).unsigned_abs())
            {
                pairs.push((message, failure));
            }
        }
        if best.as_ref().is_none_or(|(_, best)| pairs.len() > best.len()) {
            best = Some((shift, pairs));
        }
    }
    best.filter(|(_, pairs)| pairs.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_may_differ() {
        let text = "virtio-pci 0000:00:02.0: swiotlb buffer is full (sz: 4096 bytes), total 1024 (slots), used 900 (slots)";
        let message = |nanos, used| Message { used, ..Message::read(nanos, text).expect("a message") };
        let refused =
            |line, nanos, used| Refused { line, nanos, dev: "0000:00:02.0".to_owned(), size: 4096, used };
        let mut tally = Tally::default();
        let log = [message(1_000_000_000, 900), message(1_100_000_000, 905), message(1_200_000_000, 910)];
        let trace =
            [refused(1, 5_000_000_000, 890), refused(2, 5_100_000_000, 895), refused(3, 5_200_000_000, 899)];
        compare(&log, &trace, false, &mut tally);
        assert_eq!(tally.report.rows[0].agreed, 1);
        assert_eq!(tally.report.exceptions[0].modelled, "909 slots in use");
    }
}
