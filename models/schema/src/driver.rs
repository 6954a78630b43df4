//! Drivers, and the small language that says what they do.

use serde::{Deserialize, Serialize};

use super::dist::{CpuChoice, Dist, JunkClass};
use super::machine::{Region, is_false};

/// A driver: when it registers, what its probe does, and the work it does afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Driver {
    /// Name, by which devices refer to it.
    pub name: String,
    /// What it stands for.
    #[serde(default)]
    pub about: String,
    /// When it registers with the driver core.
    #[serde(default)]
    pub registers: Registers,
    /// Whether its probes run in line or on their own.
    #[serde(default)]
    pub probe_type: ProbeType,
    /// What probe does, for each device.
    #[serde(default)]
    pub probe: Vec<Stmt>,
    /// What runs once a device is bound, each queue in a context of its own.
    #[serde(default)]
    pub workload: Vec<Queue>,
    /// What remove does, for each device.
    #[serde(default)]
    pub remove: Vec<Stmt>,
    /// What shutdown does, for each device, when its queues rest. Absent: the driver has none, and its queues go on when the
    /// machine goes down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Vec<Stmt>>,
    /// What it does when the machine goes to sleep and wakes up. Absent: what the bus does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pm: Option<Box<PmOps>>,
    /// What it does once all that need its device have their drivers. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_state: Option<Vec<Stmt>>,
}

/// What a driver does for one device when the machine goes to sleep and wakes up. Its queues rest from before `suspend`
/// until after `resume`. Source: `include/linux/pm.h: struct dev_pm_ops`, v6.1, v6.12.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmOps {
    /// First, with everything at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspend: Vec<Stmt>,
    /// When all devices have done that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspend_late: Vec<Stmt>,
    /// When the interrupts of devices are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspend_noirq: Vec<Stmt>,
    /// The way back, with the interrupts of devices off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume_noirq: Vec<Stmt>,
    /// When all devices have done that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume_early: Vec<Stmt>,
    /// At last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<Stmt>,
}

impl PmOps {
    /// The fields with their names, in the order of a sleep.
    pub fn phases(&self) -> [(&'static str, &Vec<Stmt>); 6] {
        [
            ("suspend", &self.suspend),
            ("suspend_late", &self.suspend_late),
            ("suspend_noirq", &self.suspend_noirq),
            ("resume_noirq", &self.resume_noirq),
            ("resume_early", &self.resume_early),
            ("resume", &self.resume),
        ]
    }
}

/// What a driver says of a link (`DL_FLAG_*`). Source: `include/linux/device.h`, v6.1, v6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkFlag {
    /// The driver takes it away itself; the driver core does not look after it.
    Stateless,
    /// It goes when the consumer's driver is unbound.
    AutoremoveConsumer,
    /// It goes when the supplier's driver is unbound.
    AutoremoveSupplier,
    /// The consumer is probed when the supplier's driver is bound.
    AutoprobeConsumer,
    /// The consumer may be probed without the supplier: the link only says for whom the supplier must not settle yet.
    SyncStateOnly,
    /// The supplier is awake while the consumer is. Power management at run time is not modelled: it changes nothing.
    PmRuntime,
}

/// When a driver registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Registers {
    /// At `subsys_initcall`: before the IOMMU is set up.
    Subsys,
    /// At `device_initcall`, as a built-in driver does.
    #[default]
    Device,
    /// At `late_initcall`.
    Late,
    /// When user space loads it.
    Module {
        /// Milliseconds after the start of user space.
        #[serde(default)]
        after_ms: Dist,
    },
}

/// Whether a probe runs in the context that registers the driver, or in one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeType {
    /// In line.
    #[default]
    Sync,
    /// `PROBE_PREFER_ASYNCHRONOUS`.
    Async,
}

/// A stream of work of a bound device, in a context of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Name for reports.
    pub name: String,
    /// Where it runs.
    #[serde(default)]
    pub cpu: CpuChoice,
    /// Milliseconds after the bind.
    #[serde(default)]
    pub start_ms: Dist,
    /// What it does.
    pub body: Vec<Stmt>,
}

