//! Where the bytes at an address came from, and what they look like when somebody really reads them.

use std::fmt;

/// What kind of leftovers a recycled page holds. Uniform random junk reaches only some of the ways in which a real
/// kernel fails on it (a lock word of 0 or 1, a plausible pointer, text), so the class is a choice of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JunkClass {
    /// Cleared memory.
    Zero,
    /// Little-endian `u64` counters: three in four below 256, most others below 65,536, some below 2^24.
    SmallInts,
    /// Printable ASCII words, as in a file's page cache or a log buffer.
    Text,
    /// Kernel addresses (direct map, vmalloc, kernel text), and one NULL in eight.
    Pointers,
    /// Evenly distributed bytes: compressed or encrypted data.
    Random,
    /// Little-endian `u32` pairs: small counts, flags, and -1.
    Ints32,
}

impl JunkClass {
    /// All classes, in the order in which a choice numbers them.
    pub const ALL: [Self; 6] =
        [Self::Zero, Self::SmallInts, Self::Text, Self::Pointers, Self::Random, Self::Ints32];
}

impl fmt::Display for JunkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "zeroes",
            Self::SmallInts => "small numbers",
            Self::Text => "text",
            Self::Pointers => "pointers",
            Self::Random => "random bytes",
            Self::Ints32 => "32-bit numbers",
        })
    }
}

/// The provenance of bytes: who wrote them last. Together with an offset it determines each byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Zeroes, whoever wrote them. The only source without positions: a cleared byte is like any other.
    Zero,
    /// Never written since power-on: left by the firmware or the previous boot. The offset is the physical address
    /// at which the byte was first seen, also after it was copied elsewhere.
    Untouched,
    /// Left by an allocation that the simulation does not follow.
    Junk {
        /// What it looks like.
        class: JunkClass,
        /// Chosen at random: which junk of that class.
        seed: u32,
        /// Whose it was: an identity given by the caller, for reports.
        owner: u32,
    },
    /// A driver's or a device's data buffer.
    Data {
        /// Which one: an identity given by the caller. A byte is its own witness: (tag, offset).
        tag: u32,
    },
    /// Records of free slots of a bounce pool, 24 bytes each, from slot 0 on: no origin, no size, and the number of free
    /// slots up to the end of the segment of 128.
    SlotTable,
    /// Bytes whose values are known, held in the side arena of [`Content`](super::Content).
    Raw {
        /// Index into the arena.
        id: u32,
    },
}

/// In words, for reports: what lies there, and whose it is.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zeroes"),
            Self::Untouched => f.write_str("what was there at power-on"),
            Self::Junk { class, owner, .. } => write!(f, "{class} that an earlier owner left (#{owner})"),
            Self::Data { tag } => write!(f, "data #{tag}"),
            Self::SlotTable => f.write_str("the records of free slots of a bounce pool"),
            Self::Raw { .. } => f.write_str("what the kernel wrote there"),
        }
    }
}

impl Source {
    /// Whether equal bytes at different offsets cannot be told apart, so that extents need not carry an offset.
    #[must_use]
    pub const fn is_position_free(self) -> bool {
        matches!(self, Self::Zero)
    }
}

/// `SplitMix64`'s finaliser: enough to make unrelated words of (seed, index), and the same on every machine.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Letters by rough frequency in English text.
const LETTERS: [u8; 32] = *b"etaoinshrdlucmfwypvbgkqjetaoinsr";

/// The 8 bytes at word `index` of junk of this class, little-endian.
fn junk_word(class: JunkClass, key: u64, index: u64) -> u64 {
    let draw = mix(key ^ mix(index));
    match class {
        JunkClass::Zero => 0,
        JunkClass::SmallInts => match draw >> 60 {
            0..12 => draw & 0xff,
            12..15 => draw & 0xffff,
            _ => draw & 0xff_ffff,
        },
        JunkClass::Text => text_word(draw),
        JunkClass::Pointers => match draw >> 61 {
            0 => 0,
            1 => 0xffff_c900_0000_0000 | (draw & 0x3fff_fff8),
            2 => 0xffff_ffff_8100_0000 | (draw & 0xff_ffff),
            // The direct map of the low 16 GiB, at its address without KASLR.
            _ => 0xffff_8880_0000_0000 | (draw & 0x3_ffff_fff8),
        },
        JunkClass::Random => draw,
        JunkClass::Ints32 => int32(draw) | (int32(mix(draw)) << 32),
    }
}

