//! What a generated scenario has besides: boot memory that comes and goes, devices that come while drivers
//! do, whole groups for a virtual machine, and pressure on the slab allocator.
//!
//! It is drawn from numbers of its own, and changes nothing of what was drawn before.

use super::dice::Dice;
use super::process::{given, guest, needs_memory};
use crate::scenario::{
    Bus, Cap, CpuChoice, CpuVendor, Device, Dist, Driver, Freed, FreedAt, FreedBy, Inject, Iommu, Machine,
    MemEncrypt, MemoryOrder, Plugged, ProbeType, ProcStmt, Process, Region, Registers, Reserved, ReservedAt,
    SmmuV3, Unplugged,
};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// Below the kernel's image, and between it and the initial RAM disk.
const FIRMWARE: [u64; 2] = [4 * MIB, 52 * MIB];

/// Milliseconds from the scan of the bus to the moment when built-in drivers, late ones, and modules register; and how much
/// longer it takes with an IOMMU.
const TO_DRIVERS: u64 = 1_860;
const TO_LATE_DRIVERS: u64 = 1_920;
const TO_USER_SPACE: u64 = 1_921;
const IOMMU_INIT: u64 = 20;

pub(super) fn machine(dice: &mut Dice, machine: &mut Machine, drivers: &mut [Driver]) {
    if dice.chance(20) {
        machine.memory_order = MemoryOrder::Weak;
    }
    if dice.chance(50) {
        for (nth, start) in (0..).zip(FIRMWARE) {
            firmware(dice, machine, nth, start);
        }
    }
    if dice.chance(35) {
        arriving(dice, machine, drivers);
    }
}

/// What firmware left: a stretch that is given back, with one behind it that is kept, and one in front.
fn firmware(dice: &mut Dice, machine: &mut Machine, nth: u64, start: u64) {
    let mut at = start;
    for (name, goes) in [("table", false), ("data", true), ("log", false)] {
        let bytes = if goes { dice.range(1, 64) * PAGE } else { dice.range(1, 3 * PAGE) };
        let times = if goes { dice.small(1, 3) } else { 1 };
        let stride = bytes + dice.pick(&[0, PAGE, 8 * PAGE]);
        // To memblock while that is the allocator, or to the page allocator when all pages have their structures.
        let freed = match dice.range(0, 2) {
            _ if !goes => None,
            0 => Some(Freed { by: FreedBy::MemblockFreeLate, at: FreedAt::Initcalls }),
            _ => Some(Freed { by: FreedBy::MemblockFree, at: FreedAt::SetupArch }),
        };
        machine.reserved.push(Reserved {
            name: format!("firmware {name} {nth}"),
            region: Region { start: at, size: bytes },
            times,
            stride,
            at: ReservedAt::default(),
            freed: freed.into_iter().collect(),
        });
        // The next begins in the page behind.
        at = (at + u64::from(times - 1) * stride + bytes).next_multiple_of(PAGE);
    }
}

/// A device is plugged in while its driver registers.
fn arriving(dice: &mut Dice, machine: &mut Machine, drivers: &mut [Driver]) {
    let nth = usize::try_from(dice.range(0, machine.devices.len() as u64 - 1)).unwrap_or(0);
    let init = if machine.iommu == Iommu::None { 0 } else { IOMMU_INIT };
    let device = &mut machine.devices[nth];
    let driver = drivers.iter_mut().find(|driver| device.driver.as_ref() == Some(&driver.name));
    let since = match driver.map(|driver| &mut driver.registers) {
        Some(Registers::Module { after_ms }) => {
            let after = dice.range(0, 50);
            *after_ms = Dist::Fixed(after);
            TO_USER_SPACE + after
        }
        Some(Registers::Late) => TO_LATE_DRIVERS,
        _ => TO_DRIVERS,
    };
    let ms = since + init + dice.pick(&[0, 0, 0, 1, 2, 400]);
    device.plugged = Plugged::After { ms };
    device.unplugged =
        if dice.chance(30) { Unplugged::After { ms: ms + dice.range(1, 600) } } else { Unplugged::Never };
}

/// A small pool through which everything goes, and which grows while it is in use: pools come and go.
pub(super) fn pool(dice: &mut Dice, machine: &Machine, cmdline: &mut String, config: &mut Vec<String>) {
    const DYNAMIC: &str = "CONFIG_SWIOTLB_DYNAMIC=y";
    let wanted = dice.chance(20);
    // On a host that encrypts its memory a growing pool sleeps where it may not: `docs/findings-open.md`.
    if !wanted || machine.mem_encrypt == MemEncrypt::Sme || cmdline.contains("swiotlb=") {
        return;
    }
    cmdline.push_str(&format!(" swiotlb={},{},force", dice.pick(&[128, 256, 512]), dice.pick(&[1, 2])));
    if !config.iter().any(|line| line == DYNAMIC) {
        config.push(DYNAMIC.to_owned());
    }
}