/// One thing that a driver does.
///
/// Names of buffers, mappings and objects live in the context that makes them; what `probe` makes is seen by the
/// workload, by interrupt handlers and by `remove` of the same device. A statement on a name that is not there at
/// that time (never made, or gone) does nothing unless the statement is itself a misuse worth finding, such as
/// unmapping twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Stmt {
    /// `dma_set_mask`.
    SetMask {
        /// Address bits.
        bits: u32,
    },
    /// `dma_set_coherent_mask`.
    SetCoherentMask {
        /// Address bits.
        bits: u32,
    },
    /// `dma_set_min_align_mask`.
    SetMinAlignMask {
        /// Low bits of the address that a bounce buffer must keep.
        mask: u64,
    },
    /// `dma_set_max_seg_size`.
    SetMaxSegSize {
        /// Bytes.
        bytes: u64,
    },
    /// `dma_set_seg_boundary`.
    SetSegBoundary {
        /// A segment may not cross a multiple of this plus one.
        mask: u64,
    },
    /// `dma_declare_coherent_memory`: from here on the device's coherent memory comes from this region, which is no RAM of
    /// the kernel's. Needs `CONFIG_DMA_DECLARE_COHERENT=y`. If it fails the driver goes on without.
    DeclareCoherent {
        /// Where the memory lies, for the kernel and for the device.
        region: Region,
    },
    /// `dma_release_coherent_memory`.
    ReleaseCoherent,
    /// `dma_max_mapping_size`: from here on nothing larger than the answer is mapped for this device, as the block layer
    /// cuts requests at `max_hw_sectors`.
    LimitToMaxMapping,
    /// `device_link_add`: the driver's device cannot work without another one. That there is none is no error here.
    AddLink {
        /// Address of the supplier.
        supplier: String,
        /// How long the link lives, and what it is for. Without `Stateless` the driver core looks after it.
        #[serde(default)]
        flags: Vec<LinkFlag>,
    },
    /// `device_link_remove`: for links with `Stateless` alone.
    RemoveLink {
        /// Address of the supplier.
        supplier: String,
    },
    /// `dma_alloc_coherent`.
    AllocCoherent {
        /// Name.
        name: String,
        /// Bytes.
        size: Dist,
        /// `dmam_alloc_coherent`, in probe: the driver core frees it after `remove`, or when the probe fails.
        #[serde(default, skip_serializing_if = "is_false")]
        managed: bool,
    },
    /// `dma_free_coherent`.
    FreeCoherent {
        /// Name.
        name: String,
        /// How far the CPU address that is passed lies behind the right one: other than 0 is a mistake.
        #[serde(default)]
        cpu_offset: u64,
    },
    /// Allocates memory for data.
    AllocBuffer {
        /// Name.
        name: String,
        /// Bytes.
        size: Dist,
        /// From which allocator.
        #[serde(default)]
        from: BufferSource,
        /// What the CPU writes into it at once.
        #[serde(default)]
        fill: JunkClass,
    },
    /// Frees memory of `AllocBuffer`.
    FreeBuffer {
        /// Name.
        name: String,
    },
    /// `dma_map_page_attrs`.
    Map(MapArgs),
    /// `dma_map_sg_attrs`.
    MapSg(MapSgArgs),
    /// `dma_unmap_page_attrs`.
    Unmap(UnmapArgs),
    /// `dma_unmap_sg_attrs`.
    UnmapSg(UnmapSgArgs),
    /// `dma_sync_single_for_cpu`, or `dma_sync_sg_for_cpu` for a list.
    SyncForCpu(SyncArgs),
    /// `dma_sync_single_for_device`, or `dma_sync_sg_for_device` for a list.
    SyncForDevice(SyncArgs),
    /// The CPU writes the whole buffer.
    CpuWrite {
        /// Name of a buffer, coherent memory or mapping.
        name: String,
    },
    /// The CPU reads the whole buffer.
    CpuRead {
        /// Name of a buffer, coherent memory or mapping.
        name: String,
    },
    /// The device reads memory by DMA now, while the context waits.
    DeviceRead(PartArgs),
    /// The device writes memory by DMA now, while the context waits.
    DeviceWrite(PartArgs),
    /// Hands a mapping to the device's engine, which does the DMA later and raises an interrupt.
    Submit(SubmitArgs),
    /// Waits until everything that this context submitted has completed.
    WaitAll,
    /// `amd_iommu_init_device`: processes may share their address spaces with the device (PASID). Its group is attached to a
    /// domain for that, an identity domain.
    EnablePasid,
    /// Does the body several times.
    Repeat {
        /// How often.
        times: Dist,
        /// What.
        body: Vec<Self>,
    },
    /// Does the body; if it returns an error, gives back what this try has mapped and allocated, waits, and does it
    /// again, as the block layer does with a request that its driver could not take (`BLK_STS_RESOURCE`). A mapping
    /// that fails is no finding, unless the last try fails too.
    Requeue {
        /// How many tries.
        times: u32,
        /// Microseconds between two tries.
        delay_us: Dist,
        /// What.
        body: Vec<Self>,
    },
    /// Does the body inside a function, whose name then stands on the modelled call stack.
    Call {
        /// Name of the function.
        function: String,
        /// What it does.
        body: Vec<Self>,
    },
    /// Does the body under a spinlock of the device.
    Lock {
        /// Name of the lock.
        name: String,
        /// With interrupts off.
        #[serde(default)]
        irqsave: bool,
        /// What is done under it.
        body: Vec<Self>,
    },
    /// Does the body if the kernel has a behaviour, as a driver does that differs between two kernels.
    IfKernel {
        /// Name of the behaviour.
        has: String,
        /// What a driver of a kernel with it does.
        body: Vec<Self>,
        /// What one of a kernel without it does.
        #[serde(default)]
        otherwise: Vec<Self>,
    },
    /// Puts a mapping or buffer where the driver's other queues find it: a plain store to the device's private data,
    /// without a lock or a barrier.
    Share {
        /// Name of the mapping or buffer.
        name: String,
    },
    /// Takes the oldest thing of this name that another queue of the device has shared, polling for it; it is this
    /// queue's from then on.
    Take {
        /// Name of the mapping or buffer.
        name: String,
        /// Microseconds after which it gives up.
        within_us: u64,
    },
    /// Sleeps.
    Sleep {
        /// Microseconds.
        us: Dist,
    },
    /// Does the body or not, as the run draws.
    Maybe {
        /// How likely.
        percent: u32,
        /// What.
        body: Vec<Self>,
    },
    /// Allocates a private object of the driver.
    AllocObject {
        /// Name.
        name: String,
        /// Its C type, for reports.
        type_name: String,
        /// Bytes.
        size: u64,
    },
    /// Frees an object of `AllocObject`.
    FreeObject {
        /// Name.
        name: String,
    },
    /// Returns from the function (probe fails with it).
    ReturnError {
        /// Positive number: 12 is `-ENOMEM`, 517 is `-EPROBE_DEFER`.
        errno: u32,
    },
}

