//! Behaviours: single changes to the kernel, each with its commit, its effect and its versions.

use std::fmt;

use super::version::Version;

/// In which releases a behaviour is there: from the first to just before the second, if there is one.
pub type Range = (Version, Option<Version>);

/// What is known about a behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its name in a scenario.
    pub name: &'static str,
    /// The commit that brought it, and the one that removed it, as far as known.
    pub commits: &'static [&'static str],
    /// What it does, for the reader of a report.
    pub what: &'static str,
    /// The releases that have it.
    pub ranges: &'static [Range],
    /// Trees that have it although the release they are based on has not: development trees, and long-term releases
    /// that took it later.
    pub trees: &'static [Version],
    /// What must be there too. Applying it applies these; reverting one of these reverts it.
    pub needs: &'static [Behaviour],
    /// What cannot be there too.
    pub excludes: &'static [Behaviour],
    /// What it stands in place of. Applying it removes that; reverting it brings that back.
    pub replaces: Option<Behaviour>,
}

macro_rules! behaviours {
    ($($variant:ident { name: $name:literal, what: $what:literal, $($field:ident: $value:expr),* $(,)? })*) => {
        /// A single change to the kernel. Model code asks for it at the place where the kernel's code differs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Behaviour {
            $(#[doc = concat!("`", $name, "`: ", $what)] $variant,)*
        }

        impl Behaviour {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What is known about it.
            #[must_use]
            pub const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$variant => {
                        const FACTS: Facts = Facts {
                            name: $name,
                            what: $what,
                            $($field: $value,)*
                            ..NO_FACTS
                        };
                        &FACTS
                    })*
                }
            }
        }
    };
}

const NO_FACTS: Facts = Facts {
    name: "",
    commits: &[],
    what: "",
    ranges: &[],
    trees: &[],
    needs: &[],
    excludes: &[],
    replaces: None,
};

use Behaviour as B;
use Version as V;

