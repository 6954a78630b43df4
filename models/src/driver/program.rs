//! Compiled programs: names are numbers, texts live for ever.

use std::sync::Arc;

use crate::device::links::LinkFlags;
use crate::dma::Attrs;
use crate::mem::PhysRange;
use crate::scenario::schema::{
    BufferSource, CpuChoice, Dist, JunkClass, OnError, ProbeType, Reboot, Registers,
};
use crate::swiotlb::Direction;

/// A name of a buffer, mapping or object within one driver.
pub(super) type NameId = u16;

/// Statements.
pub(super) type Block = Arc<[Op]>;

/// Which pointer is passed as the device.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Own,
    Sibling(usize),
    Object(NameId),
}

/// One statement.
#[derive(Clone, Debug)]
pub(super) enum Op {
    SetMask(u32),
    SetCoherentMask(u32),
    SetParms { min_align: Option<u32>, max_seg: Option<u32>, boundary: Option<u64> },
    DeclareCoherent(PhysRange),
    ReleaseCoherent,
    LimitToMaxMapping,
    AddLink { supplier: usize, flags: LinkFlags },
    RemoveLink { supplier: usize },
    AllocCoherent { name: NameId, size: Dist, managed: bool },
    FreeCoherent { name: NameId, cpu_offset: u64 },
    AllocBuffer { name: NameId, size: Dist, from: BufferSource, fill: JunkClass },
    FreeBuffer(NameId),
    Map(Box<MapOp>),
    MapSg(Box<MapSgOp>),
    Unmap(Box<UnmapOp>),
    UnmapSg(Box<UnmapSgOp>),
    Sync(Box<SyncOp>),
    CpuWrite(NameId),
    CpuRead(NameId),
    Device { part: Part, write: bool },
    Submit { part: Part, write: bool, latency_us: Dist, irq: Block },
    WaitAll,
    EnablePasid,
    Repeat { times: Dist, body: Block },
    Requeue { times: u32, delay_us: Dist, body: Block },
    Call { function: &'static str, body: Block },
    Lock { lock: u16, irqsave: bool, body: Block },
    Share(NameId),
    Take { name: NameId, within_us: u64 },
    Sleep(Dist),
    Maybe { percent: u32, body: Block },
    AllocObject { name: NameId, type_name: &'static str, size: u64 },
    FreeObject(NameId),
    ReturnError(u32),
}

/// Part of what a name stands for.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: NameId,
    /// Offset and length; `None` for all of it.
    pub(super) bounds: Option<Box<(Dist, Option<Dist>)>>,
}

#[derive(Clone, Debug)]
pub(super) struct MapOp {
    pub(super) name: NameId,
    pub(super) buffer: Option<NameId>,
    pub(super) size: Option<Dist>,
    pub(super) offset: Dist,
    pub(super) dir: Direction,
    pub(super) attrs: Attrs,
    pub(super) on_error: OnError,
    pub(super) device: Target,
}

#[derive(Clone, Debug)]
pub(super) struct MapSgOp {
    pub(super) name: NameId,
    pub(super) entries: Dist,
    pub(super) size: Dist,
    pub(super) offset: Dist,
    pub(super) dir: Direction,
    pub(super) attrs: Attrs,
    pub(super) on_error: OnError,
    pub(super) device: Target,
}

/// What a driver passes to `dma_unmap_page_attrs`.
#[derive(Clone, Debug)]
pub(super) struct UnmapOp {
    pub(super) name: NameId,
    pub(super) size: Option<Dist>,
    pub(super) dir: Option<Direction>,
}

/// What a driver passes to `dma_unmap_sg_attrs`.
#[derive(Clone, Debug)]
pub(super) struct UnmapSgOp {
    pub(super) name: NameId,
    pub(super) entries: Option<Dist>,
    pub(super) dir: Option<Direction>,
}

/// What a driver passes to a sync.
#[derive(Clone, Debug)]
pub(super) struct SyncOp {
    pub(super) part: Part,
    pub(super) dir: Option<Direction>,
    pub(super) entries: Option<Dist>,
    pub(super) for_cpu: bool,
}

/// A stream of work.
#[derive(Clone, Debug)]
pub(super) struct QueueProgram {
    pub(super) name: &'static str,
    pub(super) cpu: CpuChoice,
    pub(super) start_ms: Dist,
    pub(super) body: Block,
}

/// A driver.
#[derive(Clone, Debug)]
pub struct DriverProgram {
    /// Its name.
    pub name: &'static str,
    /// When it registers.
    pub registers: Registers,
    /// How it probes.
    pub probe_type: ProbeType,
    pub(super) probe: Block,
    pub(super) queues: Vec<QueueProgram>,
    pub(super) remove: Block,
    pub(super) shutdown: Option<Block>,
    /// By [`PmPhase`].
    pub(super) pm: Option<[Block; 6]>,
    pub(super) sync_state: Option<Block>,
    /// Names of its locks.
    pub(super) locks: Vec<&'static str>,
}

/// One statement of a process.
#[derive(Clone, Debug)]
pub(super) enum ProcOp {
    AllocPages { order: Dist, count: Dist, fill: Vec<(u32, JunkClass)> },
    FreePages(u32),
    AllocObjects { size: Dist, count: Dist },
    FreeObjects(u32),
    Sleep(Dist),
    Repeat { times: Dist, body: Arc<[Self]> },
    Plug(usize),
    Unplug(usize),
    Bind { device: usize, driver: usize },
    Unbind(usize),
    VfioAttach(usize),
    VfioMap { iova: u64, pages: u32 },
    VfioUnmap { iova: u64, pages: u32 },
    VfioDma { device: usize, iova: u64, pages: u32 },
    VfioDetach,
    Suspend,
    Reboot(Reboot),
}

/// A process.
#[derive(Clone, Debug)]
pub(super) struct ProcProgram {
    pub(super) name: &'static str,
    pub(super) pages: &'static str,
    pub(super) cpu: CpuChoice,
    pub(super) start_ms: Dist,
    pub(super) body: Arc<[ProcOp]>,
}
