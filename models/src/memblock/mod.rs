//! memblock: the allocator of early boot, exact to the address (`mm/memblock.c`).
//!
//! A [`Memblock`] holds two lists of regions, `memory` (what RAM there is) and `reserved` (what of it is taken),
//! and answers every request with the address that the kernel's own code would give. It is plain data: it knows
//! no clock, draws no choice and never panics on what a caller asks. What the kernel would do instead of
//! returning (`BUG`, `panic`) is the error [`MemblockError::Fatal`].
//!
//! Sources are named by file and function as of v6.12, unless they say another version.
//!
//! What differs between kernel versions is a switch of [`MemblockRules`]. Kernels 5.10 to 6.1 behave as
//! [`MemblockRules::v6_1`], 6.12 as [`MemblockRules::v6_12`].
//!
//! What must hold at all times is listed in `docs/invariants-memblock.md`.
//!
//! Beside the lists a [`Memblock`] remembers who reserved which byte ([`Memblock::owner_of`]), so that a report
//! can name the code whose memory a wild access hit. The lists never look at it.

mod alloc;
mod check;
mod deferred;
mod dump;
mod find;
mod grow;
mod handover;
mod limit;
mod list;
mod owner;
mod query;
mod ranges;
mod rules;
mod shortcut;
mod stage;
mod state;
mod types;

pub use check::BrokenInvariant;
pub use deferred::{DeferredInit, SECTION_PAGES};
pub use dump::{ListDump, MemblockDump};
pub use handover::PfnRange;
pub use owner::{OwnedRange, Owner};
pub use query::PfnLookup;
pub use ranges::{FreeRange, FreeRanges, FreeRangesRev, NodePfnRange};
pub use rules::MemblockRules;
pub use stage::{DiscardedArray, Misuse, Request, Stage};
pub use state::Memblock;
pub use types::{Bounds, Fatal, MemblockError, MemblockFlags, MemblockType, NodeId, Region};
