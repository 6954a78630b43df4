//! Numbers that are drawn per use, and classes of memory content.

use serde::{Deserialize, Serialize};

/// A number that a run draws: a fixed one, or one of several.
///
/// `Fixed(4096)`, `Uniform(512, 65536)` (both ends included), `OneOf([4096, 8192])`,
/// `Weighted([(3, 4096), (1, 65536)])` (weight first).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dist {
    /// Always this number.
    Fixed(u64),
    /// Any number from the first to the second, both included, each as likely as another.
    Uniform(u64, u64),
    /// One of these numbers, each as likely as another.
    OneOf(Vec<u64>),
    /// One of these numbers, each as likely as its weight (first in the pair) says.
    Weighted(Vec<(u32, u64)>),
}

impl Dist {
    /// The smallest number that may be drawn, or `None` if there is nothing to draw from.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        match self {
            Self::Fixed(value) => Some(*value),
            Self::Uniform(low, high) => (low <= high).then_some(*low),
            Self::OneOf(values) => values.iter().min().copied(),
            Self::Weighted(pairs) => pairs.iter().filter(|p| p.0 > 0).map(|p| p.1).min(),
        }
    }

    /// The largest number that may be drawn, or `None` if there is nothing to draw from.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        match self {
            Self::Fixed(value) => Some(*value),
            Self::Uniform(low, high) => (low <= high).then_some(*high),
            Self::OneOf(values) => values.iter().max().copied(),
            Self::Weighted(pairs) => pairs.iter().filter(|p| p.0 > 0).map(|p| p.1).max(),
        }
    }

    /// `Fixed(0)`: the default of every delay.
    #[must_use]
    pub const fn zero() -> Self {
        Self::Fixed(0)
    }
}

impl Default for Dist {
    fn default() -> Self {
        Self::zero()
    }
}

/// What kind of bytes somebody writes into memory. A page that is used again holds one of these, and what a
/// dangling pointer reads depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JunkClass {
    /// Nothing is written: what was there stays.
    #[default]
    Untouched,
    /// All bytes zero.
    Zero,
    /// 64-bit integers, most of them below 256: counters, sizes, small indices.
    SmallInts,
    /// Printable ASCII, as in logs, scripts and unit files.
    Text,
    /// 64-bit kernel addresses.
    Pointers,
    /// Pairs of 32-bit integers: counts, flags, -1.
    Ints32,
    /// Uniform bytes, as in compressed or encrypted files.
    Random,
}

/// A class of content and how likely it is among its neighbours in the list: `(weight, class)`.
pub type WeightedFill = (u32, JunkClass);

/// Which CPU a context runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuChoice {
    /// Any CPU; which one is drawn.
    #[default]
    Any,
    /// This CPU.
    Cpu(u32),
    /// One copy of the context on each CPU.
    PerCpu,
}
