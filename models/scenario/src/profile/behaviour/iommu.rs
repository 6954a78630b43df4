//! Behaviours of the drivers of IOMMUs: their tables, queues and flushes, and dma-iommu.

macro_rules! iommu {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

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
    OverwrittenDomainFlushed {
        name: "overwritten-domain-flushed",
        what: "AMD's driver drops the cached translations of the domain whose number it overwrites in a device's entry; before, a \
               crash kernel's devices went on to use those of the kernel before (5.3)",
        commits: &["36b7200f67df"],
        ranges: &[(V::V5_10, None)],
    }
    ScalableTablesCopied {
        name: "scalable-tables-copied",
        what: "a crash kernel copies VT-d tables of the scalable mode as what they are, and marks what it copied beside them; \
               before, it took them for legacy ones",
        commits: &["0c5f6c0d8201"],
        ranges: &[(V::V6_0, None)],
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
    VirtualFlushSplit {
        name: "virtual-flush-split",
        what: "an emulated IOMMU of AMD is told of a range in pieces that are aligned to their size",
        commits: &["a270be1b3fdf"],
        ranges: &[(V::V5_15, None)],
    }
    FlushSizeWithEnd {
        name: "flush-size-with-end",
        what: "AMD's driver counts the last byte of a gathered range when it has it dropped; before, an emulated IOMMU was told of \
               each page in twelve pieces (6.4, and 6.1.37)",
        commits: &["2212fc2acf3f"],
        ranges: &[(V::V5_10, Some(V::V5_15)), (V::V6_4, None)],
        trees: &[V::V6_1],
    }
    IdentityEndsWithMemory {
        name: "identity-ends-with-memory",
        what: "VT-d's identity domain ends with the last page of each range of memory; before, with the one behind it (6.11, and \
               6.1.106)",
        commits: &["31000732d56b"],
        ranges: &[(V::V6_11, None)],
        trees: &[V::V6_1],
    }
    IommuStatePreallocated {
        name: "iommu-state-preallocated",
        what: "VT-d's driver keeps a unit's registers in its own structure while the machine sleeps; before, it allocated memory for \
               them with interrupts off (6.6, and 6.1.64)",
        commits: &["59df44bfb0ca"],
        ranges: &[(V::V6_6, None)],
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
    IommuMaxMappingSize {
        name: "iommu-max-mapping-size",
        what: "dma_max_mapping_size tells an untrusted device behind an IOMMU what a bounce buffer can hold; before, that \
               there is no limit (6.9, and 6.1.192)",
        commits: &["afc5aa46ed56"],
        ranges: &[(V::V6_9, None)],
        trees: &[V::V6_1],
    }

    } };
}
