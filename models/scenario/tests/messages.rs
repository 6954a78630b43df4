//! What a user reads when a scenario is wrong: file, line, column, field, what was found, what is allowed, and the
//! nearest name.

mod support;

use miette::Diagnostic as _;
use scenario::{LoadError, Overrides};
use support::{Memory, SCENARIO, complaint, edited, plain};

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
fn good_files_are_accepted() {
    let loaded = plain().load("s/main.ron").expect("a good scenario");
    assert_eq!(loaded.variants().collect::<Vec<_>>(), [("passthrough", "")]);
    assert!(loaded.warnings().is_empty());
}

#[test]
fn misspelt_fields_and_variants() {
    says(
        "cmdline: \"quiet\"",
        "cmdlnie: \"quiet\"",
        "s/main.ron:4:5: cmdlnie: no field `cmdlnie`",
        &["did you mean `cmdline`?", "`extends`"],
    );
    says(
        "dir: FromDevice",
        "dir: FromDevise",
        "s/nvme.ron:9:66: workload[0].body[0].body[0].dir: no variant",
        &["did you mean `FromDevice`?", "allowed: `ToDevice`, `FromDevice`, `Bidirectional`"],
    );
    says("WaitAll", "WaitAl", "s/nvme.ron:11:17: workload[0].body[0].body[2]:", &["did you mean `WaitAll`?"]);
    says("times: Fixed(4)", "tims: Fixed(4)", "s/nvme.ron:8:20: ", &["did you mean `times`?"]);
}

#[test]
fn wrong_types() {
    says(
        "cpus: 2",
        "cpus: \"two\"",
        "s/machine.ron:4:11: cpus: expected integer, found `\"two\"`",
        &["0x1000"],
    );
    says("cpus: 2", "cpus: -2", "s/machine.ron:4:11: cpus: the number does not fit here, found `-2`", &[]);
    says("cpus: 2", "cpus: 99999999999999999999", "s/machine.ron:4:11: cpus: the number does not fit", &[]);
    says(
        "times: Fixed(4)",
        "times: 4",
        "s/nvme.ron:8:27: workload[0].body[0].times: ",
        &["found `4`", "`Fixed(4096)`"],
    );
    says(
        "caps: [Ats]",
        "caps: Ats",
        "s/machine.ron:10:53: devices[0].caps: ",
        &["a list is written `[a, b]`"],
    );
    says(
        "name: \"io\"",
        "name: io",
        "s/nvme.ron:5:15: workload[0].name: ",
        &["text stands in double quotes"],
    );
    says("Uniform(512, 8192)", "Uniform(512)", "s/nvme.ron:9:", &["2 elements"]);
    says("// A comment.\n(", "(expect: Clean,", "s/main.ron:1:15: expect: ", &["`Clean()`"]);
}

#[test]
fn missing_and_doubled_fields() {
    says("cpus: 2,", "", "s/machine.ron:", &["field `cpus` is missing in `Machine`", ": cpus: "]);
    says("cpus: 2,", "cpus: 2, cpus: 3,", "s/machine.ron:4:14: cpus: field `cpus` is given twice", &[]);
    says("kernel: (version: \"5.13\"),", "", "s/main.ron:1:1: field `kernel` is missing", &["extends"]);
}

#[test]
fn brackets_and_quotes() {
    says("[File(\"nvme.ron\")]", "[File(\"nvme.ron\"]", "s/main.ron:6:30: drivers[0]", &["closing bracket"]);
    says(
        "cmdline: \"iommu=pt\")],\n)",
        "cmdline: \"iommu=pt\")],\n",
        "s/main.ron:",
        &["the file ends too early"],
    );
    says("iommu=pt\")],\n)", "iommu=pt\")],\n) x", "s/main.ron:10:3: something follows", &["found `x`"]);
}

#[test]
fn numbers_out_of_range() {
    says("cpus: 2", "cpus: 200", "s/machine.ron:4:11: cpus: 200 is out of range", &["allowed: 1 to 32"]);
    says("percent: 10", "percent: 101", "s/main.ron:8:44: inject.delay.percent: 101 is out", &["0 to 100"]);
    says(
        "Uniform(512, 8192)",
        "Uniform(8192, 512)",
        "s/nvme.ron:9:41: ",
        &["is empty", "`Uniform(512, 8192)`?"],
    );
    says("Uniform(512, 8192)", "OneOf([])", "s/nvme.ron:9:41: ", &["nothing to choose from"]);
    says("Uniform(512, 8192)", "Weighted([(0, 1)])", "s/nvme.ron:9:41: ", &["at least one weight"]);
    says("cpu: PerCpu", "cpu: Cpu(2)", "s/nvme.ron:6:14: workload[0].cpu: no CPU 2", &["allowed: 0 to 1"]);
    says("times: Fixed(4)", "times: Fixed(999999)", "s/nvme.ron:7:15: workload[0].body: it may execute", &[]);
}

