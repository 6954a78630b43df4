//! `dmasim run`, `test`, `diff`: outcomes, exit codes and JSON.

use crate::support::{Folder, STARTER};

/// The starter with another expectation.
fn expecting(what: &str) -> String {
    let changed = STARTER.replace("expect: Clean(),", &format!("expect: {what},"));
    assert_ne!(changed, STARTER);
    changed
}

const NEVER: &str =
    r#"Findings(all: [(kind: "use-after-free", function: "no_such_function", seeds: Every)])"#;

#[test]
fn the_starter_is_clean_and_says_so() {
    let folder = Folder::new();
    folder.dmasim(&["run", "good.ron", "--seeds", "20"]).exits(0).says(&[
        "good.ron",
        "20 seeds run",
        "0 with findings (0.00 %)",
        "digest ",
        "As expected: no finding.",
    ]);
}

#[test]
fn the_last_line_is_one_json_object() {
    let folder = Folder::new();
    let json = folder.dmasim(&["run", "good.ron", "--seeds", "5..25", "--format", "json"]).exits(0).json();
    assert_eq!(json["scenario"], "good.ron");
    assert_eq!(json["seeds"], 20);
    assert_eq!(json["failed"], 0);
    assert_eq!(json["interrupted"], false);
    assert_eq!(json["expectation"]["result"], "met");
    assert_eq!(json["digest"].as_str().map(str::len), Some(32));
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(0));
}

#[test]
fn results_do_not_depend_on_the_number_of_workers() {
    let folder = Folder::new();
    let digest = |jobs: &str| {
        let done = folder.dmasim(&["run", "good.ron", "--seeds", "100", "--jobs", jobs, "--format", "json"]);
        done.exits(0).json()["digest"].clone()
    };
    let one = digest("1");
    assert_eq!(one, digest("2"));
    assert_eq!(one, digest("7"));
}

#[test]
fn an_expectation_that_is_not_met_is_exit_code_1() {
    let folder = Folder::new();
    folder.write("bad.ron", &expecting(NEVER));
    folder.dmasim(&["run", "bad.ron", "--seeds", "5"]).exits(1).says(&[
        "Not as expected",
        "expected in every seed, found in 0 of 5",
        "no_such_function",
    ]);
    let json = folder.dmasim(&["run", "bad.ron", "--seeds", "5", "--format", "json"]).exits(1).json();
    assert_eq!(json["expectation"]["result"], "not met");
}

#[test]
fn with_another_kernel_the_expectation_does_not_count() {
    let folder = Folder::new();
    folder.write("bad.ron", &expecting(NEVER));
    for change in [["--append", "debug"], ["--cmdline", ""], ["--version", "5.15"]] {
        folder
            .dmasim(&["run", "bad.ron", "--seeds", "5", change[0], change[1]])
            .exits(0)
            .says(&["the scenario's expectation does not count: clean"]);
    }
}

#[test]
fn too_few_seeds_do_not_decide_about_what_is_rare() {
    let folder = Folder::new();
    folder.write("rare.ron", &expecting(r#"Findings(all: [(kind: "page-fault")])"#));
    folder.dmasim(&["run", "rare.ron", "--seed", "7"]).exits(0).says(&["not decided by 1 of 200 seeds"]);
    let json = folder.dmasim(&["run", "rare.ron", "--seed", "7", "--format", "json"]).exits(0).json();
    assert_eq!(json["expectation"]["result"], "not decided");
    folder.dmasim(&["run", "rare.ron"]).exits(1);
}

#[test]
fn test_runs_what_a_folder_holds() {
    let folder = Folder::new();
    folder.write("s/deep/good.ron", STARTER);
    folder.write("s/machines/not-a-scenario.ron", "(");
    folder.write("s/drivers/neither.ron", "(");
    folder.dmasim(&["test", "s", "--seeds", "4"]).exits(0).says(&["passed", "1 passed, 0 failed\n"]);
    folder.write("s/bad.ron", &expecting(NEVER));
    folder.dmasim(&["test", "s", "--seeds", "4"]).exits(1).says(&[
        "failed ",
        "expected: ",
        "1 passed, 1 failed\n",
    ]);
    folder.write("s/broken.ron", "(kernel: ");
    let done = folder.dmasim(&["test", "s", "--seeds", "4"]).exits(2);
    done.says(&["unusable", "1 passed, 1 failed, 1 unusable\n"]).complains(&["broken.ron:1:"]);
    let json = folder.dmasim(&["test", "s", "--seeds", "4", "--format", "json"]).exits(2).json();
    assert_eq!((&json["passed"], &json["failed"], &json["unusable"]), (&1.into(), &1.into(), &1.into()));
}

#[test]
fn variants_are_tested_too_and_can_be_named() {
    let folder = Folder::new();
    let with =
        STARTER.replace("expect: Clean(),", "expect: Clean(),\n variants: [(name: \"old\", cmdline: \"\")],");
    folder.write("v.ron", &with);
    folder.dmasim(&["test", "v.ron", "--seeds", "4"]).exits(0).says(&["v.ron#old", "2 passed, 0 failed"]);
    folder.dmasim(&["test", "v.ron#old", "--seeds", "4"]).exits(0).says(&["1 passed, 0 failed"]);
    let json = |words: &[&str]| folder.dmasim(words).exits(0).json()["scenario"].clone();
    assert_eq!(json(&["run", "v.ron#old", "--seeds", "2", "--format", "json"]), "v.ron#old");
    assert_eq!(json(&["run", "v.ron", "--variant", "old", "--seeds", "2", "--format", "json"]), "v.ron#old");
    folder.dmasim(&["run", "v.ron", "--variant", "odl"]).exits(2).complains(&["did you mean `old`?"]);
    folder.dmasim(&["run", "v.ron#old", "--variant", "new"]).exits(2).complains(&["two variants"]);
}

#[test]
fn diff_compares_and_gives_a_reason() {
    let folder = Folder::new();
    folder.write("other.ron", &STARTER.replace("cpus: 2,", "cpus: 4,"));
    folder.dmasim(&["diff", "good.ron", "other.ron", "--seeds", "4"]).exits(0).says(&[
        "Configuration",
        "CPUs",
        "Path taken (seed ",
        "Outcome",
        "Why",
    ]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_prints_what_was_found_and_exits_with_130() {
    use std::process::{Command, Stdio};
    let folder = Folder::new();
    let child = Command::new(env!("CARGO_BIN_EXE_dmasim"))
        .current_dir(folder.path())
        .args(["run", "good.ron", "--seeds", "1000000000000", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let json: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
    assert_eq!(json["interrupted"], true);
    assert!(json["seeds"].as_u64().is_some_and(|seeds| seeds > 0));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = Folder::new();
    for words in [&["list"][..], &["replay", "good.ron", "--seed", "1", "--trace", "full"]] {
        let mut child = folder.spawn(words);
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.code().is_some_and(|code| code < 2), "{:?}", output.status);
    }
}
