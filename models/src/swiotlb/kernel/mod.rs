//! swiotlb's code paths: what the kernel does with the pool, on contexts, over simulated memory.
//!
//! Source: `kernel/dma/swiotlb.c`, v5.13 to v5.15, linux-next of June 2021, v6.1 and v6.12.

mod alloc;
mod areas;
mod debugfs;
mod exit;
pub(crate) mod grow;
mod init;
mod init_remap;
mod junk;
mod late;
mod lookup;
mod map;
mod object;
mod recorded;
mod rules;
mod search;
mod unmap;
mod watch;

pub use alloc::{swiotlb_alloc, swiotlb_free};
pub use debugfs::{swiotlb_debugfs, swiotlb_debugfs_of};
pub use exit::swiotlb_exit;
pub use grow::{DeviceIoTlb, Growth, Tlb};
pub use init::{
    rmem_swiotlb_device_init, setup_static_pool, swiotlb_init, swiotlb_print_info,
    swiotlb_update_mem_attributes,
};
pub use init_remap::{setup_io_tlb_npages, swiotlb_adjust_size, swiotlb_init_remap};
pub use late::xen_swiotlb_init;
pub use lookup::{
    default_pool, device_pool, find_pool, is_swiotlb_active, is_swiotlb_buffer, is_swiotlb_for_alloc,
    is_swiotlb_force_bounce, swiotlb_max_mapping_size,
};
pub use map::{dma_limits, swiotlb_map, swiotlb_tbl_map_single};
pub use object::{AREA_LOCK, IO_TLB_SLOT_SIZE, IoTlbArea, IoTlbMem, IoTlbPool, POOL_LOCK, PoolPtr};
pub use rules::pool_rules;
pub use unmap::{swiotlb_sync_if_bounced, swiotlb_tbl_unmap_single, swiotlb_unmap_if_bounced};
