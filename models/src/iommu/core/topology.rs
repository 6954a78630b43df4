//! Which PCI functions an IOMMU can tell apart: their groups.
//!
//! Plain data, for any tree of buses.

use std::collections::{BTreeMap, BTreeSet};

/// A function's place: domain and bus, then slot and function. Orders as the kernel numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Domain, and bus in the lower 8 bits.
    pub bus: u32,
    /// Slot, and function in the lower 3 bits.
    pub devfn: u8,
}

impl PciAddress {
    /// Reads `0000:00:1f.2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (domain, rest) = text.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (slot, function) = rest.split_once('.')?;
        let number = |digits: &str, most: u32| {
            u32::from_str_radix(digits, 16).ok().filter(|number| *number <= most && digits.len() <= 8)
        };
        let bus = number(domain, 0xffff)? << 8 | number(bus, 0xff)?;
        let devfn = number(slot, 0x1f)? << 3 | number(function, 7)?;
        Some(Self { bus, devfn: u8::try_from(devfn).ok()? })
    }

    const fn slot(self) -> u8 {
        self.devfn >> 3
    }
}

/// What a function is, as far as it decides who stands for whom.
///
/// Source: `include/uapi/linux/pci_regs.h: PCI_EXP_TYPE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciKind {
    /// Conventional PCI device.
    Conventional,
    /// PCI Express device.
    Express,
    /// Root port, or port of a switch; whether it keeps what is below apart (ACS).
    Port {
        /// Redirects and validates all requests.
        isolates: bool,
    },
    /// Bridge to conventional PCI, itself conventional or Express: requests from below carry its name.
    Bridge,
}

/// One function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// What it is.
    pub kind: PciKind,
    /// The bus below it.
    pub secondary: Option<u32>,
}

/// The groups of a machine, as functions come and go.
#[derive(Clone, Debug, Default)]
pub struct PciGroups {
    functions: BTreeMap<PciAddress, PciFunction>,
    groups: BTreeMap<PciAddress, u32>,
}

impl PciGroups {
    /// Makes a function known. It has no group yet.
    pub fn add_function(&mut self, at: PciAddress, function: PciFunction) {
        self.functions.insert(at, function);
    }

    /// The bridge above a bus; none above a root bus.
    fn bridge_to(&self, bus: u32) -> Option<(PciAddress, PciFunction)> {
        // A bus above itself would be a loop.
        self.functions
            .iter()
            .find(|(at, function)| function.secondary == Some(bus) && at.bus < bus)
            .map(|(at, function)| (*at, *function))
    }

