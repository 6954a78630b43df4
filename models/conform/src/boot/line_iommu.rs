//! Lines about IOMMUs.

/// A line about IOMMUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IommuLine {
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
    /// An IOMMU of a kind is in the machine.
    AmdFound,
    /// The firmware describes Intel's IOMMUs.
    IntelFound,
}

/// Reads a line; `None` if it is none of these.
pub(super) fn parse(text: &str) -> Option<IommuLine> {
    if let Some(type_) = text.strip_prefix("iommu: Default domain type: ") {
        return Some(IommuLine::DefaultDomain(type_.trim_end().to_owned()));
    }
    if let Some(policy) = text.strip_prefix("iommu: DMA domain TLB invalidation policy: ") {
        return Some(IommuLine::Policy(policy.trim_end().to_owned()));
    }
    if let Some((device, group)) = text.split_once(": Adding to iommu group ") {
        let device = device.rsplit(' ').next()?.to_owned();
        return Some(IommuLine::Group { device, group: group.trim_end().parse().ok()? });
    }
    let starts = |start| text.starts_with(start);
    match () {
        () if starts("AMD-Vi: Using strict mode due to virtualization") => Some(IommuLine::AmdStrict),
        () if starts("DMAR: IOMMU batching disallowed due to virtualization") => Some(IommuLine::IntelStrict),
        () if starts("DMAR: Intel(R) Virtualization Technology for Directed I/O") => {
            Some(IommuLine::IntelRuns)
        }
        () if starts("DMAR: IOMMU enabled") => Some(IommuLine::IntelEnabled),
        () if starts("AMD-Vi: Using global IVHD") => Some(IommuLine::AmdFound),
        () if starts("DMAR: Host address width") => Some(IommuLine::IntelFound),
        () => None,
    }
}
