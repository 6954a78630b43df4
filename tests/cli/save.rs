//! `dmasim save`, and `dmasim test` on what it wrote; tokens on scenarios that were edited.

use crate::shrink::{BUGGY, buggy};
use crate::support::Folder;

fn saved() -> Folder {
    let folder = buggy();
    folder
        .dmasim(&[
            "save",
            "buggy.ron",
            "--seed",
            "3",
            "--signature",
            "dma-api-misuse",
            "-o",
            "kept.ron",
            "--why",
            "a test",
        ])
        .exits(0)
        .says(&["kept dma-api-misuse", "wrote kept.ron"]);
    folder
}

#[test]
fn a_kept_run_is_repeated() {
    let folder = saved();
    folder.dmasim(&["test", "kept.ron"]).exits(0).says(&[
        "passed",
        "regression",
        "the same run",
        "1 passed, 0 failed",
    ]);
    folder
        .dmasim(&["save", "buggy.ron", "--seed", "3", "-o", "kept.ron"])
        .exits(2)
        .complains(&["exists already"]);
    folder.dmasim(&["run", "kept.ron"]).exits(2).complains(&["is a regression", "dmasim test kept.ron"]);
    folder.dmasim(&["list", "scenarios", "--dir", "."]).exits(0).says(&["kept.ron", "regression: a test"]);
    folder
        .dmasim(&["save", "buggy.ron", "--seed", "3", "--signature", "page-fault", "-o", "other.ron"])
        .exits(2)
        .complains(&["the run shows no finding of signature \"page-fault\""]);
}

#[test]
fn a_run_that_changed_is_told_where_and_recorded_anew_on_demand() {
    let folder = saved();
    let before = std::fs::read_to_string(folder.path().join("kept.ron")).expect("it is there");
    // Another number of bytes is drawn now.
    folder.write("buggy.ron", &BUGGY.replace("Uniform(5000, 9000)", "Uniform(5000, 9999)"));
    folder.dmasim(&["test", "kept.ron"]).exits(1).says(&[
        "failed",
        "another run, the same outcome",
        "the scenario was changed since it was recorded",
        "they part after step",
        "the next choice was",
        "it shows the same finding",
        "--update",
    ]);
    assert_eq!(std::fs::read_to_string(folder.path().join("kept.ron")).expect("it is there"), before);
    folder.dmasim(&["test", "kept.ron", "--update"]).exits(0).says(&["passed", "it was recorded anew"]);
    folder.dmasim(&["test", "kept.ron"]).exits(0).says(&["the same run"]);
    let after = std::fs::read_to_string(folder.path().join("kept.ron")).expect("it is there");
    assert!(after != before && after.starts_with("// a test\n"));
}

#[test]
fn a_finding_that_is_gone_is_no_update() {
    let folder = saved();
    folder.write("buggy.ron", &BUGGY.replace("Maybe(percent: 50, body: [Unmap(name: \"sound\")]),", ""));
    for words in [&["test", "kept.ron"][..], &["test", "kept.ron", "--update"]] {
        folder.dmasim(words).exits(1).says(&["failed", "it no longer shows dma-api-misuse"]);
    }
}

#[test]
fn a_damaged_regression_says_what_is_wrong() {
    let folder = saved();
    let good = std::fs::read_to_string(folder.path().join("kept.ron")).expect("it is there");
    let broken = |from: &str, to: &str| {
        assert!(good.contains(from));
        folder.write("broken.ron", &good.replacen(from, to, 1));
        folder.dmasim(&["test", "broken.ron"]).exits(2)
    };
    broken("signature:", "signatur:").complains(&["broken.ron:", "did you mean `signature`?"]);
    broken("seed: 3,", "").complains(&["`seed` or `token` must be given"]);
    broken("steps1.", "steps2.").complains(&["recorded steps begin with"]);
    broken("scenario: \"buggy.ron\"", "scenario: \"bugy.ron\"").complains(&["did you mean `buggy.ron`?"]);
    broken("digest: \"", "digest: \"zz").complains(&["32 hexadecimal digits"]);
}

#[test]
fn a_token_survives_edits_that_change_no_choice() {
    let folder = buggy();
    let json = folder
        .dmasim(&[
            "shrink",
            "buggy.ron",
            "--signature",
            "dma-api-misuse",
            "--schedule-only",
            "--format",
            "json",
        ])
        .exits(0)
        .json();
    let token = json["token"].as_str().expect("a token").to_owned();
    // The same run: nothing draws from this.
    folder.write("buggy.ron", &BUGGY.replace("quiet debug", "quiet"));
    folder
        .dmasim(&["replay", "buggy.ron", "--token", &token])
        .exits(1)
        .complains(&["note: the token was recorded on another scenario", "every choice fits"]);
    // Another run, the same finding.
    folder.write("buggy.ron", &BUGGY.replace("size: Fixed(4096)", "size: Fixed(8192)"));
    folder
        .dmasim(&["replay", "buggy.ron", "--token", &token])
        .exits(1)
        .complains(&["but the run is another one; it shows the same finding"]);
    // A choice that no longer comes up.
    folder.write("buggy.ron", &BUGGY.replace("name: \"play\"", "name: \"playback\""));
    let replay = |more: &[&str]| folder.dmasim(&[&["replay", "buggy.ron", "--token", &token], more].concat());
    replay(&[]).exits(2).complains(&["the first choice that does not fit is", "--nearest goes on"]);
    let nearest = replay(&["--nearest"]);
    assert!(nearest.stderr.contains("not fit; the closest were taken"), "{nearest:?}");
    folder
        .dmasim(&["replay", "buggy.ron", "--seed", "1", "--nearest"])
        .exits(2)
        .complains(&["cannot be used with"]);
}
