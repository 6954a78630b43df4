//! Scenarios made of boot logs: of recorded ones, of made-up ones, and of broken ones.

use std::fs;
use std::path::{Path, PathBuf};

use conform::import::{Options, compare_run, import};

fn boots() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boots");
    let mut boots: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    boots.sort();
    assert!(boots.len() > 20, "the samples");
    boots
}

fn boot(name: &str) -> PathBuf {
    boots().into_iter().find(|path| path.ends_with(name)).expect("a sample")
}

/// The text of a sample's log.
fn text_of(name: &str) -> String {
    let mut source = conform::Source::open(&boot(name).join("console.log.gz")).expect("a log");
    let mut text = String::new();
    while let Some(line) = source.next_line().expect("a line") {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// A log in a folder of its own.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn of(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("console.log"), text).expect("a log");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn imported(&self) -> String {
        import(self.path(), &Options::default())
            .map(|imported| imported.text)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    fn refused(&self) -> String {
        match import(self.path(), &Options::default()) {
            Ok(imported) => panic!("imported:\n{}", imported.text),
            Err(error) => error.to_string(),
        }
    }

    /// What differs between the log and a run of its scenario.
    fn differences(&self) -> Vec<String> {
        let report = compare_run(self.path()).unwrap_or_else(|error| panic!("{error}"));
        let (agreed, total) = report.totals();
        assert_eq!(total - agreed, report.exceptions.len() as u64, "{:#?}", report.rows);
        let show = |e: &conform::Exception| format!("{}: {} != {}", e.what, e.recorded, e.modelled);
        report.exceptions.iter().map(show).collect()
    }
}

#[test]
fn each_recorded_boot_becomes_a_scenario_whose_run_says_the_same() {
    let mut compared = 0;
    for path in boots() {
        let report = compare_run(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(report.agrees(), "{}: {:#?}", path.display(), report.exceptions);
        assert!(report.notes.is_empty(), "{}: {:#?}", path.display(), report.notes);
        for row in ["memory map of the firmware", "default domain type", "order of what is told"] {
            assert!(report.rows.iter().any(|found| found.name == row), "{}: {row}", path.display());
        }
        compared += report.totals().1;
    }
    assert!(compared > 900, "only {compared} facts");
}

#[test]
fn a_paravirtual_iommu_gives_groups_as_drivers_bind() {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/machines");
    let path = machines.join("6.12-virtio-iommu");
    let imported = import(&path, &Options::default()).expect("a scenario");
    assert!(imported.text.contains("iommu: Virtio(first_ms: "), "{}", imported.text);
    let said = |assumption: &String| assumption.contains("0000:00:05.0 (pcieport)");
    assert!(imported.assumptions.iter().any(said), "{:#?}", imported.assumptions);
    let report = compare_run(&path).expect("a run");
    assert!(report.agrees(), "{:#?}", report.exceptions);
    for (row, count) in [("IOMMU groups, in order", 5), ("types of groups (state)", 5)] {
        assert_eq!(
            report.rows.iter().find(|found| found.name == row).map(|row| row.total),
            Some(count),
            "{row}"
        );
    }
}

#[test]
fn a_node_without_memory_is_online_if_it_has_cpus() {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/machines");
    let imported =
        import(&machines.join("6.12-node-without-memory"), &Options::default()).expect("a scenario");
    assert!(imported.text.contains("(id: 1, ranges: []),"), "{}", imported.text);
}

#[test]
fn an_imported_scenario_reads_well() {
    let imported = import(&boot("c09_61_5G_amd_eduonly"), &Options::default()).expect("a scenario");
    let head = imported.text.split("    drivers: [").next().expect("a head");
    insta::assert_snapshot!("imported_scenario", head);
}

/// One number of a log, changed in a copy, is found.
#[track_caller]
fn falsified(name: &str, from: &str, to: &str) -> Vec<String> {
    let text = text_of(name);
    assert!(text.contains(from), "{name} has no {from:?}");
    Log::of(text.replacen(from, to, 1)).differences()
}

#[test]
fn a_fact_that_was_changed_differs() {
    let name = "b13_612_5G_intel_lazy";
    assert_eq!(Log::of(text_of(name)).differences(), Vec::<String>::new());
    let found = falsified(
        name,
        "software IO TLB: mapped [mem 0x000000007bc95000",
        "software IO TLB: mapped [mem 0x000000007bc94000",
    );
    assert!(found.iter().any(|what| what.starts_with("swiotlb: size and place")), "{found:#?}");
    let found =
        falsified(name, "0000:00:06.0: Adding to iommu group 6", "0000:00:06.0: Adding to iommu group 8");
    assert!(found.iter().any(|what| what.starts_with("IOMMU groups")), "{found:#?}");
    let found = falsified(name, "policy: lazy mode (set", "policy: strict mode (set");
    assert!(found.iter().any(|what| what.starts_with("flushing policy")), "{found:#?}");
    let found = falsified(name, "area num 2", "area num 4");
    assert!(found.iter().any(|what| what.starts_with("swiotlb: areas")), "{found:#?}");
    let found = falsified(name, "4918332K/5242312K available", "4918332K/5242316K available");
    assert!(found.iter().any(|what| what.starts_with("Memory: total")), "{found:#?}");
}

#[test]
fn an_order_that_was_changed_differs() {
    let text = text_of("b13_612_5G_intel_lazy");
    let line = text.lines().find(|line| line.contains("Default domain type")).expect("a line");
    let rest: String = text.lines().filter(|l| *l != line).map(|l| format!("{l}\n")).collect();
    let moved =
        rest.replacen("software IO TLB: mapped", &format!("X\n{line}\n[    2.9] software IO TLB: mapped"), 1);
    let found = Log::of(moved).differences();
    assert!(found.iter().any(|what| what.starts_with("order of what is told")), "{found:#?}");
}

/// The log of a desktop without lines about memblock, as `dmesg` shows it.
const DESKTOP: &str = "\
[    0.000000] Linux version 5.13.0-rc6-next-20210629 (user@host) (gcc (GCC) 11.1.0) #1 SMP PREEMPT
[    0.000000] Command line: root=/dev/nvme0n1p2 rw quiet
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] BIOS-e820: [mem 0x00000000000a0000-0x00000000000fffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x0000000009bfefff] usable
[    0.000000] BIOS-e820: [mem 0x0000000009bff000-0x0000000009ffffff] reserved
[    0.000000] BIOS-e820: [mem 0x000000000a000000-0x000000000a1fffff] usable
[    0.000000] BIOS-e820: [mem 0x000000000a200000-0x000000000a20cfff] ACPI NVS
[    0.000000] BIOS-e820: [mem 0x000000000a20d000-0x00000000b9aecfff] usable
[    0.000000] BIOS-e820: [mem 0x00000000b9aed000-0x00000000bb3b8fff] reserved
[    0.000000] BIOS-e820: [mem 0x00000000bb3b9000-0x00000000bb5a8fff] ACPI data
[    0.000000] BIOS-e820: [mem 0x00000000bb5a9000-0x00000000bcffffff] type 20
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000041f33ffff] usable
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
[    0.000000] e820: remove [mem 0x000a0000-0x000fffff] usable
[    0.000000] last_pfn = 0x41f340 max_arch_pfn = 0x400000000
[    0.000000] e820: update [mem 0xb8000000-0xffffffff] usable ==> reserved
[    0.000000] ACPI: IVRS 0x00000000BB3C0000 0000D0 (v02 HPQOEM SLIC-CPC 00000001 AMD  00000001)
[    0.000000] setup_percpu: NR_CPUS:320 nr_cpumask_bits:320 nr_cpu_ids:16 nr_node_ids:1
[    0.100000] smpboot: CPU0: AMD Ryzen 3 4300G with Radeon Graphics (family: 0x17, model: 0x60, stepping: 0x1)
[    0.300000] smp: Brought up 1 node, 8 CPUs
[    0.500000] pci 0000:00:00.0: [1022:1630] type 00 class 0x060000
[    0.500000] pci 0000:00:00.2: [1022:1631] type 00 class 0x080600
[    0.500000] pci 0000:00:02.2: [1022:1634] type 01 class 0x060400
[    0.500000] pci 0000:00:02.2: PCI bridge to [bus 0b]
[    0.500000] pci 0000:0b:00.0: [144d:a809] type 00 class 0x010802
[    0.500000] pci 0000:0c:00.0: [1002:1636] type 00 class 0x030000
[    0.500000] pci 0000:0c:00.1: [1002:1637] type 00 class 0x040300
[    0.600000] iommu: Default domain type: Translated
[    2.340000] pci 0000:00:00.2: AMD-Vi: IOMMU performance counters supported
[    2.340000] pci 0000:00:00.0: Adding to iommu group 0
[    2.340000] pci 0000:00:02.2: Adding to iommu group 1
[    2.340000] pci 0000:0b:00.0: Adding to iommu group 2
[    2.340000] pci 0000:0c:00.0: Adding to iommu group 3
[    2.340000] pci 0000:0c:00.1: Adding to iommu group 3
[    2.360000] AMD-Vi: Extended features (0x206d73ef22254ade): PPR X2APIC NX GT IA GA PC GA_vAPIC
[    2.360000] AMD-Vi: Lazy IO/TLB flushing enabled
[    2.370000] Initialise system trusted keyrings
[    2.460000] nvme nvme0: pci function 0000:0b:00.0
[    2.900000] Run /init as init process
[    4.200000] amdgpu 0000:0c:00.0: vgaarb: deactivate vga console
[    4.300000] snd_hda_intel 0000:0c:00.1: enabling device (0000 -> 0002)
";

