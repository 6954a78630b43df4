//! Random machines and workloads that are legal by construction: what comes up on a correct kernel is a false alarm.
//!
//! A seed gives a whole scenario ([`generate`]), and the same seed decides the run of it. Everything that a generated
//! driver does keeps the rules of the DMA API (`Documentation/core-api/dma-api.rst`): it maps before it hands memory to
//! the device, checks for errors, leaves a buffer alone while the device owns it, syncs before the CPU looks, unmaps
//! once and with the same arguments, stays within bounds, and gives back in reverse order what it took.
//!
//! A mapping may fail for want of bounce memory, which is nobody's fault: generated drivers say that they have provided
//! for that (`NoWarn`, `Skip`), so that a failure alone is no finding. What is built by hand and not generated: trampled
//! objects, drivers that bind before the IOMMU is set up, IOMMUs that appear late (virtio-iommu), and PEF and protected guests.

mod dice;
mod driver;
mod machine;
mod more;
mod power;
mod process;
mod words;

use crate::profile::Version;
use crate::run::{Request, Simulation};
use crate::scenario::edit::Tree;
use crate::scenario::{
    DriverRef, Expect, Explore, Kernel, LoadError, MachineRef, Overrides, Resolved, ScenarioFile,
};
use dice::Dice;
use sim::explore::Outcome;

/// A run that takes more steps is a livelock: far more than any generated one needs.
const MAX_STEPS: u64 = 400_000;

/// The scenario of a seed, for this kernel.
#[must_use]
pub fn generate(seed: u64, kernel: &Kernel) -> ScenarioFile {
    let mut dice = Dice::new(seed);
    let mut drivers = driver::drivers(&mut dice);
    let mut machine = machine::machine(&mut dice, &drivers);
    let config = words::config(&mut dice, &machine);
    let mut cmdline = words::cmdline(&mut dice, &machine, words::grows(&config));
    let mut processes = process::processes(&mut dice, &machine);
    let mut inject = process::inject(&mut dice, !process::needs_memory(&processes));
    let mut kernel = kernel.clone();
    kernel.config.extend(config);
    let mut further = Dice::further(seed);
    more::pool(&mut further, &machine, &mut cmdline, &mut kernel.config);
    more::machine(&mut further, &mut machine, &mut drivers);
    more::processes(&mut further, &machine, &mut processes, &mut inject);
    more::groups(&mut machine, &processes);
    let mut power = Dice::of_power(seed);
    power::drivers(&mut power, &mut drivers);
    power::processes(&mut power, &mut processes);
    if more::arm(&mut Dice::last(seed), &mut machine, &mut drivers, &mut processes) {
        // The SMMU is not pulled out under those who are behind it.
        inject.hot_unplug = None;
    }
    ScenarioFile {
        about: Some(format!("generated from seed {seed}")),
        kernel: Some(kernel),
        cmdline: Some(cmdline),
        machine: Some(MachineRef::Inline(Box::new(machine))),
        drivers: Some(drivers.into_iter().map(DriverRef::Inline).collect()),
        processes: Some(processes),
        inject: Some(inject),
        explore: Some(Explore { seeds: 100, max_steps: MAX_STEPS, ..Explore::default() }),
        expect: Some(Expect::Clean { log: Vec::new() }),
        ..ScenarioFile::default()
    }
}

/// The scenario of a seed as it is written to a file.
#[must_use]
pub fn text(seed: u64, kernel: &Kernel) -> String {
    Tree::of(&generate(seed, kernel)).text()
}

/// The scenario of a seed, ready to be run.
///
/// # Errors
/// When there is no such kernel. What is generated has no other mistakes.
pub fn resolve(seed: u64, kernel: &Kernel) -> Result<Resolved, LoadError> {
    Tree::of(&generate(seed, kernel))
        .resolve(&format!("seed-{seed}"))
        .map_err(|error| blamed(kernel).unwrap_or(error))
}

/// What is wrong with the kernel that was asked for, shown in what was asked for and not in what was generated.
fn blamed(kernel: &Kernel) -> Option<LoadError> {
    let newest = Version::supported_names().last()?.to_owned();
    let any = Kernel { version: newest, apply: Vec::new(), revert: Vec::new(), config: Vec::new() };
    let overrides = Overrides {
        version: Some(kernel.version.clone()),
        apply: kernel.apply.clone(),
        revert: kernel.revert.clone(),
        ..Overrides::default()
    };
    Tree::of(&generate(0, &any)).resolve_with("seed-0", &overrides).err()
}

/// One seed: its scenario, run with that seed as `dmasim run --seed` runs the file.
///
/// # Panics
/// When what was generated cannot be run, which a campaign tells as a finding.
#[must_use]
pub fn run(seed: u64, kernel: &Kernel) -> Outcome {
    let scenario = match resolve(seed, kernel) {
        Ok(scenario) => scenario,
        Err(error) => panic!("what seed {seed} generates cannot be run: {error}"),
    };
    Simulation::new(scenario).worker().run(&Request::quick(seed)).into_outcome()
}

#[cfg(test)]
mod tests;
