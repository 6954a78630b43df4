//! Oracles: what can go wrong. Each is general; none knows a particular bug.
//!
//! The shadow oracle lives where pointers are followed ([`crate::kernel`]), the engine's oracles in the engine; here
//! are those of the DMA API, of the bus and of content, and what is checked at the end of a run.

mod addresses;
mod allocators;
mod before;
mod boot;
mod bus;
mod content;
mod dma_debug;
mod end;
mod groups;
mod iotlb;
mod iova;
mod junk;
mod kinds;
mod leaks;
mod ledger;
mod live;
mod ought;
mod place;
mod published;
mod race;
mod refused;
mod segment;
mod slots;
mod suppliers;

pub use allocators::check_no_slab;
pub use before::Before;
pub use boot::{BootLog, check_reserved};
pub use bus::{device_dma, dma_refused};
pub use content::check_cleared;
pub use dma_debug::{Misuse, Synced, Unmapped, reject_vmalloc};
pub use end::{check_high_water, end_of_run};
pub use groups::{check_detached, check_refused, check_shared};
pub use iotlb::{check_armed, check_flush_counted, check_flushed, check_flushes, check_tables_forgotten};
pub use iova::check_iova;
pub use junk::{field_offset, junk_word};
pub use kinds::FINDINGS;
pub use ledger::{Ledger, MapKind, MappingId, NewMapping};
pub use live::{LiveMapping, LivePiece};
pub use place::check_memory;
pub use published::check_unpublished;
pub use race::{Beside, FieldAccesses};
pub use refused::{SlotsSeen, check_refused_mapping, check_refused_slots, slots_seen};
pub use suppliers::{check_consumers_gone, check_supplier_there, check_suppliers_awake};
