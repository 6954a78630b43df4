//! Bounce buffers and IOMMUs: who is detected, and the late decision.

use crate::iommu::core::{
    IommuDriver, amd_iommu_detect, amd_iommu_init, detect_intel_iommu, intel_iommu_init,
};
use crate::kernel::{Kx, SwiotlbForce};
use crate::mem::PAGE_SIZE;
use crate::profile::Behaviour;
use crate::swiotlb::PoolReasons;
use crate::swiotlb::kernel::{swiotlb_exit, swiotlb_init, swiotlb_init_remap, swiotlb_print_info};

/// First address that 32 bits cannot reach (`MAX_DMA32_PFN`).
const FOUR_GIB: u64 = 1 << 32;

/// Detects what there is, and sets the bounce pool up.
pub(super) async fn pci_iommu_alloc(kx: &Kx) {
    if kx.k.globals.secure_guest.get() {
        secure_guest_init(kx).await;
    } else if kx.k.has(Behaviour::ExplicitSwiotlbInit) {
        detect_and_init(kx).await;
    } else {
        walk_iommu_table(kx).await;
    }
}

/// In a guest that its host cannot read everything bounces, and nobody is asked.
///
/// An s390 guest says so itself, before the pool is made or after it (`force-before-pool`).
///
/// Source: `arch/s390/mm/init.c: pv_init()`, v5.13, v5.15, v6.1; `arch/powerpc/platforms/pseries/svm.c:
/// init_svm()`, `svm_swiotlb_init()`, v5.15.
async fn secure_guest_init(kx: &Kx) {
    let globals = &kx.k.globals;
    let _frame = kx.enter(if globals.swiotlb_any.get() { "svm_swiotlb_init" } else { "pv_init" });
    "this is a guest that its host cannot read: everything bounces"
        .clone_into(&mut kx.k.facts.borrow_mut().pool_reason);
    globals.swiotlb.set(true);
    if kx.k.has(Behaviour::ExplicitSwiotlbInit) {
        swiotlb_init_remap(kx, true, true).await;
        swiotlb_print_info(kx);
        return;
    }
    if kx.k.has(Behaviour::ForceBeforePool) {
        globals.swiotlb_force.set(SwiotlbForce::Force);
    }
    swiotlb_init(kx).await;
    swiotlb_print_info(kx);
    globals.swiotlb_force.set(SwiotlbForce::Force);
}

/// Asks everybody in turn, and then sets the pool up if somebody wants it: bouncing by force keeps no IOMMU from being
/// found.
///
/// Source: `arch/x86/kernel/pci-dma.c: pci_iommu_alloc()`, `pci_swiotlb_detect()`, v6.1, v6.12.
async fn detect_and_init(kx: &Kx) {
    let _frame = kx.enter("pci_iommu_alloc");
    let globals = &kx.k.globals;
    let reason = |text: &str| text.clone_into(&mut kx.k.facts.borrow_mut().pool_reason);
    let configured = kx.k.profile().config.swiotlb;
    let guest = globals.sev_active.get();
    if configured {
        if globals.swiotlb.get() {
            reason("iommu=soft asks for it");
        }
        let asked = PoolReasons {
            max_possible_pfn: globals.max_ram.get().0.div_ceil(PAGE_SIZE),
            no_iommu: globals.no_iommu.get(),
            soft: globals.swiotlb.get(),
            host_encrypted: globals.sme_active.get(),
            guest_encrypted: guest,
        };
        globals.swiotlb.set(asked.decide().enable);
        if asked.is_high() {
            reason("RAM reaches above 4 GiB");
            kx.decide("swiotlb", "swiotlb = 1: RAM reaches above 4 GiB");
        }
        if asked.host_encrypted {
            reason("host memory encryption is active");
        }
        if guest {
            reason("this is a guest with encrypted memory: everything bounces");
        }
        if !globals.swiotlb.get() && globals.swiotlb_force.get() == SwiotlbForce::Force {
            reason("bouncing is forced on the command line");
        }
    } else {
        reason("CONFIG_SWIOTLB is off");
    }
    if !amd_iommu_detect(kx) {
        let _ = detect_intel_iommu(kx);
    }
    if configured {
        swiotlb_init_remap(kx, globals.swiotlb.get(), guest).await;
    }
}

/// Asks each of the table's entries in turn; forced bouncing ends the search, and then no IOMMU is looked for.
///
/// Source: `arch/x86/kernel/pci-dma.c: pci_iommu_alloc()`, `arch/x86/kernel/pci-swiotlb.c`, v5.13.
async fn walk_iommu_table(kx: &Kx) {
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
/// Source: `arch/x86/kernel/pci-dma.c: pci_iommu_init()`, `pci-swiotlb.c: pci_swiotlb_late_init()`, v5.13;
/// `pci_iommu_init()` alone, v6.1, v6.12.
pub(super) async fn pci_iommu_init(kx: &Kx) {
    let _frame = kx.enter("pci_iommu_init");
    match kx.k.iommu.detected.get() {
        Some(IommuDriver::Amd) => amd_iommu_init(kx).await,
        Some(IommuDriver::Intel) => intel_iommu_init(kx).await,
        // Those that the firmware names come later, with their modules.
        Some(IommuDriver::Virtio | IommuDriver::Smmu) | None => {}
    }
    if kx.k.globals.secure_guest.get() {
        return;
    }
    // With explicit calls the decision is taken here, whether or not there is a pool to decide about.
    let explicit = kx.k.has(Behaviour::ExplicitSwiotlbInit);
    if !(kx.k.globals.swiotlb_detected.get() || explicit && kx.k.profile().config.swiotlb) {
        return;
    }
    let _late = (!explicit).then(|| kx.enter("pci_swiotlb_late_init"));
    if kx.k.globals.swiotlb.get() {
        kx.log(|| "PCI-DMA: Using software bounce buffering for IO (SWIOTLB)".to_owned());
        swiotlb_print_info(kx);
    } else {
        swiotlb_exit(kx).await;
    }
}
