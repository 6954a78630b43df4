//! Behaviours of I/O virtual addresses.

macro_rules! iova {
    ([$($more:ident)*] $($before:tt)*) => { tables! { [$($more)*] $($before)*

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

    } };
}
