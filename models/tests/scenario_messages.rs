//! What a user reads when a scenario is wrong: file, line, column, field, what was found, what is allowed, and the
//! nearest name.

mod scenario_support;

use scenario_support::{Memory, complaint, edited, plain};

/// The complaint begins with the place, and holds all of these.
#[track_caller]
fn says(from: &str, to: &str, place: &str, parts: &[&str]) {
    let text = complaint(from, to);
    assert!(text.starts_with(place), "wanted {place} in:\n{text}");
    for part in parts {
        assert!(text.contains(part), "wanted `{part}` in:\n{text}");
    }
}

#[test]
fn print_all() {
    for (from, to) in [
        ("cmdline: \"quiet\"", "cmdlnie: \"quiet\""),
        ("dir: FromDevice", "dir: FromDevise"),
        ("cpus: 2", "cpus: \"two\""),
        ("cpus: 2", "cpus: -2"),
        ("cpus: 2", "cpus: 99999999999999999999"),
        ("cpus: 2", "cpus: 200"),
        ("cpus: 2,", ""),
        ("cpus: 2,", "cpus: 2, cpus: 3,"),
        ("dma: Write", "dma: Wirte"),
        ("times: Fixed(4)", "times: 4"),
        ("times: Fixed(4)", "times: Fixed(4"),
        ("times: Fixed(4)", "tims: Fixed(4)"),
        ("name: \"io\"", "name: io"),
        ("name: \"io\"", "name: \"io"),
        ("WaitAll", "WaitAl"),
        ("Unmap(name: \"data\")", "Unmap(name: \"dta\")"),
        ("driver: \"nvme\"", "driver: \"nmve\""),
        ("caps: [Ats]", "caps: Ats"),
        ("Uniform(512, 8192)", "Uniform(8192, 512)"),
        ("Uniform(512, 8192)", "Uniform(512)"),
        ("delay: (max_us: 100, percent: 10)", "delay: (max_us: 100, percent: 101)"),
        ("version: \"5.13\"", "version: \"5.31\""),
        ("version: \"5.13\"", "version: \"6.1\""),
        ("version: \"5.13\"", "version: \"5.13\", apply: [\"static-pool\"]"),
        ("version: \"5.13\"", "version: \"5.13\", config: [\"SWIOTLB=y\"]"),
        ("machine.ron", "machin.ron"),
        ("0000:01:00.0", "0000:01:0.0"),
        ("(start: 0x100000,", "(start: 0x80000,"),
        ("[File(\"nvme.ron\")]", "[File(\"nvme.ron\"]"),
        ("WaitAll,\n            ]),", "WaitAll,\n            ),"),
        ("cmdline: \"iommu=pt\")],\n)", "cmdline: \"iommu=pt\")],\n"),
        ("cmdline: \"iommu=pt\")],\n)", "cmdline: \"iommu=pt\")],\n) )"),
        ("// A comment.", "(expect: Clean)"),
        ("// A comment.\n(", "(expect: Clean,"),
    ] {
        println!("--- {from} -> {to}\n{}", complaint(from, to));
    }
}

#[test]
fn good_files_are_accepted() {
    let loaded = plain().load("s/main.ron").expect("a good scenario");
    assert_eq!(loaded.variants().count(), 1);
}
