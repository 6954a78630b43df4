//! How a machine goes to sleep, wakes up, and goes down, as the driver core sees it.
//!
//! Sources: `drivers/base/power/main.c`, `drivers/base/core.c: device_shutdown()`, `drivers/pci/pci-driver.c`, v6.1, v6.12.

mod bus;
mod node;
mod shutdown;
mod sleep;
mod state;

pub(super) use node::dpm_wait;
pub use node::{NodePower, Quiet};
pub use shutdown::device_shutdown;
pub use sleep::{Sleepers, dpm_prepare, dpm_resume, dpm_suspend};
pub use state::{Power, Stage};
