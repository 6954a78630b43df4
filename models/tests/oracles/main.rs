//! Every oracle of the models: a scenario in which it speaks, and one that differs little in which it does not.

mod bootmem;
mod bus;
mod content;
mod depot;
mod dma_api;
mod dma_debug;
mod faults;
mod growing;
mod kernels;
mod links;
mod lists;
mod machine;
mod mapping;
mod memory;
mod ordering;
mod place;
mod power;
mod queued_lock;
mod races;
mod settled;
mod silence;
mod smmu;
mod support;
mod table;
mod translation;
mod viommu;
