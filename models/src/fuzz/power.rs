//! How a generated machine sleeps and goes down.
//!
//! Its devices are on the PCI bus, which stops those whose drivers know nothing of it: whatever is drawn here is legal. It is
//! drawn from numbers of its own, and changes nothing of what was drawn before.

use super::dice::Dice;
use crate::scenario::{CpuChoice, Driver, PmOps, ProcStmt, Process, Reboot, Stmt};

/// What drivers do about it: nothing, or let their queues rest and take some time.
pub(super) fn drivers(dice: &mut Dice, drivers: &mut [Driver]) {
    for driver in drivers {
        if dice.chance(50) {
            driver.shutdown = Some(pause(dice));
        }
        if dice.chance(50) {
            driver.pm = Some(Box::new(PmOps {
                suspend: pause(dice),
                suspend_late: pause(dice),
                suspend_noirq: Vec::new(),
                resume_noirq: Vec::new(),
                resume_early: pause(dice),
                resume: pause(dice),
            }));
        }
        if dice.chance(10) {
            driver.sync_state = Some(pause(dice));
        }
    }
}

fn pause(dice: &mut Dice) -> Vec<Stmt> {
    if dice.chance(50) { vec![Stmt::Sleep { us: dice.dist(2_000) }] } else { Vec::new() }
}

/// Who sends the machine to sleep, and who takes it down.
pub(super) fn processes(dice: &mut Dice, processes: &mut Vec<Process>) {
    let mut add = |name: &str, start_ms, body| {
        processes.push(Process { name: name.to_owned(), cpu: CpuChoice::Any, start_ms, body });
    };
    if dice.chance(25) {
        let times = dice.dist(3);
        let pause = ProcStmt::Sleep { us: dice.dist(20_000) };
        let body = vec![ProcStmt::Repeat { times, body: vec![ProcStmt::Suspend, pause] }];
        add("systemd-sleep", dice.dist(300), body);
    }
    if dice.chance(20) {
        let how = dice.pick(&[Reboot::Restart, Reboot::PowerOff, Reboot::Kexec, Reboot::Kexec]);
        add("init", dice.dist(400), vec![ProcStmt::Reboot { how }]);
    }
}
