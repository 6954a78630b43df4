//! Which default domain boot settles for, and what it says about it.
//!
//! Pure functions of the command line; a run and a comparison with a boot log both use them.

use super::DomainType;
use crate::boot::cmdline::CommandLine;
use crate::profile::IommuDefault;

/// The default domain's type and how unmapped addresses are flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainPolicy {
    /// Devices see physical addresses.
    pub passthrough: bool,
    /// Every unmap is flushed at once.
    pub strict: bool,
    /// The type was named on the command line.
    pub passthrough_named: bool,
    /// The flushing was named on the command line, by `iommu.strict=`.
    pub strict_named: bool,
}

impl DomainPolicy {
    /// What the command line and the configuration ask for. Both drivers' own options count, whichever of them runs.
    ///
    /// Source: `drivers/iommu/iommu.c: iommu_subsys_init(), iommu_dma_setup()`, `drivers/iommu/amd/init.c:
    /// parse_amd_iommu_options()`, `drivers/iommu/intel/iommu.c: intel_iommu_setup()`, v6.1 and v6.12.
    #[must_use]
    pub fn new(line: &CommandLine, default: IommuDefault, encrypted: bool) -> Self {
        let passthrough = line.passthrough.unwrap_or(default == IommuDefault::Passthrough && !encrypted);
        let by_driver = line.amd_iommu.fullflush || line.intel_iommu.strict;
        Self {
            passthrough,
            strict: by_driver || line.strict.unwrap_or(default == IommuDefault::DmaStrict),
            passthrough_named: line.passthrough.is_some(),
            strict_named: line.strict.is_some(),
        }
    }

    /// What the kernel says of the type, without what stands before the colon.
    #[must_use]
    pub fn domain_words(self) -> String {
        let type_ = if self.passthrough { "Passthrough" } else { "Translated" };
        format!("{type_}{}", named(self.passthrough_named))
    }

    /// What it says of flushing; nothing where nothing is translated.
    #[must_use]
    pub fn flush_words(self) -> Option<String> {
        let mode = if self.strict { "strict" } else { "lazy" };
        (!self.passthrough).then(|| format!("{mode} mode{}", named(self.strict_named)))
    }

    /// The type of the default domain of a group whose devices have no wishes.
    #[must_use]
    pub const fn domain_type(self) -> DomainType {
        if self.passthrough {
            DomainType::Identity
        } else if self.strict {
            DomainType::Dma
        } else {
            DomainType::DmaFq
        }
    }
}

const fn named(by_command_line: bool) -> &'static str {
    if by_command_line { " (set via kernel command line)" } else { "" }
}

/// Whether translation is turned on where Intel's hardware is there. `default_on` is `CONFIG_INTEL_IOMMU_DEFAULT_ON`.
///
/// Source: `drivers/iommu/intel/iommu.c: intel_iommu_init()`, v6.1 and v6.12, without platforms that insist.
#[must_use]
pub fn intel_translates(line: &CommandLine, default_on: bool) -> bool {
    !line.iommu.off && line.intel_iommu.enable.unwrap_or(default_on)
}

/// Whether translation is turned on where AMD's hardware is there.
///
/// Source: `drivers/iommu/amd/init.c: amd_iommu_detect(), early_amd_iommu_init()`, v6.1 and v6.12.
#[must_use]
pub const fn amd_translates(line: &CommandLine) -> bool {
    !line.iommu.off && !line.amd_iommu.off
}