/// What `Map` maps, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapArgs {
    /// Name of the mapping.
    pub name: String,
    /// The buffer of `AllocBuffer`. Absent: a fresh one of `size` bytes, freed at unmap.
    #[serde(default)]
    pub buffer: Option<String>,
    /// Bytes. Absent: the whole buffer.
    #[serde(default)]
    pub size: Option<Dist>,
    /// Offset into the buffer; a fresh one is longer by as much.
    #[serde(default)]
    pub offset: Dist,
    /// Direction.
    pub dir: Dir,
    /// Attributes.
    #[serde(default)]
    pub attrs: Vec<Attr>,
    /// What the driver does when it fails.
    #[serde(default)]
    pub on_error: OnError,
    /// Which pointer it passes as `dev`.
    #[serde(default)]
    pub device: DeviceArg,
}

/// What `MapSg` maps, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSgArgs {
    /// Name of the mapping.
    pub name: String,
    /// Entries of the list.
    pub entries: Dist,
    /// Bytes of each entry, drawn for each.
    pub size: Dist,
    /// Where in its memory the first entry begins; it is shorter by as much. The others begin with a page, as the
    /// pieces of one buffer do.
    #[serde(default)]
    pub offset: Dist,
    /// Direction.
    pub dir: Dir,
    /// Attributes.
    #[serde(default)]
    pub attrs: Vec<Attr>,
    /// What the driver does when it fails.
    #[serde(default)]
    pub on_error: OnError,
    /// Which pointer it passes as `dev`.
    #[serde(default)]
    pub device: DeviceArg,
}

/// Which part of a mapping a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartArgs {
    /// Name of the mapping, or of coherent memory where a device accesses it.
    pub name: String,
    /// Bytes in front of the part.
    #[serde(default)]
    pub offset: Dist,
    /// Bytes of the part. Absent: all the rest.
    #[serde(default)]
    pub size: Option<Dist>,
}

