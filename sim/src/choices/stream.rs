//! Random streams: one for each purpose, so that a change in one does not disturb the others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a choice is for. Each purpose has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Which context runs next.
    Schedule,
    /// Which faults happen, when, and how strongly.
    Injection,
    /// What drivers and processes do: sizes, counts, delays.
    Workload,
    /// What memory contains.
    Content,
}

/// A `ChaCha8` stream. Ranges are drawn from the raw words by our own lines: a library's range sampling may change
/// between versions, and a seed must mean the same run for ever.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    stream: u64,
    /// Made when the first word is drawn: most runs draw from one stream or two, and making one costs as much as a
    /// dozen steps. In a box, since it is large and what it stands in is moved about.
    generator: Option<Box<ChaCha8Rng>>,
}

impl Rng {
    const fn new(seed: u64, stream: u64) -> Self {
        Self { seed, stream, generator: None }
    }

    #[inline]
    fn generator(&mut self) -> &mut ChaCha8Rng {
        let (seed, stream) = (self.seed, self.stream);
        match &mut self.generator {
            Some(generator) => generator,
            none => none.insert(Self::make(seed, stream)),
        }
    }

    #[cold]
    fn make(seed: u64, stream: u64) -> Box<ChaCha8Rng> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..14].copy_from_slice(b"dmasim");
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        Box::new(generator)
    }

    /// The next 32 bits.
    #[inline]
    pub fn word(&mut self) -> u32 {
        self.generator().next_u32()
    }

    /// A number below `n`; 0 if `n` is 0. The bias is below n / 2^32 for n up to 2^32, and n / 2^64 beyond.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        if n <= 1 << 32 {
            (u64::from(self.word()) * n) >> 32
        } else {
            let wide = u128::from(self.generator().next_u64()) * u128::from(n);
            (wide >> 64) as u64
        }
    }
}

/// The four streams of one seed.
#[derive(Clone, Debug)]
pub struct Streams([Rng; 4]);

impl Streams {
    /// The streams of `seed`. Different seeds and different purposes are independent.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self([Rng::new(seed, 0), Rng::new(seed, 1), Rng::new(seed, 2), Rng::new(seed, 3)])
    }

    /// The stream for one purpose.
    #[inline]
    pub fn get(&mut self, stream: Stream) -> &mut Rng {
        &mut self.0[stream as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut streams = Streams::new(42);
        let drawn: Vec<u64> = (0..4).map(|_| streams.get(Stream::Schedule).below(1000)).collect();
        assert_eq!(drawn, PINNED, "the streams of a seed changed: every recorded seed now means another run");
    }

    const PINNED: [u64; 4] = [47, 259, 612, 702];

    #[test]
    fn streams_do_not_disturb_each_other() {
        let mut a = Streams::new(7);
        let mut b = Streams::new(7);
        for _ in 0..100 {
            a.get(Stream::Workload).word();
        }
        assert_eq!(a.get(Stream::Content).word(), b.get(Stream::Content).word());
    }

    #[test]
    fn below_is_below_and_even() {
        let mut rng = Streams::new(1);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            let n = rng.get(Stream::Content).below(7);
            counts[usize::try_from(n).expect("below seven")] += 1;
        }
        // Chi-square with 6 degrees of freedom: 22.5 is the 0.1 % bound.
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 22.5, "{counts:?}");
        assert_eq!(rng.get(Stream::Content).below(0), 0);
        assert!(rng.get(Stream::Content).below(u64::MAX) < u64::MAX);
    }
}
