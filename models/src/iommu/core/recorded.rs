//! What a recorded run tells of the translations that the hardware has cached.

use super::objects::TlbEntry;
use crate::device::DeviceNode;
use crate::kernel::Kx;
use crate::mem::{PAGE_SHIFT, PAGE_SIZE};

/// The space of a domain's cached translations: its bus addresses.
fn iotlb_of(domain: u16) -> String {
    format!("IOTLB of domain {domain}")
}

/// An access of `node` brought a translation into the cache.
pub(super) fn cached_translation(kx: &Kx, node: &DeviceNode, domain: u16, entry: TlbEntry) {
    kx.interval_begins(|| {
        let memory = entry.frame << PAGE_SHIFT;
        (iotlb_of(domain), entry.page << PAGE_SHIFT, PAGE_SIZE, format!("{}: {memory:#x}", node.bdf))
    });
}

/// The cache holds a page's translation no longer.
pub(super) fn forgot_translation(kx: &Kx, domain: u16, page: u64) {
    kx.interval_ends(|| (iotlb_of(domain), page << PAGE_SHIFT, PAGE_SIZE, String::new()));
}
