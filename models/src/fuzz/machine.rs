//! Machines: memory maps, CPUs, an IOMMU or none, and devices for the drivers.

use super::dice::Dice;
use crate::scenario::{
    Bus, Cap, CpuChoice, CpuVendor, Device, Driver, E820Entry, E820Kind, Iommu, Machine, MemEncrypt,
    MemoryOrder, Plugged, Region, Reserved, ReservedAt, Stmt, Unplugged,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Memory below this is left in one piece: the kernel's image and the initial RAM disk lie there.
const WHOLE_UNTIL: u64 = 128 * MIB;
/// Where restricted pools lie.
const POOLS: u64 = 96 * MIB;

pub(super) fn machine(dice: &mut Dice, drivers: &[Driver]) -> Machine {
    let cpu_vendor = if dice.chance(50) { CpuVendor::Amd } else { CpuVendor::Intel };
    let mem_encrypt = match (cpu_vendor, dice.range(0, 9)) {
        (CpuVendor::Amd, 0) => MemEncrypt::Sme,
        (CpuVendor::Amd, 1) => MemEncrypt::Sev,
        _ => MemEncrypt::None,
    };
    let iommu = iommu(dice, cpu_vendor, mem_encrypt);
    let cpus = dice.pick(&[1, 2, 2, 3, 4, 4, 6, 8]);
    let mut machine = Machine {
        name: "generated".to_owned(),
        about: String::new(),
        cpu_vendor,
        cpus,
        possible_cpus: None,
        // As QEMU's q35 has it: between the memory below 4 GiB and the interrupt controllers.
        bridge_windows: vec![Region { start: 3 << 30, size: 0x3ec0_0000 }],
        iommu_reserved: Vec::new(),
        nr_cpus: dice.pick(&[8, 64, 320]),
        e820: e820(dice),
        e820_changes: Vec::new(),
        nodes: Vec::new(),
        iommu,
        mem_encrypt,
        xen_dom0: false,
        kernel_image: Region { start: 16 * MIB, size: 32 * MIB },
        init_sections: dice.maybe(30, |_| Region { start: 40 * MIB, size: 4 * MIB }),
        initrd: dice.maybe(50, |dice| Region { start: 64 * MIB, size: dice.range(1, 24) * MIB }),
        reserved: Vec::new(),
        early: None,
        devices: Vec::new(),
        memory_order: MemoryOrder::Tso,
        tpm_log: None,
    };
    let count = dice.range(1, 4);
    for nth in 0..count {
        let driver = dice.pick(drivers);
        let one = device(dice, &mut machine, nth, &driver);
        machine.devices.push(one);
    }
    while machine.cpus > 1 && contexts(&machine, drivers) > MOST_QUEUES {
        machine.cpus -= 1;
    }
    while machine.devices.len() > 1 && contexts(&machine, drivers) > MOST_QUEUES {
        machine.devices.pop();
    }
    machine
}

/// How many queues the drivers of all devices may start: each may have a transfer, its interrupt and a spurious one going
/// on, and the engine has room for 64 contexts.
const MOST_QUEUES: u64 = 14;

fn contexts(machine: &Machine, drivers: &[Driver]) -> u64 {
    let of = |device: &Device| {
        let driver = drivers.iter().find(|driver| Some(&driver.name) == device.driver.as_ref());
        let queues = driver.into_iter().flat_map(|driver| &driver.workload);
        queues.map(|queue| if queue.cpu == CpuChoice::PerCpu { machine.cpus.into() } else { 1 }).sum::<u64>()
    };
    machine.devices.iter().map(of).sum()
}

fn iommu(dice: &mut Dice, vendor: CpuVendor, encrypt: MemEncrypt) -> Iommu {
    // A guest whose memory is encrypted sees no IOMMU of the host.
    if encrypt == MemEncrypt::Sev || dice.chance(35) {
        return Iommu::None;
    }
    match vendor {
        CpuVendor::Intel => Iommu::Vtd {
            snoop: dice.chance(80),
            write_buffer_flush: dice.chance(10),
            platform_opt_in: dice.chance(50),
            caching_mode: dice.chance(15),
            pass_through: dice.chance(85),
            scalable: false,
        },
        CpuVendor::Amd | CpuVendor::Arm => Iommu::AmdVi {
            ppr: dice.chance(50),
            gt: dice.chance(50),
            command_ns: dice.pick(&[0, 0, 500, 5_000]),
            np_cache: dice.chance(10),
        },
    }
}

/// A map as PCs have it: low memory with the hole below 1 MiB, some reserved pieces, the hole below 4 GiB, the rest.
fn e820(dice: &mut Dice) -> Vec<E820Entry> {
    let low_end = dice.pick(&[512 * MIB, 768 * MIB, GIB, 2 * GIB, 3 * GIB, 0xbc80_0000]);
    let mut map = vec![
        E820Entry { start: 0, end: dice.pick(&[0x9fbff, 0x9ffff]), kind: E820Kind::Usable },
        E820Entry { start: 0xf_0000, end: 0xf_ffff, kind: E820Kind::Reserved },
    ];
    let mut at = MIB;
    for _ in 0..dice.range(0, 4) {
        let from = at.max(WHOLE_UNTIL);
        let start = from + dice.range(0, (low_end - from) / 2 / 4096) * 4096;
        let end = start + dice.range(1, 2048) * 4096;
        if end + 16 * MIB > low_end {
            break;
        }
        let kind = dice.pick(&[
            E820Kind::Reserved,
            E820Kind::Reserved,
            E820Kind::AcpiData,
            E820Kind::AcpiNvs,
            E820Kind::Unusable,
        ]);
        if start > at {
            map.push(E820Entry { start: at, end: start - 1, kind: E820Kind::Usable });
        }
        map.push(E820Entry { start, end: end - 1, kind });
        at = end;
    }
    map.push(E820Entry { start: at, end: low_end - 1, kind: E820Kind::Usable });
    map.push(E820Entry { start: 0xfee0_0000, end: 0xfee0_0fff, kind: E820Kind::Reserved });
    if dice.chance(60) {
        let size = dice.pick(&[512 * MIB, GIB, 4 * GIB, 12 * GIB]) + dice.range(0, 16) * 4096;
        map.push(E820Entry { start: 4 * GIB, end: 4 * GIB + size - 1, kind: E820Kind::Usable });
    }
    map
}

/// The widest addresses that a driver asks for.
fn mask(driver: &Driver) -> u32 {
    let bits = driver.probe.iter().filter_map(|stmt| match stmt {
        Stmt::SetMask { bits } | Stmt::SetCoherentMask { bits } => Some(*bits),
        _ => None,
    });
    bits.max().unwrap_or(32)
}

fn device(dice: &mut Dice, machine: &mut Machine, nth: u64, driver: &Driver) -> Device {
    let behind = machine.iommu != Iommu::None;
    // A machine with one slot for a restricted pool of each device.
    let restricted = !behind && machine.mem_encrypt == MemEncrypt::None && dice.chance(20);
    let restricted_pool = restricted.then(|| {
        let region = Region { start: POOLS + nth * 8 * MIB, size: dice.pick(&[MIB, 2 * MIB, 4 * MIB]) };
        machine.reserved.push(Reserved {
            name: format!("restricted pool {nth}"),
            region,
            freed: Vec::new(),
            times: 1,
            stride: 0,
            at: ReservedAt::default(),
        });
        region
    });
    let plugged = match dice.range(0, 9) {
        0 | 1 => Plugged::After { ms: dice.range(1, 400) },
        _ => Plugged::AtBoot,
    };
    let since = if let Plugged::After { ms } = plugged { ms } else { 0 };
    let unplugged = match dice.range(0, 9) {
        0 => Unplugged::After { ms: since + dice.range(1, 600) },
        _ => Unplugged::Never,
    };
    let caps = [Cap::Ats, Cap::Pri, Cap::Pasid, Cap::Msi].into_iter().filter(|_| dice.chance(40)).collect();
    // The hardware drives at least what its driver promises.
    let least = mask(driver);
    let dma_bits = if dice.chance(50) { 64 } else { least };
    Device {
        bdf: format!("0000:{:02x}:00.0", nth + 1),
        name: format!("device {nth}"),
        bus: Bus::Pci,
        vendor_id: 0x1af4,
        device_id: u16::try_from(0x1000 + nth).unwrap_or(0x1000),
        class: String::new(),
        caps,
        rmrr: false,
        iommu_instance: 0,
        isolation: dice.maybe(70, |dice| dice.small(1, 3)),
        untrusted: behind && dice.chance(20),
        outside_iommu: false,
        dma_bits,
        bus_dma_limit: dice.maybe(10, |dice| dice.pick(&[0xffff_ffff, 0xf_ffff_ffff])),
        no_dma_mask: false,
        non_coherent: false,
        dma_range: None,
        restricted_pool,
        in_flight: None,
        suppliers: Vec::new(),
        is_iommu: None,
        driver: Some(driver.name.clone()),
        plugged,
        unplugged,
    }
}
