//! `dmasim shrink`: smaller, with the same finding, whatever happens to the process.

use crate::support::{Folder, STARTER};

/// A scenario whose driver unmaps twice, among much that has nothing to do with it.
pub(crate) const BUGGY: &str = r#"(
    about: "unmaps twice",
    kernel: (version: "5.15"),
    cmdline: "quiet debug",
    machine: Inline(
        name: "small",
        cpu_vendor: Amd,
        cpus: 4,
        e820: [
            (start: 0x0, end: 0x9fbff, kind: Usable),
            (start: 0x100000, end: 0xbfffffff, kind: Usable),
            (start: 0x100000000, end: 0x1bfffffff, kind: Usable),
        ],
        iommu: AmdVi(ppr: true, gt: true),
        devices: [
            (bdf: "0000:01:00.0", name: "disk", class: "nvme", caps: [Msi], driver: "disk"),
            (bdf: "0000:02:00.0", name: "card", driver: "card"),
        ],
    ),
    drivers: [
        Inline(
            name: "disk",
            probe: [SetMask(bits: 64), AllocCoherent(name: "ring", size: Fixed(4096))],
            workload: [(name: "read", body: [
                Repeat(times: Uniform(2, 4), body: [
                    Map(name: "data", size: OneOf([512, 4096]), dir: FromDevice, on_error: Skip),
                    Unmap(name: "data"),
                ]),
            ])],
            remove: [FreeCoherent(name: "ring")],
        ),
        Inline(
            name: "card",
            workload: [(name: "play", start_ms: Uniform(1, 9), body: [
                Repeat(times: Uniform(2, 4), body: [
                    Call(function: "card_play", body: [
                        Map(name: "sound", size: Uniform(5000, 9000), dir: ToDevice),
                        Unmap(name: "sound"),
                        Maybe(percent: 50, body: [Unmap(name: "sound")]),
                    ]),
                ]),
            ])],
        ),
    ],
    processes: [(name: "init", body: [AllocPages(count: Uniform(4, 16), fill: [(2, Text), (1, Zero)])])],
    inject: (delay: (max_us: 100, percent: 5)),
    explore: (seeds: 50),
    expect: Findings(all: [(kind: "dma-api-misuse")], others: true),
)
"#;

pub(crate) fn buggy() -> Folder {
    let folder = Folder::new();
    folder.write("buggy.ron", BUGGY);
    folder
}

#[test]
fn what_has_nothing_to_do_with_the_finding_is_gone() {
    let folder = buggy();
    let json = folder
        .dmasim(&[
            "shrink",
            "buggy.ron",
            "--signature",
            "dma-api-misuse",
            "-o",
            "small.ron",
            "--format",
            "json",
        ])
        .exits(0)
        .json();
    assert_eq!((&json["kind"], &json["complete"]), (&"dma-api-misuse".into(), &true.into()));
    let after = &json["after"];
    assert_eq!(
        (&after["devices"], &after["drivers"], &after["processes"]),
        (&1.into(), &1.into(), &0.into())
    );
    assert_eq!((&after["CPUs"], &after["choices_that_are_no_default"]), (&1.into(), &0.into()), "{after}");
    let text = std::fs::read_to_string(folder.path().join("small.ron")).expect("it is written");
    assert!(
        text.contains("Unmap(name: \"sound\")") && !text.contains("disk") && !text.contains("init"),
        "{text}"
    );
    assert!(!text.contains("Repeat") && !text.contains("Maybe") && !text.contains("Uniform"), "{text}");
    // It stands alone, shows the same, and its token repeats it.
    folder.dmasim(&["run", "small.ron"]).exits(0).says(&["As expected", "dma-api-misuse"]);
    let token = json["token"].as_str().expect("a token");
    assert!(text.contains(token));
    folder.dmasim(&["replay", "small.ron", "--token", token]).exits(1).says(&["dma-api-misuse"]);
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let folder = buggy();
    let text = |jobs: &str| {
        let words =
            ["shrink", "buggy.ron", "--signature", "dma-api-misuse", "--jobs", jobs, "--format", "json"];
        folder.dmasim(&words).exits(0).json()
    };
    let one = text("1");
    assert_eq!(one, text("3"));
}

#[test]
fn only_the_schedule_is_made_shorter_if_asked_for() {
    let folder = buggy();
    let words = ["shrink", "buggy.ron", "--seeds", "20", "--schedule-only", "--signature", "dma-api-misuse"];
    let json = folder.dmasim(&[&words[..], &["--format", "json"]].concat()).json();
    assert_eq!(json["before"]["devices"], json["after"]["devices"]);
    assert!(
        json["after"]["choices_that_are_no_default"].as_u64()
            < json["before"]["choices_that_are_no_default"].as_u64()
    );
}

