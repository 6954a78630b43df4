//! Behaviours of bouncing: where a mapping lies in its slots, and what is copied when.

macro_rules! bounce {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

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
    MaxMappingLessAlign {
        name: "max-mapping-less-align",
        what: "swiotlb_max_mapping_size takes away what min_align_mask may cost at the start of a mapping",
        ranges: &[(V::V5_19, None)],
        needs: &[B::MinAlignMask],
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

    } };
}
