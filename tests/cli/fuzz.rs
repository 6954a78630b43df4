//! `dmasim fuzz`: what it finds can be run by itself, and does not depend on how many work at it.

use crate::support::Folder;

/// A kernel that the generator finds something with, soon.
const BUGGY: [&str; 5] = ["fuzz", "--version", "6.12", "--revert", "alloc-align-mask"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    BUGGY.iter().chain(more).copied().collect()
}

#[test]
fn a_saved_scenario_shows_the_same_finding_when_it_is_run() {
    let folder = Folder::new();
    let done = folder.dmasim(&with(&["--seeds", "300", "--save", "found", "--format", "json"]));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let found = done.json();
    let first = &found["findings"][0];
    let (seed, file) =
        (first["first_seed"].to_string(), found["files"][0].as_str().expect("a file").to_owned());
    let done = folder.dmasim(&["run", &file, "--seed", &seed, "--format", "json"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let again = done.json();
    for key in ["signature_hash", "time_ns", "step"] {
        assert_eq!(again["findings"][0][key], first[key], "{key}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_workers() {
    let folder = Folder::new();
    let one = folder.dmasim(&with(&["--seeds", "100", "--jobs", "1", "--format", "json"]));
    let three = folder.dmasim(&with(&["--seeds", "100", "--jobs", "3", "--format", "json"]));
    assert_eq!(one.stdout, three.stdout);
}

#[test]
fn a_kernel_that_does_not_exist_is_refused() {
    let done = Folder::new().dmasim(&["fuzz", "--version", "6.13x"]);
    assert_eq!(done.code, Some(2));
    let done = Folder::new().dmasim(&["fuzz", "--version", "6.12", "--revert", "min-align"]);
    assert_eq!(done.code, Some(2));
}

/// `timeout`, as most senders, reaches the process twice: by its number and by its group.
#[cfg(unix)]
#[test]
fn a_signal_that_comes_twice_at_once_does_not_lose_what_was_found() {
    use std::process::{Command, Stdio};
    let child = Command::new(env!("CARGO_BIN_EXE_dmasim"))
        .args(with(&["--seeds", "1000000000", "--format", "json"]))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let id = child.id().to_string();
    let both = "kill -TERM $0; kill -TERM $0";
    let sent = Command::new("sh").args(["-c", both, &id]).status().expect("kill runs");
    assert!(sent.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let json: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
    assert_eq!(json["interrupted"], true);
}
