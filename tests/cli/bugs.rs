//! The collection of bugs: each pair is one, what is expected comes out, and the page tells what was measured.

use std::path::{Path, PathBuf};

use crate::support::Folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collection() -> String {
    root().join("scenarios/bugs").to_string_lossy().into_owned()
}

/// The rows of the first table of a page.
fn first_table(page: &str) -> Vec<&str> {
    let rows = page.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|')).collect()
}

/// Files of the collection that are no pair are refused by the command, so that this also compares the files. The tables
/// that take longer are compared by `.ci/run`.
#[test]
fn the_page_is_what_the_command_writes() {
    let folder = Folder::new();
    folder.dmasim(&["bugs", &collection(), "--write", "bugs.md"]).exits(0);
    let made = std::fs::read_to_string(folder.path().join("bugs.md")).expect("the page that was made");
    let kept = std::fs::read_to_string(root().join("docs/bugs.md")).expect("the page that is kept");
    assert_eq!(first_table(&kept), first_table(&made), "`just bugs` makes it anew");
}

/// With few seeds: `dmasim test scenarios/bugs` runs as many as each scenario asks for.
#[test]
fn every_pair_meets_its_expectation() {
    let folder = Folder::new();
    let json = folder.dmasim(&["test", &collection(), "--seeds", "16", "--format", "json"]).exits(0).json();
    let scenarios = json["scenarios"].as_array().expect("a list");
    assert_eq!(json["passed"].as_u64(), Some(scenarios.len() as u64));
    assert_eq!(scenarios.len() % 2, 0);
}

/// Each bug begins with its story.
#[test]
fn every_bug_of_the_collection_tells_its_story() {
    for bug in std::fs::read_dir(root().join("scenarios/bugs")).expect("the collection") {
        let path = bug.expect("a folder").path().join("buggy.ron");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let story = text.lines().take_while(|line| line.starts_with("//")).count();
        assert!((3..=20).contains(&story), "{}: a story of {story} lines", path.display());
    }
}

/// Copies the pair of a bug into a folder, so that it can be spoilt.
fn copied(folder: &Folder, change: impl Fn(&str, String) -> String) -> PathBuf {
    let mut parts = vec!["bugs/pair/buggy.ron".to_owned(), "bugs/pair/fixed.ron".to_owned()];
    parts.extend(["machines/efi-scattered.ron".to_owned()]);
    for part in parts {
        let from = part.replace("pair", "reserved-array-doubled-over-new-range");
        let text = std::fs::read_to_string(root().join("scenarios").join(from)).expect("a part of a pair");
        folder.write(&part, &change(&part, text));
    }
    folder.path().join("bugs")
}

#[test]
fn a_bug_is_told_of_with_its_versions_and_how_it_was_noticed() {
    let folder = Folder::new();
    copied(&folder, |_, text| text);
    folder.dmasim(&["bugs", "bugs", "--repetitions", "1", "--strategies"]).exits(0).says(&[
        "before 5.10, or in no release: without `memblock-growth-avoids-request` (48c3b583bbdd)",
        "overlapping-owners in alloc_node_data, in the first seed",
        "seeds by strategy: swarm 1, random 1, pct:3 1, pos 1, urw 1, delay:2 1, rff 1",
        "1 bugs, 1 found",
    ]);
    folder.dmasim(&["bugs", "bugs", "--generated", "2", "--shrunk", "--jobs", "2"]).exits(0).says(&[
        "not found in 2 generated machines",
        "shrunk: lines ",
        "0 of 1 are found by generated machines alone",
    ]);
    let json = folder.dmasim(&["bugs", "bugs", "--format", "json"]).exits(0).json();
    assert_eq!(json["bugs"][0]["kind"], "overlapping-owners");
    assert_eq!(json["bugs"][0]["behaviour"], "memblock-growth-avoids-request");
    assert_eq!(json["bugs"][0]["seeds"][0][1], 1);
}

#[test]
fn what_is_no_pair_is_refused() {
    type Change = fn(&str, String) -> String;
    let cases: [(Change, &str); 4] = [
        (
            |part, text| {
                if part.contains("fixed") {
                    text.replace("cmdline: \"\"", "cmdline: \"quiet\"")
                } else {
                    text
                }
            },
            "differ in `cmdline`",
        ),
        (
            |part, text| {
                if part.contains("fixed") {
                    text.replace("(version: \"6.1\")", "(version: \"6.1\", apply: [\"counted-slot-search\"])")
                } else {
                    text
                }
            },
            "more than one behaviour: counted-slot-search, memblock-growth-avoids-request",
        ),
        (
            |_, text| text.replace(", revert: [\"memblock-growth-avoids-request\"]", ""),
            "the two kernels are the same",
        ),
        (
            |part, text| match text.find("    expect:") {
                Some(at) if part.contains("buggy") => format!("{}    expect: Clean(),\n)\n", &text[..at]),
                _ => text,
            },
            "expects no finding",
        ),
    ];
    for (change, complaint) in cases {
        let folder = Folder::new();
        copied(&folder, change);
        folder.dmasim(&["bugs", "bugs"]).exits(2).complains(&[complaint]);
    }
    let folder = Folder::new();
    folder.dmasim(&["bugs", "nowhere"]).exits(2).complains(&["cannot read nowhere"]);
}

/// A bug that is not found is no success.
#[test]
fn a_bug_that_is_not_found_is_told() {
    let folder = Folder::new();
    copied(&folder, |part, text| {
        if part.contains("buggy") { text.replace("overlapping-owners", "double-free") } else { text }
    });
    folder.dmasim(&["bugs", "bugs"]).exits(1).says(&["not found in 100 seeds", "1 bugs, 0 found"]);
}
