//! Profiles against the switch matrix, and the closure over apply and revert.

use super::*;
use Behaviour as B;

const NONE: &[&str] = &[];

fn profile(version: &str, apply: &[&str], revert: &[&str]) -> Profile {
    Profile::new(version, apply, revert, NONE).expect("a profile")
}

#[test]
fn the_development_tree_is_5_13_plus_the_series() {
    let next = BehaviourSet::of_version(Version::Next2021_06);
    let mut expected = BehaviourSet::of_version(Version::V5_13);
    for behaviour in [B::DevicePoolPointer, B::ForceBounceInPool, B::RestrictedDmaPools] {
        assert!(expected.insert(behaviour), "{behaviour} is not in 5.13");
    }
    assert_eq!(next, expected);
}

#[test]
fn every_version_has_exactly_one_kind_of_default_pool() {
    for &version in Version::ALL {
        let set = BehaviourSet::of_version(version);
        let kinds = [B::GlobalPoolVariables, B::HeapPoolObject, B::StaticDefaultPool];
        assert_eq!(kinds.iter().filter(|k| set.has(**k)).count(), 1, "{version}");
    }
}

#[test]
fn every_unmodified_version_is_consistent() {
    for &version in Version::ALL {
        let plain = Profile::new(version.name(), NONE, NONE, NONE).expect("a version");
        assert_eq!(plain.set, BehaviourSet::of_version(version), "{version}");
    }
}

#[test]
fn the_fix_alone_replaces_the_heap_object() {
    let fixed = profile("next-2021-06", &["static-default-pool"], &[]);
    assert!(fixed.has(B::StaticDefaultPool) && !fixed.has(B::HeapPoolObject));
    assert!(fixed.has(B::DevicePoolPointer));
}

#[test]
fn reverting_the_fix_brings_the_heap_object_back() {
    let broken = profile("5.15", &[], &["static-default-pool"]);
    assert!(broken.has(B::HeapPoolObject) && !broken.has(B::StaticDefaultPool));
    assert!(!broken.has(B::GlobalPoolVariables));
}

#[test]
fn reverting_a_need_reverts_what_needs_it() {
    let older = profile("next-2021-06", &[], &["device-pool-pointer"]);
    assert!(!older.has(B::RestrictedDmaPools));
    assert!(older.has(B::ForceBounceInPool), "a snapshot can be asked for through the global pointer too");
}

#[test]
fn applying_brings_what_is_needed() {
    let newer = profile("5.13", &["restricted-dma-pools"], &[]);
    assert_eq!(newer.set, BehaviourSet::of_version(Version::Next2021_06));
}

#[test]
fn explicit_wishes_that_contradict_are_errors() {
    let relation = |apply: &[&str], revert: &[&str]| {
        let problems = Profile::new("5.13", apply, revert, NONE).expect_err("a conflict");
        match &problems[0] {
            ProfileProblem::Conflict { relation, .. } => *relation,
            other => panic!("{other}"),
        }
    };
    assert_eq!(relation(&["restricted-dma-pools"], &["device-pool-pointer"]), "needs");
    assert_eq!(relation(&["static-default-pool", "heap-pool-object"], &[]), "replaces");
    assert_eq!(relation(&["min-align-mask"], &["min-align-mask"]), "is both applied and reverted");
    assert_eq!(relation(&["device-pool-pointer"], &["heap-pool-object"]), "excludes");
}

#[test]
fn unknown_names_come_all_at_once_with_the_nearest() {
    let problems =
        Profile::new("5.14.", &["static-defualt-pool"], &["nonsense"], &["SWIOTLB"]).expect_err("names");
    assert_eq!(problems.len(), 4);
    let near = |i: usize| match &problems[i] {
        ProfileProblem::UnknownName { nearest, .. } => *nearest,
        _ => None,
    };
    assert_eq!(near(0), Some("5.14"));
    assert_eq!(near(1), Some("static-default-pool"));
    assert_eq!(near(2), None);
    assert_eq!(problems[3].place(), Place::Config(0));
}

/// Flipping any one behaviour must give a profile, since that is how a bisection works.
#[test]
fn every_single_flip_is_a_profile() {
    for &version in Version::ALL {
        for &behaviour in B::ALL {
            let name = [behaviour.name()];
            let flipped = if behaviour.in_version(version) {
                Profile::new(version.name(), NONE, &name, NONE)
            } else {
                Profile::new(version.name(), &name, NONE, NONE)
            };
            let flipped = flipped.unwrap_or_else(|problems| {
                let only_exclusion = problems
                    .iter()
                    .all(|p| matches!(p, ProfileProblem::Conflict { relation: "excludes" | "needs", .. }));
                assert!(only_exclusion && version < Version::V5_13, "{version} {behaviour}: {problems:?}");
                Profile::of_version(version)
            });
            if version >= Version::V5_13 {
                assert_ne!(flipped.has(behaviour), behaviour.in_version(version), "{version} {behaviour}");
            }
        }
    }
}

#[test]
fn names_are_kebab_case_and_distinct() {
    let mut names: Vec<_> = B::ALL.iter().map(|b| b.name()).collect();
    assert!(
        names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), B::ALL.len());
    assert!(B::ALL.len() <= 128, "the set is two words");
    for &behaviour in B::ALL {
        // One that is in no kernel yet is a patch under development.
        assert!(behaviour.since().is_some() || behaviour.facts().ranges.is_empty(), "{behaviour}");
        assert!(!behaviour.facts().what.is_empty(), "{behaviour}");
    }
}
