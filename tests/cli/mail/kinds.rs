//! What the mail says of one finding of each kind.

use std::path::Path;
use std::sync::Mutex;

use models::oracle::FINDINGS;
use serde_json::Value;

use super::{check_form, mail_in, on_all_cpus, printed, root};
use crate::support::Folder;

/// A kind of finding, and a scenario of the repository that shows it in one of its first seeds.
const KINDS: &[(&str, &str)] = &[
    ("bad-free", "scenarios/bugs/slab-array-freed-as-pages/buggy.ron"),
    ("bogus-full", "scenarios/lkml-2021-07/wrong-device.ron"),
    ("completion-timeout", "scenarios/bugs/completion-sequence-out-of-order/buggy.ron"),
    ("dma-after-kexec", "scenarios/power/kexec-nobody-stops-the-device.ron"),
    ("dma-misaligned", "scenarios/bugs/bounce-drops-page-offset/buggy.ron"),
    ("dma-use-after-free", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron"),
    ("dma-wrong-direction", "scenarios/bugs/device-writes-more-than-mapped/buggy.ron"),
    ("double-free", "scenarios/bugs/dev-iommu-freed-in-parallel-probe/buggy.ron"),
    ("exposed-data", "scenarios/bugs/untrusted-padding-shows-old-slots/buggy.ron"),
    ("foreign-data", "scenarios/bugs/stale-bytes-to-reader-from-device/buggy.ron"),
    ("freed-while-shared", "scenarios/bugs/dyn-pool-pages-freed-while-shared/buggy.ron"),
    ("general-protection-fault", "scenarios/lkml-2021-07/wrong-device.ron"),
    ("hard-lockup", "scenarios/lkml-2021-07/hp-4300g.ron"),
    ("iommu-fault", "scenarios/bugs/superpage-switch-frees-foreign-ptes/buggy.ron"),
    ("iova-out-of-range", "scenarios/bugs/iova-retry-overflow-below-start/buggy.ron"),
    ("leak-mapping", "scenarios/bugs/bounce-slot-leak-on-submit-error/buggy.ron"),
    ("data-race", "scenarios/bugs/fwspec-race-second-round/buggy.ron"),
    ("livelock", "scenarios/bugs/slot-search-livelock-irqs-off/buggy.ron"),
    ("lost-iova", "scenarios/bugs/page-table-growth-vs-lockless-walk-2019/buggy.ron"),
    ("lost-memory", "scenarios/bugs/free-late-in-deferred-range/buggy.ron"),
    ("lost-write", "scenarios/bugs/partial-sync-uses-slot-start/buggy.ron"),
    ("mapping-error", "scenarios/bugs/iova-global-depot-not-reclaimed/buggy.ron"),
    ("maps-no-memory", "scenarios/bugs/identity-bounds-off-by-one/buggy.ron"),
    ("memblock-gone", "scenarios/bugs/memblock-arrays-discarded-before-last-use/buggy.ron"),
    ("memory-leak", "scenarios/bugs/dma-range-map-overwritten-on-reprobe/buggy.ron"),
    ("null-pointer", "scenarios/bugs/null-dma-mask/buggy.ron"),
    ("out-of-bounds", "scenarios/bugs/transient-pool-slot-out-of-bounds/buggy.ron"),
    ("overlapping-mappings", "scenarios/bugs/unaligned-slot-double-allocates-page/buggy.ron"),
    ("overlapping-owners", "scenarios/bugs/reserved-array-doubled-over-new-range/buggy.ron"),
    ("page-fault", "scenarios/bugs/swiotlb-exit-dangling-mem/buggy.ron"),
    ("panic", "scenarios/bugs/early-init-fail-looks-initialised/buggy.ron"),
    ("private-memory", "scenarios/bugs/force-bounce-snapshot-order/buggy.ron"),
    ("redundant-flush", "scenarios/bugs/flush-size-off-by-one-storm/buggy.ron"),
    ("refused-without-owner", "scenarios/bugs/pasid-use-blocks-second-member/buggy.ron"),
    ("reserve-outside-memory", "scenarios/bugs/virtual-address-reserved-as-physical/buggy.ron"),
    ("sleep-in-atomic", "scenarios/bugs/sleeping-map-in-atomic-context/buggy.ron"),
    ("slots-inconsistent", "scenarios/bugs/pool-above-4g-address-truncated/buggy.ron"),
    ("slots-lost", "scenarios/bugs/dyn-pool-not-visible-to-other-cpu/buggy.ron"),
    ("supplier-asleep", "scenarios/power/iommu-shut-down-first.ron"),
    ("supplier-gone", "scenarios/bugs/consumer-cleanup-after-supplier-unbound/buggy.ron"),
    ("slots-outside-pool", "scenarios/bugs/transient-pool-slot-out-of-bounds/buggy.ron"),
    ("stale-iotlb", "scenarios/bugs/unaligned-page-selective-flush/buggy.ron"),
    ("stale-translation", "scenarios/bugs/kdump-stale-domain-in-tlb-amd/buggy.ron"),
    ("uninitialised-lock", "scenarios/bugs/map-with-empty-static-pool/buggy.ron"),
    ("use-after-free", "scenarios/bugs/swiotlb-exit-dangling-mem/buggy.ron"),
    ("warn-on", "scenarios/bugs/page-table-growth-vs-lockless-walk-2019/buggy.ron"),
    ("wild-pointer", "scenarios/lkml-2021-07/wrong-device.ron"),
    ("wild-write", "scenarios/bugs/swiotlb-exit-dangling-mem/buggy.ron"),
    ("wrong-data", "scenarios/bugs/unaligned-slot-double-allocates-page/buggy.ron"),
    ("wrong-object", "scenarios/lkml-2021-07/wrong-device.ron"),
];

/// A small machine with one disk. What differs between two is a field.
struct Small {
    version: &'static str,
    revert: &'static str,
    cmdline: &'static str,
    iommu: &'static str,
    device: &'static str,
    registers: &'static str,
    probe: &'static str,
    /// What its contexts do, one each.
    workload: &'static [&'static str],
    /// So many processes sleep meanwhile.
    processes: usize,
}

