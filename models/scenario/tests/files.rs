//! The scenarios that come with the project.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scenario::{Expect, Loaded, Overrides, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

/// All files below a folder, but for those of machines, drivers and regressions.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        if !path.is_dir() {
            found.push(path);
        } else if !["machines", "drivers", "regressions"].iter().any(|part| path.ends_with(part)) {
            below(&path, found);
        }
    }
}

/// Every scenario file: those outside the folders of machines and drivers.
fn scenarios() -> Vec<PathBuf> {
    let mut found = Vec::new();
    below(&root(), &mut found);
    found.retain(|p| p.extension().is_some_and(|e| e == "ron"));
    found.sort();
    found
}

fn loaded(name: &str) -> Loaded {
    load(root().join(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn variant(name: &str) -> Overrides {
    Overrides { variant: Some(name.to_owned()), ..Overrides::default() }
}

#[test]
fn all_scenarios_and_variants_resolve_without_a_doubt() {
    let files = scenarios();
    assert!(files.len() >= 10, "only {} scenarios", files.len());
    for path in files {
        let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings().is_empty(), "{}: {:?}", path.display(), loaded.warnings());
        assert!(!loaded.about().is_empty(), "{} says nothing about itself", path.display());
        let base = loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        let mut digests = BTreeSet::from([base.digest]);
        for (name, about) in loaded.variants() {
            assert!(!about.is_empty(), "{}: variant {name} says nothing about itself", path.display());
            let resolved = loaded.resolve(&variant(name)).unwrap_or_else(|error| panic!("{error}"));
            // A variant may say in its own name what the base does already.
            let new = digests.insert(resolved.digest);
            assert!(new || resolved.digest == base.digest, "{}: {name} is another variant", path.display());
        }
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.starts_with("// "), "{} does not begin with an explanation", path.display());
    }
}

#[test]
fn every_machine_and_driver_is_used() {
    let texts: String = scenarios().iter().map(|p| fs::read_to_string(p).expect("a file")).collect();
    for folder in ["machines", "drivers"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            assert!(texts.contains(&format!("../{folder}/{name}")), "{folder}/{name} is used nowhere");
        }
    }
}

#[test]
fn the_case_of_the_report_is_as_reported() {
    let case = loaded("lkml-2021-07/hp-4300g.ron").resolve(&Overrides::default()).expect("the case");
    assert_eq!(case.machine.cpus, 8);
    let group: Vec<&str> =
        case.machine.devices.iter().filter(|d| d.isolation == Some(4)).map(|d| d.bdf.as_str()).collect();
    assert!(group.iter().any(|b| b.starts_with("0000:0c")) && group.iter().any(|b| b.starts_with("0000:0d")));
    assert!(case.machine.e820.iter().any(|e| e.start == 0xa20_d000), "RAM starts at the reported buffer");
    assert!(matches!(case.expect, Expect::Findings { .. }));
    assert!((15..=25).contains(&case.machine.devices.len()));
}

#[test]
fn a_derived_file_differs_only_in_what_it_says() {
    let base = loaded("lkml-2021-07/hp-4300g.ron").resolve(&Overrides::default()).expect("the case");
    let fixed = loaded("lkml-2021-07/hp-4300g-fixed.ron").resolve(&Overrides::default()).expect("the fix");
    assert_eq!((base.machine, base.drivers, base.processes), (fixed.machine, fixed.drivers, fixed.processes));
    assert_ne!(base.profile.set, fixed.profile.set);
    assert_ne!(base.digest, fixed.digest);
}
