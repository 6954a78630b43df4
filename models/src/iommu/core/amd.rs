//! AMD-Vi.

use super::copied::take_over;
use super::{DomainType, IommuDriver, bus_set_iommu};
use crate::device::DeviceNode;
use crate::kernel::Kx;
use crate::profile::Behaviour;
use crate::scenario::schema::{Cap, Iommu};

/// Looks for the IOMMU in the firmware's tables.
///
/// Source: `drivers/iommu/amd/init.c: amd_iommu_detect()`, v5.13.
#[must_use]
pub fn amd_iommu_detect(kx: &Kx) -> bool {
    let globals = &kx.k.globals;
    let present = matches!(kx.k.scenario.machine.iommu, Iommu::AmdVi { .. });
    if !present || globals.no_iommu.get() || globals.iommu_detected.get() || !kx.k.profile().config.amd_iommu
    {
        return false;
    }
    if kx.k.scenario.command_line.amd_iommu.off {
        return false;
    }
    globals.iommu_detected.set(true);
    kx.k.iommu.detected.set(Some(IommuDriver::Amd));
    true
}

/// Turns the IOMMU on, hands it all devices, and decides whether bounce buffers are still needed.
///
/// Source: `drivers/iommu/amd/init.c: amd_iommu_init()`, its states from enabling to `IOMMU_DMA_OPS`, v5.13.
pub async fn amd_iommu_init(kx: &Kx) {
    let _frame = kx.enter("amd_iommu_init");
    // Enabled with a device table in which every device is valid and none is translated: all DMA is blocked until
    // a device is attached (`init_device_table_dma`).
    take_over(kx, IommuDriver::Amd).await;
    kx.log(|| "pci 0000:00:00.2: AMD-Vi: IOMMU performance counters supported".to_owned());
    {
        let _frame = kx.enter("amd_iommu_init_pci");
        kx.delay(15_000_000).await;
        // An emulated IOMMU has to be told of every mapping: what batching saves is lost (`iommu_init_pci`).
        if matches!(kx.k.scenario.machine.iommu, Iommu::AmdVi { np_cache: true, .. }) {
            kx.log(|| "AMD-Vi: Using strict mode due to virtualization".to_owned());
            kx.k.globals.iommu_dma_strict.set(true);
        }
        let _ = bus_set_iommu(kx, IommuDriver::Amd).await;
        kx.log(|| "pci 0000:00:00.2: AMD-Vi: Found IOMMU cap 0x40".to_owned());
        let Iommu::AmdVi { ppr, gt, .. } = kx.k.scenario.machine.iommu else { return };
        kx.log(|| {
            let features = [(ppr, "PPR"), (true, "NX"), (gt, "GT"), (true, "IA"), (true, "GA"), (true, "PC")];
            let names: Vec<_> = features.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            format!("pci 0000:00:00.2: AMD-Vi: Extended features: {}", names.join(" "))
        });
    }
    kx.log(|| "AMD-Vi: Interrupt remapping enabled".to_owned());
    kx.delay(5_000_000).await;
    amd_iommu_init_dma_ops(kx).await;
}

/// The veto: with translation for all, bounce buffers look unnecessary.
///
/// Source: `drivers/iommu/amd/init.c` and `iommu.c: amd_iommu_init_dma_ops()`, v5.5 to v5.18.
async fn amd_iommu_init_dma_ops(kx: &Kx) {
    let _frame = kx.enter("amd_iommu_init_dma_ops");
    let globals = &kx.k.globals;
    if kx.k.has(Behaviour::AmdIommuSwiotlbVeto) {
        kx.step(sim::Kind::Write, kx.memory_label()).await;
        let passthrough = globals.default_passthrough.get();
        let keep = passthrough || globals.sme_active.get();
        globals.swiotlb.set(keep);
        kx.decide(
            "swiotlb",
            if !keep {
                "swiotlb = 0: the default domain is not passthrough and host memory encryption is off, so bounce buffers are given up"
            } else if passthrough {
                "swiotlb = 1: the default domain is passthrough"
            } else {
                "swiotlb = 1: host memory encryption is active"
            },
        );
    }
    if kx.k.has(Behaviour::DmaFqDomainType) {
        // The core has told the policy already.
    } else if globals.iommu_dma_strict.get() {
        kx.log(|| "AMD-Vi: IO/TLB flush on unmap enabled".to_owned());
    } else {
        kx.log(|| "AMD-Vi: Lazy IO/TLB flushing enabled".to_owned());
    }
}

/// What the driver demands for a device: identity for those that can do PASIDs and page requests, unless memory is
/// encrypted.
///
/// Source: `drivers/iommu/amd/iommu.c: amd_iommu_def_domain_type()`, `iommu_init_device()`, v5.13, v6.1, v6.12.
pub(super) fn amd_iommu_def_domain_type(kx: &Kx, node: &DeviceNode) -> Option<DomainType> {
    let Iommu::AmdVi { ppr, gt, .. } = kx.k.scenario.machine.iommu else { return None };
    let spec = node.spec(&kx.k);
    if spec.untrusted && kx.k.has(Behaviour::AmdUntrustedTranslated) {
        return Some(DomainType::Dma);
    }
    let caps = &spec.caps;
    let capable = [Cap::Ats, Cap::Pri, Cap::Pasid].iter().all(|cap| caps.contains(cap));
    let globals = &kx.k.globals;
    let isolated = kx.k.scenario.command_line.amd_iommu.force_isolation && !globals.default_passthrough.get();
    let v2 = capable && ppr && gt && !isolated;
    let encrypted = globals.sme_active.get() || globals.sev_active.get();
    (v2 && !encrypted && kx.k.has(Behaviour::AmdIommuV2Identity)).then_some(DomainType::Identity)
}
