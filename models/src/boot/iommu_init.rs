//! Bounce buffers and IOMMUs: who is detected, and the late decision.

use crate::iommu::core::{
    IommuDriver, amd_iommu_detect, amd_iommu_init, detect_intel_iommu, intel_iommu_init,
};
use crate::kernel::{Kx, SwiotlbForce};
use crate::swiotlb::kernel::{swiotlb_exit, swiotlb_init, swiotlb_print_info};

/// First address that 32 bits cannot reach (`MAX_DMA32_PFN`).
const FOUR_GIB: u64 = 1 << 32;

/// Asks each of the table's entries in turn; forced bouncing ends the search, and then no IOMMU is looked for.
///
/// Source: `arch/x86/kernel/pci-dma.c: pci_iommu_alloc()`, `arch/x86/kernel/pci-swiotlb.c`, v5.13.
pub(super) async fn pci_iommu_alloc(kx: &Kx) {
    let _frame = kx.enter("pci_iommu_alloc");
    let globals = &kx.k.globals;
    let reason = |text: &str| text.clone_into(&mut kx.k.facts.borrow_mut().pool_reason);
    if !kx.k.profile().config.swiotlb {
        reason("CONFIG_SWIOTLB is off");
    } else if globals.swiotlb_force.get() == SwiotlbForce::Force || globals.swiotlb.get() {
        // `pci_swiotlb_detect_override` answers for `swiotlb=force` and for `iommu=soft`, and ends the search.
        globals.swiotlb.set(true);
        reason("bouncing is asked for on the command line; no IOMMU is looked for");
        kx.decide(
            "swiotlb",
            "swiotlb = 1: asked for on the command line, and the search for IOMMUs ends there",
        );
        pci_swiotlb_init(kx).await;
        return;
    } else {
        let high = kx.k.globals.max_ram.get().0 > FOUR_GIB;
        if high && !globals.no_iommu.get() {
            globals.swiotlb.set(true);
            reason("RAM reaches above 4 GiB");
            kx.decide("swiotlb", "swiotlb = 1: RAM reaches above 4 GiB");
        }
        if globals.sme_active.get() {
            globals.swiotlb.set(true);
            reason("host memory encryption is active");
        }
        if globals.swiotlb.get() {
            pci_swiotlb_init(kx).await;
        } else {
            reason("all RAM lies below 4 GiB, or iommu=off");
        }
    }
    if !amd_iommu_detect(kx) {
        let _ = detect_intel_iommu(kx);
    }
}

/// Source: `arch/x86/kernel/pci-swiotlb.c: pci_swiotlb_init()`, v5.13.
async fn pci_swiotlb_init(kx: &Kx) {
    let _frame = kx.enter("pci_swiotlb_init");
    kx.k.globals.swiotlb_detected.set(true);
    swiotlb_init(kx).await;
}

/// The IOMMU's own initialisation, and after it the decision whether the bounce pool stays.
///
/// Source: `arch/x86/kernel/pci-dma.c: pci_iommu_init()`, `pci-swiotlb.c: pci_swiotlb_late_init()`, v5.13.
pub(super) async fn pci_iommu_init(kx: &Kx) {
    let _frame = kx.enter("pci_iommu_init");
    match kx.k.iommu.detected.get() {
        Some(IommuDriver::Amd) => amd_iommu_init(kx).await,
        Some(IommuDriver::Intel) => intel_iommu_init(kx).await,
        None => {}
    }
    if !kx.k.globals.swiotlb_detected.get() {
        return;
    }
    let _late = kx.enter("pci_swiotlb_late_init");
    if kx.k.globals.swiotlb.get() {
        kx.log(|| "PCI-DMA: Using software bounce buffering for IO (SWIOTLB)".to_owned());
        swiotlb_print_info(kx);
    } else {
        swiotlb_exit(kx).await;
    }
}
