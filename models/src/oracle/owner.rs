//! Ownership of IOMMU groups.

use sim::Draft;

use crate::device::DeviceNode;
use crate::kernel::{Kx, seconds};

/// A driver is refused its device since the device's group is somebody else's: there must be somebody who has claimed it.
pub fn check_refused(kx: &Kx, node: &DeviceNode, claimed: bool) {
    if !claimed {
        let title = format!(
            "{} is refused to its driver at {}, and nobody has claimed its IOMMU group",
            node.bdf,
            seconds(kx.now())
        );
        kx.report(Draft::warning("refused-without-owner", title).object("struct iommu_group"), Vec::new);
    }
}
