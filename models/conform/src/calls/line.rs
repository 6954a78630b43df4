//! One line of the log, and the values in it.

use std::str::FromStr;

use crate::source::{Source, SourceError};

/// No log of this driver has more lines; the longest that was recorded has 6,389.
const MOST_LINES: usize = 2_000_000;

/// The driver's largest buffer has 4 MiB; a far larger one comes from a garbled line, and would only cost time.
const LARGEST: u64 = 1 << 26;

/// A line that the test driver wrote.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its number in the file, from 1.
    pub(super) number: u64,
    /// When it was printed, in microseconds, if the log has time stamps.
    pub(super) time: Option<u64>,
    /// What follows `dmat: `.
    pub(super) text: String,
}

/// Reads the driver's lines, and counts the others.
pub(super) fn read(source: &mut Source) -> Result<(Vec<Line>, u64), SourceError> {
    let mut lines = Vec::new();
    let mut others = 0;
    while let Some(text) = source.next_line()? {
        match text.split_once("dmat: ") {
            Some((before, rest)) => {
                let line = Line { number: source.line(), time: time_stamp(before), text: rest.to_owned() };
                lines.push(line);
            }
            None => others += u64::from(!text.trim().is_empty()),
        }
        if lines.len() > MOST_LINES {
            return Err(source.error(format!("more than {MOST_LINES} lines: this is no call log")));
        }
    }
    Ok((lines, others))
}

/// `[   20.363573] ` in microseconds.
fn time_stamp(text: &str) -> Option<u64> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (seconds, micros) = inner.trim().split_once('.')?;
    let micros = (micros.len() == 6).then(|| u64::from_str(micros).ok())??;
    u64::from_str(seconds).ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

impl Line {
    /// The words of the line.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_ascii_whitespace()
    }

    /// The value of `key=`, up to the next blank.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.words().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The value of `key=` as a hexadecimal number.
    pub(super) fn hex(&self, key: &str) -> Option<u64> {
        hex(self.value(key)?)
    }

    /// The value of `key=` as a decimal number.
    pub(super) fn dec(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// The value of `size=` in bytes, if the driver could have asked for so much.
    pub(super) fn size(&self) -> Option<u64> {
        self.dec("size").filter(|size| *size <= LARGEST)
    }

    /// What follows `-> `.
    pub(super) fn result(&self) -> Option<&str> {
        self.text.split_once("-> ").map(|(_, result)| result.trim_end())
    }

    /// What comes before ` -> `, or all of it.
    pub(super) fn question(&self) -> &str {
        self.text.split_once(" ->").map_or(self.text.as_str(), |(question, _)| question)
    }
}

/// A hexadecimal number without a prefix, as the driver prints them.
pub(super) fn hex(text: &str) -> Option<u64> {
    // A sign would be taken, too.
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok())?
}

/// The number within `[` and `]` in the first word that has both.
pub(super) fn index(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { number: 1, time: None, text: text.to_owned() }
    }

    #[test]
    fn values_are_found_by_their_whole_key() {
        let line = line(
            "B mask=64 zone=normal min_align=fff off=4 phys=104200004 size=1522 -> 7c06b004 i2p=7c06b004",
        );
        assert_eq!(line.hex("phys"), Some(0x1_0420_0004));
        assert_eq!(line.dec("size"), Some(1522));
        assert_eq!(line.value("align"), None);
        assert_eq!(line.result(), Some("7c06b004 i2p=7c06b004"));
        assert!(line.question().ends_with("size=1522"));
    }

    #[test]
    fn time_stamps_are_microseconds() {
        assert_eq!(time_stamp("[   20.363573] "), Some(20_363_573));
        assert_eq!(time_stamp("20.363573"), None);
        assert_eq!(time_stamp("[99999999999999999999.363573] "), None);
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(hex("ffffffffffffffff"), Some(u64::MAX));
        assert_eq!(hex("1ffffffffffffffff"), None);
        assert_eq!(hex("+1"), None);
        assert_eq!(hex("0x1"), None);
        assert_eq!(index("alloc[17] -> 1000"), Some(17));
        assert_eq!(index("alloc]17["), None);
    }
}
