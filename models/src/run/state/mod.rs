//! The state of the machine at one step of a run, as plain data: what debugfs, sysfs and lockdep would show.

mod devices;
mod iommu;
mod locks;
mod object;
mod swiotlb;

pub use devices::{DeviceState, Translation};
pub use iommu::{CachedPage, DomainState, GroupState, IommuState, IovaState, IovaUse, QueueState};
pub use locks::{LockState, LocksState, WaitChain};
pub use object::{FieldState, ObjectState};
pub use swiotlb::{AllocatorState, AreaState, PoolState, SlotRun};

use sim::{ContextState, Nanos};

use crate::kernel::Kx;
use crate::memblock::{MemblockDump, OwnedRange, Stage};
use crate::oracle::LiveMapping;
use crate::profile::Version;

/// A mapping and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingState {
    /// Address of the device.
    pub device: &'static str,
    /// Name of the context that made it.
    pub by: String,
    /// The mapping.
    pub mapping: LiveMapping,
}

/// The boot-time allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemblockState {
    /// How far its life is.
    pub stage: Stage,
    /// Its lists.
    pub dump: MemblockDump,
    /// Whether debugfs shows nodes and flags, as from 6.6 on.
    pub nodes_shown: bool,
    /// Who reserved what.
    pub owners: Vec<OwnedRange>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Steps taken.
    pub step: u64,
    /// Virtual time.
    pub time: Nanos,
    /// The boot-time allocator.
    pub memblock: MemblockState,
    /// The allocators of bounce buffers: the default one first, then those of single devices.
    pub swiotlb: Vec<AllocatorState>,
    /// Groups, domains, I/O virtual addresses.
    pub iommu: IommuState,
    /// The devices that the bus scan has met, by address.
    pub devices: Vec<DeviceState>,
    /// Locks that somebody holds or wants, and the order in which classes were taken.
    pub locks: LocksState,
    /// The contexts.
    pub contexts: Vec<ContextState>,
    /// All live mappings, by device and address.
    pub mappings: Vec<MappingState>,
}

impl State {
    /// The state now. Nothing changes by it.
    #[must_use]
    pub fn of(kx: &Kx) -> Self {
        let nodes = kx.k.devices.borrow().clone();
        let name = |index: usize| nodes.iter().find(|node| node.index == index).map_or("", |node| node.bdf);
        let mappings: Vec<MappingState> =
            kx.k.ledger
                .mappings()
                .into_iter()
                .map(|mapping| MappingState {
                    device: name(mapping.device),
                    by: kx.sim().context_name(mapping.since.ctx).to_string(),
                    mapping,
                })
                .collect();
        let contexts = kx.sim().contexts_now();
        Self {
            step: kx.sim().stamped_steps(),
            time: kx.stamp(),
            memblock: memblock(kx),
            swiotlb: swiotlb::allocators(kx, &mappings),
            iommu: iommu::state(kx, &mappings),
            devices: devices::all(kx),
            locks: LocksState::of(&contexts, kx.sim().lock_order()),
            contexts,
            mappings,
        }
    }
}

fn memblock(kx: &Kx) -> MemblockState {
    let mem = kx.k.mem.borrow();
    MemblockState {
        stage: mem.memblock.stage(),
        dump: mem.memblock.dump(),
        nodes_shown: kx.k.profile().version.base() >= Version::V6_6,
        owners: mem.memblock.owned_ranges(),
    }
}
