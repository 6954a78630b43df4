//! Sequences of mappings as plain text: what the benches of the model and its peer, the kernel's own code, both read.
//! `models/benches/peers/swiotlb/README.md` describes the form.

pub(crate) mod apply;
pub(crate) mod generate;
pub(crate) mod text;
pub(crate) mod vectors;

/// One operation on a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Map a buffer; what is mapped is kept under a number.
    Map {
        /// CPU that maps, and thread that runs this.
        cpu: u32,
        /// Number of the mapping, to unmap it by.
        id: u32,
        /// The buffer, its length in bytes.
        addr: u64,
        /// Bytes.
        size: u64,
        /// `alloc_align_mask`.
        align_mask: u32,
        /// `min_align_mask` of the device.
        min_align_mask: u32,
        /// `segment_boundary_mask` of the device.
        boundary_mask: u64,
        /// Distance of the bounce address from the start of the pool; [`FULL`] if there is no place.
        answer: u64,
    },
    /// Unmap the mapping of that number; nothing if it was refused.
    Unmap {
        /// CPU that unmaps.
        cpu: u32,
        /// Number of the mapping.
        id: u32,
    },
}

/// The answer when there is no place.
pub(crate) const FULL: u64 = u64::MAX;

/// Operations on one pool. Those before `timed_from` set it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Says where it comes from.
    pub(crate) name: String,
    /// Start of the pool.
    pub(crate) start: u64,
    /// Its slots.
    pub(crate) nslabs: u32,
    /// Its areas.
    pub(crate) nareas: u32,
    /// How many threads run it, each the operations of its CPU.
    pub(crate) threads: u32,
    /// The operations.
    pub(crate) ops: Vec<Op>,
    /// How many of them are not timed.
    pub(crate) timed_from: usize,
}

impl Sequence {
    /// One more than the largest number of a mapping.
    pub(crate) fn ids(&self) -> usize {
        let id = |op: &Op| match *op {
            Op::Map { id, .. } | Op::Unmap { id, .. } => id as usize + 1,
        };
        self.ops.iter().map(id).max().unwrap_or(0)
    }

    /// Pairs of map and unmap that are timed; those that are refused count as well.
    pub(crate) fn pairs(&self) -> usize {
        self.ops[self.timed_from..].iter().filter(|op| matches!(op, Op::Map { .. })).count()
    }

    /// A checksum of the slots chosen.
    pub(crate) fn checksum(&self) -> u64 {
        let chosen = self.ops.iter().filter_map(|op| match *op {
            Op::Map { answer, .. } => Some(answer),
            Op::Unmap { .. } => None,
        });
        chosen.fold(0, |sum, answer| u64::wrapping_mul(sum, 31).wrapping_add(answer))
    }
}
