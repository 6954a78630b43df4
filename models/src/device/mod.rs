//! `struct device` and the driver core: from a device's discovery to its driver's probe, and back.
//!
//! Sources: `drivers/base/core.c`, `drivers/base/dd.c`, `drivers/base/bus.c`, `drivers/pci/probe.c`, v5.13.

mod bus;
mod deferred;
mod initialize;
pub mod links;
mod node;
mod objects;
pub mod power;
mod probe;
mod ranges;
mod remove;

pub use bus::{driver_register, pci_rescan_one, pci_scan};
pub use deferred::{DeferredProbes, deferred_probe_initcall};
pub use initialize::device_initialize;
pub use node::{DeviceNode, RegisteredDriver};
pub use objects::{Device, DeviceDmaParameters};
pub use probe::{device_attach, driver_probe_device};
pub use ranges::BusDmaRegion;
pub use remove::{device_release_driver, pci_stop_and_remove};
