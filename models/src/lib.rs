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
pub mod mem;
pub mod memblock;
pub mod oracle;
pub mod profile;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod sizing;
pub mod swiotlb;
