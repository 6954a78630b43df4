//! The allocator of I/O virtual addresses, as pure data: same calls, same addresses as the kernel's.
//!
//! Source: `drivers/iommu/iova.c`, `include/linux/iova.h`, v5.13 to v6.12.
//!
//! Nothing in here locks, waits, draws or prints. The code paths around it (`dma-iommu`, the flush queue, CPU
//! hotplug) decide who calls when, and on which CPU; that is why a CPU is always an argument. What can go wrong is
//! a value: a failed allocation is an [`AllocError`], a `WARN_ON` is kept as an [`IovaWarning`], and the ways in
//! which the kernel itself would end (`BUG`, a followed NULL pointer, a loop without end) are variants of the
//! error types.
//!
//! The kernel keeps its ranges in a red-black tree. Only their order is visible from outside, so any ordered map
//! gives the same addresses; the invariants that this rests on are listed in `docs/invariants-iova.md`.

mod adopt;
mod domain;
mod ranges;
mod rcache;
mod rules;
mod search;
mod types;

pub use adopt::Remembered;
pub use domain::{IovaDomain, PutReport, Reserved};
pub use rcache::{DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE, IovaMemory, MagazineView, Plenty, order_base_2};
pub use rules::{DepotRule, IovaRules, Max32Reset, RetryFrom};
pub use types::{AllocError, CachedNode, Cpu, InitBug, IovaPfn, IovaRange, IovaWarning, NullPointer};