pub(super) fn processes(
    dice: &mut Dice,
    machine: &Machine,
    processes: &mut Vec<Process>,
    inject: &mut Inject,
) {
    let mut add = |name: &str, start_ms, body| {
        processes.push(Process { name: name.to_owned(), cpu: CpuChoice::Any, start_ms, body });
    };
    if dice.chance(35) {
        add("server", dice.dist(100), objects(dice));
    }
    if dice.chance(15) {
        add("compiler", dice.dist(200), pages(dice));
    }
    let whole_group =
        if machine.iommu == Iommu::None { None } else { dice.maybe(15, |dice| group(dice, machine)) };
    if let Some(body) = whole_group {
        add("vm", dice.dist(200), body);
    } else if dice.chance(15) && !needs_memory(processes) {
        let device = dice.pick(&machine.devices);
        let body = slot(dice, &device);
        processes.push(Process {
            name: "slot".to_owned(),
            cpu: CpuChoice::Any,
            start_ms: dice.dist(200),
            body,
        });
    }
    if needs_memory(processes) {
        (inject.alloc_fail, inject.memory_pressure) = (None, None);
    }
}

fn share_group(one: &Device, other: &Device) -> bool {
    one.bdf == other.bdf || one.isolation.is_some() && one.isolation == other.isolation
}

/// What 6.12 does not do well with groups is left out (`docs/findings-open.md`). No device is plugged into a group that a
/// virtual machine may have at that time: such a device is there from the start. And a device that shares a port with an
/// untrusted one is as little trusted, if its driver would have it work in the address spaces of processes otherwise.
pub(super) fn groups(machine: &mut Machine, processes: &[Process]) {
    let untrusted: Vec<Device> = machine.devices.iter().filter(|device| device.untrusted).cloned().collect();
    for device in &mut machine.devices {
        let spaces = [Cap::Ats, Cap::Pri, Cap::Pasid].iter().all(|cap| device.caps.contains(cap));
        device.untrusted |= spaces && untrusted.iter().any(|other| share_group(other, device));
    }
    let given: Vec<&str> = processes.iter().flat_map(|process| given(&process.body)).collect();
    let given: Vec<Device> =
        machine.devices.iter().filter(|device| given.contains(&device.bdf.as_str())).cloned().collect();
    for device in &mut machine.devices {
        if given.iter().any(|other| other.bdf != device.bdf && share_group(other, device)) {
            device.plugged = Plugged::AtBoot;
        }
    }
}

/// Takes objects of some sizes and gives them back, the oldest first: slabs fill up and become empty.
fn objects(dice: &mut Dice) -> Vec<ProcStmt> {
    let size = dice.pick(&[192, 512, 1024, 2048, 4096]);
    let size = if dice.chance(70) { Dist::Fixed(size) } else { Dist::OneOf(vec![size / 2, size, size * 4]) };
    let body = vec![
        ProcStmt::AllocObjects { size, count: Dist::Uniform(1, dice.range(20, 120)) },
        ProcStmt::Sleep { us: dice.dist(2_000) },
        ProcStmt::FreeObjects { percent: dice.small(10, 100) },
    ];
    vec![
        ProcStmt::Repeat { times: Dist::Uniform(1, dice.range(2, 6)), body },
        ProcStmt::FreeObjects { percent: 100 },
    ]
}

/// Takes more single pages than a CPU keeps for itself, and gives them back.
fn pages(dice: &mut Dice) -> Vec<ProcStmt> {
    let body = vec![
        ProcStmt::AllocPages { order: Dist::zero(), count: Dist::Uniform(200, 400), fill: Vec::new() },
        ProcStmt::Sleep { us: dice.dist(1_000) },
        ProcStmt::FreePages { percent: dice.small(60, 100) },
    ];
    vec![ProcStmt::Repeat { times: Dist::Uniform(1, 3), body }, ProcStmt::FreePages { percent: 100 }]
}

