//! The modelled kernel and hardware: all that knows the words swiotlb, iommu, memblock and device.
//!
//! State machines are plain data; code paths are `async fn`s over an engine context. See
//! `docs/architecture.md`.

pub mod boot;
pub mod bootmem;
pub mod device;
pub mod dma;
pub mod driver;
pub mod fuzz;
pub mod iommu;
pub mod kernel;
pub mod memblock;
pub mod oracle;
pub mod run;
pub mod shrink;
pub mod sizing;
pub mod swiotlb;

pub use ::mem;
pub use ::scenario;
pub use ::scenario::profile;
