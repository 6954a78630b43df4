//! One device's DMA, replayed: directly or through the bounce-buffer pool ([`DirectDma`]), or through a translated
//! domain ([`DmaDomain`]).
//!
//! Nothing here decides anything: each function calls the models' rules in the order of the kernel's function that it
//! is named after, and keeps their states. What a recording says of the world (which CPU, what time, which physical
//! page) comes in as an argument. Where a recording contradicts the state, [`DirectDma::accept`] and
//! [`DmaDomain::accept`] bring it as near to the recording as they can, so that one surprise does not spoil the rest.

mod direct;
mod domain;
mod kernel;
mod params;

pub use direct::DirectDma;
pub use domain::{DmaDomain, DomainSpec, IovaSpace};
pub use kernel::KernelRules;
pub use params::{DmaParams, MapFailed};
