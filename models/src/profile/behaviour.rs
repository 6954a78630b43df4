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
    /// Development trees that have it although the release they are based on has not.
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
    AmdIommuV2Identity {
        name: "amd-iommu-v2-identity",
        what: "amd_iommu_def_domain_type answers identity for a device with ATS, PRI and PASID behind an IOMMU with \
               PPR and GT, unless memory is encrypted",
        ranges: &[(V::V5_10, None)],
    }
    UntrustedBounce {
        name: "untrusted-bounce",
        what: "dma-iommu bounces mappings of untrusted devices that do not fill whole granules",
        commits: &["82612d66d51d"],
        ranges: &[(V::V5_11, None)],
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

    pub(crate) const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
