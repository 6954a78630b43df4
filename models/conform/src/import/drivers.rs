//! Which drivers bound to which devices, and when.

use std::collections::BTreeMap;

use models::iommu::core::PciAddress;
use models::scenario::limits;

use super::Source;
use super::devices::DeviceFound;

/// A bound driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) driver: String,
    /// The line that shows it; 0 if it is known from the state file.
    pub(crate) line: u64,
    /// Milliseconds after the start of user space, if it came after that.
    pub(crate) after_ms: Option<u64>,
}

/// When user space began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UserSpace {
    pub(super) line: Option<u64>,
    time: Option<u64>,
}

/// Where the first program starts.
pub(super) fn user_space(source: &Source<'_>) -> UserSpace {
    let starts = ["Run /", "Freeing unused kernel image (initmem)", "Freeing unused kernel memory"];
    let found =
        source.log.others.iter().find(|other| starts.iter().any(|start| other.text.starts_with(start)));
    let freeing =
        source.log.entries.iter().find(|entry| starts.iter().any(|start| entry.text.starts_with(start)));
    let time_of = |line: u64| source.log.others.iter().rfind(|other| other.line <= line).and_then(|o| o.time);
    match (found, freeing) {
        (Some(other), _) => UserSpace { line: Some(other.line), time: other.time },
        (None, Some(entry)) => UserSpace { line: Some(entry.line), time: time_of(entry.line) },
        (None, None) => UserSpace::default(),
    }
}

impl UserSpace {
    /// Milliseconds from the start of user space to a line; 0 if it comes before.
    pub(super) fn ms_at(self, source: &Source<'_>, line: u64) -> u64 {
        let time = source.log.others.iter().rfind(|other| other.line <= line).and_then(|other| other.time);
        self.after_ms(line, time).unwrap_or(0)
    }

    /// Milliseconds from the start of user space to a line, if it is later.
    fn after_ms(self, line: u64, time: Option<u64>) -> Option<u64> {
        if line <= self.line? {
            return None;
        }
        let between = time.zip(self.time).map_or(100_000, |(time, start)| time.saturating_sub(start));
        Some((between / 1_000).min(limits::DELAY_US / 2_000))
    }

    /// Milliseconds from the bus scan to a line behind the start of user space.
    pub(super) fn plugged_ms(self, source: &Source<'_>, line: u64) -> u64 {
        /// From the bus scan to user space in a modelled boot.
        const SCAN_TO_USER_SPACE: u64 = 2_000;
        SCAN_TO_USER_SPACE + self.ms_at(source, line)
    }
}

/// Drivers that bind and make no DMA, and prefixes of lines that are no drivers.
const NO_DRIVERS: [&str; 14] = [
    "pci", "pci_bus", "pcieport", "shpchp", "pnp", "platform", "acpi", "usb", "pci_link", "iommu", "swiotlb",
    "vgaarb", "lpc_ich", "PCI",
];

/// The driver and the device in `ahci 0000:00:1f.2: version 3.0` or `nvme nvme0: pci function 0000:00:01.0`.
fn driver_line(text: &str) -> Option<(&str, &str)> {
    let (driver, rest) = text.split_once(' ')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if driver.is_empty() || driver.len() > 40 || !driver.chars().all(is_name) || NO_DRIVERS.contains(&driver)
    {
        return None;
    }
    let address = match rest.split_once(": pci function ") {
        Some((_, address)) => address.trim_end(),
        None => {
            let end = rest.find([' ', ',']).unwrap_or(rest.len());
            let word = rest[..end].strip_suffix(':').unwrap_or(&rest[..end]);
            // Behind the address stands a colon, or the name of an interface and a colon.
            let colon = rest[..end].ends_with(':') || rest[end..].contains(':');
            colon.then_some(word)?
        }
    };
    (address.len() <= 12 && PciAddress::parse(address).is_some()).then_some((driver, address))
}

/// The device in `e1000: probe of 0000:00:03.0 failed with error -12`, or in its form since v6.9.
fn failed(text: &str) -> Option<&str> {
    if let Some((_, rest)) = text.split_once(": probe of ") {
        return rest.split_once(" failed with error").map(|(device, _)| device);
    }
    let (before, rest) = text.split_once(": probe with driver ")?;
    rest.contains(" failed with error").then(|| before.rsplit(' ').next())?
}