    /// The bridges and ports above a function, the nearest first.
    pub fn above(&self, function: PciAddress) -> impl Iterator<Item = PciAddress> + '_ {
        let mut bus = function.bus;
        std::iter::from_fn(move || {
            let (at, _) = self.bridge_to(bus)?;
            bus = at.bus;
            Some(at)
        })
    }

    /// What is known of a function.
    #[must_use]
    pub fn function(&self, at: PciAddress) -> Option<PciFunction> {
        self.functions.get(&at).copied()
    }

    fn is_multifunction(&self, at: PciAddress) -> bool {
        self.functions.keys().any(|other| *other != at && other.bus == at.bus && other.slot() == at.slot())
    }

    /// Source: `drivers/pci/pci.c: pci_acs_enabled()`.
    fn is_isolated(&self, at: PciAddress) -> bool {
        match self.functions.get(&at).map(|function| function.kind) {
            Some(PciKind::Port { isolates }) => isolates,
            Some(PciKind::Express) => !self.is_multifunction(at),
            Some(PciKind::Conventional | PciKind::Bridge) | None => false,
        }
    }

    /// Whether everything from a port up to the root keeps its requests apart.
    /// Source: `drivers/pci/pci.c: pci_acs_path_enabled()`.
    fn is_path_isolated(&self, port: PciAddress) -> bool {
        let mut at = port;
        loop {
            if !self.is_isolated(at) {
                return false;
            }
            match self.bridge_to(at.bus) {
                Some((above, _)) => at = above,
                None => return true,
            }
        }
    }

    /// The group that a function joins, or none if it needs one of its own.
    ///
    /// Source: `drivers/iommu/iommu.c: pci_device_group()`, without aliases by quirk.
    fn existing(&self, function: PciAddress) -> Option<u32> {
        // Bridges to conventional PCI stand for everything below them.
        let mut at = function;
        let mut bus = function.bus;
        while let Some((above, bridge)) = self.bridge_to(bus) {
            if bridge.kind == PciKind::Bridge {
                at = above;
                if let Some(group) = self.groups.get(&above) {
                    return Some(*group);
                }
            }
            bus = above.bus;
        }
        // So does a port that lets requests of devices below it meet.
        let mut bus = at.bus;
        while let Some((above, _)) = self.bridge_to(bus) {
            if self.is_path_isolated(above) {
                break;
            }
            at = above;
            if let Some(group) = self.groups.get(&above) {
                return Some(*group);
            }
            bus = above.bus;
        }
        // And functions of a device that does not keep them apart.
        if self.is_multifunction(at) && !self.is_isolated(at) {
            let same_slot = |other: &PciAddress| {
                *other != at && other.bus == at.bus && other.slot() == at.slot() && !self.is_isolated(*other)
            };
            return self.groups.iter().find(|(other, _)| same_slot(other)).map(|(_, group)| *group);
        }
        None
    }

    /// Gives a function its group: that of those it cannot be told from, or the lowest number that is free.
    pub fn join(&mut self, at: PciAddress) -> u32 {
        let group = self.existing(at).unwrap_or_else(|| {
            let taken: BTreeSet<u32> = self.groups.values().copied().collect();
            (0..).find(|group| !taken.contains(group)).unwrap_or_default()
        });
        self.groups.insert(at, group);
        group
    }

    /// A function is in this group, whatever follows from the tree: a recording says so.
    pub fn put(&mut self, at: PciAddress, group: u32) {
        self.groups.insert(at, group);
    }

    /// A function leaves; a group that nobody is in ends.
    pub fn leave(&mut self, at: PciAddress) {
        self.groups.remove(&at);
    }
}

#[cfg(test)]
mod tests {
    use super::{PciAddress, PciFunction, PciGroups, PciKind};

    fn groups(functions: &[(&str, PciKind, Option<u32>)]) -> Vec<u32> {
        let at = |text: &str| PciAddress::parse(text).expect("an address");
        let mut groups = PciGroups::default();
        for (text, kind, secondary) in functions {
            groups.add_function(at(text), PciFunction { kind: *kind, secondary: *secondary });
        }
        functions.iter().map(|(text, ..)| groups.join(at(text))).collect()
    }

    #[test]
    fn what_lies_below_a_bridge_is_in_its_group_and_functions_of_a_device_are_in_one() {
        let found = groups(&[
            ("0000:00:01.0", PciKind::Express, None),
            ("0000:00:05.0", PciKind::Bridge, Some(1)),
            ("0000:00:1f.0", PciKind::Conventional, None),
            ("0000:00:1f.2", PciKind::Conventional, None),
            ("0000:01:01.0", PciKind::Conventional, None),
        ]);
        assert_eq!(found, [0, 1, 2, 2, 1]);
    }

    #[test]
    fn ports_keep_devices_apart_if_they_can() {
        let below = |isolates| {
            groups(&[
                ("0000:00:1c.0", PciKind::Port { isolates }, Some(1)),
                ("0000:00:1c.1", PciKind::Port { isolates }, Some(2)),
                ("0000:01:00.0", PciKind::Express, None),
                ("0000:02:00.0", PciKind::Express, None),
            ])
        };
        assert_eq!((below(true), below(false)), (vec![0, 1, 2, 3], vec![0, 0, 0, 0]));
    }

    #[test]
    fn a_number_is_used_again_once_its_group_has_ended() {
        let at = |text: &str| PciAddress::parse(text).expect("an address");
        let mut groups = PciGroups::default();
        let one = PciFunction { kind: PciKind::Express, secondary: None };
        for text in ["0000:00:01.0", "0000:00:02.0"] {
            groups.add_function(at(text), one);
            groups.join(at(text));
        }
        groups.leave(at("0000:00:01.0"));
        assert_eq!(groups.join(at("0000:00:01.0")), 0);
        assert_eq!(PciAddress::parse("0000:00:20.0"), None);
    }
}