#[test]
fn names_that_stand_for_nothing() {
    says(
        "Unmap(name: \"data\")",
        "Unmap(name: \"dta\")",
        "s/nvme.ron:10:109: ",
        &["no mapping", "did you mean `data`?"],
    );
    says(
        "driver: \"nvme\"",
        "driver: \"nmve\"",
        "s/machine.ron:10:39: devices[0].driver: no driver `nmve`",
        &["did you mean `nvme`?"],
    );
    says(
        "0000:01:00.0",
        "0000:01:0.0",
        "s/machine.ron:10:15: devices[0].bdf: `0000:01:0.0` is no PCI",
        &["0000:0c:00.0"],
    );
    says(
        "dir: FromDevice",
        "dir: FromDevice, device: Sibling(\"0000:03:00.0\")",
        "s/nvme.ron:9:",
        &["no device `0000:03:00.0`", "did you mean `0000:0"],
    );
    says("nvme_unmap_data", "nvme unmap", "s/nvme.ron:10:", &["`nvme unmap` is no name of a function"]);
}

#[test]
fn kernels() {
    says(
        "\"5.13\"",
        "\"5.31\"",
        "s/main.ron:3:23: kernel.version: no kernel version `5.31`",
        &["did you mean `5.13`?"],
    );
    says(
        "\"5.13\"",
        "\"6.6\"",
        "s/main.ron:3:23: kernel.version: kernel 6.6 is known, but not",
        &["`next-2021-06`"],
    );
    says(
        "\"5.13\"",
        "\"5.13\", apply: [\"static-pool\"]",
        "s/main.ron:3:39: kernel.apply[0]: no behaviour",
        &["did you mean `static-default-pool`?"],
    );
    says(
        "\"5.13\"",
        "\"5.13\", config: [\"SWIOTLB=y\"]",
        "s/main.ron:3:40: kernel.config[0]: ",
        &["CONFIG_SWIOTLB=y"],
    );
}

#[test]
fn memory_maps() {
    says(
        "(start: 0x100000,",
        "(start: 0x80000,",
        "s/machine.ron:7:9: e820[1]: it starts at 0x80000",
        &["0x9fbff"],
    );
    says("end: 0x3fffffff", "end: 0x3", "s/machine.ron:7:9: e820[1]: it ends before it starts", &[]);
    says("end: 0x3fffffff", "end: 0x1fffff", "s/machine.ron:", &["not in one piece of usable memory"]);
}

#[test]
fn files_that_cannot_be_read() {
    says(
        "machine.ron",
        "machin.ron",
        "s/main.ron:5:14: machine: cannot read `s/machin.ron`",
        &["`s/machine.ron`?"],
    );
    let error = plain().load("s/man.ron").expect_err("no such file").to_string();
    assert!(
        error.starts_with("s/man.ron:1:1: cannot read the file") && error.contains("`s/main.ron`?"),
        "{error}"
    );
    let large = plain().with("s/main.ron", &" ".repeat((1 << 20) + 1));
    let error = large.load("s/main.ron").expect_err("too large").to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
    let itself = Memory::default().with("s/a.ron", "(extends: \"../s/./a.ron\")");
    let error = itself.load("s/a.ron").expect_err("a circle").to_string();
    assert!(error.starts_with("s/a.ron:1:11: extends: `s/a.ron` extends itself"), "{error}");
}

#[test]
fn a_long_chain_of_files_ends() {
    let mut files = Memory::default();
    for i in 0..50 {
        files = files.with(&format!("{i}.ron"), &format!("(extends: \"{}.ron\")", i + 1));
    }
    let error = files.load("0.ron").expect_err("a long chain").to_string();
    assert!(error.contains("a chain of more than 8 files"), "{error}");
}

#[test]
fn deep_nesting_ends() {
    let deep = |n: usize| format!("{}WaitAll{}", "Maybe(percent: 1, body: [".repeat(n), "])".repeat(n));
    assert!(edited("WaitAll", &deep(10)).load("s/main.ron").is_ok());
    says("WaitAll", &deep(20), "s/nvme.ron:", &["nest deeper than 16 levels"]);
    says("WaitAll", &deep(10_000), "s/nvme.ron:", &["nest deeper than 64 levels"]);
}

