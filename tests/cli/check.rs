//! `dmasim check`: what it claims, and that nothing interrupts it for good.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::Folder;

/// Two queues that map and unmap, on two CPUs.
const SMALL: &str = r#"(
    kernel: (version: "5.15", config: ["CONFIG_DMA_RESTRICTED_POOL=y"]),
    cmdline: "quiet",
    machine: Inline(
        name: "small", cpu_vendor: Amd, cpus: 2, nr_cpus: 2,
        e820: [(start: 0x0, end: 0x9fbff, kind: Usable), (start: 0x100000, end: 0x3fffffff, kind: Usable)],
        devices: [(bdf: "0000:01:00.0", name: "c", class: "storage", driver: "tiny",
            restricted_pool: (start: 0x20000000, size: 0x100000))],
    ),
    drivers: [Inline(
        name: "tiny",
        probe: [SetMask(bits: 64)],
        workload: [
            (name: "tiny a", cpu: Cpu(0), body: [Call(function: "tiny_request", body: [
                Map(name: "page", size: Fixed(4096), dir: ToDevice), Unmap(name: "page")])]),
            (name: "tiny b", cpu: Cpu(1), body: [Call(function: "tiny_request", body: [
                Map(name: "page", size: Fixed(4096), dir: ToDevice), UNMAP])]),
        ],
    )],
)"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("clean.ron", &SMALL.replace("UNMAP", r#"Unmap(name: "page")"#));
    folder.write("leak.ron", &SMALL.replace("UNMAP", r#"DeviceWrite(name: "page"), Unmap(name: "page")"#));
    folder
}

const FOCUS: [&str; 7] =
    ["--from-function", "tiny_request", "--context", "tiny", "--answers", "1", "--preemptions"];

fn words<'a>(file: &'a str, bound: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["--quiet", "check", file];
    words.extend(FOCUS);
    words.push(bound);
    words.extend(rest);
    words
}

#[test]
fn a_clean_scenario_is_proved_clean_and_the_bound_is_named() {
    let folder = folder();
    let done = folder.dmasim(&words("clean.ron", "1", &[])).exits(0);
    let done = done.says(&[
        "Proved: no finding in any interleaving of this scenario",
        "with at most 1 preemption, where the order of tiny* is varied from the first call of tiny_request on",
        "runs stand for all of them",
    ]);
    assert!(!done.stdout.contains("Stopped"));
    let stopped = folder.dmasim(&words("clean.ron", "1", &["--limit", "3"])).exits(0);
    stopped.says(&["Stopped at the limit after 3 runs", "which proves nothing about the rest"]);
}

/// A bug of the collection, small enough: it is found with the change taken out, and proved absent with it.
#[test]
fn a_real_race_is_found_and_its_cure_is_proved() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/check/completion-wait.ron");
    let fixed = format!("{file}#fixed");
    let run = |file| {
        let focus = ["--from-function", "tiny_unmap", "--context", "tiny", "--answers", "1", "-k", "2"];
        Folder::new().dmasim(&[&["--quiet", "check", file][..], &focus].concat())
    };
    run(file).exits(1).says(&["still translates", "with at most 2 preemptions", "runs have findings"]);
    run(&fixed)
        .exits(0)
        .says(&["Proved: no finding in any interleaving of this scenario with at most 2 preemptions"]);
}

#[test]
fn a_finding_comes_with_a_token_that_repeats_it() {
    let folder = folder();
    let done = folder.dmasim(&words("leak.ron", "0", &["--format", "json"])).exits(1);
    let json = done.json();
    assert_eq!((&json["complete"], json["failed"].as_u64() > Some(0)), (&Value::Bool(true), true), "{json}");
    let finding = &json["findings"][0];
    let token = finding["token"].as_str().expect("a token");
    let replayed = folder.dmasim(&["replay", "leak.ron", "--token", token, "--format", "json"]).exits(1);
    let signatures: Vec<_> = replayed.json()["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| finding["signature_hash"].clone())
        .collect();
    assert!(signatures.contains(&finding["signature_hash"]), "{signatures:?}");
}

#[test]
fn more_workers_give_the_same_and_more_preemptions_give_more() {
    let folder = folder();
    let json = |bound, rest: &[&str]| {
        let mut all = vec!["--format", "json"];
        all.extend(rest);
        folder.dmasim(&words("clean.ron", bound, &all)).exits(0).json()
    };
    let one = json("2", &["--jobs", "1", "--limit", "300"]);
    assert_eq!(one, json("2", &["--jobs", "3", "--limit", "300"]));
    let runs = |bound| json(bound, &[])["runs"].as_u64().expect("a number");
    assert!(runs("0") < runs("1"));
}

#[test]
fn a_file_of_another_check_is_refused() {
    let folder = folder();
    folder.dmasim(&words("clean.ron", "0", &["--resume", "state"])).exits(0);
    let other = folder.dmasim(&words("clean.ron", "1", &["--resume", "state"])).exits(2);
    other.complains(&["cannot take up the check in state", "belongs to another scenario"]);
    folder.write("state", "dmasim-check 1\nkey");
    folder.dmasim(&words("clean.ron", "0", &["--resume", "state"])).exits(2);
}

fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin("dmasim")
}

/// Kills the process at fifty moments; what is there in the end is what an uninterrupted search gives. Reduced, the search
/// would be over before anybody could kill it.
#[test]
fn a_search_that_was_killed_fifty_times_ends_like_one_that_was_not() {
    let folder = folder();
    let wanted = |file: &str, rest: &[&str]| {
        let mut all = vec!["--format", "json", "--no-reduction", "--limit", "5000"];
        all.extend(rest);
        folder.dmasim(&words(file, "3", &all)).json()
    };
    let whole = wanted("leak.ron", &[]);
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let (mut kills, mut kept, mut ends) = (0, 0, 0);
    while kills < 50 {
        let mut child = Command::new(binary())
            .current_dir(folder.path())
            .args(words("leak.ron", "3", &["--no-reduction", "--limit", "5000", "--resume", "state"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Mostly once there is something to be lost; now and then at once.
        let state = folder.path().join("state");
        while kills % 5 != 0 && !state.exists() && child.try_wait().expect("it can be asked").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(2 + (random >> 33) % 120));
        let ended = child.try_wait().expect("it can be asked").is_some();
        child.kill().expect("it is killed or has ended");
        child.wait().expect("it is gone");
        kept += usize::from(state.exists());
        if ended {
            assert_eq!(wanted("leak.ron", &["--resume", "state"]), whole, "after {kills} kills");
            std::fs::remove_file(state).expect("it was kept");
            ends += 1;
        } else {
            kills += 1;
        }
    }
    assert!(kept > ends, "nothing was kept when it was killed");
    assert_eq!(wanted("leak.ron", &["--resume", "state"]), whole);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_with_what_was_found_and_keeps_the_state() {
    let folder = folder();
    for signal in ["INT", "TERM"] {
        let child = Command::new(binary())
            .current_dir(folder.path())
            .args(words("clean.ron", "9", &["--resume", "kept", "--limit", "1000000000"]))
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        while !folder.path().join("kept").exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200));
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill is there");
        assert!(sent.success());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{signal}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("Interrupted after") && text.contains("% of the"), "{text}");
    }
}