behaviours! {
    GlobalPoolVariables {
        name: "global-pool-variables",
        what: "the default pool is a set of global variables; there is no object to point at",
        ranges: &[(V::V5_10, Some(V::V5_13))],
    }
    FailedPoolForgotten {
        name: "failed-pool-forgotten",
        what: "a pool that can be set up after all takes back that boot found no memory for one; before, the first bounce \
               panicked all the same",
        commits: &["e9696d259d0f"],
        ranges: &[(V::V5_10, Some(V::V5_13))],
        needs: &[B::GlobalPoolVariables],
    }
    HeapPoolObject {
        name: "heap-pool-object",
        what: "the default pool is one object from memblock with its slots at the end; swiotlb_exit frees it and \
               clears the global pointer",
        commits: &["2d29960af0be"],
        ranges: &[(V::V5_13, Some(V::V5_15))],
        replaces: Some(B::GlobalPoolVariables),
    }
    StaticDefaultPool {
        name: "static-default-pool",
        what: "the default pool is a static object that points at its slots; swiotlb_exit frees the slots and zeroes \
               the object, and no slots means no pool",
        commits: &["463e862ac63e"],
        ranges: &[(V::V5_15, None)],
        replaces: Some(B::HeapPoolObject),
    }
    DevicePoolPointer {
        name: "device-pool-pointer",
        what: "device_initialize copies the default pool's pointer into dev->dma_io_tlb_mem, and every look-up goes \
               through that copy instead of the global pointer",
        commits: &["69031f500865"],
        ranges: &[(V::V5_15, None)],
        trees: &[V::Next2021_06],
        excludes: &[B::GlobalPoolVariables],
    }
    ForceBounceInPool {
        name: "force-bounce-in-pool",
        what: "whether to bounce by force is a flag in the pool, copied from the command line when the pool is set \
               up, instead of the global enum",
        commits: &["af452ec1b1a3"],
        ranges: &[(V::V5_15, None)],
        trees: &[V::Next2021_06],
        excludes: &[B::GlobalPoolVariables],
    }
    ForceBeforePool {
        name: "force-before-pool",
        what: "a protected guest of s390 asks for bouncing by force before it sets the pool up; before, after it, when the \
               pool has its copy of the wish",
        commits: &["93ebb6828723"],
        ranges: &[(V::V5_15, None)],
    }
    RestrictedDmaPools {
        name: "restricted-dma-pools",
        what: "a device may have a pool of its own (restricted-dma-pool in the device tree), from which its coherent \
               memory comes too",
        commits: &["0b84e4f8b793", "f4111e39a52a"],
        ranges: &[(V::V5_15, None)],
        trees: &[V::Next2021_06],
        needs: &[B::DevicePoolPointer, B::ForceBounceInPool],
    }
    SwiotlbExitMessage {
        name: "swiotlb-exit-message",
        what: "swiotlb_exit says in the log that it tears the default pool down",
        commits: &["1efd3fc0ccf5"],
        ranges: &[(V::V5_15, None)],
    }
    SwiotlbExitFreesBuffer {
        name: "swiotlb-exit-frees-buffer",
        what: "swiotlb_exit gives the bounce buffer itself back, and not only what describes it (lost between 5.13 \
               and 5.14)",
        commits: &["ad6c00283163"],
        ranges: &[(V::V5_10, Some(V::V5_13)), (V::V5_15, None)],
    }
    AmdIommuSwiotlbVeto {
        name: "amd-iommu-swiotlb-veto",
        what: "the AMD IOMMU driver turns swiotlb off unless the default domain is passthrough or host memory \
               encryption is active",
        commits: &["121660bba631"],
        ranges: &[(V::V5_10, Some(V::V5_19))],
    }
    IntelIommuSwiotlbVeto {
        name: "intel-iommu-swiotlb-veto",
        what: "the Intel IOMMU driver turns swiotlb off unless an untrusted device exists",
        commits: &["c588072bba6b"],
        ranges: &[(V::V5_10, Some(V::V5_11))],
    }
    DmaFqDomainType {
        name: "dma-fq-domain-type",
        what: "lazy unmapping is a domain type of its own (DMA-FQ), chosen by the core and not by the driver",
        commits: &["bf3aed4660c6"],
        ranges: &[(V::V5_15, None)],
    }
    MapWithoutPoolErrors {
        name: "map-without-pool-errors",
        what: "swiotlb_tbl_map_single tests for slots instead of a pointer and fails cleanly when there is no pool",
        commits: &["c51ba246cb17"],
        ranges: &[(V::V6_0, None)],
    }
    MinAlignMask {
        name: "min-align-mask",
        what: "a bounce buffer keeps the low address bits that the device asked for with dma_set_min_align_mask",
        commits: &["1f221a0d0dbf"],
        ranges: &[(V::V5_12, None)],
    }
    BounceOffsetKept {
        name: "bounce-offset-kept",
        what: "a copy of part of a mapping begins at the same place of the buffer; before, at the first byte of its slot's",
        commits: &["5f89468e2f06"],
        ranges: &[(V::V5_10, Some(V::V5_12)), (V::V5_13, None)],
    }
    AllocAlignMask {
        name: "alloc-align-mask",
        what: "swiotlb_tbl_map_single takes an alignment for the whole allocation, so that a page is never shared \
               between an untrusted device's mapping and another's",
        commits: &["e81e99bacc9f"],
        ranges: &[(V::V5_16, None)],
    }
    PrefillFromDevice {
        name: "prefill-from-device",
        what: "a bounce buffer for DMA_FROM_DEVICE is filled from the original first, so that old bytes never leak",
        commits: &["901c7280ca0d"],
        ranges: &[(V::V5_18, None)],
    }
    SyncForDeviceAlways {
        name: "sync-for-device-always",
        what: "a sync for the device copies the buffer into its slots for every direction, also over what a device has \
               written meanwhile (5.17 only)",
        commits: &["aa6f8dcbab47", "901c7280ca0d"],
        ranges: &[(V::V5_17, Some(V::V5_18))],
    }
    AmdIommuV2Identity {
        name: "amd-iommu-v2-identity",
        what: "amd_iommu_def_domain_type answers identity for a device with ATS, PRI and PASID behind an IOMMU with \
               PPR and GT, unless memory is encrypted",
        ranges: &[(V::V5_10, None)],
    }
    AmdUntrustedTranslated {
        name: "amd-untrusted-translated",
        what: "amd_iommu_def_domain_type answers a translated domain for an untrusted device, whatever else it can do",
        commits: &["0f91d0795741"],
        ranges: &[(V::V6_9, None)],
    }
    AddressSpaceGrownOnce {
        name: "address-space-grown-once",
        what: "the AMD page table gets a new root under the domain's lock, after another look whether it still needs one; \
               before, two mappers that came together each put a root above the one that both had seen",
        commits: &["754265bcab78"],
        ranges: &[(V::V5_10, None)],
    }
    CompletionSequenceUnderLock {
        name: "completion-sequence-under-lock",
        what: "the number of a completion wait of AMD's command queue is taken under the queue's lock, so that waits are queued \
               in the order of their numbers (6.1.192, 6.12.88)",
        commits: &["9e249c484128"],
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    CompletionWaitCovers {
        name: "completion-wait-covers",
        what: "who finds no command of AMD's queue that nobody waits for waits for the last completion wait that was queued, \
               instead of going on at once (6.1.192, 6.12.101)",
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    FlushMaskCoversRange {
        name: "flush-mask-covers-range",
        what: "the mask of a page-selective invalidation of VT-d covers the whole range also where that is not aligned to its \
               size",
        commits: &["59bf3557cf2f"],
        ranges: &[(V::V5_18, None)],
    }
    SuperpageRangeRounded {
        name: "superpage-range-rounded",
        what: "VT-d's driver makes room for large pages only as far as it will put some, and leaves the tables alone under which \
               the rest of a range lies (6.17; 6.1.158, 6.12.57)",
        commits: &["dce043c07ca1"],
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    GroupReattachedOnFailure {
        name: "group-reattached-on-failure",
        what: "a group of which one device cannot be attached to a domain is attached to its old domain again as a whole \
               (6.3, and 6.1.20)",
        commits: &["2cc73c5712f9"],
        ranges: &[(V::V6_3, None)],
        trees: &[V::V6_1],
    }
    MapPassesGfp {
        name: "map-passes-gfp",
        what: "iommu_map_atomic hands its flags down, so that pages for the table are taken without sleeping",
        commits: &["b8437a3ef8c4"],
        ranges: &[(V::V5_12, None)],
    }
    FlushTimerDeletedSync {
        name: "flush-timer-deleted-sync",
        what: "a domain that goes waits for its flush timer's function before it frees the queues",
        commits: &["d7061627d701"],
        ranges: &[(V::V5_17, None)],
    }
    UntrustedBounce {
        name: "untrusted-bounce",
        what: "dma-iommu bounces mappings of untrusted devices that do not fill whole granules",
        commits: &["82612d66d51d"],
        ranges: &[(V::V5_11, None)],
    }
    ExplicitSwiotlbInit {
        name: "explicit-swiotlb-init",
        what: "pci_iommu_alloc calls the detectors one after the other and then swiotlb_init with flags: swiotlb=force \
               does not keep an IOMMU from being found, and a kernel without memory for the pool goes on without one",
        commits: &["78013eaadf69", "c6af2aa9ffc9"],
        ranges: &[(V::V5_19, None)],
        needs: &[B::StaticDefaultPool],
    }
    ForceKeepsPool {
        name: "force-keeps-pool",
        what: "swiotlb_exit does nothing if swiotlb=force was given",
        ranges: &[(V::V5_19, None)],
    }
    BounceNeedsPool {
        name: "bounce-needs-pool",
        what: "dma-direct bounces a buffer that the device cannot reach only if the device's pool has slots, and fails \
               otherwise, instead of asking for swiotlb=noforce alone",
        ranges: &[(V::V5_19, None)],
        needs: &[B::DevicePoolPointer],
    }
    MaxMappingLessAlign {
        name: "max-mapping-less-align",
        what: "swiotlb_max_mapping_size takes away what min_align_mask may cost at the start of a mapping",
        ranges: &[(V::V5_19, None)],
        needs: &[B::MinAlignMask],
    }
    SwiotlbAreas {
        name: "swiotlb-areas",
        what: "a pool is cut into areas, each with a lock, a counter and a cursor of its own; a CPU searches its own area \
               first, and the origin of a mapping is recorded without a lock",
        commits: &["20347fca71a3"],
        ranges: &[(V::V6_0, None)],
        needs: &[B::StaticDefaultPool, B::DevicePoolPointer, B::ForceBounceInPool],
    }
    WideSlotAddress {
        name: "wide-slot-address",
        what: "the address of a slot is computed in 64 bits; before, slots from 4 GiB on got those of the first ones",
        commits: &["3f0461613ebc"],
        ranges: &[(V::V6_0, None)],
    }
    PoolSizeHalved {
        name: "pool-size-halved",
        what: "boot tries half the size when the memory for the pool cannot be had, down to 1 MiB (6.2, and 6.1.192)",
        ranges: &[(V::V6_2, None)],
        trees: &[V::V6_1],
        needs: &[B::ExplicitSwiotlbInit],
    }
    AreasLimited {
        name: "areas-limited",
        what: "a pool of boot has no more areas than segments, so that no segment lies in two areas",
        commits: &["8ac04063354a"],
        ranges: &[(V::V6_5, None)],
        needs: &[B::SwiotlbAreas],
    }
    CountedSlotSearch {
        name: "counted-slot-search",
        what: "the slot search counts the slots that it passed and always ends; before, it ended when it met the slot \
               that it began with, which it may step over for ever",
        commits: &["0eee5ae10256", "bbb73a103fbb"],
        ranges: &[(V::V6_3, None)],
    }
    CombinedAlignMask {
        name: "combined-align-mask",
        what: "the slot search compares the bits of min_align_mask, of alloc_align_mask and of the page together with the \
               original address (until 6.9)",
        commits: &["0eee5ae10256"],
        ranges: &[(V::V6_3, Some(V::V6_9))],
        needs: &[B::AllocAlignMask],
    }
    AlignOutsideAlloc {
        name: "align-outside-alloc",
        what: "the slot search does not compare the bits of min_align_mask that alloc_align_mask covers (6.1.192)",
        ranges: &[],
        trees: &[V::V6_1],
        needs: &[B::AllocAlignMask],
    }
    SeparateAlignMasks {
        name: "separate-align-masks",
        what: "the bits of alloc_align_mask must be zero in a slot's address, those of min_align_mask outside it must agree \
               with the original",
        commits: &["04867a7a3332"],
        ranges: &[(V::V6_9, None)],
        needs: &[B::AllocAlignMask],
        replaces: Some(B::CombinedAlignMask),
    }
    LargeMapsPageAligned {
        name: "large-maps-page-aligned",
        what: "a mapping of a page or more, for which nobody asks an alignment, begins a page; up to 6.2 the stride of the \
               search had that effect",
        commits: &["14cebf689a78"],
        ranges: &[(V::V6_9, None)],
        needs: &[B::SeparateAlignMasks],
    }
    IommuMaxMappingSize {
        name: "iommu-max-mapping-size",
        what: "dma_max_mapping_size tells an untrusted device behind an IOMMU what a bounce buffer can hold; before, that \
               there is no limit (6.9, and 6.1.192)",
        commits: &["afc5aa46ed56"],
        ranges: &[(V::V6_9, None)],
        trees: &[V::V6_1],
    }
    FreeCountersClamped {
        name: "free-counters-clamped",
        what: "the free counters of a new pool stop at its end instead of at the end of the last segment",
        commits: &["53c87e846e33"],
        ranges: &[(V::V6_7, None)],
    }
    GrowingPools {
        name: "growing-pools",
        what: "with CONFIG_SWIOTLB_DYNAMIC the default pool is the first of a list: a search that fails makes a pool for \
               this one mapping, and lets a worker add one for everybody",
        commits: &["79636caad361"],
        ranges: &[(V::V6_6, None)],
        needs: &[B::SwiotlbAreas],
    }
    GrownPoolBarriers {
        name: "grown-pool-barriers",
        what: "that a device uses bounce buffers is stored before its driver learns the address, and read after: a full \
               barrier in the search, a read barrier in the look-up (6.6-rc4)",
        commits: &["2d5780bbef8d"],
        ranges: &[(V::V6_6, None)],
        needs: &[B::GrowingPools],
    }
    GrownPagesEncryptedAgain {
        name: "grown-pages-encrypted-again",
        what: "pages of a new pool are shared with the host only if they lie low enough, and are made private again \
               before they are given back, or else leaked (6.7, 6.6.3)",
        commits: &["a5e3b127455d"],
        ranges: &[(V::V6_7, None)],
        needs: &[B::GrowingPools],
    }
    PaddingSlots {
        name: "padding-slots",
        what: "an offset of a slot or more becomes whole slots of padding in front of the mapping",
        commits: &["af133562d5af"],
        ranges: &[(V::V6_9, None)],
        needs: &[B::SeparateAlignMasks],
    }
    SyncInLead {
        name: "sync-in-lead",
        what: "a partial sync may begin in the first bytes of a slot that is not the mapping's first; before, it was \
               warned of and dropped",
        commits: &["e8068f2d756d"],
        ranges: &[(V::V6_9, None)],
    }
    PoolAllocPageAligned {
        name: "pool-alloc-page-aligned",
        what: "coherent memory out of a restricted pool is aligned to its size, and given back if its slot begins no page",
        commits: &["823353b7cf0e"],
        ranges: &[(V::V6_9, None)],
        needs: &[B::RestrictedDmaPools, B::SeparateAlignMasks],
    }
    OneMappingSize {
        name: "one-mapping-size",
        what: "swiotlb_tbl_map_single takes one size and rounds it itself; the full pool's message tells the rounded one",
        commits: &["327e2c97c46a"],
        ranges: &[(V::V6_10, None)],
        needs: &[B::AllocAlignMask],
    }
    PaddingZeroedAround {
        name: "padding-zeroed-around",
        what: "what an untrusted device can reach in front of its bounced buffer and behind it is cleared, and the buffer \
               is left alone; before, what lies behind, and what the device is to write",
        commits: &["2650073f1b58"],
        ranges: &[(V::V6_10, None)],
        needs: &[B::PaddingSlots],
    }
    DmaSkipSync {
        name: "dma-skip-sync",
        what: "a device whose mappings need no sync skips it, until its first mapping is bounced",
        commits: &["f406c8e4b770"],
        ranges: &[(V::V6_10, None)],
    }
    PoolFoundOnce {
        name: "pool-found-once",
        what: "unmap and sync look the pool up once and pass it on",
        commits: &["7296f2301a52"],
        ranges: &[(V::V6_11, None)],
        needs: &[B::SwiotlbAreas],
    }
    MapSgWrapped {
        name: "map-sg-wrapped",
        what: "dma_map_sg_attrs and dma_map_sgtable are wrappers of __dma_map_sg_attrs, which tells an error from another",
        commits: &["fffe3cc8c219"],
        ranges: &[(V::V5_15, None)],
    }
    DmaIommuFlag {
        name: "dma-iommu-flag",
        what: "a flag in struct device says that dma-iommu serves it, which is called directly; dev->dma_ops stays empty",
        commits: &["b5c58b2fdc42"],
        ranges: &[(V::V6_12, None)],
        needs: &[B::DmaOpsSetByCore],
    }
    DmaOpsSetByCore {
        name: "dma-ops-set-by-core",
        what: "the IOMMU core chooses a device's DMA operations when the device has its domain; before, each IOMMU driver \
               did in probe_finalize, without a lock",
        commits: &["b67483b3c44e"],
        ranges: &[(V::V6_10, None)],
        needs: &[B::OneDefaultDomainSetup],
    }
    DmaOwnership {
        name: "dma-ownership",
        what: "a driver that binds takes its device's IOMMU group for the DMA API, under the group's lock",
        commits: &["512881eacfa7"],
        ranges: &[(V::V5_19, None)],
    }
    IommuRegisterWalksBuses {
        name: "iommu-register-walks-buses",
        what: "iommu_device_register walks the buses itself; before, the driver called bus_set_iommu",
        commits: &["57365a04c921"],
        ranges: &[(V::V6_1, None)],
    }
    IommuProbeLock {
        name: "iommu-probe-lock",
        what: "one lock serialises the probing of devices by the IOMMU core (6.2, and 6.1.192)",
        commits: &["01657bc14a39"],
        ranges: &[(V::V6_2, None)],
        trees: &[V::V6_1],
    }
    DevIommuClearedFirst {
        name: "dev-iommu-cleared-first",
        what: "dev_iommu_free clears dev->iommu before it frees what the pointer led to",
        commits: &["b54240ad4943"],
        ranges: &[(V::V5_17, None)],
    }
    FwspecUnderProbeLock {
        name: "fwspec-under-probe-lock",
        what: "the firmware's data of a device are looked up and made under the lock that serialises the probing of devices \
               by the IOMMU core (6.7, and 6.1.69)",
        commits: &["a2e7e59a9426"],
        ranges: &[(V::V6_7, None)],
        trees: &[V::V6_1],
        needs: &[B::IommuProbeLock, B::DevIommuClearedFirst],
    }
    IommuOpsFromFwspec {
        name: "iommu-ops-from-fwspec",
        what: "the IOMMU core finds a device's driver through the firmware's data, and leaves a device that has none alone; \
               before, it asked the bus",
        commits: &["17de3f5fdd35"],
        ranges: &[(V::V6_8, None)],
        needs: &[B::FwspecUnderProbeLock],
    }
    SmmuProbeDefers {
        name: "smmu-probe-defers",
        what: "the SMMU's driver lets a device come again that is probed before the SMMU has been bound (6.1.123, 6.12.5)",
        commits: &["229e6ee43d2a"],
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    DefaultDomainKept {
        name: "default-domain-kept",
        what: "the walk over a bus leaves the default domain of a group alone that got one since the walk met it (6.1.85; 6.5 \
               by other means)",
        commits: &["64c3873cb255"],
        ranges: &[(V::V6_5, None)],
        trees: &[V::V6_1],
    }
    DefaultDomainUnderLock {
        name: "default-domain-under-lock",
        what: "the default domain of a device that appears later is made under group->mutex; before, two devices of one \
               group could each make one",
        commits: &["211ff31b3d33"],
        ranges: &[(V::V5_15, None)],
    }
    OneDefaultDomainSetup {
        name: "one-default-domain-setup",
        what: "one routine chooses the type of a group's default domain, makes it and attaches the whole group, and a \
               device that appears later is attached within its probe; identity wins where types contradict, and an \
               untrusted device that would need identity is refused",
        ranges: &[(V::V6_5, None)],
        needs: &[B::IommuProbeLock, B::DefaultDomainUnderLock],
    }
    ProbeWhenReady {
        name: "probe-when-ready",
        what: "a driver cannot bind to a device before device_add has finished with it; before, it could as soon as the device \
               was on its bus's list (6.1.192, 6.12.86)",
        commits: &["a2225b6e834a"],
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    DeferWithoutDomain {
        name: "defer-without-domain",
        what: "a driver that binds before its device's group has its default domain is told to come again (6.12.27)",
        ranges: &[(V::V6_12, None)],
        needs: &[B::DmaOwnership],
    }
    MemblockGrowthAvoidsRequest {
        name: "memblock-growth-avoids-request",
        what: "a list of memblock that grows because of a reservation does not take its new array out of the range that is \
               being reserved (3.6)",
        commits: &["48c3b583bbdd"],
        ranges: &[(V::V5_10, None)],
    }
    MemblockDiscardedLate {
        name: "memblock-discarded-late",
        what: "arrays of memblock that have grown are given back when all page structures are initialised, and not at \
               the hand-over (4.13)",
        commits: &["3010f876500f"],
        ranges: &[(V::V5_10, None)],
    }
    MemblockArrayKfreed {
        name: "memblock-array-kfreed",
        what: "an array of memblock that came from slab goes back there, and not to the page allocator",
        commits: &["c94afc46cae7"],
        ranges: &[(V::V5_17, None)],
    }
    BootServicesFreedLate {
        name: "boot-services-freed-late",
        what: "the memory of EFI's boot services is given to the page allocator when all page structures are initialised, \
               and not in start_kernel (after 6.12)",
        ranges: &[],
    }
    TpmLogByPhysicalAddress {
        name: "tpm-log-by-physical-address",
        what: "the TPM's event log is reserved where it lies, and not where it is mapped for the moment",
        commits: &["f4cd18c5b200"],
        ranges: &[(V::V6_1, None)],
    }
    StorvscUnmapsUnsent {
        name: "storvsc-unmaps-unsent",
        what: "the driver of Hyper-V's disks unmaps a request that it could not send, as the ring to the host is full (it \
               maps since 5.17; 6.2, and 6.1.4)",
        commits: &["67ff3d0a49f3"],
        ranges: &[(V::V6_2, None)],
        trees: &[V::V6_1],
    }
    Mpt3sasZonesBidirectional {
        name: "mpt3sas-zones-bidirectional",
        what: "the driver of SAS adapters maps the reply to REPORT ZONES for both directions, since the firmware reads it \
               back to swap its bytes (6.11, and 6.1.106)",
        commits: &["82dbb57ac8d0"],
        ranges: &[(V::V6_11, None)],
        trees: &[V::V6_1],
    }
    CoherentMemPointerCleared {
        name: "coherent-mem-pointer-cleared",
        what: "a device whose own coherent memory is released forgets it (6.8, and 6.1.192)",
        commits: &["b07bc2347672"],
        ranges: &[(V::V6_8, None)],
        trees: &[V::V6_1],
    }
    RangeMapFreedAtUnbind {
        name: "range-map-freed-at-unbind",
        what: "the map of what a device's bus reaches is freed when the driver is unbound or its probe fails; before, the next \
               probe made another one and forgot the first",
        commits: &["d8f7a5484f21"],
        ranges: &[(V::V5_17, None)],
    }
    MapNeedsMask {
        name: "map-needs-mask",
        what: "a mapping for a device without a DMA mask is refused with a warning; before, the message about the failure \
               followed the NULL pointer (5.10)",
        commits: &["f959dcd6ddfd"],
        ranges: &[(V::V5_10, None)],
    }
    PciSacUntilFail {
        name: "pci-sac-until-fail",
        what: "addresses below 4 GiB are tried first only until that failed once for the device",
        commits: &["791c2b17fb40"],
        ranges: &[(V::V6_4, None)],
    }
    IovaDepotFreedOnFailure {
        name: "iova-depot-freed-on-failure",
        what: "an allocation that fails empties the depots of full magazines too, before it tries once more",
        commits: &["6fa3525b455a"],
        ranges: &[(V::V5_11, None)],
    }
    IovaHintReset {
        name: "iova-hint-reset",
        what: "any freed IOVA below 4 GiB makes the allocator forget which size did not fit there",
        ranges: &[(V::V5_18, None)],
    }
    IovaFastRounds {
        name: "iova-fast-rounds",
        what: "alloc_iova_fast rounds small sizes up to a power of two itself, and not its caller",
        ranges: &[(V::V5_17, None)],
    }
    IovaMagazine127 {
        name: "iova-magazine-127",
        what: "a magazine of cached IOVAs holds 127 instead of 128, so that it fills a power of two bytes",
        ranges: &[(V::V6_1, None)],
    }
    IovaSecondPassBounded {
        name: "iova-second-pass-bounded",
        what: "a search that began at the very top is not repeated (6.2, and 6.1.5)",
        ranges: &[(V::V6_2, None)],
        trees: &[V::V6_1],
    }
    IovaDepotUnlimited {
        name: "iova-depot-unlimited",
        what: "the depot of full magazines has no limit and is trimmed by delayed work",
        commits: &["911aa1245da8"],
        ranges: &[(V::V6_7, None)],
    }
}

impl Behaviour {
    /// Its name in a scenario.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The behaviour of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|b| b.name() == name)
    }

    /// Whether an unmodified `version` has it.
    #[must_use]
    pub fn in_version(self, version: Version) -> bool {
        let facts = self.facts();
        let base = version.base();
        facts.trees.contains(&version)
            || facts.ranges.iter().any(|(from, to)| *from <= base && to.is_none_or(|to| base < to))
    }

    /// The first release or tree that has it.
    #[must_use]
    pub fn since(self) -> Option<Version> {
        Version::ALL.iter().copied().find(|v| self.in_version(*v))
    }

    pub(crate) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
