//! Reading words and numbers off the front of a line.

use models::mem::{PhysAddr, PhysRange};

/// What is left of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'a>(pub(crate) &'a str);

impl<'a> Scan<'a> {
    /// The rest, if it begins with `text`.
    pub(crate) fn lit(self, text: &str) -> Option<Self> {
        self.0.strip_prefix(text).map(Self)
    }

    /// The rest without leading blanks.
    pub(crate) fn blanks(self) -> Self {
        Self(self.0.trim_start_matches([' ', '\t']))
    }

    /// The rest behind the first `text`.
    pub(crate) fn after(self, text: &str) -> Option<Self> {
        self.0.split_once(text).map(|(_, rest)| Self(rest))
    }

    /// A decimal number. One that does not fit is none.
    pub(crate) fn dec(self) -> Option<(u64, Self)> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        Some((self.0[..end].parse().ok()?, Self(&self.0[end..])))
    }

    /// A decimal number with a sign.
    pub(crate) fn signed(self) -> Option<(i32, Self)> {
        let (sign, rest) = self.0.strip_prefix('-').map_or((1, self), |rest| (-1, Self(rest)));
        let (value, rest) = rest.dec()?;
        Some((sign * i32::try_from(value).ok()?, rest))
    }

    /// A hexadecimal number, with `0x` or without.
    pub(crate) fn hex(self) -> Option<(u64, Self)> {
        let digits = self.0.strip_prefix("0x").unwrap_or(self.0);
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        Some((u64::from_str_radix(&digits[..end], 16).ok()?, Self(&digits[end..])))
    }

    /// `first-last]`, both included.
    pub(crate) fn range(self) -> Option<(PhysRange, Self)> {
        let (first, rest) = self.hex()?;
        let (last, rest) = rest.lit("-")?.hex()?;
        let rest = rest.lit("]")?;
        // The range up to the last byte of the address space loses that byte: its end has no number.
        let end = last.saturating_add(1);
        (first <= end).then_some((PhysRange { start: PhysAddr(first), end: PhysAddr(end) }, rest))
    }

    /// `[mem first-last]`.
    pub(crate) fn mem(self) -> Option<(PhysRange, Self)> {
        self.lit("[mem ")?.range()
    }

    /// The word up to the next blank.
    pub(crate) fn word(self) -> (&'a str, Self) {
        let end = self.0.find([' ', '\t']).unwrap_or(self.0.len());
        (&self.0[..end], Self(&self.0[end..]))
    }
}
