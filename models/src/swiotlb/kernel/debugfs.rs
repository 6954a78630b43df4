//! What debugfs says of the default allocator.

use super::IoTlbMem;
use super::lookup::default_pool;
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::profile::Version;
use crate::run::SwiotlbDebugfs;

/// The files of the default allocator, as somebody reads them now; `None` if there is no allocator.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_create_debugfs_files(), mem_used()`, v5.13 to v6.12.
#[must_use]
pub fn swiotlb_debugfs(kx: &Kx) -> Option<SwiotlbDebugfs> {
    swiotlb_debugfs_of(kx, default_pool(kx))
}

/// The same of any allocator.
#[must_use]
pub fn swiotlb_debugfs_of(kx: &Kx, mem: Ptr<IoTlbMem>) -> Option<SwiotlbDebugfs> {
    let object = kx.k.mem.object(mem).ok()?;
    let growth = object.growth.get();
    let usage = object.usage.get();
    // The total is kept from 6.4 on; before, the areas' counters are added up.
    let counted = kx.k.profile().version.base() >= Version::V6_4;
    let areas = object.pool.borrow().as_ref().map_or(0, crate::swiotlb::Pool::used);
    Some(SwiotlbDebugfs {
        nslabs: growth.map_or(object.nslabs.get(), |growth| growth.peek_nslabs()),
        used: if counted { usage.total_used } else { areas },
        used_hiwater: counted.then_some(usage.used_hiwater),
        transient_nslabs: growth.is_some().then(|| object.transient_nslabs.get()),
    })
}
