//! What drivers and processes do: the scenario's small language, compiled once and run on contexts.

mod compile;
mod exec;
mod instance;
mod io;
mod items;
mod maps;
mod power;
mod process;
mod program;
mod vfio;

pub use compile::Programs;
pub use instance::{Instance, free_managed, probe, remove, start_workload, undo};
pub(crate) use items::draw;
pub use power::{PmPhase, has_pm, has_sync_state, pm_callback, shutdown, sync_state, wake_all};
pub use process::start_processes;