const SMALL: Small = Small {
    version: "5.15",
    revert: "",
    cmdline: "quiet",
    iommu: "AmdVi(ppr: true, gt: true)",
    device: "",
    registers: "Device",
    probe: "SetMask(bits: 64)",
    workload: &[],
    processes: 0,
};

/// Kinds that no scenario of the repository shows, and what shows them in one of the first seeds.
const MADE: &[(&str, Small)] = &[
    (
        "deadlock",
        Small {
            workload: &[
                r#"Repeat(times: Fixed(9), body: [Lock(name: "tx", body: [Lock(name: "ring", body: [])])])"#,
                r#"Repeat(times: Fixed(9), body: [Lock(name: "ring", body: [Lock(name: "tx", body: [])])])"#,
            ],
            ..SMALL
        },
    ),
    (
        "dma-api-misuse",
        Small {
            workload: &[
                r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m"), Unmap(name: "m")"#,
            ],
            ..SMALL
        },
    ),
    (
        "dma-outside-mapping",
        Small {
            workload: &[r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m"),
                Submit(name: "m", dma: Write, irq: []), WaitAll"#],
            ..SMALL
        },
    ),
    (
        "dma-path-changed",
        Small {
            registers: "Subsys",
            probe: r#"Map(name: "m", size: Fixed(4096), dir: FromDevice)"#,
            workload: &[r#"Sleep(us: Fixed(4000000)), Unmap(name: "m")"#],
            ..SMALL
        },
    ),
    (
        "irq-unsafe-lock",
        Small {
            workload: &[r#"Map(name: "m", size: Fixed(512), dir: FromDevice),
                Submit(name: "m", dma: Write, irq: [Lock(name: "ring", body: [])]),
                Lock(name: "ring", body: []), WaitAll, Unmap(name: "m")"#],
            ..SMALL
        },
    ),
    (
        "kernel-bug",
        Small {
            version: "6.1",
            revert: r#""map-without-pool-errors", "bounce-needs-pool", "pool-size-halved""#,
            cmdline: "swiotlb=8388608",
            iommu: "None",
            probe: "SetMask(bits: 32)",
            workload: &[
                r#"Map(name: "m", size: Fixed(4096), dir: ToDevice, on_error: Skip, attrs: [NoWarn]),
                Unmap(name: "m")"#,
            ],
            ..SMALL
        },
    ),
    (
        "left-translation",
        Small {
            revert: r#""amd-iommu-swiotlb-veto""#,
            device: "untrusted: true",
            probe: "SetMask(bits: 64), SetMinAlignMask(mask: 0xfff)",
            workload: &[r#"Map(name: "out", offset: Fixed(0x834), size: Fixed(5000), dir: ToDevice),
                DeviceRead(name: "out"), Unmap(name: "out")"#],
            ..SMALL
        },
    ),
    (
        "lock-inversion",
        Small {
            workload: &[r#"Lock(name: "tx", body: [Lock(name: "ring", body: [])]),
                Lock(name: "ring", body: [Lock(name: "tx", body: [])])"#],
            ..SMALL
        },
    ),
    (
        "recursive-locking",
        Small { workload: &[r#"Lock(name: "ring", body: [Lock(name: "ring", body: [])])"#], ..SMALL },
    ),
    ("too-many-contexts", Small { workload: &["Sleep(us: Fixed(9000000))"; 32], processes: 32, ..SMALL }),
];

/// Kinds without a mail here, and why.
const UNSEEN: &[(&str, &str)] = &[
    ("allocator-inconsistent", NO_SUCH_PATH),
    ("bad-segment", NO_SUCH_PATH),
    ("domain-in-use", NO_SUCH_PATH),
    ("freed-before-grace-period", NO_SUCH_PATH),
    ("grace-period-too-short", NO_SUCH_PATH),
    ("group-inconsistent", NO_SUCH_PATH),
    ("group-with-two-users", NO_SUCH_PATH),
    ("lock-not-held", NO_SUCH_PATH),
    ("lost-work", NO_SUCH_PATH),
    ("not-cleared", NO_SUCH_PATH),
    ("pool-too-high", NO_SUCH_PATH),
    ("refused-with-room", NO_SUCH_PATH),
    ("timer-at-wrong-time", NO_SUCH_PATH),
    ("work-still-runs", NO_SUCH_PATH),
    ("wrong-permission", NO_SUCH_PATH),
    ("atomic-at-end", NO_SUCH_PATH),
    ("does-not-settle", NO_SUCH_PATH),
    ("dma-beyond-mask", "no path of a modelled kernel hands out such an address"),
    (
        "dma-corrupts-object",
        "a driver's own objects are no kernel objects, and those of the kernel live at other places",
    ),
    ("free-at-wrong-time", "no modelled kernel frees so"),
    ("hung-task", NO_SUCH_PATH),
    ("lock-held-at-end", NO_SUCH_PATH),
    ("nondeterminism", "a mistake of the simulator"),
    ("panic-in-model", "a mistake of the simulator"),
    ("rcu-reader-at-end", NO_SUCH_PATH),
    ("soft-lockup", "the modelled kernels spin for ever only with interrupts off"),
    ("unlock-not-held", NO_SUCH_PATH),
];

const NO_SUCH_PATH: &str = "no modelled path does so, and the language of drivers cannot say it";

impl Small {
    fn text(&self) -> String {
        let Self { version, revert, cmdline, iommu, device, registers, probe, workload, processes } = self;
        let workload: Vec<String> = (0..)
            .zip(*workload)
            .map(|(n, body)| format!("(name: \"queue{n}\", start_ms: Fixed(1), body: [{body}])"))
            .collect();
        let workload = workload.join(",\n            ");
        let processes: Vec<String> = (0..*processes)
            .map(|n| format!("(name: \"idle{n}\", body: [Sleep(us: Fixed(9000000))])"))
            .collect();
        let processes = processes.join(", ");
        format!(
            r#"(
    about: "one thing",
    kernel: (version: "{version}", revert: [{revert}]),
    cmdline: "{cmdline}",
    machine: Inline(
        name: "small", cpu_vendor: Amd, cpus: 2, iommu: {iommu},
        e820: [
            (start: 0x0, end: 0x9ffff, kind: Usable),
            (start: 0x100000, end: 0xbfffffff, kind: Usable),
            (start: 0x100000000, end: 0x23fffffff, kind: Usable),
        ],
        devices: [(bdf: "0000:01:00.0", name: "disk", driver: "disk", caps: [Msi], isolation: 1, {device})],
    ),
    drivers: [Inline(
        name: "disk",
        registers: {registers},
        probe: [{probe}],
        workload: [
            {workload}
        ],
    )],
    processes: [{processes}],
)
"#
        )
    }
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

/// The text without what changes with every change of a scenario.
fn steady(text: &str) -> String {
    let token = |line: &str| match line.split_once("--token ") {
        Some((before, _)) => format!("{before}--token TOKEN"),
        None => line.to_owned(),
    };
    text.trim().lines().map(token).collect::<Vec<_>>().join("\n")
}

/// The lines below the heading of the interleaving.
fn interleaving(text: &str) -> usize {
    let rule = |line: &&str| line.starts_with("--------------");
    text.lines().skip_while(|line| !rule(line)).skip(1).take_while(|line| !line.is_empty()).count()
}

/// The first seed that shows a finding of a kind: another one after many a change of the models.
fn first_seed(folder: &Path, file: &str, kind: &str) -> u64 {
    let text = printed(folder, &["run", file, "--seeds", "64", "--format", "json", "--quiet"]);
    let value: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("it is JSON");
    let findings = value["findings"].as_array().into_iter().flatten();
    let seeds =
        findings.filter(|finding| finding["kind"] == kind).filter_map(|one| one["first_seed"].as_u64());
    seeds.min().unwrap_or_else(|| panic!("no seed of {file} shows {kind}"))
}

#[test]
fn the_mail_of_each_kind_of_finding() {
    let folder = Folder::new();
    let mut runs: Vec<(&str, String)> =
        KINDS.iter().map(|(kind, file)| (*kind, (*file).to_owned())).collect();
    for (kind, small) in MADE {
        folder.write(&format!("{kind}.ron"), &small.text());
        runs.push((kind, format!("{kind}.ron")));
    }
    let texts = Mutex::new(Vec::new());
    on_all_cpus(runs, |(kind, file)| {
        let start = if file.contains('/') { root() } else { folder.path() };
        let seed = first_seed(start, &file, kind).to_string();
        let mail = mail_in(start, &["run", &file, "--seed", &seed, "--all"]);
        check_form(&file, &mail);
        let found = findings(&mail).into_iter().find(|(other, _)| other == kind);
        match found {
            Some((_, text)) => {
                assert!(interleaving(&text) <= 37, "40 lines with the heads of the columns:\n{text}");
                texts.lock().expect("nobody panics with it").push((kind, steady(&text)));
            }
            None => panic!("seed {seed} of {file} shows no {kind}:\n{mail}"),
        }
    });
    let mut texts = texts.into_inner().expect("nobody panicked");
    texts.sort_unstable();
    for (kind, text) in texts {
        insta::assert_snapshot!(format!("mail_{kind}"), text);
    }
}

/// Seen to fail: a kind that was left out of both lists.
#[test]
fn every_kind_is_shown_or_known_to_be_unseen() {
    let shown: Vec<&str> =
        KINDS.iter().map(|(kind, ..)| *kind).chain(MADE.iter().map(|(kind, ..)| *kind)).collect();
    for (kind, _) in FINDINGS {
        let unseen = UNSEEN.iter().any(|(other, _)| other == kind);
        assert!(shown.contains(kind) != unseen, "{kind} belongs into one of the lists");
    }
    for kind in shown.iter().chain(UNSEEN.iter().map(|(kind, _)| kind)) {
        assert!(FINDINGS.iter().any(|(other, _)| other == kind), "there is no {kind}");
    }
}
