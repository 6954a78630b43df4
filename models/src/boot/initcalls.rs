//! Initcalls by level, and the start of user space.
//!
//! Source: `init/main.c: do_basic_setup()`, `do_initcalls()`, v5.13.

use std::rc::Rc;

use sim::SpawnSpec;
use sim::choices::Stream;

use super::early::give_back;
use super::iommu_init::pci_iommu_init;
use super::sequence::MS;
use crate::device::links::sync_state_resume_initcall;
use crate::device::{deferred_probe_initcall, driver_register, pci_scan};
use crate::dma::atomic_pool::dma_atomic_pool_init;
use crate::driver::start_processes;
use crate::iommu::core::{DomainPolicy, load_iommu_modules};
use crate::kernel::{Kx, Phase};
use crate::mem::{PhysAddr, PhysRange};
use crate::profile::{Behaviour, Version};
use crate::scenario::intern;
use crate::scenario::schema::{Dist, FreedAt, Registers};
use crate::swiotlb::kernel::xen_swiotlb_init;

/// When the first device-level initcall begins; drivers and processes count from there.
const ROOTFS_AT: u64 = 2_340 * MS;

pub(super) async fn do_basic_setup(kx: &Kx) {
    let _frame = kx.enter("do_basic_setup");
    {
        let _frame = kx.enter("do_initcalls");
        // Level 2, postcore.
        dma_atomic_pool_init(kx).await;
        if kx.k.scenario.machine.xen_dom0 && kx.k.has(Behaviour::GlobalPoolVariables) {
            // Level 3, arch: xen_mm_init.
            xen_swiotlb_init(kx).await;
        }
        // Level 4, subsys: ACPI scans the buses, and then the default domain type is fixed.
        kx.delay(100 * MS).await;
        give_back(kx, FreedAt::Initcalls).await;
        register(kx, |registers| matches!(registers, Registers::Subsys)).await;
        pci_scan(kx).await;
        iommu_subsys_init(kx);
        // Level 5s, rootfs.
        kx.delay(ROOTFS_AT.saturating_sub(kx.now())).await;
        pci_iommu_init(kx).await;
        // Level 6, device.
        kx.delay(20 * MS).await;
        start_processes(kx);
        register(kx, |registers| matches!(registers, Registers::Device)).await;
        // Level 7, late.
        kx.delay(60 * MS).await;
        register(kx, |registers| matches!(registers, Registers::Late)).await;
        sync_state_resume_initcall(kx).await;
        deferred_probe_initcall(kx).await;
    }
    free_initmem(kx).await;
    kx.k.globals.phase.set(Phase::Running);
    kx.k.globals.user_space_at.set(kx.now());
    kx.log(|| "Run /sbin/init as init process".to_owned());
    load_modules(kx);
}

/// Source: `drivers/iommu/iommu.c: iommu_subsys_init()`, v5.13, v6.1, v6.12.
fn iommu_subsys_init(kx: &Kx) {
    let (globals, line) = (&kx.k.globals, &kx.k.scenario.command_line);
    let policy = DomainPolicy {
        passthrough: globals.default_passthrough.get(),
        strict: globals.iommu_dma_strict.get(),
        passthrough_named: line.passthrough.is_some(),
        strict_named: line.strict.is_some(),
    };
    kx.log(|| format!("iommu: Default domain type: {}", policy.domain_words()));
    // Told since v5.14, and a type of its own since v5.15.
    let told = kx.k.has(Behaviour::DmaFqDomainType) || kx.k.profile().version.base() >= Version::V5_14;
    if told && let Some(words) = policy.flush_words() {
        kx.log(|| format!("iommu: DMA domain TLB invalidation policy: {words}"));
    }
}

async fn register(kx: &Kx, level: fn(&Registers) -> bool) {
    for index in 0..kx.k.programs.drivers.len() {
        if level(&kx.k.programs.drivers[index].registers) {
            driver_register(kx, index).await;
            kx.delay(2 * MS).await;
        }
    }
}

/// Source: `init/main.c: free_initmem()`, v5.13.
async fn free_initmem(kx: &Kx) {
    let _frame = kx.enter("free_initmem");
    match kx.k.scenario.machine.init_sections {
        Some(init) => {
            kx.step(sim::Kind::Free, kx.memory_label()).await;
            kx.free_init_pages(PhysRange::new(PhysAddr(init.start), init.size));
            kx.log(|| format!("Freeing unused kernel image (initmem) memory: {}K", init.size >> 10));
        }
        None => kx.log(|| "Freeing unused kernel image (initmem) memory".to_owned()),
    }
    kx.delay(MS).await;
}

/// User space loads modules, each in a process of its own.
fn load_modules(kx: &Kx) {
    load_iommu_modules(kx);
    for index in 0..kx.k.programs.drivers.len() {
        let Registers::Module { after_ms } = &kx.k.programs.drivers[index].registers else { continue };
        let name = intern(&format!("modprobe {}", kx.k.programs.drivers[index].name)).unwrap_or("modprobe");
        let cpu = kx.choose(Stream::Workload, "CPU of a process", u64::from(kx.k.cpus()));
        let after = draw_ms(kx, after_ms);
        let k = Rc::clone(&kx.k);
        kx.spawn(SpawnSpec::task(name, u8::try_from(cpu).unwrap_or(0)), move |cx| async move {
            let kx = Kx::new(cx, k);
            kx.sleep(after * MS).await;
            kx.k.power.wait_until_thawed(&kx).await;
            let _frame = kx.enter("do_init_module");
            driver_register(&kx, index).await;
        });
    }
}

fn draw_ms(kx: &Kx, dist: &Dist) -> u64 {
    crate::driver::draw(kx, "time of loading", dist)
}
