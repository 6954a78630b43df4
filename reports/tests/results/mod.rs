//! Results of a test with everything in them.

use reports::json::{FindingJson, TestJson, TestedJson};

fn finding() -> FindingJson {
    FindingJson {
        kind: "use-after-free".to_owned(),
        signature: "use-after-free in is_swiotlb_buffer <- dma_direct_unmap_page".to_owned(),
        signature_hash: "0123456789abcdef".to_owned(),
        frames: vec!["is_swiotlb_buffer".to_owned()],
        object: Some("struct io_tlb_mem".to_owned()),
        title: "BUG: KASAN: use-after-free in is_swiotlb_buffer: <8 & more>".to_owned(),
        severity: "fatal".to_owned(),
        count: 7,
        first_seed: 3,
        time_ns: 2_380_000_000,
        step: 900,
        token: None,
    }
}

fn tested(scenario: &str, result: &str) -> TestedJson {
    let bad = result == "failed";
    TestedJson {
        scenario: scenario.to_owned(),
        result: result.to_owned(),
        seeds: 10,
        digest: "00ff".to_owned(),
        remarks: if bad {
            vec!["not expected: use-after-free, 100 %".to_owned(), "a second line".to_owned()]
        } else {
            Vec::new()
        },
        findings: if bad { vec![finding()] } else { Vec::new() },
    }
}

/// Two that passed, one that failed, one that cannot be used, in three folders.
pub(crate) fn whole() -> TestJson {
    let mut all = TestJson::default();
    all.add(tested("scenarios/a/one.ron", "passed"));
    all.add(tested("scenarios/a/two.ron#sme", "failed"));
    all.add(tested("scenarios/b/three.ron", "unusable"));
    all.add(tested("scenarios/b/four.ron", "passed"));
    all.add(tested("five.ron", "passed"));
    all
}
