//! The stable 128-bit digest of a run.

/// Accumulates words into 128 bits. The same words in the same order give the same digest in every build, on every
/// machine. It tells runs apart; it is not cryptographic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    a: u64,
    b: u64,
}

// Odd constants with well spread bits (digits of the golden ratio and of e). Data enters one factor only: with data
// in both factors a product can collapse to zero and stay there.
const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xb7e1_5162_8aed_2a6b;
const K3: u64 = 0xbf58_476d_1ce4_e5b9;

impl Digest {
    /// The digest of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { a: K2, b: K1 }
    }

    /// Adds one word.
    #[inline]
    pub const fn mix(&mut self, word: u64) {
        self.a = (self.a ^ word).wrapping_mul(K1).rotate_left(29);
        self.b = self.b.rotate_left(23).wrapping_add(word ^ K2).wrapping_mul(K3);
    }

    /// Adds a text, with its length.
    pub fn mix_str(&mut self, text: &str) {
        self.mix(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// 16 of the bits so far: enough to see where two runs part, in little room.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits of a digest")]
    pub const fn mark(self) -> u16 {
        self.value() as u16
    }

    /// The 128 bits so far.
    #[must_use]
    pub const fn value(self) -> u128 {
        let hi = avalanche(self.a ^ self.b.rotate_left(32));
        let lo = avalanche(self.b.wrapping_add(self.a.rotate_left(17)));
        ((hi as u128) << 64) | lo as u128
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

const fn avalanche(mut x: u64) -> u64 {
    x ^= x >> 31;
    x = x.wrapping_mul(K3);
    x ^= x >> 29;
    x = x.wrapping_mul(K1);
    x ^ (x >> 32)
}

/// 64-bit hash of a text, stable for ever: recorded choices are keyed by it.
#[must_use]
pub fn stable_hash(text: &str) -> u64 {
    let mut digest = Digest::new();
    digest.mix_str(text);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half of a digest is a hash as good as the whole"
    )]
    let low = digest.value() as u64;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINNED: &str = "2fd89fa5651b431471f928a1e050d9e0";

    #[test]
    fn order_and_content_matter_and_zero_words_count() {
        let of = |words: &[u64]| {
            let mut digest = Digest::new();
            for &word in words {
                digest.mix(word);
            }
            digest.value()
        };
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[0]), of(&[0, 0]));
        assert_ne!(of(&[]), of(&[0]));
        // Pinned: a recorded digest must mean the same for ever.
        assert_eq!(format!("{:032x}", of(&[1, 2, 3])), PINNED);
    }

    #[test]
    fn a_word_that_cancels_the_state_does_not_stick() {
        let mut x = Digest::new();
        let mut y = Digest::new();
        x.mix(K2); // zeroes lane a
        y.mix(K2);
        x.mix(1);
        y.mix(2);
        assert_ne!(x.value(), y.value());
    }
}
