//! Contexts: coroutines that the engine switches between at every announced step, on modelled CPUs and a virtual
//! clock.

mod config;
mod cpu;
mod cx;
mod decide;
mod executor;
mod look;
mod oracle;
mod search;
mod settle;
mod sim;
mod state;
mod step;
mod timer;
mod work;

pub use config::{Ended, RunConfig, RunEnd};
pub use cx::{Cx, Frame, IrqFlags};
pub use look::{ContextState, Depths, Doing, HeldLock, LockOrder};
pub use oracle::Draft;
pub use sim::Sim;
pub use state::{Class, SpawnSpec};
pub use step::{Block, Step};
pub use timer::{Handler, Timer};
pub use work::{DelayedWork, Work};

pub(crate) use state::{Held, Wait};

/// What is found in a run of one context.
#[cfg(test)]
pub(crate) fn kinds_of(body: impl FnOnce(&Cx) + 'static) -> Vec<&'static str> {
    use crate::choices::{Choices, Mode};
    let schedule = crate::schedule::Strategy::RoundRobin.build(1, |_| 0);
    let sim = Sim::new(RunConfig::default(), Choices::new(Mode::Seed(0), false), schedule);
    sim.spawn(SpawnSpec::task("root", 0), move |cx| async move { body(&cx) });
    sim.run().findings.iter().map(|finding| finding.kind).collect()
}
