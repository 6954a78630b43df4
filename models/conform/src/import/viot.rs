//! The paravirtual IOMMU: when its driver comes, and the devices that get their groups as their drivers bind.

use models::iommu::core::PciAddress;

use super::Source;
use super::devices::DeviceFound;
use super::drivers::{Bound, user_space};
use crate::boot::line::Event;
use crate::boot::line_iommu::IommuLine;

/// Devices that got a group, in the order of the lines: the device, the driver that was about to bind, the line, and
/// milliseconds after the start of user space.
fn grouped(source: &Source<'_>) -> Vec<(String, String, u64, u64)> {
    let user = user_space(source);
    let mut found: Vec<(String, String, u64, u64)> = Vec::new();
    let mut last = first_ms(source);
    for entry in &source.log.entries {
        let Event::Iommu(IommuLine::Group { device, .. }) = &entry.event else { continue };
        if PciAddress::parse(device).is_none() || found.iter().any(|(known, ..)| known == device) {
            continue;
        }
        let driver = entry.text.split(' ').next().unwrap_or_default();
        // One after the other, as the log has them.
        last = user.ms_at(source, entry.line).max(last + 1);
        found.push((device.clone(), driver.to_owned(), entry.line, last));
    }
    found
}

/// Milliseconds from the start of user space until the driver has the first IOMMU.
pub(super) fn first_ms(source: &Source<'_>) -> u64 {
    let mut entries = source.log.entries.iter();
    let line = entries.find(|entry| entry.text.starts_with("virtio_iommu ")).map_or(0, |entry| entry.line);
    user_space(source).ms_at(source, line)
}

/// Address bits that a scenario can say of one, and those that it has when the scenario says nothing.
const MOST_BITS: u32 = 57;
const USUAL_BITS: u32 = 48;

/// The last bus address that the log says it translates, if that is not the usual one. One of 64 bits counts as having as many
/// as a scenario can say.
pub(super) fn input_range(source: &Source<'_>) -> Option<u64> {
    let said = source.log.entries.iter().find_map(|entry| {
        let rest = entry.text.split_once("virtio_iommu ")?.1.split_once(": input address: ")?.1;
        rest.strip_suffix(" bits")?.trim().parse::<u32>().ok()
    })?;
    let bits = said.clamp(13, MOST_BITS);
    (bits != USUAL_BITS).then(|| (1 << bits) - 1)
}

/// A device's group is made when its driver is about to bind, and not when the bus is walked: the drivers come in the order
/// of the groups.
pub(super) fn bind(source: &Source<'_>, devices: &mut [DeviceFound], assumptions: &mut Vec<String>) {
    let mut only_probed = Vec::new();
    for (bdf, driver, line, after_ms) in grouped(source) {
        let Some(device) = devices.iter_mut().find(|device| device.bdf == bdf) else { continue };
        let known = device.bound.take();
        if known.is_none() {
            only_probed.push(format!("{bdf} ({driver})"));
        }
        let (driver, line) = known.map_or((driver, line), |known| (known.driver, known.line.max(line)));
        device.bound = Some(Bound { driver, line, after_ms: Some(after_ms) });
    }
    if !only_probed.is_empty() {
        assumptions.push(format!(
            "a driver was about to bind when these devices got their groups, and is taken to have bound: {}",
            only_probed.join(", ")
        ));
    }
}
