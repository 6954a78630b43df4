//! Modelled CPUs: who bars whom.
//!
//! On one CPU at most one context makes progress at a time, and some states forbid a switch: a hard interrupt runs
//! to its end, a softirq is interrupted by hard interrupts only, and a context with preemption or interrupts off
//! keeps the CPU. Contexts on other CPUs are not concerned.

use std::cell::Cell;

use super::Sim;
use super::state::{Class, NOBODY};
use crate::CtxId;
use crate::sync::SyncClock;

#[derive(Debug)]
pub(crate) struct Cpu {
    tasks: Cell<u64>,
    soft: Cell<u64>,
    hard: Cell<u64>,
    in_hard: Cell<u8>,
    in_soft: Cell<u8>,
    /// The task that keeps the CPU with interrupts, softirqs or preemption off; also below an interrupt.
    keeper: Cell<u8>,
    barred: Cell<u64>,
    /// What the hard interrupts did that ended here: those of one CPU follow each other.
    after_hard: SyncClock,
    /// The same for softirqs.
    after_soft: SyncClock,
}

impl Cpu {
    pub(crate) fn new() -> Self {
        Self {
            tasks: Cell::new(0),
            soft: Cell::new(0),
            hard: Cell::new(0),
            in_hard: Cell::new(NOBODY),
            in_soft: Cell::new(NOBODY),
            keeper: Cell::new(NOBODY),
            barred: Cell::new(0),
            after_hard: SyncClock::default(),
            after_soft: SyncClock::default(),
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

    /// For an interrupt: who occupies the CPU as one, and what its forerunners did.
    const fn interrupt(&self, class: Class) -> Option<(&Cell<u8>, &SyncClock)> {
        match class {
            Class::Softirq => Some((&self.in_soft, &self.after_soft)),
            Class::Hardirq => Some((&self.in_hard, &self.after_hard)),
            Class::Task | Class::Device => None,
        }
    }
}

impl Sim {
    fn cpu_of(&self, id: CtxId) -> &Cpu {
        &self.cpus[self.slot(id).cpu.get() as usize]
    }

    pub(super) fn cpu_add(&self, id: CtxId) {
        let cpu = self.cpu_of(id);
        if let Some(set) = cpu.set_of(self.slot(id).class.get()) {
            set.set(set.get() | id.bit());
            self.refresh_bars(cpu);
        }
    }

    /// The context runs for the first time: an interrupt now occupies its CPU.
    pub(super) fn cpu_start(&self, id: CtxId) {
        let cpu = self.cpu_of(id);
        if let Some((occupant, before)) = cpu.interrupt(self.slot(id).class.get()) {
            occupant.set(id.0);
            self.clocks.borrow_mut().acquire(id, before);
            self.refresh_bars(cpu);
        }
    }

    pub(super) fn cpu_remove(&self, id: CtxId) {
        let cpu = self.cpu_of(id);
        let class = self.slot(id).class.get();
        let Some(set) = cpu.set_of(class) else { return };
        set.set(set.get() & !id.bit());
        if let Some((occupant, after)) = cpu.interrupt(class) {
            occupant.set(NOBODY);
            self.clocks.borrow_mut().release_shared(id, after);
        }
        if cpu.keeper.get() == id.0 {
            cpu.keeper.set(NOBODY);
        }
        self.refresh_bars(cpu);
    }

    /// Interrupt, softirq or preemption depth of `id` changed.
    pub(crate) fn cpu_depth_changed(&self, id: CtxId) {
        let slot = self.slot(id);
        let cpu = self.cpu_of(id);
        match slot.class.get() {
            Class::Device => return,
            Class::Task if slot.keeps_cpu() => cpu.keeper.set(id.0),
            Class::Task if cpu.keeper.get() == id.0 => cpu.keeper.set(NOBODY),
            Class::Task | Class::Softirq | Class::Hardirq => {}
        }
        // Nobody is barred from a CPU on which nobody else is.
        let others = (cpu.tasks.get() | cpu.soft.get() | cpu.hard.get()) & !id.bit();
        if others | cpu.barred.get() != 0 {
            self.refresh_bars(cpu);
        }
    }

    /// Works out who is barred. The uppermost one decides: a hard interrupt, then a softirq, then the task that keeps
    /// the CPU; what those below had turned off is in force again when it ends.
    #[inline(never)]
    fn refresh_bars(&self, cpu: &Cpu) {
        let (tasks, soft, hard) = (cpu.tasks.get(), cpu.soft.get(), cpu.hard.get());
        let barred = if cpu.in_hard.get() != NOBODY {
            (tasks | soft | hard) & !(1 << cpu.in_hard.get())
        } else if cpu.in_soft.get() != NOBODY {
            let above = if self.slot(CtxId(cpu.in_soft.get())).irq_off.get() > 0 { hard } else { 0 };
            above | (tasks | soft) & !(1 << cpu.in_soft.get())
        } else if cpu.keeper.get() != NOBODY {
            let keeper = self.slot(CtxId(cpu.keeper.get()));
            let above = match (keeper.irq_off.get(), keeper.bh_off.get()) {
                (0, 0) => 0,
                (0, _) => soft,
                _ => soft | hard,
            };
            above | tasks & !(1 << cpu.keeper.get())
        } else {
            0
        };
        let old = cpu.barred.replace(barred);
        self.barred.set(self.barred.get() & !old | barred);
    }

    /// Who occupies or keeps the CPU of `id` and how, in one word: what decides who is barred there.
    pub(super) fn cpu_state(&self, id: CtxId) -> u64 {
        if self.slot(id).class.get() == Class::Device {
            return 0;
        }
        let cpu = self.cpu_of(id);
        let depth = |raw: u8| {
            if raw == NOBODY {
                return 0;
            }
            let slot = self.slot(CtxId(raw));
            let on = |depth: &Cell<u8>| u64::from(depth.get() > 0);
            1 | on(&slot.irq_off) << 1
                | on(&slot.bh_off) << 2
                | on(&slot.preempt_off) << 3
                | u64::from(raw) << 4
        };
        u64::from(cpu.in_hard.get()) << 32 | depth(cpu.in_soft.get()) << 16 | depth(cpu.keeper.get())
    }

    /// Whether `id` is kept from running by another context on its CPU, and by which.
    pub(crate) fn barred_by(&self, id: CtxId) -> Option<CtxId> {
        if self.barred.get() & id.bit() == 0 {
            return None;
        }
        let cpu = self.cpu_of(id);
        [cpu.in_hard.get(), cpu.in_soft.get(), cpu.keeper.get()]
            .into_iter()
            .find(|&raw| raw != NOBODY && raw != id.0)
            .map(CtxId)
    }
}
