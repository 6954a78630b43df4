//! The devices: where they are, what they are, and who shares a group.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::core::{PciAddress, PciFunction, PciGroups, PciKind};
use models::scenario::limits;

use super::drivers::{self, Bound};
use super::{Found, Source, viot};
use crate::boot::iommu::kind_of;
use crate::boot::line::Event;
use crate::boot::line_iommu::IommuLine;

/// A device.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceFound {
    pub(crate) bdf: String,
    pub(crate) ids: Option<(u16, u16)>,
    /// `0x010802`.
    pub(crate) class: u32,
    /// What the log calls it, such as `PCIe Root Port`.
    pub(crate) kind: String,
    /// The group that the log gives it.
    pub(crate) group: Option<u32>,
    /// Shared by devices of one group.
    pub(crate) isolation: Option<u32>,
    pub(crate) outside_iommu: bool,
    /// Its group has an identity domain although the default is another.
    pub(crate) identity: bool,
    /// Milliseconds after the bus scan at which it was first seen, if that was later.
    pub(crate) plugged_ms: Option<u64>,
    pub(crate) bound: Option<Bound>,
    /// The program of its driver in the scenario.
    pub(crate) program: Option<String>,
    pub(crate) mask_bits: Option<u32>,
    /// The line that describes it; 0 if none does.
    pub(crate) line: u64,
}

/// Words for a class of devices.
pub(super) fn class_words(class: u32) -> String {
    let words = match class >> 8 {
        0x0000..=0x00ff => "other",
        0x0101 => "ide",
        0x0106 => "sata",
        0x0108 => "nvme",
        0x0100..=0x01ff => "storage",
        0x0200..=0x02ff => "network",
        0x0300..=0x03ff => "display",
        0x0401 | 0x0403 => "audio",
        0x0400..=0x04ff => "multimedia",
        0x0500..=0x05ff => "memory",
        0x0600 => "host bridge",
        0x0601 => "isa bridge",
        0x0602..=0x06ff => "bridge",
        0x0700..=0x07ff => "serial",
        0x0806 => "iommu",
        0x0800..=0x08ff => "system",
        0x0c03 => "usb",
        0x0c05 => "smbus",
        0x0c00..=0x0cff => "serial bus",
        0x0d00..=0x0dff => "wireless",
        0x1000..=0x10ff => "crypto",
        _ => return format!("class {class:#08x}"),
    };
    words.to_owned()
}

/// `1b36:0010` as numbers.
fn numbers(ids: &str) -> Option<(u16, u16)> {
    let (vendor, device) = ids.split_once(':')?;
    Some((u16::from_str_radix(vendor, 16).ok()?, u16::from_str_radix(device, 16).ok()?))
}

/// The class in `0000:00:01.0: [1b36:0010] type 00 class 0x010802 PCIe ...`.
fn class_of(text: &str) -> u32 {
    let digits = text.split_once(" class 0x").map_or("", |(_, rest)| rest);
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    u32::from_str_radix(&digits[..end], 16).unwrap_or(0)
}

