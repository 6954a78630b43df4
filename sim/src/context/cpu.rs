//! Modelled CPUs: who bars whom.
//!
//! On one CPU at most one context makes progress at a time, and some states forbid a switch: a hard interrupt runs
//! to its end, a softirq is interrupted by hard interrupts only, and a context with preemption or interrupts off
//! keeps the CPU. Contexts on other CPUs are not concerned.

use std::cell::Cell;

use super::executor::Sim;
use super::state::{Class, NOBODY};
use crate::CtxId;

#[derive(Debug)]
pub(crate) struct Cpu {
    tasks: Cell<u64>,
    soft: Cell<u64>,
    hard: Cell<u64>,
    in_hard: Cell<u8>,
    in_soft: Cell<u8>,
    /// The context that keeps the CPU with interrupts, softirqs or preemption off.
    holder: Cell<u8>,
    barred: Cell<u64>,
}

impl Cpu {
    pub(crate) const fn new() -> Self {
        Self {
            tasks: Cell::new(0),
            soft: Cell::new(0),
            hard: Cell::new(0),
            in_hard: Cell::new(NOBODY),
            in_soft: Cell::new(NOBODY),
            holder: Cell::new(NOBODY),
            barred: Cell::new(0),
        }
    }

    const fn set_of(&self, class: Class) -> Option<&Cell<u64>> {
        match class {
            Class::Task => Some(&self.tasks),
            Class::Softirq => Some(&self.soft),
            Class::Hardirq => Some(&self.hard),
            Class::Device => None,
        }
    }
}

impl Sim {
    pub(super) fn cpu_add(&self, id: CtxId) {
        let slot = self.slot(id);
        let cpu = &self.cpus[slot.cpu.get() as usize];
        if let Some(set) = cpu.set_of(slot.class.get()) {
            set.set(set.get() | id.bit());
            self.refresh_bars(slot.cpu.get());
        }
    }

    /// The context runs for the first time: an interrupt now occupies its CPU.
    pub(super) fn cpu_start(&self, id: CtxId) {
        let slot = self.slot(id);
        let cpu = &self.cpus[slot.cpu.get() as usize];
        match slot.class.get() {
            Class::Hardirq => cpu.in_hard.set(id.0),
            Class::Softirq => cpu.in_soft.set(id.0),
            Class::Task | Class::Device => return,
        }
        self.refresh_bars(slot.cpu.get());
    }

    pub(super) fn cpu_remove(&self, id: CtxId) {
        let slot = self.slot(id);
        let cpu = &self.cpus[slot.cpu.get() as usize];
        let Some(set) = cpu.set_of(slot.class.get()) else { return };
        set.set(set.get() & !id.bit());
        for occupant in [&cpu.in_hard, &cpu.in_soft, &cpu.holder] {
            if occupant.get() == id.0 {
                occupant.set(NOBODY);
            }
        }
        self.refresh_bars(slot.cpu.get());
    }

    /// Interrupt, softirq or preemption depth of `id` changed between zero and not zero.
    pub(crate) fn cpu_depth_changed(&self, id: CtxId) {
        let slot = self.slot(id);
        if slot.class.get() == Class::Device {
            return;
        }
        let cpu = &self.cpus[slot.cpu.get() as usize];
        let keeps = slot.irq_off.get() | slot.preempt_off.get() | slot.bh_off.get() != 0;
        if keeps {
            cpu.holder.set(id.0);
        } else if cpu.holder.get() == id.0 {
            cpu.holder.set(NOBODY);
            // An interrupt may have arrived on top of a task that keeps the CPU; the task keeps it again after.
            let below = cpu.tasks.get() | cpu.soft.get();
            let still = crate::CtxSet(below).iter().find(|other| {
                let other = self.slot(*other);
                other.irq_off.get() | other.preempt_off.get() | other.bh_off.get() != 0
            });
            cpu.holder.set(still.map_or(NOBODY, |other| other.0));
        }
        self.refresh_bars(slot.cpu.get());
    }

    fn refresh_bars(&self, number: u8) {
        let cpu = &self.cpus[number as usize];
        let (tasks, soft, hard) = (cpu.tasks.get(), cpu.soft.get(), cpu.hard.get());
        let all = tasks | soft | hard;
        let only = |raw: u8| all & !(1 << raw);
        let mut barred = 0;
        if cpu.in_hard.get() != NOBODY {
            barred = only(cpu.in_hard.get());
        } else {
            if cpu.in_soft.get() != NOBODY {
                barred |= (tasks | soft) & !(1 << cpu.in_soft.get());
            }
            if cpu.holder.get() != NOBODY {
                let holder = self.slot(CtxId(cpu.holder.get()));
                if holder.irq_off.get() > 0 {
                    barred |= only(cpu.holder.get());
                } else if cpu.in_soft.get() == NOBODY {
                    barred |= tasks & !(1 << cpu.holder.get());
                    if holder.bh_off.get() > 0 {
                        barred |= soft;
                    }
                }
            }
        }
        let old = cpu.barred.replace(barred);
        self.barred.set(self.barred.get() & !old | barred);
    }

    /// Whether `id` is kept from running by another context on its CPU, and by which.
    pub(crate) fn barred_by(&self, id: CtxId) -> Option<CtxId> {
        if self.barred.get() & id.bit() == 0 {
            return None;
        }
        let cpu = &self.cpus[self.slot(id).cpu.get() as usize];
        [cpu.in_hard.get(), cpu.in_soft.get(), cpu.holder.get()]
            .into_iter()
            .find(|&raw| raw != NOBODY && raw != id.0)
            .map(CtxId)
    }
}
