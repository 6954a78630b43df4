//! What a run decided that a reader compares between machines: the pool, who gave it up, and each device's path.

use sim::Nanos;

/// Facts of one boot, for `dmasim diff` and for reports. Filled in for every run; costs nothing that grows with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The default pool, if one was set up.
    pub pool: Option<PoolFacts>,
    /// What debugfs says of bounce buffers at the end, if there is an allocator.
    pub debugfs: Option<SwiotlbDebugfs>,
    /// Why there is no pool, or why it was set up.
    pub pool_reason: String,
    /// Who tore the pool down, if anybody did.
    pub torn_down: Option<TornDown>,
    /// The IOMMU driver that took charge, and the default domain type.
    pub iommu: String,
    /// The devices in order of their addresses.
    pub devices: Vec<DeviceFacts>,
}

/// The default pool as it was set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFacts {
    /// Physical address of the first slot.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
    /// Where the descriptor lies, and whether that is memory which can be freed.
    pub descriptor: u64,
    /// `heap`, `static`.
    pub kind: &'static str,
    /// Whether everything bounces.
    pub force: bool,
    /// When it was set up.
    pub at: Nanos,
}

/// The files in `/sys/kernel/debug/swiotlb`.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_create_debugfs_files()`, by version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwiotlbDebugfs {
    /// `io_tlb_nslabs`: slots in all pools for everybody.
    pub nslabs: u64,
    /// `io_tlb_used`: slots in use.
    pub used: u64,
    /// `io_tlb_used_hiwater`: the most that were in use at once (6.4).
    pub used_hiwater: Option<u64>,
    /// `io_tlb_transient_nslabs`: slots in pools that were made for one mapping each, where pools grow.
    pub transient_nslabs: Option<u64>,
}

impl SwiotlbDebugfs {
    /// The files and what they hold, in the kernel's order.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let always = [("io_tlb_nslabs", self.nslabs), ("io_tlb_used", self.used)];
        let hiwater = self.used_hiwater.map(|value| ("io_tlb_used_hiwater", value));
        let transient = self.transient_nslabs.map(|value| ("io_tlb_transient_nslabs", value));
        always.into_iter().chain(hiwater).chain(transient)
    }
}

/// The end of the default pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornDown {
    /// When.
    pub at: Nanos,
    /// Call stack, innermost first.
    pub frames: Vec<&'static str>,
    /// Who decided so, and why.
    pub why: String,
}

/// What became of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its address.
    pub bdf: String,
    /// What it is.
    pub name: String,
    /// The driver that bound, if any.
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// Type of its domain: `DMA`, `DMA-FQ`, `identity`, or empty without IOMMU.
    pub domain: &'static str,
    /// How its mappings are made: `dma-direct`, `iommu-dma`, or empty if none was.
    pub path: &'static str,
    /// What its pool pointer points at: `default pool`, `freed pool`, `restricted pool`, `NULL`, `no pointer`.
    pub pool: &'static str,
    /// Since when it holds that pointer.
    pub pool_since: Nanos,
    /// Mappings made.
    pub maps: u64,
    /// Mappings that were bounced.
    pub bounced: u64,
    /// Mappings that failed.
    pub failed: u64,
}
