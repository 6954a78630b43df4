//! Contexts: coroutines that the engine switches between at every announced step, on modelled CPUs and a virtual
//! clock.

mod cpu;
mod cx;
mod executor;
mod oracle;
mod state;
mod step;
mod timer;
mod work;

pub use cx::{Cx, Frame, IrqFlags};
pub use executor::{Ended, RunConfig, RunEnd, Sim};
pub use oracle::Draft;
pub use state::{Class, SpawnSpec};
pub use step::{Block, Step};
pub use timer::Timer;
pub use work::{DelayedWork, Work};

pub(crate) use state::{Held, Wait};