pub(super) fn gather(source: &Source<'_>, found: &mut Found) {
    let mut devices: Vec<DeviceFound> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups = PciGroups::default();
    let mut functions: BTreeMap<PciAddress, PciFunction> = BTreeMap::new();
    let (mut others, mut left_out) = (BTreeSet::new(), 0_u64);
    let mut unclear = false;
    let user_space = drivers::user_space(source);
    for entry in &source.log.entries {
        let Event::Iommu(said) = &entry.event else { continue };
        match said {
            IommuLine::Function { device, is_bridge, ids, kind } => {
                let Some(at) = PciAddress::parse(device) else { continue };
                let pci = kind_of(*is_bridge, ids, kind);
                unclear |= pci.is_none();
                let secondary = functions.get(&at).and_then(|function| function.secondary);
                let pci = pci.unwrap_or(PciKind::Port { isolates: true });
                functions.insert(at, PciFunction { kind: pci, secondary });
                if known.contains_key(device) {
                    continue;
                }
                if devices.len() >= limits::DEVICES {
                    left_out += 1;
                    continue;
                }
                known.insert(device.clone(), devices.len());
                let late = user_space.line.is_some_and(|line| entry.line > line);
                devices.push(DeviceFound {
                    bdf: device.clone(),
                    ids: numbers(ids),
                    class: class_of(&entry.text),
                    kind: kind.clone(),
                    plugged_ms: late.then(|| user_space.plugged_ms(source, entry.line)),
                    line: entry.line,
                    ..DeviceFound::default()
                });
            }
            IommuLine::Secondary { device, bus } => {
                if let Some(at) = PciAddress::parse(device)
                    && let Some(function) = functions.get_mut(&at)
                {
                    function.secondary = Some(at.bus & !0xff | bus);
                }
            }
            IommuLine::Group { device, group } => {
                let Ok(group) = u32::try_from(*group) else { continue };
                if PciAddress::parse(device).is_none() {
                    others.insert(device.clone());
                    continue;
                }
                let index = match known.get(device) {
                    Some(index) => *index,
                    None if devices.len() < limits::DEVICES => {
                        known.insert(device.clone(), devices.len());
                        devices.push(DeviceFound { bdf: device.clone(), ..DeviceFound::default() });
                        devices.len() - 1
                    }
                    None => continue,
                };
                devices[index].group.get_or_insert(group);
            }
            _ => {}
        }
    }
    from_state(source, &mut devices, &mut known);
    if devices.is_empty() {
        found
            .assumptions
            .push("no device is in the log (lines \"pci ...: [vendor:device]\"): none is assumed".to_owned());
    }
    if left_out > 0 {
        found
            .assumptions
            .push(format!("{left_out} devices are left out: a machine has at most {}", limits::DEVICES));
    }
    if !others.is_empty() {
        let names: Vec<_> = others.iter().take(6).cloned().collect();
        found.assumptions.push(format!(
            "{} devices with IOMMU groups are not on the PCI bus and are left out: {}",
            others.len(),
            names.join(", ")
        ));
    }
    if devices.iter().any(|device| device.ids.is_none()) {
        found
            .assumptions
            .push("of some devices only the address is known, and nothing of what they are".to_owned());
    }
    // Who shares a group: as the log says, or as follows from the tree of buses.
    if found.iommu.translates {
        share(&mut devices, |device| device.group);
        for device in &mut devices {
            device.outside_iommu = device.group.is_none() && found.iommu.done;
        }
    } else {
        for (at, function) in &functions {
            groups.add_function(*at, *function);
        }
        let joined: BTreeMap<String, u32> = devices
            .iter()
            .filter_map(|device| Some((device.bdf.clone(), groups.join(PciAddress::parse(&device.bdf)?))))
            .collect();
        share(&mut devices, |device| joined.get(&device.bdf).copied());
        if !devices.is_empty() {
            let ports = functions.values().any(|function| matches!(function.kind, PciKind::Port { .. }));
            let acs = if ports || unclear { ", with ports that keep what is below them apart" } else { "" };
            found.assumptions.push(format!(
                "no device was given an IOMMU group: who would share one follows from the tree of buses{acs}"
            ));
        }
        for device in devices.iter_mut().filter(|device| device.class >> 8 == 0x0806) {
            device.outside_iommu = true;
        }
    }
    identity(source, &mut devices);
    drivers::bind(source, &mut devices, &mut found.assumptions);
    if found.iommu.by_driver {
        viot::bind(source, &mut devices, &mut found.assumptions);
    }
    found.devices = devices;
}

/// Gives devices of one group the same number; those that are alone get none.
fn share(devices: &mut [DeviceFound], group: impl Fn(&DeviceFound) -> Option<u32>) {
    let mut members: BTreeMap<u32, u32> = BTreeMap::new();
    for group in devices.iter().filter_map(&group) {
        *members.entry(group).or_insert(0) += 1;
    }
    for device in devices {
        device.isolation = group(device).filter(|group| members.get(group).is_some_and(|count| *count > 1));
    }
}

/// Devices that only the state file knows, and what only it knows of the others.
fn from_state(source: &Source<'_>, devices: &mut Vec<DeviceFound>, known: &mut BTreeMap<String, usize>) {
    let Some(state) = source.state else { return };
    for (_, said) in &state.devices {
        if PciAddress::parse(&said.name).is_none() {
            continue;
        }
        let index = match known.get(&said.name) {
            Some(index) => *index,
            None if devices.len() < limits::DEVICES => {
                known.insert(said.name.clone(), devices.len());
                devices.push(DeviceFound { bdf: said.name.clone(), ..DeviceFound::default() });
                devices.len() - 1
            }
            None => continue,
        };
        let device = &mut devices[index];
        if device.ids.is_none() {
            device.ids = said.ids.as_deref().and_then(numbers);
        }
        if device.class == 0
            && let Some(class) = said.class.as_deref().and_then(|class| class.strip_prefix("0x"))
        {
            device.class = u32::from_str_radix(class, 16).unwrap_or(0);
        }
        device.mask_bits = said.mask_bits;
    }
}

/// Groups whose domain is identity while another type is the default.
fn identity(source: &Source<'_>, devices: &mut [DeviceFound]) {
    let Some(state) = source.state else { return };
    let is_identity = |type_: &str| type_ == "identity";
    if state.groups.iter().all(|(_, _, type_)| is_identity(type_)) {
        return;
    }
    let groups: Vec<u64> =
        state.groups.iter().filter(|(_, _, type_)| is_identity(type_)).map(|(_, group, _)| *group).collect();
    for device in devices {
        device.identity = device.group.is_some_and(|group| groups.contains(&u64::from(group)));
    }
}
