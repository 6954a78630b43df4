//! Devices.

use models::run::state::{DeviceState, Translation};

use crate::layout::instant;

pub(super) fn lines(devices: &[DeviceState]) -> Vec<String> {
    let mut lines = Vec::new();
    if devices.is_empty() {
        lines.push("the bus was not scanned yet".to_owned());
    }
    for device in devices {
        one(device, &mut lines);
    }
    lines
}

fn one(device: &DeviceState, lines: &mut Vec<String>) {
    let gone = if device.present { "" } else { " (was removed)" };
    lines.push(format!("{} {}{gone}", device.bdf, device.name));
    let driver = match (&device.driver, &device.probing) {
        (Some(driver), _) => driver.clone(),
        (None, Some(driver)) => format!("none, {driver} probes or leaves it"),
        (None, None) => "none".to_owned(),
    };
    lines.push(format!("    driver           {driver}"));
    match device.masks {
        None => lines.push(format!("    struct device at {:016x} was freed", device.at)),
        Some((streaming, coherent, limit)) => {
            let limit = if limit == 0 { String::new() } else { format!(", bus_dma_limit {limit:#x}") };
            lines.push(format!("    dma_mask         {streaming:#x}, coherent {coherent:#x}{limit}"));
        }
    }
    lines.push(format!("    dma_ops          {}", device.ops));
    if let Some((pointer, what)) = device.pool {
        let since =
            device.pool_since.map_or_else(String::new, |(at, by)| format!(", since {} by {by}", instant(at)));
        lines.push(format!("    dma_io_tlb_mem   {pointer:016x} ({what}){since}"));
    }
    let translation = match device.translation {
        Translation::Off => "addresses go to memory, no IOMMU is on".to_owned(),
        Translation::Blocked => "every address faults, the device is attached to no domain".to_owned(),
        Translation::Identity => "addresses go to memory as they are".to_owned(),
        Translation::Copied => "addresses are translated by a domain of the kernel that crashed".to_owned(),
        Translation::BadStream => "everything faults: its stream table entry is not valid".to_owned(),
        Translation::BadContext => "everything faults: its context descriptor is not valid".to_owned(),
        Translation::Misread => "everything faults: its entry was copied in another format".to_owned(),
        Translation::Domain(id) => format!("addresses are translated by domain {id}"),
        Translation::FreedDomain => "addresses are translated by a domain that was freed".to_owned(),
    };
    let group = device.group.map_or_else(
        || "none".to_owned(),
        |id| if device.domain.is_empty() { id.to_string() } else { format!("{id} ({})", device.domain) },
    );
    lines.push(format!("    iommu_group      {group}; {translation}"));
    let (maps, bounced, failed) = device.counts;
    lines.push(format!("    mappings         {maps} made, {bounced} bounced, {failed} failed"));
}
