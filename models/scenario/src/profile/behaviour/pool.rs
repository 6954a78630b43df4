//! Behaviours of the pools of bounce buffers: what they are, their search, their growth.

macro_rules! pool {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

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
    ForceKeepsPool {
        name: "force-keeps-pool",
        what: "swiotlb_exit does nothing if swiotlb=force was given",
        ranges: &[(V::V5_19, None)],
    }
    PoolSizeHalved {
        name: "pool-size-halved",
        what: "boot tries half the size when the memory for the pool cannot be had, down to 1 MiB (6.2, and 6.1.192)",
        ranges: &[(V::V6_2, None)],
        trees: &[V::V6_1],
        needs: &[B::ExplicitSwiotlbInit],
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
    PoolAllocPageAligned {
        name: "pool-alloc-page-aligned",
        what: "coherent memory out of a restricted pool is aligned to its size, and given back if its slot begins no page",
        commits: &["823353b7cf0e"],
        ranges: &[(V::V6_9, None)],
        needs: &[B::RestrictedDmaPools, B::SeparateAlignMasks],
    }
    PoolFoundOnce {
        name: "pool-found-once",
        what: "unmap and sync look the pool up once and pass it on",
        commits: &["7296f2301a52"],
        ranges: &[(V::V6_11, None)],
        needs: &[B::SwiotlbAreas],
    }

    } };
}
