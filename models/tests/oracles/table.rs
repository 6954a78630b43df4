//! The table of findings against the sources and the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use models::oracle::FINDINGS;

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("oracle/kinds.rs") {
            found.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

fn all_sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "../sim/src"] {
        sources(&root.join(folder), &mut text);
    }
    // The command compares runs; what it says about itself is in the table too.
    sources(&root.join("../src"), &mut text);
    text
}

fn table() -> BTreeSet<&'static str> {
    FINDINGS.iter().map(|(kind, _)| *kind).collect()
}

#[test]
fn whatever_is_reported_is_in_the_table() {
    let text = all_sources();
    let mut used = BTreeSet::new();
    for call in ["Draft::warning(", "Draft::fatal("] {
        for (at, _) in text.match_indices(call) {
            let rest = text[at + call.len()..].trim_start();
            if let Some(kind) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                used.insert(kind);
            }
        }
    }
    assert!(used.len() > 25, "{used:?}");
    let known = table();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

#[test]
fn whatever_is_in_the_table_is_reported() {
    let text = all_sources();
    let dead: Vec<_> = table().into_iter().filter(|kind| !text.contains(&format!("\"{kind}\""))).collect();
    assert!(dead.is_empty(), "nobody reports {dead:?}");
}

#[test]
fn the_documentation_has_a_section_for_each() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings.md");
    let text = fs::read_to_string(path).expect("the documentation");
    let sections: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, table());
}