#[test]
fn a_desktop_without_lines_about_memblock() {
    let log = Log::of(DESKTOP);
    let text = log.imported();
    for wanted in [
        "kernel: (version: \"next-2021-06\")",
        "cmdline: \"root=/dev/nvme0n1p2 rw quiet\"",
        "cpu_vendor: Amd",
        "cpus: 8",
        "possible_cpus: 16",
        "nr_cpus: 320",
        "iommu: AmdVi(ppr: true, gt: true)",
        "(start: 0xb8000000, end: 0xffffffff, from: Usable, to: Reserved), // line 18",
        "bdf: \"0000:00:00.2\", name: \"iommu\", vendor_id: 0x1022, device_id: 0x1631, class: \"iommu\", outside_iommu: true",
        "isolation: 3, driver: \"amdgpu\"",
        "driver: \"nvme\"",
        "registers: Module(after_ms: Fixed(1300))",
        "kind: Other(20)",
        "memblock=debug",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    assert_eq!(log.differences(), Vec::<String>::new());
    let odd = Log::of(DESKTOP.replace("type 20", "strange")).differences();
    let start = "memory map of the firmware (number 10): BIOS-e820: [mem 0x00000000bb5a9000-0x00000000bcffffff] strange != ";
    assert!(odd.len() == 1 && odd[0].starts_with(start), "{odd:#?}");
}

/// The desktop with a newer kernel, which tells where its bounce buffers are.
fn newer_desktop(release: &str) -> String {
    let pool = "\
[    2.365000] PCI-DMA: Using software bounce buffering for IO (SWIOTLB)
[    2.366000] software IO TLB: mapped [mem 0x00000000a1aed000-0x00000000a5aed000] (64MB)
[    2.370000]";
    let policy = "\
[    0.500000] iommu: Default domain type: Translated
[    0.500000] iommu: DMA domain TLB invalidation policy: lazy mode
[    2.340000]";
    DESKTOP
        .replace("5.13.0-rc6-next-20210629", release)
        .replace("[    0.600000] iommu: Default domain type: Translated\n", "")
        .replacen("[    0.100000]", "[    0.090000] software IO TLB: area num 16.\n[    0.100000]", 1)
        .replacen("[    2.340000]", policy, 1)
        .replacen("[    2.370000]", pool, 1)
}

#[test]
fn the_place_of_the_pool_shows_what_was_taken_above_it() {
    let log = Log::of(newer_desktop("6.1.0-amd64"));
    let text = log.imported();
    let taken = "(name: \"taken before the bounce buffers\", region: (start: 0xa5aed000, size: 0x12513000))";
    assert!(text.contains(taken), "{text}");
    assert_eq!(log.differences(), Vec::<String>::new());
}

#[test]
fn a_version_between_two_has_the_changes_that_came_until_it() {
    for (release, kernel) in [
        ("6.6.30-1-lts", "version: \"6.1\",\n        apply: ["),
        ("6.8.0-40-generic", "        revert: ["),
        ("5.17.5", "version: \"5.15\""),
    ] {
        let text = Log::of(newer_desktop(release)).imported();
        assert!(text.contains(kernel), "{release}: {text}");
        assert!(text.contains(&format!("{release} cannot be run")), "{release}: {text}");
    }
}

#[test]
fn what_tools_and_consoles_do_to_a_log_changes_nothing() {
    let plain = Log::of(DESKTOP).imported();
    let of_lines = |change: &dyn Fn(&str) -> String| Log::of(DESKTOP.lines().map(change).collect::<String>());
    let stampless = |line: &str| line.split_once("] ").map_or(line, |(_, rest)| rest).to_owned();
    for log in [
        of_lines(&|line| format!("{line}\r\n")),
        of_lines(&|line| format!("\u{1b}[32m{}\u{1b}[0m\n", line.replacen("] ", "] \u{1b}[33m", 1))),
        of_lines(&|line| format!("<6>{line}\n")),
        of_lines(&|line| format!("Jun 30 12:00:00 hp kernel: {line}\n")),
        of_lines(&|line| format!("kern  :info  : {line}\n")),
        // Two boots: the last one counts.
        Log::of(format!("[    0.000000] Linux version 5.10.1\n[    0.1] junk\n{DESKTOP}")),
    ] {
        let text = log.imported();
        let from_kernel = |text: &str| text.split_once("    kernel: ").map(|parts| parts.1.to_owned());
        let without_lines = |text: &str| {
            let text = from_kernel(text).expect("a kernel");
            let lines = text.lines().map(|line| line.split(" // ").next().unwrap_or(line).to_owned());
            lines.filter(|line| !line.contains("name: \"machine of")).collect::<Vec<_>>()
        };
        assert_eq!(without_lines(&text), without_lines(&plain));
    }
    // Without times only when things happened is lost.
    let text = of_lines(&|line| format!("{}\n", stampless(line))).imported();
    assert!(text.contains("driver: \"amdgpu\"") && text.contains("isolation: 3"), "{text}");
}

#[test]
fn one_boot_of_several_can_be_asked_for() {
    let log = Log::of(format!("{DESKTOP}{}", DESKTOP.replace("quiet", "iommu=pt")));
    let nth = |boot| import(log.path(), &Options { boot, ..Options::default() });
    let text = |boot| nth(boot).expect("a scenario").text;
    assert!(text(Some(1)).contains("rw quiet") && text(Some(2)).contains("rw iommu=pt"));
    assert_eq!(text(None), text(Some(2)));
    assert!(text(None).contains("(boot 2 of 2, from line 44)"), "{}", text(None));
    let error = nth(Some(3)).expect_err("there are two").to_string();
    assert!(error.contains("no boot number 3: the log has 2"), "{error}");
}

/// A recorded boot with other words on its command line, as the modelled kernel would have booted with them.
fn with_options(name: &str, words: &str) -> Log {
    Log::of(text_of(name).replace("WL=", &format!("{words} WL=")))
}

#[test]
fn options_decide_what_a_run_says() {
    let of = |words| with_options("b13_612_5G_intel_lazy", words).differences();
    // The log is that of a boot without these words, so the run must differ, and only there.
    let found = of("iommu=pt");
    assert!(
        found.iter().any(|what| what
            == "default domain type (number 1): Translated != Passthrough (set via kernel command line)"),
        "{found:#?}"
    );
    let found = of("swiotlb=1024,1");
    assert!(found.iter().any(|what| what.starts_with("swiotlb: size and place")), "{found:#?}");
    let found = of("mem=1G");
    assert!(
        found.iter().any(|what| what.starts_with("memory map with the command line's changes")),
        "{found:#?}"
    );
    assert_eq!(of("intel_iommu=sm_on"), Vec::<String>::new());
    let found = of("iommu=off");
    assert!(found.iter().any(|what| what.starts_with("IOMMU groups")), "{found:#?}");
}

#[test]
fn what_is_missing_is_named() {
    let no_version = DESKTOP.split_once('\n').expect("lines").1;
    let error = Log::of(no_version).refused();
    assert!(
        error.contains("no line \"Linux version ...\"") && error.contains("lines 1 to 42 were read"),
        "{error}"
    );
    let no_map: String =
        DESKTOP.lines().filter(|l| !l.contains("BIOS-e820")).map(|l| format!("{l}\n")).collect();
    let error = Log::of(no_map).refused();
    assert!(error.contains("no line \"BIOS-e820: [mem ...]\""), "{error}");
    let error = Log::of("nothing\nof the kind\n").refused();
    assert!(error.contains("this is no log of a boot"), "{error}");
    let error = Log::of(DESKTOP.replace("usable", "reserved")).refused();
    assert!(error.contains("no usable range in the map of memory"), "{error}");
}

/// A generator of numbers for damage: the same in every test run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit.max(1)
    }
}

