//! A second initialiser: the first domain of a Xen host sets a pool up once there is a page allocator, if boot did not.

use super::init::fill;
use super::object::IoTlbMem;
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{Gfp, PAGE_SHIFT};
use crate::profile::Behaviour;
use crate::run::PoolFacts;
use crate::swiotlb::{IO_TLB_MIN_SLABS, IO_TLB_SHIFT, PoolSize};

/// The largest block that the page allocator gives (`MAX_ORDER - 1`).
const LARGEST_ORDER: u8 = 10;
/// Bytes that describe a slot: its free counter and its original address (`io_tlb_list`, `io_tlb_orig_addr`).
const BYTES_PER_SLOT: u64 = 12;

/// Sets the default pool up from the page allocator, unless one seems to be there.
///
/// Blocks from 4 MiB down are tried, below 4 GiB, as 1:1 mapped domains ask for them. Only where the pool is a set of
/// global variables; later kernels have this path, too, and nothing here depends on it.
///
/// Source: `arch/arm64/xen: xen_mm_init()`, `drivers/xen/swiotlb-xen.c: xen_swiotlb_init()`,
/// `kernel/dma/swiotlb.c: swiotlb_late_init_with_tbl()`, v5.9 and v5.10.
pub async fn xen_swiotlb_init(kx: &Kx) {
    let _frame = kx.enter("xen_swiotlb_init");
    let mem = kx.k.globals.io_tlb_default_mem.get();
    let Ok(object) = kx.k.mem.object(mem) else { return };
    if kx.load(mem, IoTlbMem::start).await.0 != 0 {
        // Boot has made one.
        return;
    }
    let flags = GfpFlags { zone: Gfp::Dma32, spared: true, ..GfpFlags::KERNEL };
    let mut order = LARGEST_ORDER;
    let (start, buffer, nslabs) = loop {
        let nslabs = 1_u64 << (order + u8::try_from(PAGE_SHIFT).unwrap_or(12) - 11);
        if nslabs <= IO_TLB_MIN_SLABS {
            kx.log(|| "xen_swiotlb_init: Cannot allocate Xen-SWIOTLB buffer".to_owned());
            return;
        }
        match kx.alloc_pages("swiotlb bounce buffer", order, flags).await {
            Ok((start, buffer)) => break (start, buffer, nslabs),
            Err(_) => order -= 1,
        }
    };
    let _inner = kx.enter("swiotlb_late_init_with_tbl");
    let pages = (nslabs * BYTES_PER_SLOT).div_ceil(4096).next_power_of_two();
    let table = u8::try_from(pages.ilog2()).unwrap_or(0);
    let Ok((slots, _)) = kx.alloc_pages("swiotlb slot table", table, flags).await else { return };
    object.slots_at.set((slots, 0));
    object.late_alloc.set(true);
    let size = PoolSize { nslabs: u32::try_from(nslabs).unwrap_or(u32::MAX), nareas: 1 };
    fill(kx, mem, start, size, false, buffer);
    if kx.k.has(Behaviour::FailedPoolForgotten) {
        kx.k.globals.no_iotlb_memory.set(false);
    }
    kx.log(|| {
        let end = start.wrapping_add((nslabs << IO_TLB_SHIFT) - 1).0;
        format!("software IO TLB: mapped [mem {:#018x}-{end:#018x}] ({}MB)", start.0, nslabs >> 9)
    });
    kx.k.facts.borrow_mut().pool = Some(PoolFacts {
        start: start.0,
        bytes: size.bytes(),
        descriptor: mem.addr,
        kind: "variables",
        force: false,
        at: kx.stamp(),
    });
}
