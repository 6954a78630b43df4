//! swiotlb's code paths: what the kernel does with the pool, on contexts, over simulated memory.
//!
//! Source: `kernel/dma/swiotlb.c`, v5.13 to v5.15 and linux-next of June 2021.

mod alloc;
mod exit;
mod init;
mod junk;
mod lookup;
mod map;
mod object;
mod unmap;

pub use alloc::{swiotlb_alloc, swiotlb_free};
pub use exit::swiotlb_exit;
pub use init::{rmem_swiotlb_device_init, setup_static_pool, swiotlb_init, swiotlb_print_info};
pub use lookup::{
    default_pool, device_pool, is_swiotlb_buffer, is_swiotlb_for_alloc, is_swiotlb_force_bounce,
    swiotlb_max_mapping_size,
};
pub use map::{dma_limits, swiotlb_map, swiotlb_tbl_map_single};
pub use object::{IO_TLB_SLOT_SIZE, IoTlbMem, POOL_LOCK};
pub use unmap::{swiotlb_sync_single, swiotlb_tbl_unmap_single};
