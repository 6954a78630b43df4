//! Behaviours of the DMA API, and drivers that use it.

macro_rules! api {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

    BounceNeedsPool {
        name: "bounce-needs-pool",
        what: "dma-direct bounces a buffer that the device cannot reach only if the device's pool has slots, and fails \
               otherwise, instead of asking for swiotlb=noforce alone",
        ranges: &[(V::V5_19, None)],
        needs: &[B::DevicePoolPointer],
    }
    DmaSkipSync {
        name: "dma-skip-sync",
        what: "a device whose mappings need no sync skips it, until its first mapping is bounced",
        commits: &["f406c8e4b770"],
        ranges: &[(V::V6_10, None)],
    }
    MapSgWrapped {
        name: "map-sg-wrapped",
        what: "dma_map_sg_attrs and dma_map_sgtable are wrappers of __dma_map_sg_attrs, which tells an error from another",
        commits: &["fffe3cc8c219"],
        ranges: &[(V::V5_15, None)],
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
    PoolPagesDecrypted {
        name: "pool-pages-decrypted",
        what: "the pages of the pools of atomic allocations are shared with the host also where they are mapped a second time; \
               before, only that mapping was changed (6.17; 6.1.153, 6.12.48)",
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    PoolPageTested {
        name: "pool-page-tested",
        what: "iommu_dma_alloc tests the page that a pool of atomic allocations gave, and not an address on its stack that is set \
               only then (after 6.12; 6.1.190, 6.12.111)",
        commits: &["af95a0ebc0a0"],
        ranges: &[(V::V6_12, None)],
        trees: &[V::V6_1],
    }
    LeakPagesNotEncrypted {
        name: "leak-pages-not-encrypted",
        what: "coherent memory that cannot be made private again is leaked; before, it went back to the page allocator, shared \
               with the host",
        ranges: &[(V::V5_17, None)],
    }
    LeakPagesNotDecrypted {
        name: "leak-pages-not-decrypted",
        what: "coherent memory of which only a part could be shared with the host is leaked; before, it went back to the page \
               allocator as it was (6.9, and 6.1.192)",
        commits: &["b9fa16949d18"],
        ranges: &[(V::V6_9, None)],
        trees: &[V::V6_1],
    }

    } };
}