#[test]
fn all_problems_of_a_stage_come_together() {
    let files = edited("percent: 10", "percent: 1000")
        .with("s/machine.ron", &support::MACHINE.replace("cpus: 2", "cpus: 0").replace("\"nvme\"", "\"x\""));
    let error = files.load("s/main.ron").expect_err("three problems");
    let paths: Vec<&str> = error.problems().iter().map(scenario::Problem::path).collect();
    assert_eq!(paths, ["cpus", "devices[0].driver", "inject.delay.percent"]);
    assert_eq!(error.related().map(Iterator::count), Some(3));
}

#[test]
fn doubts_are_warnings() {
    let files = edited("\"quiet\"", "\"iommu.passthru=1 amd_iommu=on\"");
    let text = files.text("s/main.ron").replace("\"5.13\"", "\"5.13\", config: [\"CONFIG_SWIOLTB=y\"]");
    let files = files.with("s/main.ron", &text);
    let loaded = files.load("s/main.ron").expect("only doubts");
    let all: String = loaded.warnings().iter().map(|w| format!("{w}\n")).collect();
    for part in
        ["did you mean `iommu.passthrough`?", "unknown option", "did you mean `CONFIG_SWIOTLB`?", "warning:"]
    {
        assert!(all.contains(part), "wanted `{part}` in:\n{all}");
    }
}

#[test]
fn what_the_user_asks_for_is_checked_too() {
    let loaded = plain().load("s/main.ron").expect("a good scenario");
    let complains =
        |overrides: &Overrides| -> LoadError { loaded.resolve(overrides).expect_err("a mistake") };
    let version = Overrides { version: Some("5.41".to_owned()), ..Overrides::default() };
    assert!(complains(&version).to_string().contains("did you mean `5.14`?"));
    let apply = Overrides { apply: vec!["device-pol-pointer".to_owned()], ..Overrides::default() };
    assert!(complains(&apply).to_string().contains("did you mean `device-pool-pointer`?"));
    let variant = Overrides { variant: Some("passthrogh".to_owned()), ..Overrides::default() };
    assert!(complains(&variant).to_string().contains("did you mean `passthrough`?"));
}

#[test]
fn a_diagnostic_points_into_the_text() {
    let error = edited("cpus: 2", "cpus: 200").load("s/main.ron").expect_err("too many");
    let label = error.labels().and_then(|mut l| l.next()).expect("a label");
    let source = error.source_code().expect("a source");
    let span = source.read_span(label.inner(), 0, 0).expect("a span");
    assert_eq!((span.data(), span.line(), span.column()), (b"200".as_slice(), 3, 10));
    assert!(error.help().is_some_and(|h| h.to_string() == "allowed: 1 to 32"));
}

#[test]
fn digests_name_what_a_run_depends_on() {
    let digest = |files: &Memory, overrides: &Overrides| {
        let loaded = files.load("s/main.ron").unwrap_or_else(|error| panic!("{error}"));
        loaded.resolve(overrides).unwrap_or_else(|error| panic!("{error}")).digest
    };
    let none = Overrides::default();
    let base = digest(&plain(), &none);
    // Recorded runs name their scenario by it: if this changes, they can no longer be replayed.
    assert_eq!(base.to_string(), "02ef97e6580d5813e896589ca42d0f5f");
    let reformatted = SCENARIO.replace("// A comment.", "/* another */").replace(",\n", ",\n\n   ");
    assert_eq!(digest(&plain().with("s/main.ron", &reformatted), &none), base, "formatting does not count");
    let described =
        SCENARIO.replace("cmdline:", "about: \"x\", explore: (seeds: 7), expect: Clean(), cmdline:");
    let described = described.replacen("(\n    about", "(about", 1);
    assert_eq!(digest(&plain().with("s/main.ron", &described), &none), base, "nor do seeds and expectations");
    let spelt_out = SCENARIO.replace("5.13\"", "v5.13\", revert: [\"static-default-pool\"]");
    assert_eq!(
        digest(&plain().with("s/main.ron", &spelt_out), &none),
        base,
        "nor does how a kernel is described"
    );
    let variant = Overrides { variant: Some("passthrough".to_owned()), ..Overrides::default() };
    let cmdline = Overrides { cmdline: Some("iommu=pt".to_owned()), ..Overrides::default() };
    assert_ne!(digest(&plain(), &variant), base);
    assert_eq!(digest(&plain(), &variant), digest(&plain(), &cmdline), "nor does where a value comes from");
    assert_ne!(digest(&edited("percent: 10", "percent: 11"), &none), base);
    let append = Overrides { append: Some("iommu=pt".to_owned()), ..Overrides::default() };
    let appended = plain().load("s/main.ron").and_then(|l| l.resolve(&append)).expect("a scenario");
    assert_eq!(
        (appended.cmdline.as_str(), appended.command_line.passthrough),
        ("quiet iommu=pt", Some(true))
    );
    assert_eq!(base.to_string().len(), 32);
}
