//! Behaviours of the IOMMU core: probing, groups, default domains, who may use a device.

macro_rules! group {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

    GroupReattachedOnFailure {
        name: "group-reattached-on-failure",
        what: "a group of which one device cannot be attached to a domain is attached to its old domain again as a whole \
               (6.3, and 6.1.20)",
        commits: &["2cc73c5712f9"],
        ranges: &[(V::V6_3, None)],
        trees: &[V::V6_1],
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
    IdentityCountsAsDefault {
        name: "identity-counts-as-default",
        what: "a group whose default domain is an identity domain is free for the DMA API while it is attached to another one of \
               that type, as a user of PASIDs has it",
        commits: &["2380f1e8195e"],
        ranges: &[(V::V6_0, None)],
        needs: &[B::DmaOwnership],
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
    SmmuEntriesInPlace {
        name: "smmu-entries-in-place",
        what: "the SMMUv3's driver changes a device's stream table entry so that the hardware sees the old one or the new one, and \
               a context descriptor so that it sees no third one; before, a device that came to another domain was refused \
               everything for a while (6.9)",
        ranges: &[(V::V6_9, None)],
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
    LinksUpdatedAfterCleanup {
        name: "links-updated-after-cleanup",
        what: "a driver's managed resources are released before its device's links say that it is gone; before, its suppliers \
               could be unbound meanwhile (6.7, and 6.1.64)",
        commits: &["2e84dc379200"],
        ranges: &[(V::V6_7, None)],
        trees: &[V::V6_1],
    }
    DeferWithoutDomain {
        name: "defer-without-domain",
        what: "a driver that binds before its device's group has its default domain is told to come again (6.12.27)",
        ranges: &[(V::V6_12, None)],
        needs: &[B::DmaOwnership],
    }

    } };
}
