//! What is asked of the default pool, for those who want to know how large it must be.

use super::lookup::default_pool;
use super::object::IoTlbMem;
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::sizing::MapId;
use crate::swiotlb::{DmaLimits, MapRequest};

impl Kx {
    /// A mapping is wanted of `mem`. Nothing happens unless somebody asked for a record of it.
    pub(super) fn bounce_asked(
        &self,
        dev: Ptr<Device>,
        mem: Ptr<IoTlbMem>,
        limits: DmaLimits,
        request: &MapRequest,
    ) -> Option<MapId> {
        let bounces = self.k.bounces.as_ref()?;
        if mem != default_pool(self) {
            return None;
        }
        let mut bounces = bounces.borrow_mut();
        let device = bounces.device(&self.k.dev_string(dev), limits);
        bounces.map(self.stamp(), u32::from(self.cpu()), device, *request)
    }

    /// It was made.
    pub(super) fn bounce_given(&self, asked: Option<MapId>, tlb_addr: PhysAddr) {
        if let Some(bounces) = &self.k.bounces
            && let Some(asked) = asked
        {
            bounces.borrow_mut().given(asked, tlb_addr.0);
        }
    }

    /// It is given back.
    pub(super) fn bounce_returned(&self, mem: Ptr<IoTlbMem>, tlb_addr: PhysAddr) {
        if let Some(bounces) = &self.k.bounces
            && mem == default_pool(self)
        {
            bounces.borrow_mut().unmap(self.stamp(), u32::from(self.cpu()), tlb_addr.0);
        }
    }
}
