//! `dmasim replay`: the machine at a step, and the way there by hand.

use assert_cmd::Command;

use crate::shrink::buggy;
use crate::support::{Done, Folder};

/// The commands of a session with the seed that shows the double unmap, and what came of them.
fn session(folder: &Folder, commands: &str) -> Done {
    let output = Command::cargo_bin("dmasim")
        .expect("the command is built")
        .current_dir(folder.path())
        .args(["replay", "buggy.ron", "--seed", "0", "--step"])
        .write_stdin(commands)
        .output()
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Done { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The steps at which a session stood, in order.
fn places(done: &Done) -> Vec<u64> {
    let number = |line: &str| line.strip_prefix("step ")?.split(' ').next()?.parse().ok();
    done.stdout.lines().filter_map(number).collect()
}

#[test]
fn every_view_is_shown_at_the_step_of_the_finding() {
    let folder = buggy();
    let at = |view: &str| folder.dmasim(&["replay", "buggy.ron", "--seed", "0", "--show", view]).exits(0);
    at("memblock").says(&["/sys/kernel/debug/memblock/memory", "0: 0x0000000000001000..0x"]);
    at("swiotlb").says(&["/sys/kernel/debug/swiotlb"]);
    at("iommu").says(&["/sys/kernel/iommu_groups/0/type:", "/devices/0000:02:00.0", "domain 1"]);
    at("devices").says(&["0000:02:00.0 card", "driver card", "dma_mask 0xffffffff", "iommu_group"]);
    at("locks").says(&["Showing all locks held in the system:", "Order in which classes were taken:"]);
    at("contexts").says(&["card: play (task on cpu", "Call Trace:", "card_play"]);
    let both = at("locks,contexts");
    assert!(both.stdout.find("locks") < both.stdout.find("contexts"), "{both:?}");
}

#[test]
fn a_step_that_the_run_does_not_have_is_told_with_how_many_it_has() {
    let folder = buggy();
    let show = |rest: &[&str]| {
        folder.dmasim(&[&["replay", "buggy.ron", "--seed", "0", "--show", "contexts"], rest].concat())
    };
    let json = show(&["--format", "json"]).exits(0).json();
    let (step, steps) = (json["step"].as_u64().expect("a number"), json["steps"].as_u64().expect("a number"));
    assert!(0 < step && step <= steps, "{json}");
    show(&["--at", &steps.to_string()]).exits(0).says(&[&format!("step {steps} of {steps}")]);
    show(&["--at", "0"]).exits(0).says(&["step 0 of", "swapper/0 (task on cpu0), 0 steps taken"]);
    let beyond = (steps + 1).to_string();
    show(&["--at", &beyond]).exits(2).complains(&[
        &format!("there is no step {beyond}: the run has {steps} steps"),
        &format!("its first finding is at step {step}"),
    ]);
    folder
        .dmasim(&["replay", "buggy.ron", "--seed", "0", "--show", "lokcs"])
        .exits(2)
        .complains(&["did you mean `locks`?"]);
    folder
        .dmasim(&["replay", "buggy.ron", "--seed", "0", "--at", "3"])
        .exits(2)
        .complains(&["--at goes with --show or --step"]);
}

#[test]
fn json_holds_each_view_that_was_asked_for() {
    let folder = buggy();
    let views = "memblock,swiotlb,iommu,devices,locks,contexts";
    let words = ["replay", "buggy.ron", "--seed", "0", "--show", views, "--format", "json"];
    let json = folder.dmasim(&words).exits(0).json();
    for view in views.split(',') {
        assert!(!json["state"][view].is_null(), "{view}: {json}");
    }
    assert_eq!(json["state"]["devices"][0]["bdf"], "0000:01:00.0");
    assert!(json["state"]["memblock"]["memory"][0]["base"] == "0x1000");
    // Whoever refers to a mapping by number finds it.
    let domains = json["state"]["iommu"]["domains"].as_array().expect("a list");
    let mappings = json["state"]["mappings"].as_array().expect("a list");
    let numbers = domains.iter().flat_map(|domain| domain["iovas"].as_array().expect("a list"));
    for number in numbers.filter_map(|iova| iova["mapping"].as_u64()) {
        assert!(number < mappings.len() as u64);
    }
}

#[test]
fn a_session_goes_forward_and_backward_and_comes_to_the_same_places() {
    let folder = buggy();
    let done =
        session(&folder, "step 3\nback 1\nstep\nend\nback 2\nstart\nfinding\nstep 100000000\nquit\nstep\n");
    let done =
        done.exits(0).says(&["finding at step", "*** finding: dma-api-misuse", "the run ends with step"]);
    let at = places(&done);
    let last = at[4];
    let finding = at[7];
    assert_eq!(at[..4], [0, 3, 2, 3]);
    assert_eq!(at[4..], [last, last - 2, 0, finding, last]);
    assert!(0 < finding && finding <= last);
    // What stood at a step the first time stands there the second time.
    let blocks: Vec<&str> = done.stdout.split("(dmasim) ").collect();
    let body = |block: &str| block.split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(body(blocks[1]), body(blocks[3]));
    assert_eq!(
        session(&folder, "step 3\nend\nback 2\n").stdout,
        session(&folder, "step 3\nend\nback 2\n").stdout
    );
}

#[test]
fn a_session_follows_a_context_and_an_object() {
    let folder = buggy();
    let done = session(&folder, "next card: play\nnext card: play\nprevious card: play\n").exits(0);
    let at = places(&done);
    assert!(at[1] < at[2] && at[3] == at[1], "{at:?}");
    assert!(done.stdout.matches(": start").count() + done.stdout.matches("start").count() > 0);
    let done = session(
        &folder,
        "end\nbefore struct device.dma_mask\nbefore struct device.dma_mask\naccess device.dma_mask\n",
    );
    let done = done.exits(0).says(&["read struct device.dma_mask"]);
    let at = places(&done);
    assert!(at[3] < at[2] && at[2] < at[1] && at[4] == at[2], "{at:?}");
}

#[test]
fn a_session_shows_objects_with_their_fields_and_their_life() {
    let folder = buggy();
    let done = session(
        &folder,
        "finding\nobject struct device#1\nshow devices\nstart\nhistory struct device.dma_mask#1\n",
    );
    let done = done.exits(0).says(&[
        "struct device at ffff8",
        "bytes, alive",
        "dma_mask",
        "allocated by",
        "pci_alloc_dev",
        "steps touch struct device.dma_mask#1",
        "---- here, after step",
        "0000:02:00.0 card",
    ]);
    // The same object by its address.
    let address =
        done.stdout.split("struct device at ").nth(1).and_then(|rest| rest.get(..16)).expect("an address");
    let again =
        session(&folder, &format!("finding\nobject {address}\nhistory 0x{address}\naccess 0x10\n")).exits(0);
    again.says(&[&format!("struct device at {address}"), "no object lies at 0x10"]);
}

#[test]
fn what_a_session_does_not_understand_is_told_and_it_goes_on() {
    let folder = buggy();
    let text = "stpe\nstep x\nshow loks\nnext cart: play\naccess struct devise\nfinding 99\n\nhelp access\nhelp\nstep\n";
    let done = session(&folder, text).exits(0).says(&[
        "did you mean `step`?",
        "`step` wants a number, and finds `x`",
        "did you mean `locks`?",
        "did you mean `card: play`?",
        "did you mean `struct device`?",
        "there is no such finding: the run has",
        "to the next step that touches an object",
        "OBJECT is an address",
    ]);
    assert_eq!(places(&done), [0, 1]);
}
