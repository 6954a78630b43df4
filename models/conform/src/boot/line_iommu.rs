//! Lines about IOMMUs.

/// A line about IOMMUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IommuLine {
    /// `iommu: Default domain type: Translated`.
    DefaultDomain(String),
    /// `iommu: DMA domain TLB invalidation policy: lazy mode`.
    Policy(String),
    /// `pci 0000:00:01.0: Adding to iommu group 1`.
    Group { device: String, group: u64 },
    /// `AMD-Vi: Using strict mode due to virtualization`.
    AmdStrict,
    /// `DMAR: IOMMU batching disallowed due to virtualization`.
    IntelStrict,
    /// `DMAR: Intel(R) Virtualization Technology for Directed I/O`.
    IntelRuns,
    /// `DMAR: IOMMU enabled`.
    IntelEnabled,
    /// `pci 0000:00:04.0: Removing from iommu group 4`.
    Removed { device: String },
    /// A function that was found on its bus.
    Function { device: String, is_bridge: bool, ids: String, kind: String },
    /// `pci 0000:00:05.0: PCI bridge to [bus 01]`.
    Secondary { device: String, bus: u32 },
    /// The firmware has a table of this name.
    Table(String),
}

/// Reads a line; `None` if it is none of these.
pub(crate) fn parse(text: &str) -> Option<IommuLine> {
    if let Some(type_) = text.strip_prefix("iommu: Default domain type: ") {
        return Some(IommuLine::DefaultDomain(type_.trim_end().to_owned()));
    }
    if let Some(policy) = text.strip_prefix("iommu: DMA domain TLB invalidation policy: ") {
        return Some(IommuLine::Policy(policy.trim_end().to_owned()));
    }
    if let Some((device, group)) = text.split_once(": Adding to iommu group ") {
        let group = group.trim_end().parse().ok()?;
        return Some(IommuLine::Group { device: last_word(device)?, group });
    }
    if let Some((device, _)) = text.split_once(": Removing from iommu group ") {
        return Some(IommuLine::Removed { device: last_word(device)? });
    }
    if let Some(rest) = text.strip_prefix("pci ") {
        return function(rest);
    }
    if text.starts_with("virtio_iommu ") {
        return Some(IommuLine::Table("VIOT".to_owned()));
    }
    if let Some(rest) = text.strip_prefix("ACPI: ") {
        let (name, rest) = rest.split_once(' ')?;
        let wanted = ["DMAR", "IVRS", "VIOT"].contains(&name) && rest.starts_with("0x");
        return wanted.then(|| IommuLine::Table(name.to_owned()));
    }
    let starts = |start| text.starts_with(start);
    match () {
        () if starts("AMD-Vi: Using strict mode due to virtualization") => Some(IommuLine::AmdStrict),
        () if starts("DMAR: IOMMU batching disallowed due to virtualization") => Some(IommuLine::IntelStrict),
        () if starts("DMAR: Intel(R) Virtualization Technology for Directed I/O") => {
            Some(IommuLine::IntelRuns)
        }
        () if starts("DMAR: IOMMU enabled") => Some(IommuLine::IntelEnabled),
        () => None,
    }
}

fn last_word(text: &str) -> Option<String> {
    text.rsplit(' ').next().map(str::to_owned)
}

/// `0000:00:05.0: [1b36:000e] type 01 class 0x060400 PCIe to PCI/PCI-X bridge`; what it is only since v6.9.
fn function(text: &str) -> Option<IommuLine> {
    let (device, rest) = text.split_once(": ")?;
    let device = device.to_owned();
    if let Some(rest) = rest.strip_prefix("PCI bridge to [bus ") {
        let digits = rest.split([']', '-']).next()?;
        let bus = u32::from_str_radix(digits, 16).ok().filter(|bus| *bus <= 0xff)?;
        return Some(IommuLine::Secondary { device, bus });
    }
    let (ids, rest) = rest.strip_prefix('[')?.split_once("] type ")?;
    let (header, rest) = rest.split_once(" class ")?;
    let kind = rest.split_once(' ').map_or("", |(_, kind)| kind).trim_end().to_owned();
    Some(IommuLine::Function { device, is_bridge: header == "01", ids: ids.to_owned(), kind })
}
