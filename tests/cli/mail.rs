//! The report for a mailing list: what it says of one finding of each kind, and its form for all scenarios.

use std::path::{Path, PathBuf};
use std::process::Command as Plain;
use std::sync::Mutex;

use assert_cmd::cargo::CommandCargoExt as _;
use models::oracle::FINDINGS;

/// A kind of finding, a scenario of the repository that shows it, and a seed.
const KINDS: &[(&str, &str, u64)] = &[
    ("bad-free", "scenarios/bugs/slab-array-freed-as-pages/buggy.ron", 0),
    ("bogus-full", "scenarios/lkml-2021-07/wrong-device.ron", 4),
    ("completion-timeout", "scenarios/bugs/completion-sequence-out-of-order/buggy.ron", 5),
    ("dma-api-misuse", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron", 5),
    ("dma-misaligned", "scenarios/bugs/bounce-drops-page-offset/buggy.ron", 0),
    ("dma-outside-mapping", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron", 5),
    ("dma-use-after-free", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron", 3),
    ("dma-wrong-direction", "scenarios/bugs/device-writes-more-than-mapped/buggy.ron", 0),
    ("double-free", "scenarios/bugs/dev-iommu-freed-in-parallel-probe/buggy.ron", 6),
    ("exposed-data", "scenarios/bugs/untrusted-padding-shows-old-slots/buggy.ron", 0),
    ("foreign-data", "scenarios/bugs/stale-bytes-to-reader-from-device/buggy.ron", 0),
    ("freed-while-shared", "scenarios/bugs/dyn-pool-pages-freed-while-shared/buggy.ron", 1),
    ("general-protection-fault", "scenarios/lkml-2021-07/wrong-device.ron", 1),
    ("hard-lockup", "scenarios/lkml-2021-07/hp-4300g.ron", 17),
    ("iommu-fault", "scenarios/bugs/superpage-switch-frees-foreign-ptes/buggy.ron", 0),
    ("iova-out-of-range", "scenarios/bugs/iova-retry-overflow-below-start/buggy.ron", 0),
    ("leak-mapping", "scenarios/bugs/bounce-slot-leak-on-submit-error/buggy.ron", 0),
    ("livelock", "scenarios/bugs/slot-search-livelock-irqs-off/buggy.ron", 8),
    ("lost-memory", "scenarios/bugs/free-late-in-deferred-range/buggy.ron", 0),
    ("lost-write", "scenarios/bugs/partial-sync-uses-slot-start/buggy.ron", 0),
    ("mapping-error", "scenarios/bugs/amd-swiotlb-veto-vs-untrusted/buggy.ron", 0),
    ("memblock-gone", "scenarios/bugs/memblock-arrays-discarded-before-last-use/buggy.ron", 0),
    ("memory-leak", "scenarios/bugs/dma-range-map-overwritten-on-reprobe/buggy.ron", 0),
    ("null-pointer", "scenarios/bugs/null-dma-mask/buggy.ron", 0),
    ("out-of-bounds", "scenarios/bugs/transient-pool-slot-out-of-bounds/buggy.ron", 0),
    ("overlapping-mappings", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron", 0),
    ("overlapping-owners", "scenarios/bugs/reserved-array-doubled-over-new-range/buggy.ron", 0),
    ("page-fault", "scenarios/bugs/swiotlb-exit-dangling-mem/buggy.ron", 1),
    ("panic", "scenarios/bugs/early-init-fail-looks-initialised/buggy.ron", 0),
    ("private-memory", "scenarios/bugs/force-bounce-snapshot-order/buggy.ron", 0),
    ("reserve-outside-memory", "scenarios/bugs/virtual-address-reserved-as-physical/buggy.ron", 0),
    ("sleep-in-atomic", "scenarios/bugs/sleeping-map-in-atomic-context/buggy.ron", 0),
    ("slots-lost", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron", 0),
    ("slots-outside-pool", "scenarios/bugs/transient-pool-slot-out-of-bounds/buggy.ron", 0),
    ("stale-iotlb", "scenarios/bugs/unaligned-page-selective-flush/buggy.ron", 0),
    ("uninitialised-lock", "scenarios/bugs/map-with-empty-static-pool/buggy.ron", 0),
    ("use-after-free", "scenarios/bugs/swiotlb-exit-dangling-mem/buggy.ron", 0),
    ("warn-on", "scenarios/bugs/page-table-growth-vs-lockless-walk-2019/buggy.ron", 5),
    ("wild-pointer", "scenarios/lkml-2021-07/wrong-device.ron", 4),
    ("wild-write", "scenarios/bugs/swiotlb-exit-dangling-mem/buggy.ron", 13),
    ("wrong-data", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron", 0),
    ("wrong-object", "scenarios/lkml-2021-07/wrong-device.ron", 0),
];

/// Kinds that no scenario of the repository shows: those of the engine, of the tool itself, and those whose bug no kernel
/// that can be run had. The tests of the oracles show that each can fire.
const UNSEEN: &[&str] = &[
    "atomic-at-end",
    "data-race",
    "deadlock",
    "dma-beyond-mask",
    "dma-corrupts-object",
    "dma-path-changed",
    "free-at-wrong-time",
    "hung-task",
    "irq-unsafe-lock",
    "kernel-bug",
    "lock-held-at-end",
    "lock-inversion",
    "nondeterminism",
    "panic-in-model",
    "rcu-reader-at-end",
    "recursive-locking",
    "slots-inconsistent",
    "soft-lockup",
    "stale-translation",
    "too-many-contexts",
    "unlock-not-held",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the command prints as a mail, started in the repository: paths in it are those that a reader would type.
fn mail(words: &[&str]) -> String {
    let output = Plain::cargo_bin("dmasim")
        .expect("the command is built")
        .current_dir(root())
        .env_remove("NO_COLOR")
        .args(words)
        .args(["--report", "lkml", "--quiet"])
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The findings of a mail: each ends with its signature.
fn findings(mail: &str) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut text = String::new();
    let mut lines = mail.lines().peekable();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        if let Some(signature) = line.strip_prefix("  signature: ") {
            let kind = signature.split([' ', ',']).next().unwrap_or_default().to_owned();
            // The signature may go on.
            while let Some(more) = lines.next_if(|line| line.starts_with("  ")) {
                text.push_str(more);
                text.push('\n');
            }
            list.push((kind, std::mem::take(&mut text)));
        }
    }
    list
}

/// No line is wider than a mail quotes without breaking it, and all is plain ASCII. What is to be pasted into a shell is
/// one line, however long.
fn check_form(who: &str, mail: &str) {
    for (n, line) in mail.lines().enumerate() {
        let pasted = line.trim_start().starts_with("dmasim ");
        assert!(pasted || line.len() <= 75, "{who}, line {}: {} columns: {line}", n + 1, line.len());
        assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{who}, line {}: {line:?}", n + 1);
        assert_eq!(line.trim_end(), line, "{who}, line {}: blanks at the end", n + 1);
    }
}

/// Works on all items, on as many threads as there are CPUs.
fn on_all_cpus<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(items);
    let next = || queue.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

#[test]
fn the_mail_of_each_kind_of_finding() {
    let texts = Mutex::new(Vec::new());
    on_all_cpus(KINDS.to_vec(), |(kind, scenario, seed)| {
        let mail = mail(&["run", scenario, "--seed", &seed.to_string(), "--all"]);
        check_form(scenario, &mail);
        let found = findings(&mail).into_iter().find(|(other, _)| other == kind);
        let (_, text) = found.unwrap_or_else(|| panic!("seed {seed} of {scenario} shows no {kind}"));
        texts.lock().expect("nobody panics with it").push((kind, text));
    });
    let mut texts = texts.into_inner().expect("nobody panicked");
    texts.sort_unstable();
    for (kind, text) in texts {
        // A token is another one after any change of the scenario.
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("--token ").map_or(line, |(before, _)| before.trim_end()))
            .collect();
        insta::assert_snapshot!(format!("mail_{kind}"), lines.join("\n"));
    }
}

#[test]
fn every_kind_is_shown_or_known_to_be_unseen() {
    for (kind, _) in FINDINGS {
        let shown = KINDS.iter().any(|(other, ..)| other == kind);
        assert!(shown != UNSEEN.contains(kind), "{kind} belongs into one of the two lists");
    }
    for (kind, ..) in KINDS {
        assert!(FINDINGS.iter().any(|(other, _)| other == kind), "there is no {kind}");
    }
}

fn scenarios(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // Parts of scenarios, and recorded runs.
            if !["machines", "drivers", "regressions"].iter().any(|name| path.ends_with(name)) {
                scenarios(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "ron") {
            files.push(path);
        }
    }
}

/// Planted bug with which this was seen to fail: a heading of the section on conditions that is not wrapped.
#[test]
fn every_scenario_gives_a_mail_that_can_be_sent() {
    let mut files = Vec::new();
    scenarios(&root().join("scenarios"), &mut files);
    assert!(files.len() > 80, "only {} scenarios were found", files.len());
    let told = Mutex::new(0);
    on_all_cpus(files, |file| {
        let name = file.strip_prefix(root()).expect("it is in the repository").to_string_lossy().into_owned();
        let mail = mail(&["run", &name, "--seeds", "2"]);
        check_form(&name, &mail);
        let found = findings(&mail).len();
        *told.lock().expect("nobody panics with it") += found;
        assert!(found > 0 || mail == "no finding in 2 seeds\n", "{name}:\n{mail}");
    });
    assert!(told.into_inner().expect("nobody panicked") > 60);
}
