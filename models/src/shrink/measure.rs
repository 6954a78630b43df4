//! How much there is to read in a scenario and in a run of it.

use sim::choices::ChoiceList;
use sim::trace::{EventKind, Trace};

use crate::scenario::Resolved;
use crate::scenario::edit::{Tree, flat};

/// How large a scenario and one run of it are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Lines of the scenario as one file.
    pub lines: usize,
    /// Devices of the machine.
    pub devices: usize,
    /// Drivers.
    pub drivers: usize,
    /// Processes.
    pub processes: usize,
    /// CPUs.
    pub cpus: usize,
    /// Contexts on CPUs that did anything, that of the boot included.
    pub contexts: usize,
    /// How often another context went on than the one before.
    pub switches: usize,
    /// Choices that differ from their default.
    pub choices: usize,
    /// Those of them that let another context go on.
    pub preemptions: usize,
    /// Steps.
    pub steps: u64,
}

impl Measure {
    /// Of a scenario and a recorded run.
    #[must_use]
    pub fn of(scenario: &Resolved, trace: &Trace, steps: u64, choices: &ChoiceList) -> Self {
        let by = trace.events.iter().filter(|event| matches!(event.kind, EventKind::Step { .. }));
        let by: Vec<u32> = by.map(|event| event.ctx).collect();
        let on_cpu = |ctx: u32| trace.contexts.get(ctx as usize).is_some_and(|context| context.cpu.is_some());
        let mut contexts: Vec<u32> = by.iter().copied().filter(|ctx| on_cpu(*ctx)).collect();
        contexts.sort_unstable();
        contexts.dedup();
        Self {
            lines: Tree::of(&flat(scenario)).text().lines().count(),
            devices: scenario.machine.devices.len(),
            drivers: scenario.drivers.len(),
            processes: scenario.processes.len(),
            cpus: scenario.machine.cpus as usize,
            contexts: contexts.len(),
            switches: by.windows(2).filter(|pair| pair[0] != pair[1]).count(),
            choices: choices.records.len(),
            preemptions: choices.switches(),
            steps,
        }
    }

    /// Each number with what it counts.
    #[must_use]
    pub const fn rows(&self) -> [(&'static str, u64); 10] {
        [
            ("lines of the scenario", self.lines as u64),
            ("devices", self.devices as u64),
            ("drivers", self.drivers as u64),
            ("processes", self.processes as u64),
            ("CPUs", self.cpus as u64),
            ("contexts on CPUs", self.contexts as u64),
            ("context switches", self.switches as u64),
            ("choices that are no default", self.choices as u64),
            ("  of them switches", self.preemptions as u64),
            ("steps", self.steps),
        ]
    }
}
