//! The comparison of two scenarios.

use models::run::{DeviceFacts, Facts, PoolFacts, TornDown};
use models::scenario::{Overrides, Resolved, load};
use reports::diff::{Side, diff};
use reports::{Paint, WIDTH};
use sim::explore::{Outcome, Summary};

fn scenario(overrides: &Overrides) -> Resolved {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/commands/starter.ron");
    let mut resolved = load(file).expect("the starter loads").resolve(overrides).expect("it resolves");
    resolved.name = "a.ron".to_owned();
    resolved
}

fn device(bdf: &str, path: &'static str, domain: &'static str, pool: &'static str) -> DeviceFacts {
    DeviceFacts {
        bdf: bdf.to_owned(),
        name: "disk".to_owned(),
        driver: Some("disk".to_owned()),
        group: Some(4),
        domain,
        path,
        pool,
        pool_since: 1_200_000_000,
        maps: 20,
        bounced: 0,
        failed: 0,
    }
}

fn facts(pool: &'static str, torn_down: bool) -> Facts {
    Facts {
        debugfs: None,
        pool: Some(PoolFacts {
            start: 0x5654_0000,
            bytes: 64 << 20,
            descriptor: 0x5653_f000,
            kind: "heap",
            force: false,
            at: 1_000_000,
        }),
        pool_reason: "there is RAM above 4 GiB".to_owned(),
        torn_down: torn_down.then(|| TornDown {
            at: 2_340_000_000,
            frames: vec!["swiotlb_exit", "pci_swiotlb_late_init", "pci_iommu_init"],
            why: "the AMD IOMMU driver turned swiotlb off".to_owned(),
        }),
        iommu: "AMD-Vi, default domain type Translated".to_owned(),
        devices: vec![
            device("0000:0c:00.0", "dma-direct", "identity", pool),
            device("0000:01:00.0", "iommu-dma", "DMA", pool),
        ],
    }
}

fn campaign(failing: bool) -> Summary {
    let finding = sim::Finding {
        kind: "use-after-free",
        title: "BUG: KASAN: use-after-free in is_swiotlb_buffer".to_owned(),
        severity: sim::Severity::Warning,
        frames: vec!["is_swiotlb_buffer", "dma_unmap_page_attrs"],
        object: "struct io_tlb_mem",
        discriminator: "swiotlb_exit",
        context: sim::Name::new("disk irq"),
        cpu: Some(0),
        time: 0,
        step: 0,
        ending: "",
        details: Vec::new(),
    };
    let mut summary = Summary::default();
    for seed in 0..50 {
        let findings = if failing { vec![finding.clone()] } else { Vec::new() };
        summary.add(seed, Outcome { digest: 0, steps: 10, findings });
    }
    summary
}

fn render(a: (&Resolved, &Facts, bool), b: (&Resolved, &Facts, bool)) -> String {
    let (summary_a, summary_b) = (campaign(a.2), campaign(b.2));
    let text = diff(
        Side { scenario: a.0, facts: a.1, summary: &summary_a },
        Side { scenario: b.0, facts: b.1, summary: &summary_b },
        0,
        Paint::PLAIN,
    );
    assert!(text.lines().all(|line| line.len() <= WIDTH && line.is_ascii()), "{text}");
    text
}

#[test]
fn why_one_fails_and_the_other_does_not() {
    let a = scenario(&Overrides { revert: vec!["swiotlb-exit-message".to_owned()], ..Overrides::default() });
    let b = scenario(&Overrides { append: Some("swiotlb=force".to_owned()), ..Overrides::default() });
    insta::assert_snapshot!(render(
        (&a, &facts("freed pool", true), true),
        (&b, &facts("default pool", false), false)
    ));
}

#[test]
fn the_same_twice_has_nothing_to_tell() {
    let a = scenario(&Overrides::default());
    insta::assert_snapshot!(render(
        (&a, &facts("default pool", false), false),
        (&a, &facts("default pool", false), false)
    ));
}

#[test]
fn the_last_sentences_fit_the_facts() {
    let scenario = scenario(&Overrides::default());
    let why = |a: (&Facts, bool), b: (&Facts, bool)| {
        let text = render((&scenario, a.0, a.1), (&scenario, b.0, b.1));
        text.split_once("\nWhy\n")
            .expect("there is a reason")
            .1
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let bad = facts("freed pool", true);
    let mut nothing = Facts { pool_reason: "there is no RAM above 4 GiB".to_owned(), ..Facts::default() };
    assert!(
        why((&bad, true), (&nothing, false))
            .ends_with("In B there was no pool because there is no RAM above 4 GiB.")
    );
    let fixed = facts("NULL", true);
    assert!(
        why((&fixed, false), (&bad, true))
            .contains("In A the pool was torn down at 2.340000 s too, but no device")
    );
    let mut translated = bad.clone();
    translated.devices[0].path = "iommu-dma";
    assert!(why((&bad, true), (&translated, true)).contains("Only in A does a device"));
    nothing.pool_reason.clear();
    assert!(why((&nothing, true), (&nothing, false)).contains("is no reason for it"));
}
