//! Arm's SMMUs: what their drivers do with page tables, translations in the cache, and, for an SMMUv3, with the tables that
//! say what becomes of each device's accesses.
//!
//! Sources: `drivers/iommu/arm/arm-smmu/arm-smmu.c` (SMMUv2), `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c` (SMMUv3),
//! `drivers/iommu/io-pgtable-arm.c`, v6.1, v6.12.

mod cmdq;
mod entry;
mod events;
mod map;
mod stream;
mod tlb;
mod walks;

pub(super) use stream::Streams;

pub(super) use cmdq::CommandQueues;
pub(super) use events::event_lines;
pub(super) use stream::{domain_goes, enable, install, is_live, reads_configuration, released, switched_off};
pub(super) use tlb::tlb_inv_context;
pub use walks::WalkCache;

pub(crate) use map::{map, unmap};

use crate::kernel::Kx;
use crate::scenario::schema::{Iommu, SmmuV3};

/// Bits of bus addresses, if the scenario says nothing.
const ADDRESS_BITS: u32 = 48;

/// Whether this machine's IOMMUs are SMMUs.
pub(crate) fn is_smmu(kx: &Kx) -> bool {
    matches!(kx.k.scenario.machine.iommu, Iommu::Smmu { .. })
}

/// What they are like, if they are SMMUv3s.
pub(super) fn v3(kx: &Kx) -> Option<SmmuV3> {
    match kx.k.scenario.machine.iommu {
        Iommu::Smmu { v3, .. } => v3,
        _ => None,
    }
}

/// Bits of the bus addresses that they translate (`ias`).
pub(super) fn address_bits(kx: &Kx) -> u32 {
    match kx.k.scenario.machine.iommu {
        Iommu::Smmu { address_bits, .. } => address_bits.unwrap_or(ADDRESS_BITS),
        _ => ADDRESS_BITS,
    }
}

/// Their name in the log.
pub(super) fn log_name(kx: &Kx, instance: u32) -> String {
    let driver = if v3(kx).is_some() { "arm-smmu-v3" } else { "arm-smmu" };
    format!("{driver} {driver}.{instance}.auto")
}

/// What the SMMUv3's driver says that it can do: stream and descriptor tables of two levels, coherent walks, translation in
/// one stage, and ranges in one command.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h: ARM_SMMU_FEAT_*`, v6.12.
pub(super) fn features(kx: &Kx) -> u32 {
    let range = v3(kx).is_some_and(|v3| v3.range_invalidation);
    1 | 1 << 1 | 1 << 2 | 1 << 8 | 1 << 9 | u32::from(range) << 15
}
