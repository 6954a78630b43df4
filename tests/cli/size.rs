//! `dmasim size`: the diagnosis of each case, what it recommends, and what it says to what it cannot use.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Done, Folder};

fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

fn case(name: &str) -> String {
    file(&format!("scenarios/sizing/{name}.ron"))
}

fn size(words: &[&str]) -> Done {
    Folder::new().dmasim(&[&["size", "--quiet"], words].concat())
}

fn json(words: &[&str], code: i32) -> Value {
    size(&[words, &["--format", "json"]].concat()).exits(code).json()
}

fn names(json: &Value) -> Vec<&str> {
    let all = json["diagnosis"].as_array().expect("a list");
    all.iter().map(|one| one["name"].as_str().expect("a name")).collect()
}

#[test]
fn each_case_gets_its_diagnosis() {
    for (name, expected) in [
        ("tdx-burst", &["too small", "fragmented"][..]),
        ("dvd-small-pool", &["too small"]),
        ("snp-large-requests", &["impossible requests"]),
        ("snp-large-requests#larger", &["impossible requests"]),
        ("snp-no-room", &["no room"]),
        ("wifi-leak", &["leak"]),
        ("wifi-leak#larger", &["leak"]),
        ("first-boot-fragmented", &["fragmented"]),
    ] {
        let (name, variant) = name.split_once('#').unwrap_or((name, ""));
        let path = format!("{}#{variant}", case(name));
        let path = path.trim_end_matches('#');
        let found = json(&[path, "--seeds", "0..5"], 1);
        assert_eq!(names(&found), expected, "{name}: {found}");
    }
}

#[test]
fn what_is_recommended_holds() {
    for name in ["tdx-burst", "dvd-small-pool", "snp-no-room", "first-boot-fragmented"] {
        let found = json(&[&case(name), "--seeds", "0..5"], 1);
        assert_eq!(
            (&found["verified"]["runs"], &found["verified"]["failed"]),
            (&5.into(), &0.into()),
            "{found}"
        );
        let word = found["recommended"]["cmdline"].as_str().expect("a recommendation");
        let again = json(&[&case(name), "--seeds", "0..5", "--cmdline", word], 0);
        assert_eq!(names(&again), ["holds"], "{name} with {word}");
        // Half of it does not, or leaves less than the margin, unless it is the least that there can be.
        let slots = found["recommended"]["slots"].as_u64().expect("a number");
        let half = format!("swiotlb={}", slots / 2);
        let smaller = json(&[&case(name), "--seeds", "0..5", "--slots", &(slots / 2).to_string()], 1);
        let outcome = &smaller["sizes"][0]["outcome"];
        let spare = slots / 2 * 100 >= outcome["hiwater"].as_u64().expect("a number") * 125;
        assert!(slots == 512 || outcome["full"] != 0 || !spare, "{name}: {half} would have been enough");
    }
    assert_eq!(json(&[&case("wifi-leak"), "--seeds", "0..5"], 1)["recommended"], Value::Null);
}

#[test]
fn the_text_names_what_to_do() {
    size(&[&case("wifi-leak"), "--seeds", "0..2"]).exits(1).says(&[
        "leak:",
        "never gave back",
        "no size cures a leak",
    ]);
    size(&[&case("snp-large-requests"), "--seeds", "0..2"]).exits(1).says(&[
        "dma_max_mapping_size()",
        "2097152 bytes",
        "The impossible requests still fail.",
    ]);
    size(&[&case("snp-no-room"), "--seeds", "0..2"]).exits(1).says(&[
        "1048576 slots (2048 MiB) were asked for",
        "A larger number on the command line changes nothing.",
    ]);
}

#[test]
fn where_nothing_bounces_nothing_is_recommended() {
    let laptop = file("scenarios/lkml-2021-07/i915-force.ron");
    let words = [laptop.as_str(), "--seeds", "0..2", "--cmdline", "quiet"];
    size(&words).exits(0).says(&["Nothing bounced.", "Nothing bounces: no pool is needed for this."]);
    let found = json(&words, 0);
    assert_eq!((&found["recommended"], names(&found)), (&Value::Null, vec!["holds"]));
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let run = |jobs| {
        let words = [&case("tdx-burst"), "--seeds", "0..8", "--format", "json", "--jobs", jobs];
        size(&words).exits(1).stdout
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn the_plot_is_a_picture_with_both_curves() {
    let folder = Folder::new();
    folder.dmasim(&["size", "--quiet", "--seeds", "0..2", "--plot", "pool.svg", &case("tdx-burst")]).exits(1);
    let svg = std::fs::read_to_string(folder.path().join("pool.svg")).expect("the plot");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    // Two curves, each with a point for each size, and the mark of the recommendation.
    let curves = svg.matches("<polyline").count();
    assert!(curves >= 3, "{curves} lines in {svg}");
    for text in ["slots of 2 KiB", "without a place", "in use at most", "recommended"] {
        assert!(svg.contains(text), "no {text}");
    }
}

#[test]
fn traces_are_replayed() {
    let forced = file("models/conform/tests/data/trace/forced-6.1/trace_kp.txt.gz");
    let found = json(&["--from-trace", &forced], 0);
    assert_eq!((&found["maps"], names(&found)), (&2260.into(), vec!["holds"]));
    let full = file("models/conform/tests/data/trace/full-6.12/trace_heavy.txt.gz");
    size(&["--from-trace", &full]).exits(1).says(&[
        "162 of them had no place in the recorded system",
        "too small:",
        "Not tried: in a trace nobody reacts",
    ]);
}

#[test]
fn what_cannot_be_used_is_said() {
    let folder = Folder::new();
    let tdx = case("tdx-burst");
    let notes: PathBuf = folder.write("notes.txt", "no trace\nat all\n");
    let notes = notes.display().to_string();
    let nothing = file("models/conform/tests/data/trace/lazy-6.12/trace_boot.txt.gz");
    for (words, text) in [
        (&[tdx.as_str(), "--slots", "0"][..], "0 is not in 1..=2097152"),
        (&[&tdx, "--slots", "many"], "invalid value 'many'"),
        (&[&tdx, "--areas", "0"], "0 is not in 1..=4096"),
        (&[&tdx, "--seeds", "5..5"], "`5..5` holds no seed"),
        (&[&tdx, "--seeds", "0..99999999999"], "99999999999 runs are too many: at most 1000"),
        (&[&tdx, "--seeds", "0..2", "--plot", "no/such/folder.svg"], "no/such/folder.svg cannot be written"),
        (&[&tdx, "--cmdline", "swiotlb=noforce"], "the command line has swiotlb=noforce"),
        (&[&tdx, "--from-trace", &notes], "cannot be used with"),
        (&["--from-trace", &notes], "no event is in this file: this is no trace"),
        (&["--from-trace", &nothing, "--seeds", "0..5"], "--seeds changes a scenario"),
        (&["--from-trace", &nothing, "--append", "quiet"], "--append changes a scenario"),
        (&["--from-trace", "missing.txt"], "missing.txt: cannot be opened"),
        (&["--from-trace", &nothing], "no bounce is in this trace"),
        (&["missing.ron"], "missing.ron"),
        (&[], "<SCENARIO>"),
    ] {
        folder.dmasim(&[&["size", "--quiet"], words].concat()).exits(2).complains(&[text]);
    }
}