/// What `Unmap` passes. All but the name is there to say what a careless driver does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmapArgs {
    /// Name of the mapping.
    pub name: String,
    /// Bytes. Absent: those that were mapped.
    #[serde(default)]
    pub size: Option<Dist>,
    /// Direction. Absent: that of the mapping.
    #[serde(default)]
    pub dir: Option<Dir>,
    /// What the mapping was made by: with another than `Map` the function does not fit it.
    #[serde(default)]
    pub made_by: MadeBy,
}

/// What `UnmapSg` passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmapSgArgs {
    /// Name of the mapping.
    pub name: String,
    /// Entries of the list. Absent: as many as were mapped (`nents`, and not what `dma_map_sg` returned).
    #[serde(default)]
    pub entries: Option<Dist>,
    /// Direction. Absent: that of the mapping.
    #[serde(default)]
    pub dir: Option<Dir>,
}

/// What a sync is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncArgs {
    /// Name of the mapping.
    pub name: String,
    /// Where in a mapping of `Map` the part begins that is synced.
    #[serde(default)]
    pub offset: Dist,
    /// Its length. Absent: up to the end of the mapping.
    #[serde(default)]
    pub size: Option<Dist>,
    /// Direction. Absent: that of the mapping.
    #[serde(default)]
    pub dir: Option<Dir>,
    /// Entries of a list of `MapSg`. Absent: as many as were mapped.
    #[serde(default)]
    pub entries: Option<Dist>,
}

/// What made a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MadeBy {
    /// `Map`.
    #[default]
    Map,
    /// `MapSg`: its first segment is unmapped.
    MapSg,
    /// `AllocCoherent`: the memory is not given back.
    AllocCoherent,
}

/// What `Submit` hands to the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitArgs {
    /// Name of a mapping or coherent memory.
    pub name: String,
    /// What the device does with the memory.
    pub dma: Access,
    /// Bytes in front of the part that it does it with.
    #[serde(default)]
    pub offset: Dist,
    /// Bytes of that part: a transfer may be shorter than what was mapped for it. Absent: all the rest.
    #[serde(default)]
    pub size: Option<Dist>,
    /// Microseconds until the device is done.
    #[serde(default)]
    pub latency_us: Dist,
    /// What the interrupt handler does then.
    #[serde(default)]
    pub irq: Vec<Stmt>,
}

/// What a device does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It reads it.
    Read,
    /// It writes it.
    Write,
}

/// Direction of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dir {
    /// `DMA_TO_DEVICE`.
    ToDevice,
    /// `DMA_FROM_DEVICE`.
    FromDevice,
    /// `DMA_BIDIRECTIONAL`.
    Bidirectional,
}

/// Attribute of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Attr {
    /// `DMA_ATTR_SKIP_CPU_SYNC`.
    SkipCpuSync,
    /// `DMA_ATTR_NO_WARN`.
    NoWarn,
    /// `DMA_ATTR_WEAK_ORDERING`.
    WeakOrdering,
    /// `DMA_ATTR_PRIVILEGED`.
    Privileged,
    /// `DMA_ATTR_FORCE_CONTIGUOUS`.
    ForceContiguous,
}

/// What a driver does when a mapping fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum OnError {
    /// It returns `-ENOMEM` from the function.
    #[default]
    Fail,
    /// It leaves out everything that needs this mapping. With `NoWarn` it has provided for that, and the failure is no
    /// finding.
    Skip,
    /// It does not look, and goes on with `DMA_MAPPING_ERROR` for an address.
    Ignore,
    /// It tries again.
    Retry {
        /// How often.
        times: u32,
        /// Microseconds between.
        delay_us: u64,
    },
}

/// Where memory for data comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferSource {
    /// `kmalloc`.
    Slab,
    /// The page allocator.
    #[default]
    Pages,
    /// A local variable, on the stack of whoever runs the statement.
    Stack,
    /// `vmalloc`.
    Vmalloc,
    /// A constant in the image of the kernel.
    Rodata,
    /// A place where the machine has no RAM, such as the registers of a device.
    NoRam,
}

/// Which pointer a driver passes as the device. All but the first are hypotheses to be tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceArg {
    /// Its own device.
    #[default]
    OwnDevice,
    /// Another device, by its address.
    Sibling(String),
    /// An object of `AllocObject` that is no device at all.
    Object(String),
}
