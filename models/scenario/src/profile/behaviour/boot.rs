//! Behaviours of memblock, and what boot sets up.

macro_rules! boot {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

    ExplicitSwiotlbInit {
        name: "explicit-swiotlb-init",
        what: "pci_iommu_alloc calls the detectors one after the other and then swiotlb_init with flags: swiotlb=force \
               does not keep an IOMMU from being found, and a kernel without memory for the pool goes on without one",
        commits: &["78013eaadf69", "c6af2aa9ffc9"],
        ranges: &[(V::V5_19, None)],
        needs: &[B::StaticDefaultPool],
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

    } };
}
