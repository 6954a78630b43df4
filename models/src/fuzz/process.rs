//! What goes on besides the drivers, and what widens windows.

use super::dice::Dice;
use crate::scenario::{
    AllocFail, Chance, CpuChoice, Delay, Dist, HotUnplug, Inject, Iommu, JunkClass, Machine, ProcStmt,
    Process,
};

pub(super) fn processes(dice: &mut Dice, machine: &Machine) -> Vec<Process> {
    let mut list = Vec::new();
    for nth in 0..dice.range(0, 2) {
        list.push(Process {
            name: format!("user {nth}"),
            cpu: CpuChoice::Any,
            start_ms: dice.dist(200),
            body: memory(dice),
        });
    }
    if dice.chance(30) {
        let body = binding(dice, machine);
        list.push(Process { name: "admin".to_owned(), cpu: CpuChoice::Any, start_ms: dice.dist(300), body });
    }
    list
}

/// Takes memory, fills it and gives it back, again and again.
fn memory(dice: &mut Dice) -> Vec<ProcStmt> {
    let class = dice.pick(&[JunkClass::Zero, JunkClass::Text, JunkClass::Pointers, JunkClass::Random]);
    let body = vec![
        ProcStmt::AllocPages {
            order: Dist::Uniform(0, dice.range(0, 3)),
            count: Dist::Uniform(1, dice.range(1, 16)),
            fill: vec![(2, class), (1, JunkClass::SmallInts)],
        },
        ProcStmt::Sleep { us: dice.dist(5_000) },
        ProcStmt::FreePages { percent: dice.small(10, 100) },
    ];
    vec![ProcStmt::Repeat { times: Dist::Uniform(1, dice.range(1, 5)), body }]
}

/// Takes a device from its driver and gives it back; between the two a virtual machine may have it.
fn binding(dice: &mut Dice, machine: &Machine) -> Vec<ProcStmt> {
    let device = dice.pick(&machine.devices);
    let bdf = device.bdf.clone();
    let mut body = vec![ProcStmt::Unbind { bdf: bdf.clone() }, ProcStmt::Sleep { us: dice.dist(3_000) }];
    if machine.iommu != Iommu::None && dice.chance(40) {
        body.extend(guest(dice, &bdf));
    }
    if let Some(driver) = device.driver {
        body.push(ProcStmt::Bind { bdf, driver });
    }
    vec![
        ProcStmt::Repeat { times: Dist::Uniform(1, dice.range(1, 3)), body },
        ProcStmt::Sleep { us: dice.dist(500) },
    ]
}

/// A virtual machine has a device for a while.
pub(super) fn guest(dice: &mut Dice, bdf: &str) -> [ProcStmt; 5] {
    let iova = dice.range(16, 1 << 16) * 4096;
    let pages = dice.small(1, 40);
    let bdf = bdf.to_owned();
    [
        ProcStmt::VfioAttach { bdf: bdf.clone() },
        ProcStmt::VfioMap { iova, pages },
        ProcStmt::VfioDma { bdf, iova, pages },
        ProcStmt::VfioUnmap { iova, pages },
        ProcStmt::VfioDetach,
    ]
}

/// Whether one of them gives a device to a virtual machine. Its memory must be there: who runs a virtual machine does
/// not start it otherwise, and a process here cannot say so.
pub(super) fn needs_memory(processes: &[Process]) -> bool {
    processes.iter().any(|process| !given(&process.body).is_empty())
}

/// The devices that somebody gives to virtual machines.
pub(super) fn given(body: &[ProcStmt]) -> Vec<&str> {
    let mut devices = Vec::new();
    for stmt in body {
        match stmt {
            ProcStmt::VfioAttach { bdf } => devices.push(bdf.as_str()),
            ProcStmt::Repeat { body, .. } => devices.extend(given(body)),
            _ => {}
        }
    }
    devices
}

pub(super) fn inject(dice: &mut Dice, may_fail: bool) -> Inject {
    let settle_ms = 3_000;
    Inject {
        delay: dice.maybe(40, |dice| Delay { max_us: dice.range(1, 500), percent: dice.small(1, 10) }),
        alloc_fail: dice
            .maybe(if may_fail { 20 } else { 0 }, |dice| AllocFail { per_mille: dice.small(1, 30) }),
        probe_defer: dice.maybe(15, |dice| Chance { percent: dice.small(1, 40) }),
        probe_before_init: None,
        hot_unplug: dice
            .maybe(20, |dice| HotUnplug { devices: dice.small(1, 2), percent: dice.small(10, 80) }),
        memory_pressure: dice
            .maybe(if may_fail { 15 } else { 0 }, |dice| Chance { percent: dice.small(1, 5) }),
        spurious_irq: dice.maybe(25, |dice| Chance { percent: dice.small(1, 30) }),
        late_irq: dice.maybe(25, |dice| Delay { max_us: dice.range(1, 2_000), percent: dice.small(1, 30) }),
        trample: None,
        settle_ms,
    }
}
