//! Boots of real kernels against the models: shortened logs in `tests/data/boots`, and whole ones where they exist
//! beside the workspace (`../shared/data/boots`) or where `DMASIM_BOOTS` says they are.

#![expect(clippy::print_stderr, reason = "a test says which logs it did not find")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use conform::{Report, Source, boot};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boots")
}

/// The boots in a folder, in the order of their names.
fn boots(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut boots: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| ["console.log", "console.log.gz"].iter().any(|name| path.join(name).is_file()))
        .collect();
    boots.sort();
    boots
}

/// All that differs, for the message of a test that fails.
fn differences(report: &Report) -> String {
    let lines = report.exceptions.iter().map(|exception| {
        let (what, recorded, modelled) = (&exception.what, &exception.recorded, &exception.modelled);
        format!("line {}: {what}: recorded {recorded}, modelled {modelled}", exception.line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn total(report: &Report, name: &str) -> u64 {
    report.rows.iter().find(|row| row.name == name).map_or(0, |row| row.total)
}

/// A log's lines.
fn lines(boot: &str) -> Vec<String> {
    let mut source = Source::open(&data().join(boot).join("console.log.gz")).expect("the log can be read");
    let mut lines = Vec::new();
    while let Some(line) = source.next_line().expect("the log is whole") {
        lines.push(line);
    }
    lines
}

/// Compares a log that was changed, without a report of the running system beside it.
fn compare_lines(lines: &[String]) -> Result<Report, String> {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("console.log");
    let mut file = fs::File::create(&path).expect("the file can be made");
    for line in lines {
        writeln!(file, "{line}").expect("the line can be written");
    }
    drop(file);
    boot::compare(&path).map_err(|error| error.to_string())
}

#[test]
fn every_shortened_boot_agrees() {
    let boots = boots(&data());
    assert_eq!(boots.len(), 22);
    let mut allocations = 0;
    for path in boots {
        let report = boot::compare(&path).expect("the log can be read");
        assert!(report.agrees(), "{}:\n{}", path.display(), differences(&report));
        assert!(total(&report, "addresses of allocations") >= 50, "{}", path.display());
        assert!(total(&report, "spanned and present pages of zones (state)") >= 5, "{}", path.display());
        allocations += total(&report, "addresses of allocations");
    }
    assert_eq!(allocations, 1277, "addresses predicted in all");
}

#[test]
fn every_whole_boot_agrees() {
    let folder = std::env::var_os("DMASIM_BOOTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/boots"),
        PathBuf::from,
    );
    let boots = boots(&folder);
    if boots.is_empty() {
        eprintln!("skipped: there are no boot logs in {}", folder.display());
    }
    for path in boots {
        let report = boot::compare(&path).expect("the log can be read");
        assert!(report.agrees(), "{}:\n{}", path.display(), differences(&report));
    }
}

/// Changes one number in the first line that holds `what` and `number`; says whether the comparison then fails.
fn is_noticed(boot: &str, what: &str, number: &str, other: &str) -> bool {
    let mut lines = lines(boot);
    let line = lines.iter_mut().find(|line| line.contains(what) && line.contains(number));
    let line = line.unwrap_or_else(|| panic!("{boot} has no line with {what} and {number}"));
    *line = line.replacen(number, other, 1);
    let report = compare_lines(&lines).expect("the log can be read");
    !report.agrees()
}

#[test]
fn a_changed_number_is_noticed() {
    let numa = "b07_612_9G_numa2_sw16384_4";
    let cases = [
        // The answer to a request, and the place of a node's structure.
        (numa, "memblock_reserve", "0x00000002be3fe000", "0x00000002be3fd000"),
        (numa, "NODE_DATA(0)", "0x19ffd5680", "0x19ffd5640"),
        // The second dump: a border, a node, a total.
        (numa, " memory[0x3]", "0x00000001a0000000", "0x00000001a8000000"),
        (numa, "reserved[0x7]", "on node 1", "on node 0"),
        (numa, "reserved size = 0x00000000078a587e", "0x00000000078a587e", "0x00000000078a587f"),
        // What follows for nodes and zones.
        (numa, "NUMA: Node 0", "-> [mem 0x00001000", "-> [mem 0x00000000"),
        (numa, "  Normal ", "0x00000002bfffffff", "0x00000002cfffffff"),
        (numa, "  node   0:", "0x000000000009efff", "0x000000000009ffff"),
        (numa, "Initmem setup node 1", "0x00000001a0000000", "0x00000001a1000000"),
        (numa, "zone DMA: 97 pages", "97", "96"),
        (numa, "Total pages: ", "2359154", "2359155"),
        // The bounce buffers.
        (numa, "area num", "4", "8"),
        (numa, "swiotlb_init_remap", "33554432", "67108864"),
        (numa, "mapped [mem", "0x000000007dc95000", "0x000000007dc94000"),
        (numa, "Command line:", "swiotlb=16384,4", "swiotlb=16384,2"),
        // How much there is.
        (numa, "Memory: ", "9436616K", "9436620K"),
        (numa, "Memory: ", "304840K", "304844K"),
        ("b04_61_5G_swforce", "Memory: ", "2104820K", "2104824K"),
        ("b04_61_5G_swforce", "Total pages: ", "1289940", "1289941"),
        // What lines before have decided.
        (numa, "memblock_reserve: [0x00000002bb7ca280", "0x00000002bb7ca280", "0x00000002bb7cb280"),
        (numa, "memblock_phys_free: [0x00000002bfe00000", "0x00000002bfe00000", "0x00000002bfd00000"),
        (numa, "NODE_DATA(1)", "0x2bb7fcfff", "0x2bb7fdfff"),
        (numa, "ACPI: Reserving APIC", "0x7ffe239d", "0x7ffe23a0"),
        (numa, "last_pfn = 0x7ffd4", "0x7ffd4", "0x7ffd5"),
        (numa, "Registered nosave memory: [mem 0x7ffd4000", "0xffffffff", "0xfffff000"),
        (numa, "reserve RAM buffer [mem 0x7ffd4000", "0x7fffffff", "0x80ffffff"),
        (numa, "registered 1.00 GiB", "pre-allocated 0", "pre-allocated 1"),
        // The first dump: a region, a count, a total.
        (numa, " reserved[0x3]", "0x000000007fc95000", "0x000000007fc96000"),
        (numa, " memory.cnt", "0x3", "0x4"),
        (numa, " memory size = 0x000000023ff72c00", "0x0000000002fbd000", "0x0000000002fbe000"),
        // IOMMUs.
        (numa, "Default domain type", "Translated", "Passthrough"),
        (numa, "invalidation policy", "lazy", "strict"),
        ("b13_612_5G_intel_lazy", "0000:00:1f.2: Adding to iommu group", "group 8", "group 9"),
        ("b13_612_5G_intel_lazy", "0000:01:01.0: Adding to iommu group", "group 5", "group 6"),
        ("b13_612_5G_intel_lazy", "0000:01:02.0: Adding to iommu group", "group 5", "group 10"),
        ("b13_612_5G_intel_lazy", "Command line:", "intel_iommu=on", "intel_iommu=off"),
        ("b14_61_5G_intel_strict", "Command line:", "iommu.strict=1", "iommu.strict=0"),
        // What everything follows from.
        (numa, "SRAT: Node 1", "0x1a0000000", "0x1b0000000"),
        (numa, "BIOS-e820: [mem 0x0000000100000000", "0x00000002bfffffff", "0x00000002afffffff"),
        (numa, "memblock_add: [0x0000000000100000", "0x000000007ffd3fff", "0x000000007ffd2fff"),
    ];
    let unnoticed: Vec<_> =
        cases.iter().filter(|(boot, what, number, other)| !is_noticed(boot, what, number, other)).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// Shortened logs of other machines: with a crash kernel, switches, nodes without memory, EFI, the paravirtual IOMMU.
fn machine(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/machines").join(name)
}

fn lines_of(path: &Path) -> Vec<String> {
    let mut source = Source::open(&path.join("console.log.gz")).expect("the log can be read");
    std::iter::from_fn(|| source.next_line().expect("the log is whole")).collect()
}

#[test]
fn boots_of_other_machines_agree_and_so_do_their_runs() {
    let machines = boots(&machine(""));
    assert!(machines.len() >= 5, "{machines:?}");
    for path in machines {
        let outcome = boot::compare_all(&path);
        assert!(outcome.reports.len() >= 2, "{}: {:?}", path.display(), outcome.error);
        for report in &outcome.reports {
            assert!(report.agrees(), "{}, {}:\n{}", path.display(), report.kind, differences(report));
        }
    }
}

fn replaced(lines: &[String], from: &str, to: &str) -> Vec<String> {
    assert!(lines.iter().any(|line| line.contains(from)), "no line with {from}");
    lines.iter().map(|line| line.replace(from, to)).collect()
}

#[test]
fn what_a_port_does_is_learned_once_for_each_model() {
    let known = lines_of(&machine("6.12-switch-passthrough"));
    let unknown = replaced(&known, "104c:8233", "104c:1234");
    let report = compare_lines(&unknown).expect("the log can be read");
    assert!(report.agrees(), "{}", differences(&report));
    assert_eq!(total(&report, "iommu: groups"), 16);
    assert!(
        report.notes.iter().any(|note| note.contains("1 groups tell whether ports")),
        "{:#?}",
        report.notes
    );
    // The second port is of the same model: what lies below it is judged, with known and with unknown models.
    for lines in [known, unknown] {
        let other = replaced(
            &lines,
            "0000:04:00.0: Adding to iommu group 8",
            "0000:04:00.0: Adding to iommu group 9",
        );
        assert!(!compare_lines(&other).expect("the log can be read").agrees());
    }
}

#[test]
fn memory_for_a_crash_kernel_is_where_the_rules_put_it() {
    let lines = lines_of(&machine("6.1-crash-kernel"));
    let report = compare_lines(&lines).expect("the log can be read");
    assert!(report.agrees(), "{}", differences(&report));
    for row in ["memory for a crash kernel", "memory for a crash kernel: requests"] {
        assert_eq!(total(&report, row), 1, "{row}");
    }
    for (from, to) in [
        ("at 1776MB for crashkernel", "at 1775MB for crashkernel"),
        ("Reserving 256MB", "Reserving 255MB"),
        ("crashkernel=256M", "crashkernel=128M"),
        ("crashkernel=256M", "crashkernel=256M,high"),
        ("crashkernel=256M", "crashkernel=256M@512M"),
        ("crashkernel=256M", "crashkernel=16G-:256M"),
        ("crashkernel=256M", "quiet"),
    ] {
        let report = compare_lines(&replaced(&lines, from, to)).expect("the log can be read");
        assert!(!report.agrees(), "{to}");
    }
}

#[test]
fn each_boot_of_a_log_is_compared() {
    let (first, second) = (lines_of(&machine("6.1-crash-kernel")), lines(NUMA));
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let compare = |lines: &[String]| {
        fs::write(folder.path().join("console.log"), lines.join("\n")).expect("the file can be written");
        boot::compare_all(folder.path())
    };
    let both = [first.clone(), second.clone()].concat();
    let outcome = compare(&both);
    let kinds: Vec<_> = outcome.reports.iter().map(|report| report.kind.as_str()).collect();
    let line =
        first.len() + 1 + second.iter().position(|line| line.contains("Linux version")).expect("a banner");
    let begins =
        [format!("boot log 2, from line {line}"), "modelled boot of the imported scenario 1".to_owned()];
    assert!(kinds[0].starts_with("boot log 1, from line ") && kinds[1].starts_with(&begins[1]), "{kinds:?}");
    assert_eq!((kinds.len(), kinds[2]), (4, begins[0].as_str()));
    assert!(outcome.agrees(), "{:?}", outcome.reports.iter().map(differences).collect::<Vec<_>>());
    let outcome = compare(&replaced(
        &both,
        "NODE_DATA(1) allocated [mem 0x2bb7d2",
        "NODE_DATA(1) allocated [mem 0x2bb7d3",
    ));
    let agree: Vec<_> = outcome.reports.iter().map(Report::agrees).collect();
    assert!(agree[0] && !agree[2], "{agree:?}");
}

#[test]
fn vtd_may_be_on_by_configuration_and_not_against_the_command_line() {
    let lines = lines("b13_612_5G_intel_lazy");
    let report = compare_lines(&replaced(&lines, "intel_iommu=on", "quiet")).expect("the log can be read");
    assert!(report.agrees(), "{}", differences(&report));
    assert!(report.notes.iter().any(|note| note.contains("built so")), "{:#?}", report.notes);
    let report =
        compare_lines(&replaced(&lines, "intel_iommu=on", "iommu=off")).expect("the log can be read");
    assert!(!report.agrees());
}

const NUMA: &str = "b07_612_9G_numa2_sw16384_4";

#[test]
fn a_log_that_ends_early_agrees_as_far_as_it_goes() {
    let lines = lines(NUMA);
    let mut compared = 0;
    for end in (10..lines.len()).step_by(9) {
        let report = compare_lines(&lines[..end]).expect("the log's beginning is there");
        let (agreed, total) = report.totals();
        assert_eq!(agreed, total, "up to line {end}:\n{}", differences(&report));
        assert!(total >= compared, "up to line {end}: {total} after {compared}");
        compared = total;
    }
    assert!(compared > 100);
}

#[test]
fn a_log_without_lines_of_memblock_is_compared_as_far_as_possible() {
    let debug = ["memblock_", "MEMBLOCK", " memory", " reserved"];
    let text = |line: &String| line.split_once("] ").map_or(String::new(), |(_, text)| text.to_owned());
    let kept: Vec<_> = lines(NUMA)
        .into_iter()
        .filter(|line| !debug.iter().any(|start| text(line).starts_with(start)))
        .collect();
    let report = compare_lines(&kept).expect("the log can be read");
    assert!(report.agrees(), "{}", differences(&report));
    assert_eq!(total(&report, "addresses of allocations"), 0);
    assert_eq!(total(&report, "memory of nodes"), 4);
    assert_eq!(total(&report, "unavailable pages"), 3);
    assert_eq!(total(&report, "swiotlb: size"), 1);
    assert!(report.notes.iter().any(|note| note.contains("memblock=debug")), "{:#?}", report.notes);
}

#[test]
fn another_version_is_compared_by_the_nearest_rules() {
    for (release, rules) in
        [("5.10.0-9-amd64", "6.1"), ("6.6.30", "6.1"), ("6.8.0-31-generic", "6.12"), ("7.0.1", "6.12")]
    {
        let changed: Vec<_> =
            lines(NUMA).into_iter().map(|line| line.replace("6.12.117+deb12-amd64", release)).collect();
        let report = compare_lines(&changed).expect("the log can be read");
        assert_eq!(report.version, format!("{rules}, the nearest that there is to {release}"));
        assert!(report.notes[0].contains(release), "{:#?}", report.notes);
    }
}

#[test]
fn what_is_no_log_is_refused() {
    let refused = |lines: &[&str]| {
        compare_lines(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).expect_err("no log")
    };
    assert!(refused(&["{\"op\": 1}", "garbage"]).contains("no log of a boot"));
    assert!(refused(&["[    0.000000] MEMBLOCK configuration:"]).contains("Linux version"));
    assert!(refused(&["[    0.000000] Linux version next"]).contains("no number"));
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let error = boot::compare(folder.path()).expect_err("the folder is empty").to_string();
    assert!(error.contains("console.log"), "{error}");
}

#[test]
fn prefixes_of_other_consoles_are_taken_off() {
    let expected = compare_lines(&lines(NUMA)).expect("the log can be read").totals();
    let text = |line: &str| line.split_once("] ").map_or(line.to_owned(), |(_, text)| text.to_owned());
    type Prefix = fn(&str) -> String;
    let prefixes: [(&str, Prefix); 5] = [
        ("none", |text| text.to_owned()),
        ("level", |text| format!("<6>[    0.000000] {text}")),
        ("caller", |text| format!("[    0.000000][    T0] {text}")),
        ("date", |text| format!("[Sun Nov 22 10:53:26 2026] {text}")),
        ("journal", |text| format!("Nov 22 10:53:26 host kernel: {text}\r")),
    ];
    for (name, prefix) in prefixes {
        let changed: Vec<_> = lines(NUMA).iter().map(|line| prefix(&text(line))).collect();
        let report = compare_lines(&changed).expect("the log can be read");
        assert_eq!((report.totals(), report.agrees()), (expected, true), "{name}:\n{}", differences(&report));
    }
}

/// One way in which a log is damaged.
#[derive(Clone, Debug)]
enum Damage {
    Delete(usize),
    Repeat(usize, usize),
    Insert(usize, String),
    Cut(usize, usize),
    Number(usize, u64),
    Join(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0..400usize;
    prop_oneof![
        at.clone().prop_map(Damage::Delete),
        (at.clone(), at.clone()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (at.clone(), "\\PC{0,60}").prop_map(|(at, text)| Damage::Insert(at, text)),
        (at.clone(), 0..120usize).prop_map(|(at, len)| Damage::Cut(at, len)),
        (at.clone(), prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 63), any::<u64>()])
            .prop_map(|(at, number)| Damage::Number(at, number)),
        at.prop_map(Damage::Join),
    ]
}

fn apply(lines: &mut Vec<String>, damage: &Damage) {
    let last = lines.len() - 1;
    match damage {
        Damage::Delete(at) => {
            lines.remove((*at).min(last));
        }
        Damage::Repeat(from, to) => {
            let line = lines[(*from).min(last)].clone();
            lines.insert((*to).min(last), line);
        }
        Damage::Insert(at, text) => lines.insert((*at).min(last), text.clone()),
        Damage::Cut(at, len) => {
            let line = &mut lines[(*at).min(last)];
            *line = line.chars().take(*len).collect();
        }
        Damage::Number(at, number) => {
            // The last number of the line, which mostly is an address or a size.
            let line = &mut lines[(*at).min(last)];
            if let Some(start) = line.rfind("0x") {
                let digits = line[start + 2..].find(|c: char| !c.is_ascii_hexdigit());
                let end = digits.map_or(line.len(), |digits| start + 2 + digits);
                line.replace_range(start..end, &format!("{number:#018x}"));
            }
        }
        Damage::Join(at) => {
            let at = (*at).min(last);
            if at < last {
                let next = lines.remove(at + 1);
                lines[at].push_str(&next);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_log_never_stops_the_comparison(
        boot in prop_oneof![Just(NUMA), Just("b04_61_5G_swforce")],
        damages in prop::collection::vec(damage(), 1..40),
    ) {
        let mut lines = lines(boot);
        for damage in &damages {
            apply(&mut lines, damage);
        }
        if let Ok(report) = compare_lines(&lines) {
            let (agreed, total) = report.totals();
            prop_assert!(agreed <= total);
            prop_assert_eq!(u64::try_from(report.exceptions.len()).unwrap_or(u64::MAX), total - agreed);
        }
    }
}