/// All devices of a group leave their drivers for a virtual machine, and come back.
fn group(dice: &mut Dice, machine: &Machine) -> Vec<ProcStmt> {
    let first = dice.pick(&machine.devices);
    let members: Vec<&Device> = machine.devices.iter().filter(|device| share_group(&first, device)).collect();
    let mut body: Vec<ProcStmt> =
        members.iter().map(|device| ProcStmt::Unbind { bdf: device.bdf.clone() }).collect();
    body.extend(guest(dice, &first.bdf));
    body.extend(members.iter().filter_map(|device| {
        let driver = device.driver.clone()?;
        Some(ProcStmt::Bind { bdf: device.bdf.clone(), driver })
    }));
    vec![ProcStmt::Repeat { times: Dist::Uniform(1, 2), body }, ProcStmt::Sleep { us: dice.dist(500) }]
}

/// A device is pulled out and plugged in again.
fn slot(dice: &mut Dice, device: &Device) -> Vec<ProcStmt> {
    let body = vec![
        ProcStmt::Unplug { bdf: device.bdf.clone() },
        ProcStmt::Sleep { us: dice.dist(3_000) },
        ProcStmt::Plug { bdf: device.bdf.clone() },
        ProcStmt::Sleep { us: dice.dist(3_000) },
    ];
    vec![ProcStmt::Repeat { times: Dist::Uniform(1, dice.range(1, 3)), body }]
}

/// Some of the machines with an IOMMU are Arm's, with an SMMU. It is a device with a driver, which is a module: what is behind it
/// comes again when that has been bound, and not before. (What 6.12 does not do well is a driver that binds while the SMMU's is
/// being probed: `docs/findings-open.md`.) Says whether this one is.
pub(super) fn arm(
    dice: &mut Dice,
    machine: &mut Machine,
    drivers: &mut Vec<Driver>,
    processes: &mut [Process],
) -> bool {
    let wanted = dice.chance(20);
    if !wanted || machine.iommu == Iommu::None || machine.mem_encrypt != MemEncrypt::None {
        return false;
    }
    machine.cpu_vendor = CpuVendor::Arm;
    machine.memory_order = MemoryOrder::Weak;
    machine.iommu = Iommu::Smmu {
        first_ms: 0,
        second_ms: None,
        address_bits: dice.maybe(25, |dice| dice.pick(&[36, 39, 40, 44])),
        v3: dice.maybe(75, |dice| SmmuV3 {
            command_ns: dice.pick(&[0, 100, 500, 5_000]),
            range_invalidation: dice.chance(50),
        }),
    };
    for driver in drivers.iter_mut() {
        if let Registers::Module { after_ms } = &mut driver.registers {
            later(after_ms);
        }
    }
    for process in processes {
        later(&mut process.start_ms);
    }
    for device in &mut machine.devices {
        if let Plugged::After { ms } = &mut device.plugged
            && *ms + 1 >= TO_USER_SPACE
        {
            *ms += AFTER_SMMU;
            if let Unplugged::After { ms } = &mut device.unplugged {
                *ms += AFTER_SMMU;
            }
        }
    }
    let (Some(driver), Some(device)) = (drivers.first(), machine.devices.first()) else { return false };
    let smmu = Driver {
        name: "arm_smmu".to_owned(),
        registers: Registers::Module { after_ms: Dist::Fixed(0) },
        probe: Vec::new(),
        workload: Vec::new(),
        remove: Vec::new(),
        probe_type: ProbeType::Sync,
        // What an SMMU does when the machine sleeps or goes down is its model's to know.
        shutdown: None,
        pm: None,
        sync_state: None,
        ..driver.clone()
    };
    let unit = Device {
        bdf: "0000:00:02.0".to_owned(),
        name: "SMMU".to_owned(),
        bus: Bus::Platform,
        caps: Vec::new(),
        isolation: None,
        untrusted: false,
        outside_iommu: true,
        dma_bits: 64,
        bus_dma_limit: None,
        is_iommu: Some(0),
        driver: Some(smmu.name.clone()),
        plugged: Plugged::AtBoot,
        unplugged: Unplugged::Never,
        ..device.clone()
    };
    drivers.push(smmu);
    machine.devices.push(unit);
    true
}

/// Milliseconds by which modules, processes and devices that come after user space has begun are late on a machine whose
/// SMMU comes with user space.
const AFTER_SMMU: u64 = 20;

fn later(time: &mut Dist) {
    match time {
        Dist::Fixed(ms) => *ms += AFTER_SMMU,
        Dist::Uniform(low, high) => (*low, *high) = (*low + AFTER_SMMU, *high + AFTER_SMMU),
        Dist::OneOf(list) => list.iter_mut().for_each(|ms| *ms += AFTER_SMMU),
        Dist::Weighted(list) => list.iter_mut().for_each(|(_, ms)| *ms += AFTER_SMMU),
    }
}