/// Seven letters and a blank, the blank at a place of the draw's choosing; one in sixteen ends a line.
fn text_word(draw: u64) -> u64 {
    let mut bytes = [0u8; 8];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = LETTERS[usize::from((draw >> (5 * place)).to_le_bytes()[0] & 31)];
    }
    bytes[usize::from((draw >> 40).to_le_bytes()[0] & 7)] = if (draw >> 43) & 15 == 0 { b'\n' } else { b' ' };
    u64::from_le_bytes(bytes)
}

const fn int32(draw: u64) -> u64 {
    match draw >> 61 {
        0 => 0,
        1 => 0xffff_ffff,
        2 => 1 << ((draw & 0x1f) as u32),
        3..=5 => draw & 0xff,
        _ => draw & 0xffff,
    }
}

/// What the firmware and the previous boot leave: whole pages of one class each, most of them cleared.
fn untouched_word(seed: u64, index: u64) -> u64 {
    let page = index >> 9;
    let draw = mix(seed ^ mix(page));
    let class = match draw & 15 {
        0..8 => return 0,
        8 | 9 => JunkClass::Text,
        10 | 11 => JunkClass::Pointers,
        12 => JunkClass::SmallInts,
        13 => JunkClass::Ints32,
        _ => JunkClass::Random,
    };
    junk_word(class, draw, index)
}

/// Materialises the bytes of a source. `seed` is that of the untouched memory. `Raw` is not handled here: its bytes
/// lie in the arena.
pub(crate) fn materialise(source: Source, seed: u64, offset: u64, out: &mut [u8]) {
    match source {
        Source::Zero | Source::Raw { .. } => out.fill(0),
        Source::Untouched => words(offset, out, |index| untouched_word(seed, index)),
        Source::Junk { class: JunkClass::Zero, .. } => out.fill(0),
        Source::Junk { class, seed, owner } => {
            let key = u64::from(seed) << 32 | u64::from(owner);
            words(offset, out, |index| junk_word(class, key, index));
        }
        Source::SlotTable => words(offset, out, |index| match index % 3 {
            0 => u64::MAX,
            1 => 0,
            _ => 128 - index / 3 % 128,
        }),
        // The tag is mixed in above the range of any junk key, so that no buffer looks like somebody's junk.
        Source::Data { tag } => {
            let key = mix(u64::from(tag)) | 1;
            words(offset, out, |index| mix(key ^ mix(index)));
        }
    }
}

/// Fills `out` from the stream of words, starting at byte `offset` of the stream.
fn words(offset: u64, out: &mut [u8], word: impl Fn(u64) -> u64) {
    let mut index = offset >> 3;
    let skip = (offset & 7) as usize;
    let mut rest = out;
    if skip != 0 {
        let bytes = word(index).to_le_bytes();
        let count = rest.len().min(8 - skip);
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&bytes[skip..skip + count]);
        rest = tail;
        index = index.wrapping_add(1);
    }
    for chunk in rest.chunks_mut(8) {
        chunk.copy_from_slice(&word(index).to_le_bytes()[..chunk.len()]);
        index = index.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(source: Source, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        materialise(source, 1, offset, &mut out);
        out
    }

    #[test]
    fn a_byte_depends_on_its_offset_and_not_on_the_read() {
        for class in JunkClass::ALL {
            let source = Source::Junk { class, seed: 3, owner: 4 };
            let whole = bytes(source, 0, 64);
            for start in 0u8..40 {
                let place = usize::from(start);
                assert_eq!(bytes(source, start.into(), 23), whole[place..place + 23]);
            }
        }
    }

    #[test]
    fn each_class_looks_like_its_name() {
        let junk = |class| bytes(Source::Junk { class, seed: 7, owner: 0 }, 0, 4096);
        assert!(junk(JunkClass::Zero).iter().all(|&byte| byte == 0));
        assert!(junk(JunkClass::Text).iter().all(|&byte| byte == b'\n' || (32..127).contains(&byte)));
        let words = |class| {
            junk(class).chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect::<Vec<_>>()
        };
        assert!(words(JunkClass::SmallInts).iter().all(|&word| word < 1 << 24));
        assert!(words(JunkClass::SmallInts).iter().filter(|&&word| word < 256).count() > 300);
        assert!(words(JunkClass::Pointers).iter().all(|&word| word == 0
            || word >> 44 == 0xf_fff8
            || word >> 40 == 0xff_ffc9
            || word >> 32 == 0xffff_ffff));
    }
}
