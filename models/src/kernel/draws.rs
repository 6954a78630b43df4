//! What is drawn for a run as a whole, before it begins: which injections, and how strong (swarm testing).
//!
//! A. Groce, C. Zhang, E. Eide, Y. Chen, J. Regehr, "Swarm Testing", ISSTA 2012: leaving features out at random finds
//! more than always using all of them.

use sim::Sim;
use sim::choices::Stream;

use crate::scenario::schema::Inject;

/// Strengths of the injections of one run; 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draws {
    /// Mean number of steps between delays; 0 for none.
    pub delay_every: u64,
    /// Longest delay in nanoseconds.
    pub delay_max: u64,
    /// Allocations that fail, of a thousand.
    pub alloc_fail: u64,
    /// Probes that are deferred, of a thousand.
    pub probe_defer: u64,
    /// Longest time between a device's becoming visible on its bus and the end of its set-up, in nanoseconds.
    pub probe_before_init: u64,
    /// Devices that are pulled out, of a thousand.
    pub hot_unplug: u64,
    /// Page allocations that find nothing left, of a thousand.
    pub memory_pressure: u64,
    /// Submissions that are followed by an interrupt nobody asked for, of a thousand.
    pub spurious_irq: u64,
    /// Interrupts that come late, of a thousand.
    pub late_irq: u64,
    /// By how much at most, in nanoseconds.
    pub late_irq_max: u64,
    /// Probes before which the device is trampled on, of a thousand.
    pub trample: u64,
}

/// One run in how many leaves an allowed injection out.
const OFF: u64 = 4;

fn strength(sim: &Sim, what: &'static str, max: u64) -> u64 {
    // Answer 0 is "off"; the others spread over the range, the full strength included.
    const LEVELS: u64 = 12;
    if max == 0 {
        return 0;
    }
    let drawn = sim.choose(Stream::Injection, what, LEVELS + LEVELS / OFF);
    if drawn == 0 || drawn > LEVELS { 0 } else { (max * drawn).div_ceil(LEVELS) }
}

impl Draws {
    /// Draws for one run, within what the scenario allows.
    #[must_use]
    pub fn new(sim: &Sim, inject: &Inject) -> Self {
        let per_mille = |percent: u32| u64::from(percent) * 10;
        let mut draws = Self::default();
        if let Some(delay) = inject.delay {
            let share = strength(sim, "share of delayed steps", per_mille(delay.percent));
            // `percent` speaks of a hundred steps of one context; a delay in each would stop everything.
            draws.delay_every = 20_000_u64.checked_div(share).map_or(0, |every| every.max(20));
            draws.delay_max = delay.max_us * 1000;
        }
        if let Some(fail) = inject.alloc_fail {
            draws.alloc_fail = strength(sim, "share of failing allocations", u64::from(fail.per_mille));
        }
        if let Some(chance) = inject.probe_defer {
            draws.probe_defer = strength(sim, "share of deferred probes", per_mille(chance.percent));
        }
        if let Some(window) = inject.probe_before_init {
            draws.probe_before_init = strength(sim, "window before initialisation", window.max_us * 1000);
        }
        if let Some(unplug) = &inject.hot_unplug {
            draws.hot_unplug = strength(sim, "share of devices pulled out", per_mille(unplug.percent));
        }
        if let Some(chance) = inject.memory_pressure {
            draws.memory_pressure = strength(sim, "memory pressure", per_mille(chance.percent));
        }
        if let Some(chance) = inject.spurious_irq {
            draws.spurious_irq = strength(sim, "share of spurious interrupts", per_mille(chance.percent));
        }
        if let Some(delay) = inject.late_irq {
            draws.late_irq = strength(sim, "share of late interrupts", per_mille(delay.percent));
            draws.late_irq_max = delay.max_us * 1000;
        }
        if let Some(trample) = &inject.trample {
            draws.trample = strength(sim, "share of trampled devices", per_mille(trample.percent));
        }
        draws
    }

    /// The injections that a scenario allows, by the name under which it is noted whether they fire.
    #[must_use]
    pub fn allowed(inject: &Inject) -> Vec<&'static str> {
        [
            (inject.delay.is_some(), "delay"),
            (inject.alloc_fail.is_some(), "allocation fails"),
            (inject.probe_defer.is_some(), "probe deferred"),
            (inject.probe_before_init.is_some(), "window before initialisation"),
            (inject.hot_unplug.is_some(), "device pulled out"),
            (inject.memory_pressure.is_some(), "memory pressure"),
            (inject.spurious_irq.is_some(), "spurious interrupt"),
            (inject.late_irq.is_some(), "interrupt late"),
            (inject.trample.is_some(), "device trampled"),
        ]
        .into_iter()
        .filter_map(|(allowed, name)| allowed.then_some(name))
        .collect()
    }

    /// What was drawn, for the reader.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |on: bool, text: String| {
            if on {
                lines.push(text);
            }
        };
        add(
            self.delay_every > 0,
            format!(
                "a delay of up to {} us every {} steps on average",
                self.delay_max / 1000,
                self.delay_every
            ),
        );
        add(self.alloc_fail > 0, format!("{} of 1000 allocations fail", self.alloc_fail));
        add(self.probe_defer > 0, format!("{} of 1000 probes are deferred", self.probe_defer));
        add(
            self.probe_before_init > 0,
            format!(
                "up to {} us between a device's appearance and the end of its set-up",
                self.probe_before_init / 1000
            ),
        );
        add(self.hot_unplug > 0, format!("{} of 1000 devices are pulled out", self.hot_unplug));
        add(self.memory_pressure > 0, format!("{} of 1000 page allocations fail", self.memory_pressure));
        add(
            self.spurious_irq > 0,
            format!("{} of 1000 submissions raise a spurious interrupt", self.spurious_irq),
        );
        add(
            self.late_irq > 0,
            format!("{} of 1000 interrupts are late by up to {} us", self.late_irq, self.late_irq_max / 1000),
        );
        add(self.trample > 0, format!("{} of 1000 devices are trampled on before their probe", self.trample));
        lines
    }
}
