//! ChaCha with 8 rounds, one block at a time.
//!
//! Runs are short: of a library's generator, which makes four blocks at once and keeps a kilobyte for four streams, a
//! run of 40 steps uses little, and its making was a good part of the run.

/// The words of a block: 16.
pub(super) type Block = [u32; 16];

/// `expand 32-byte k`.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Block number `counter` of stream number `stream` under `key`.
///
/// D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008; counter and stream number have 64 bits each.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
#[inline]
pub(super) fn block(key: &[u32; 8], counter: u64, stream: u64) -> Block {
    let start: [[u32; 4]; 4] = [
        CONSTANTS,
        [key[0], key[1], key[2], key[3]],
        [key[4], key[5], key[6], key[7]],
        [counter as u32, (counter >> 32) as u32, stream as u32, (stream >> 32) as u32],
    ];
    let [mut a, mut b, mut c, mut d] = start;
    for _ in 0..4 {
        quarter_rounds(&mut a, &mut b, &mut c, &mut d);
        // The diagonals become columns, and back.
        (b, c, d) = (turned::<1>(b), turned::<2>(c), turned::<3>(d));
        quarter_rounds(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (turned::<3>(b), turned::<2>(c), turned::<1>(d));
    }
    let mut block = [0; 16];
    for (row, (mixed, start)) in [a, b, c, d].iter().zip(&start).enumerate() {
        for (column, (mixed, start)) in mixed.iter().zip(start).enumerate() {
            block[4 * row + column] = mixed.wrapping_add(*start);
        }
    }
    block
}

/// Four quarter rounds side by side.
#[inline]
fn quarter_rounds(a: &mut [u32; 4], b: &mut [u32; 4], c: &mut [u32; 4], d: &mut [u32; 4]) {
    half::<16>(a, b, d);
    half::<12>(c, d, b);
    half::<8>(a, b, d);
    half::<7>(c, d, b);
}

#[inline]
fn half<const BITS: u32>(sum: &mut [u32; 4], addend: &[u32; 4], other: &mut [u32; 4]) {
    for lane in 0..4 {
        sum[lane] = sum[lane].wrapping_add(addend[lane]);
        other[lane] = (other[lane] ^ sum[lane]).rotate_left(BITS);
    }
}

#[inline]
fn turned<const BY: usize>(row: [u32; 4]) -> [u32; 4] {
    [row[BY % 4], row[(BY + 1) % 4], row[(BY + 2) % 4], row[(BY + 3) % 4]]
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng};

    use super::*;

    /// Planted bugs with which this was seen to fail: a rotation by 9 instead of 8; rows that turn the wrong way.
    #[test]
    fn blocks_are_those_of_rand_chacha() {
        for (number, fill) in [0_u8, 1, 0x5a, 0xff].into_iter().enumerate() {
            let mut bytes = [0; 32];
            for (at, byte) in (1..).zip(&mut bytes) {
                *byte = fill.wrapping_mul(at);
            }
            let key = std::array::from_fn(|at| {
                u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four bytes"))
            });
            let stream = [0, 1, 3, 0x1234_5678_9abc_def0][number];
            let mut theirs = ChaCha8Rng::from_seed(bytes);
            theirs.set_stream(stream);
            for counter in 0..9 {
                for word in block(&key, counter, stream) {
                    assert_eq!(word, theirs.next_u32(), "block {counter} of stream {stream}");
                }
            }
        }
    }
}
