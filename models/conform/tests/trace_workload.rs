//! The bounces of recorded boots as workloads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use conform::trace::{Recorded, workload};
use models::sizing::{PoolRules, Trial, What, demand, trial};
use models::swiotlb::PoolSize;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trace").join(name)
}

fn recorded(name: &str) -> Recorded {
    workload(&data(name), None).expect("a workload")
}

fn rules(recorded: &Recorded) -> PoolRules {
    PoolRules { search: recorded.search, sizing: recorded.sizing, bounce: recorded.bounce }
}

#[test]
fn a_forced_boot_is_read_and_holds_in_its_own_pool() {
    for (name, maps) in [("forced-6.1/trace_kp.txt.gz", 2260), ("forced-6.12/trace_boot.txt", 31)] {
        let recorded = recorded(name);
        assert_eq!((recorded.workload.maps(), recorded.workload.refused), (maps, 0), "{name}");
        assert!(recorded.force, "{name}");
        let size = recorded.size.expect("its pool is in the console log");
        let outcome = trial(&recorded.workload, &rules(&recorded), Trial { start: recorded.start, size });
        assert!(outcome.held(), "{name}: {outcome:?}");
        let peak = demand(&recorded.workload, recorded.search).peak;
        assert_eq!(outcome.hiwater, peak, "{name}: where nothing fails, all that is wanted is in use");
    }
}

#[test]
fn every_return_is_of_a_mapping_before_it_and_there_is_one_at_most() {
    let recorded = recorded("full-6.12/trace_heavy.txt.gz");
    let (mut live, mut returned) = (BTreeSet::new(), 0);
    for event in &recorded.workload.events {
        match event.what {
            What::Map { id, .. } => assert!(live.insert(id)),
            What::Unmap { id } => {
                returned += 1;
                assert!(live.remove(&id), "{id:?} twice, or never mapped");
            }
        }
    }
    assert!(returned > 5000, "{returned}");
}

#[test]
fn refused_bounces_are_counted_and_need_a_larger_pool() {
    let recorded = recorded("full-6.12/trace_heavy.txt.gz");
    assert_eq!((recorded.workload.maps(), recorded.workload.refused), (5327, 162));
    let size = recorded.size.expect("its pool is in the console log");
    let outcome = |size| trial(&recorded.workload, &rules(&recorded), Trial { start: recorded.start, size });
    assert!(outcome(size).full > 0, "{size:?} was full when this was recorded");
    assert!(outcome(PoolSize { nslabs: size.nslabs * 4, ..size }).held());
}

#[test]
fn a_trace_without_results_or_bounces_is_refused() {
    let error = workload(&data("lazy-6.12/trace_boot.txt.gz"), None).expect_err("nothing bounces in it");
    assert!(error.to_string().contains("no bounce is in this trace"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.txt");
    let text = std::fs::read_to_string(data("forced-6.12/trace_boot.txt")).expect("a fixture");
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("unmap")).collect();
    std::fs::write(&path, kept.join("\n")).expect("a trace");
    let error = workload(&path, Some("6.12")).expect_err("nothing is given back in it");
    assert!(error.to_string().contains("when bounces are given back"), "{error}");
    let error = workload(&path, None).expect_err("no log is beside it");
    assert!(error.to_string().contains("which kernel was it?"), "{error}");
}
