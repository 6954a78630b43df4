//! `dmasim bisect`: which change brings a finding in, and which takes it out.

use crate::shrink::buggy;

/// A device that follows the pool's pointer after the pool is gone: the bug of 2021, in small.
const STALE: &str = r#"(
    about: "a stale pointer",
    kernel: (version: "next-2021-06"),
    cmdline: "quiet",
    machine: Inline(
        name: "small", cpu_vendor: Amd, cpus: 2,
        e820: [
            (start: 0x100000, end: 0xbfffffff, kind: Usable),
            (start: 0x100000000, end: 0x1bfffffff, kind: Usable),
        ],
        iommu: AmdVi(),
        devices: [(bdf: "0000:01:00.0", driver: "disk")],
    ),
    drivers: [Inline(
        name: "disk",
        probe: [SetMask(bits: 64), Map(name: "data", size: Fixed(4096), dir: FromDevice), Unmap(name: "data")],
    )],
    explore: (seeds: 5),
    expect: Findings(all: [(kind: "use-after-free", object: "struct io_tlb_mem")], others: true),
)
"#;

#[test]
fn the_change_that_matters_is_found_with_its_commit() {
    let folder = buggy();
    folder.write("stale.ron", STALE);
    let done = folder.dmasim(&["bisect", "stale.ron"]).exits(0);
    let done =
        done.says(&["What brings it in", "+ device-pool-pointer (commit 69031f500865)", "What takes it out"]);
    done.says(&["Single changes to the bad kernel that make it go away", "- amd-iommu-swiotlb-veto"]);
    let json = folder.dmasim(&["bisect", "stale.ron", "--format", "json"]).exits(0).json();
    let brings = &json["brings"]["changes"];
    assert_eq!(brings.as_array().map(Vec::len), Some(1), "{brings}");
    assert_eq!(brings[0]["behaviour"], "device-pool-pointer");
    assert_eq!(json["brings"]["from"], "5.13");
}

#[test]
fn what_cannot_be_bisected_is_told() {
    let folder = buggy();
    folder.write("stale.ron", STALE);
    folder.dmasim(&["bisect", "good.ron", "--seeds", "2"]).exits(1).says(&["There is nothing to bisect"]);
    folder
        .dmasim(&["bisect", "stale.ron", "--good", "5.51"])
        .exits(2)
        .complains(&["no kernel version `5.51`", "5.15"]);
    folder
        .dmasim(&["bisect", "stale.ron", "--good", "5.13", "--bad", "5.15"])
        .exits(1)
        .says(&["nothing to bisect"]);
    folder
        .dmasim(&["bisect", "buggy.ron", "--good", "5.13", "--seeds", "5"])
        .exits(1)
        .says(&["5.13 is not good: seed"]);
}

#[test]
fn git_bisect_gets_the_codes_that_it_knows() {
    let folder = buggy();
    folder.write("stale.ron", STALE);
    folder.dmasim(&["bisect", "--once", "stale.ron"]).exits(1).says(&["bad: seed 0 shows use-after-free"]);
    folder
        .dmasim(&["bisect", "--once", "stale.ron", "--version", "5.15"])
        .exits(0)
        .says(&["good: none of 5 seeds"]);
    folder.dmasim(&["bisect", "--once", "stale.ron", "--apply", "no-such-change"]).exits(125);
    folder.dmasim(&["bisect", "--once", "absent.ron"]).exits(125).complains(&["absent.ron"]);
    folder.dmasim(&["bisect", "--once", "stale.ron", "--good", "5.13"]).exits(2);
}
