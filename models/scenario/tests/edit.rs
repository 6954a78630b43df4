//! Scenarios laid flat, written, read again, and taken apart.

use std::fs;
use std::path::{Path, PathBuf};

use scenario::edit::{Part, Tree, flat, parts};
use scenario::{Overrides, Resolved, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

/// Every scenario of the project with every variant.
fn all() -> Vec<Resolved> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root()).expect("the scenarios").map(|e| e.expect("an entry").path()) {
        let parts = ["machines", "drivers", "regressions"].iter().any(|part| folder.ends_with(part));
        if !folder.is_dir() || parts {
            continue;
        }
        for path in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            let Ok(loaded) = load(&path) else { continue };
            let names = loaded.variants().map(|(name, _)| Some(name.to_owned())).chain([None]);
            for variant in names {
                let overrides = Overrides { variant, ..Overrides::default() };
                found.push(loaded.resolve(&overrides).expect("it resolves"));
            }
        }
    }
    assert!(found.len() > 20, "only {} scenarios", found.len());
    found
}

#[test]
fn a_scenario_laid_flat_and_written_is_the_same_scenario() {
    for scenario in all() {
        let file = flat(&scenario);
        let tree = Tree::of(&file);
        let again = tree.resolve("again.ron").unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        assert_eq!(again.digest, scenario.digest, "{}", scenario.name);
        // And the text for people is the same as that for runs.
        let folder = tempdir();
        let path = folder.join("flat.ron");
        let text = tree.text();
        fs::write(&path, &text).expect("it can be written");
        let read = load(&path).unwrap_or_else(|error| panic!("{}: {error}\n{text}", scenario.name));
        let read = read.resolve(&Overrides::default()).expect("it resolves");
        assert_eq!(flat(&read), file, "{}", scenario.name);
        // A text in quotes is one word, however long; and what is nested deep begins far right.
        let wide = text
            .lines()
            .find(|line| line.trim_start().len() > 100 && line.replace("\\\"", "").matches('"').count() != 2);
        assert_eq!(wide, None, "{}", scenario.name);
        fs::remove_dir_all(folder).expect("it can be removed");
    }
}

/// A folder of this test's own.
fn tempdir() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dmasim-edit-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn case() -> Tree {
    let loaded = load(root().join("lkml-2021-07/hp-4300g.ron")).expect("the case");
    Tree::of(&flat(&loaded.resolve(&Overrides::default()).expect("it resolves")))
}

#[test]
fn fields_with_their_default_are_not_written() {
    let text = case().text();
    for absent in
        ["untrusted", "offset", "dma_bits: 64", "about: \"\"", "plugged", "nodes", "variants", "extends"]
    {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    assert!(
        text.contains("end: 0x41f33ffff") && text.contains("iommu: AmdVi(ppr: true, gt: true)"),
        "{text}"
    );
}

#[test]
fn every_way_to_make_it_smaller_makes_it_smaller_or_simpler() {
    let tree = case();
    let (mut usable, mut tried) = (0, 0);
    for part in parts(&tree) {
        for n in 0..part.len(&tree) {
            let smaller = part.without(&tree, n..n + 1).expect("it is there");
            assert_ne!(smaller, tree, "{part:?}");
            assert!(smaller.size() < tree.size() || part == Part::Words, "{part:?}");
            tried += 1;
            usable += usize::from(smaller.resolve("smaller.ron").is_ok());
        }
        assert!(part.without(&tree, 0..part.len(&tree) + 1).is_none(), "{part:?}");
        for simpler in part.simpler(&tree) {
            assert_ne!(simpler, tree, "{part:?}");
            assert!(simpler.size() <= tree.size(), "{part:?}");
        }
    }
    assert!(tried > 100 && usable * 2 > tried, "{usable} of {tried} can be run");
}

#[test]
fn what_belongs_together_goes_together() {
    let tree = case();
    let without = |part: &Part, n: usize| part.without(&tree, n..n + 1).expect("it is there").text();
    // The NVMe disk is the only one with its driver.
    let devices = (0..Part::Devices.len(&tree)).map(|n| without(&Part::Devices, n));
    let gone: Vec<String> = devices.filter(|text| !text.contains("0000:0b:00.0")).collect();
    assert_eq!(gone.len(), 1);
    assert!(!gone[0].contains("nvme_probe") && gone[0].contains("ahci_init_one"));
    // A mapping goes with its unmap.
    let part = Part::Names { driver: 0 };
    let names: Vec<String> = (0..part.len(&tree)).map(|n| without(&part, n)).collect();
    assert!(names.iter().any(|text| !text.contains("nvme_unmap_data\", body: [Unmap(name: \"data\")]")));
}
