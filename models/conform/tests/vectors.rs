//! What the real allocators of two kernels answered, against the models.
//!
//! A sample of the recordings lies in `tests/data`. The full set is compared, too, where it exists beside the workspace
//! (`../shared/data/vectors`), or where the environment variable `DMASIM_VECTORS` says it is.

#![expect(clippy::print_stderr, reason = "a test says which recordings it did not find")]

use std::path::{Path, PathBuf};

use conform::{Outcome, Report, Source, vectors};

/// Kind, kernel, and how many sequences and operations the sample has, so that a file cut short does not pass.
const SAMPLES: [(&str, &str, u64, u64); 7] = [
    ("memblock", "6.1", 63, 8449),
    ("memblock", "6.12", 65, 9347),
    ("swiotlb", "6.1", 49, 8938),
    ("swiotlb", "6.12", 43, 9297),
    ("swiotlb-dynamic", "6.12", 30, 5852),
    ("iova", "6.1", 28, 4837),
    ("iova", "6.12", 28, 5711),
];

fn compare(path: &Path) -> Outcome {
    let mut source = Source::open(path).expect("the recording is there");
    vectors::compare(&mut source, 3, &mut |_| true)
}

/// Asserts that a file agrees; returns its report.
fn agrees(path: &Path) -> Report {
    let mut outcome = compare(path);
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.reports.len(), 1, "{}", path.display());
    let report = outcome.reports.remove(0);
    assert!(report.agrees(), "{}", report.text(&path.display().to_string(), 3));
    assert!(report.notes.is_empty(), "no rule of a model was broken: {:?}", report.notes);
    report
}

fn counted(report: &Report, what: &str) -> u64 {
    report.counts.iter().find(|(name, _)| name == what).map_or(0, |(_, count)| *count)
}

#[test]
fn samples_agree() {
    for (kind, kernel, sequences, operations) in SAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(format!("{kind}-{kernel}-sample.jsonl.gz"));
        let report = agrees(&path);
        assert_eq!(
            (report.kind.as_str(), report.version.as_str()),
            (format!("{kind} vectors").as_str(), kernel)
        );
        assert_eq!((counted(&report, "sequences"), counted(&report, "differing")), (sequences, 0));
        assert_eq!(counted(&report, "operations compared"), operations);
        assert_eq!(report.totals(), (operations + sequences, operations + sequences), "and the final states");
    }
}

#[test]
fn the_samples_have_every_operation_that_was_recorded() {
    let rows = |kind: &str, kernel: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(format!("{kind}-{kernel}-sample.jsonl.gz"));
        agrees(&path).rows.len()
    };
    // With the final state; 6.1 has no `reserved_mark_noinit`, and nobody recorded `depot_work` there.
    assert_eq!((rows("memblock", "6.1"), rows("memblock", "6.12")), (37, 38));
    assert_eq!((rows("swiotlb", "6.1"), rows("swiotlb", "6.12")), (21, 21));
    assert_eq!(rows("swiotlb-dynamic", "6.12"), 13);
    assert_eq!((rows("iova", "6.1"), rows("iova", "6.12")), (13, 14));
}

/// Compares a full recording; it is no part of the repository.
fn full(kind: &str, kernel: &str) {
    let folder = std::env::var_os("DMASIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/vectors"),
        PathBuf::from,
    );
    let path = folder.join(format!("{kind}-{kernel}.jsonl.gz"));
    if !path.exists() {
        eprintln!("skipped: the full recordings are not there ({})", path.display());
        return;
    }
    let report = agrees(&path);
    assert!(counted(&report, "sequences") >= 300 && counted(&report, "operations compared") > 50_000);
}

#[test]
fn all_of_memblock_6_1_agrees() {
    full("memblock", "6.1");
}

#[test]
fn all_of_memblock_6_12_agrees() {
    full("memblock", "6.12");
}

#[test]
fn all_of_swiotlb_6_1_agrees() {
    full("swiotlb", "6.1");
}

#[test]
fn all_of_swiotlb_6_12_agrees() {
    full("swiotlb", "6.12");
}

#[test]
fn all_of_growing_swiotlb_6_12_agrees() {
    full("swiotlb-dynamic", "6.12");
}

#[test]
fn all_of_iova_6_1_agrees() {
    full("iova", "6.1");
}

#[test]
fn all_of_iova_6_12_agrees() {
    full("iova", "6.12");
}