#[test]
fn damaged_logs_never_panic() {
    let mut numbers = Numbers(7);
    let samples = [DESKTOP.to_owned(), text_of("b07_612_9G_numa2_sw16384_4"), text_of("b19_612_5G_amd")];
    let interesting =
        ["0", "ffffffffffffffff", "]", "[mem 0x", "-", "99999999999", "\u{fffd}", "\n", "0x0-0x0]"];
    for round in 0..120 {
        let mut bytes = samples[round % samples.len()].clone().into_bytes();
        // The beginning decides most.
        let reach = bytes.len().min(if round % 2 == 0 { 12_000 } else { usize::MAX });
        for _ in 0..=numbers.below(12) {
            let at = numbers.below(reach.min(bytes.len()));
            match numbers.below(4) {
                0 => bytes[at] = b"0123456789abcdef -x[]:=\n"[numbers.below(24)],
                1 => {
                    let word = interesting[numbers.below(interesting.len())];
                    bytes.splice(at..at, word.bytes());
                }
                2 => {
                    let end = (at + numbers.below(200)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ if round % 5 == 0 => bytes.truncate(at.max(1)),
                _ => {}
            }
            if bytes.len() < 2 {
                break;
            }
        }
        // An error or a scenario; what is imported has been loaded, so it can be run.
        let log = Log::of(&bytes);
        let _ = import(log.path(), &Options::default());
        if round % 8 == 0 {
            let _ = compare_run(log.path());
        }
    }
}
