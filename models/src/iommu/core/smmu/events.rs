//! What an SMMU's driver prints of an access that was refused.

use super::{log_name, v3};
use crate::device::DeviceNode;
use crate::iommu::core::{DeviceEntry, internal::peek_translation};
use crate::kernel::Kx;
use crate::mem::DmaAddr;

/// Events of an SMMUv3, by number.
const C_BAD_STE: u64 = 0x04;
const C_BAD_CD: u64 = 0x0a;
const F_TRANSLATION: u64 = 0x10;
const F_PERMISSION: u64 = 0x13;

/// Source: `arm-smmu-v3.h: EVTQ_1_RnW`.
const EVTQ_1_RNW: u64 = 1 << 35;
/// The access itself is at fault, and not a look-up for it (`EVTQ_1_CLASS`).
const EVTQ_1_CLASS_IN: u64 = 2 << 40;

/// The number under which an SMMU knows a PCI function: bus, device and function.
fn stream_id(bdf: &str) -> u64 {
    let mut parts = bdf.split([':', '.']).map(|part| u64::from_str_radix(part, 16).unwrap_or(0));
    let (_, bus, device, function) = (parts.next(), parts.next(), parts.next(), parts.next());
    bus.unwrap_or(0) << 8 | device.unwrap_or(0) << 3 | function.unwrap_or(0)
}

/// The lines of the log for an access that was refused. There are none for a device whose stream table entry refuses
/// everything: the hardware records no event of that.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_evtq_thread()`,
/// `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_context_fault()`, v6.1, v6.12. How often is not limited here.
pub(in super::super) fn event_lines(kx: &Kx, node: &DeviceNode, addr: DmaAddr, write: bool) -> Vec<String> {
    let name = log_name(kx, node.spec(&kx.k).iommu_instance);
    if v3(kx).is_none() {
        return vec![format!(
            "{name}: Unhandled context fault: fsr=0x402, iova={:#010x}, fsynr={:#x}, cbfrsynra={:#x}",
            addr.0,
            if write { 0x11 } else { 0x1 },
            node.index
        )];
    }
    let event = match kx.k.iommu.entry(node.index) {
        DeviceEntry::BadStream => C_BAD_STE,
        DeviceEntry::BadContext => C_BAD_CD,
        DeviceEntry::Domain(_) if peek_translation(kx, node, addr).is_some() => F_PERMISSION,
        DeviceEntry::Domain(_) => F_TRANSLATION,
        _ => return Vec::new(),
    };
    let fault = event == F_TRANSLATION || event == F_PERMISSION;
    let access = if write { 0 } else { EVTQ_1_RNW };
    let record = [
        event | stream_id(node.bdf) << 32,
        if fault { EVTQ_1_CLASS_IN | access } else { 0 },
        if fault { addr.0 } else { 0 },
        0,
    ];
    let mut lines = vec![format!("{name}: event {event:#04x} received:")];
    lines.extend(record.iter().map(|word| format!("{name}: \t{word:#018x}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::stream_id;

    #[test]
    fn a_stream_is_known_by_bus_device_and_function() {
        assert_eq!(stream_id("0000:01:00.0"), 0x100);
        assert_eq!(stream_id("0002:c3:1f.7"), 0xc3ff);
    }
}