#[test]
fn what_cannot_be_shrunk_is_told() {
    let folder = buggy();
    folder
        .dmasim(&["shrink", "good.ron", "--seeds", "5"])
        .exits(1)
        .says(&["none of 5 seeds shows a finding"]);
    folder
        .dmasim(&["shrink", "buggy.ron", "--signature", "page-fault", "--seed", "1"])
        .exits(1)
        .says(&["the seed does not show a finding of signature \"page-fault\""]);
    folder.dmasim(&["shrink", "bugy.ron"]).exits(2).complains(&["did you mean `buggy.ron`?"]);
    folder.dmasim(&["shrink", "buggy.ron", "--token", "x"]).exits(2).complains(&["a token begins with"]);
    folder
        .dmasim(&["shrink", "buggy.ron", "-o", "no/where.ron"])
        .exits(2)
        .complains(&["cannot write no/where.ron"]);
    folder
        .dmasim(&["shrink", "buggy.ron", "--seed", "1", "--token", "x"])
        .exits(2)
        .complains(&["cannot be used with"]);
}

#[test]
fn a_budget_is_kept_and_the_best_so_far_written() {
    let folder = buggy();
    let words =
        ["shrink", "buggy.ron", "--signature", "dma-api-misuse", "--budget", "40", "--format", "json"];
    let json = folder.dmasim(&words).exits(0).json();
    assert_eq!((&json["complete"], &json["tried"]), (&false.into(), &40.into()));
}

#[test]
fn a_state_of_another_search_is_refused() {
    let folder = buggy();
    let shrink =
        |more: &[&str]| folder.dmasim(&[&["shrink", "buggy.ron", "--resume", "state"], more].concat());
    shrink(&["--budget", "20"]).exits(0);
    shrink(&["--budget", "30"]).exits(2).complains(&["belongs to another search", "budget 20", "help:"]);
    folder.write("state", "hello");
    shrink(&["--budget", "20"]).exits(2).complains(&["holds no state of a search"]);
}

#[cfg(unix)]
#[test]
fn a_search_that_is_killed_at_any_moment_goes_on_to_the_same_end() {
    use std::process::{Command, Stdio};
    let folder = buggy();
    let whole = folder
        .dmasim(&["shrink", "buggy.ron", "--signature", "dma-api-misuse", "--format", "json"])
        .exits(0)
        .json();
    let words =
        ["shrink", "buggy.ron", "--signature", "dma-api-misuse", "--resume", "state", "-o", "out.ron"];
    // Moments from a generator of our own, so that a failure can be repeated.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let (mut kills, mut n) = (0, 0);
    // A search that came to its end is no kill: it begins anew, and is tried again.
    while kills < 50 {
        n += 1;
        assert!(n < 1_000, "only {kills} were killed");
        let mut child = Command::new(env!("CARGO_BIN_EXE_dmasim"))
            .current_dir(folder.path())
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(std::time::Duration::from_millis(random % 25));
        let signal = if n % 3 == 0 { "-INT" } else { "-KILL" };
        if child.try_wait().expect("it can be asked").is_some() {
            let _ = std::fs::remove_file(folder.path().join("state"));
        } else {
            let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
            kills += u32::from(sent.is_ok_and(|status| status.success()));
        }
        child.wait().expect("it ends");
        // It begins anew now and then, so that early moments are met as often as late ones.
        if n % 15 == 14 {
            let _ = std::fs::remove_file(folder.path().join("state"));
        }
        // Whatever was written is whole.
        if folder.path().join("out.ron").exists() {
            folder.dmasim(&["scenario", "check", "out.ron"]).exits(0);
        }
    }
    let words =
        ["shrink", "buggy.ron", "--signature", "dma-api-misuse", "--resume", "state", "--format", "json"];
    assert_eq!(folder.dmasim(&words).exits(0).json(), whole);
}

#[test]
fn the_starter_has_no_pair_and_a_bug_without_a_race_has_none_either() {
    let folder = buggy();
    folder
        .dmasim(&[
            "shrink",
            "buggy.ron",
            "--signature",
            "dma-api-misuse",
            "--minimal-pair",
            "-o",
            "small.ron",
        ])
        .exits(0)
        .says(&["No single switch, more or less, and no single other choice"]);
    assert!(STARTER.contains("expect: Clean()"));
}