pub(super) fn bind(source: &Source<'_>, devices: &mut [DeviceFound], assumptions: &mut Vec<String>) {
    let user = user_space(source);
    let mut seen: BTreeMap<&str, Bound> = BTreeMap::new();
    let mut refused: Vec<&str> = Vec::new();
    for other in &source.log.others {
        if let Some(device) = failed(&other.text) {
            refused.push(device);
        } else if let Some((driver, device)) = driver_line(&other.text) {
            let after_ms = user.after_ms(other.line, other.time);
            seen.entry(device).or_insert_with(|| Bound {
                driver: driver.to_owned(),
                line: other.line,
                after_ms,
            });
        }
    }
    let state = source.state.filter(|state| !state.devices.is_empty());
    for device in &mut *devices {
        let bdf = device.bdf.as_str();
        let said = seen.get(bdf).filter(|_| !refused.contains(&bdf)).cloned();
        device.bound = match state {
            // The state is that of the running system: it knows better.
            Some(state) => {
                let driver = state.devices.iter().find(|(_, known)| known.name == bdf);
                let driver = driver.and_then(|(_, known)| known.driver.clone());
                driver.filter(|driver| !NO_DRIVERS.contains(&driver.as_str())).map(|driver| {
                    let module = driver.replace('-', "_");
                    let loaded = state.modules.iter().any(|name| {
                        *name == module
                            || name.strip_prefix(&module).is_some_and(|rest| rest.starts_with('_'))
                    });
                    let after_ms = said.as_ref().map_or(loaded.then_some(100), |said| said.after_ms);
                    Bound { line: said.as_ref().map_or(0, |said| said.line), driver, after_ms }
                })
            }
            None => said,
        };
    }
    if state.is_none() && !devices.is_empty() {
        assumptions.push("which drivers bound is taken from lines that name a driver and a device: one that said nothing is not known".to_owned());
    }
    virtio(source, devices, state.is_some(), assumptions);
}

/// Virtio devices seldom say which PCI driver they are behind.
fn virtio(
    source: &Source<'_>,
    devices: &mut [DeviceFound],
    state_known: bool,
    assumptions: &mut Vec<String>,
) {
    if state_known {
        return;
    }
    let user = user_space(source);
    let said = source.log.others.iter().find(|other| {
        ["virtio_blk virtio", "virtio_net virtio", "virtio_scsi virtio"]
            .iter()
            .any(|start| other.text.starts_with(start))
    });
    let Some(said) = said else { return };
    let mut any = false;
    for device in devices.iter_mut().filter(|device| device.bound.is_none()) {
        if device.ids.is_some_and(|(vendor, _)| vendor == 0x1af4) {
            let after_ms = user.after_ms(said.line, said.time);
            device.bound = Some(Bound { driver: "virtio-pci".to_owned(), line: said.line, after_ms });
            any = true;
        }
    }
    if any {
        assumptions.push(
            "virtio devices are taken to be bound by virtio-pci, since virtio's own drivers found some"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{driver_line, failed};

    #[test]
    fn drivers_are_named_in_front_of_their_devices() {
        assert_eq!(driver_line("ahci 0000:00:1f.2: version 3.0"), Some(("ahci", "0000:00:1f.2")));
        assert_eq!(driver_line("nvme nvme0: pci function 0000:00:01.0"), Some(("nvme", "0000:00:01.0")));
        assert_eq!(
            driver_line("e1000 0000:01:01.0 eth1: (PCI:33MHz:32-bit)"),
            Some(("e1000", "0000:01:01.0"))
        );
        for other in [
            "pci 0000:00:1f.2: [8086:2922] type 00",
            "pci_bus 0000:00: resource 4",
            "nvme nvme0: 2/0/0 default/read/poll queues",
            "ahci 0000:00:1f.2",
            "Found 0000:00:1f.2 here",
            "",
        ] {
            assert_eq!(driver_line(other), None, "{other}");
        }
        assert_eq!(failed("e1000: probe of 0000:00:03.0 failed with error -12"), Some("0000:00:03.0"));
        let newer = "e1000 0000:00:03.0: probe with driver e1000 failed with error -12";
        assert_eq!(failed(newer), Some("0000:00:03.0"));
        assert_eq!(failed("ahci 0000:00:1f.2: version 3.0"), None);
    }
}
