//! Traces of real boots, replayed. The fixtures are parts of longer recordings.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use conform::{Report, trace};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trace").join(name)
}

fn report(name: &str) -> Report {
    trace::compare(&data(name), None).expect("a report")
}

fn row(report: &Report, name: &str) -> (u64, u64) {
    report.rows.iter().find(|row| row.name == name).map_or((0, 0), |row| (row.agreed, row.total))
}

fn unexplained(report: &Report) -> usize {
    report.exceptions.iter().filter(|exception| exception.why.is_none()).count()
}

fn text_of(name: &str) -> String {
    let bytes = fs::read(data(name)).expect("a fixture");
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("text");
    } else {
        text = String::from_utf8(bytes).expect("text");
    }
    text
}

/// The report on a changed trace, with the same folder around it.
fn changed(name: &str, change: impl FnOnce(String) -> String) -> Result<Report, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let from = data(name);
    let parent = from.parent().expect("a folder");
    for file in ["console.log", "state.txt"] {
        fs::copy(parent.join(file), folder.path().join(file)).expect("a copy");
    }
    let file =
        from.file_name().and_then(|file| file.to_str()).expect("a name").trim_end_matches(".gz").to_owned();
    let path = folder.path().join(file);
    fs::write(&path, change(text_of(name))).expect("a file");
    trace::compare(&path, None).map_err(|error| error.to_string())
}

#[test]
fn the_first_mappings_of_a_boot_are_determined_and_right() {
    let report = report("forced-6.12/trace_boot.txt");
    assert_eq!(row(&report, "bounce addresses"), (31, 31));
    assert_eq!(row(&report, "pool counters"), (2, 2));
    assert!(report.agrees(), "{:?}", report.exceptions);
    assert_eq!(report.version, "6.12");
}

#[test]
fn probes_show_the_results_that_6_1_has_no_events_for() {
    let report = report("forced-6.1/trace_kp.txt.gz");
    let (agreed, total) = report.totals();
    assert!(total >= 4518 && total - agreed <= 5, "{agreed} of {total}");
    assert_eq!(unexplained(&report), 0);
    assert_eq!(report.version, "6.1");
}

#[test]
fn a_full_pool_refuses_where_the_model_does() {
    let report = report("full-6.12/trace_heavy.txt.gz");
    let (agreed, total) = row(&report, "bounce addresses");
    assert!(total > 3000 && agreed == total, "{agreed} of {total}");
    let (agreed, total) = row(&report, "slots in use where the buffer is full");
    assert!(total >= 5 && agreed == total, "{agreed} of {total}");
    assert_eq!(unexplained(&report), 0);
}

#[test]
fn a_changed_address_is_noticed_and_the_replay_recovers() {
    let right = "dma_addr=7bc9a000 size=1 phys_addr=1050b2388";
    let wrong = "dma_addr=7bc9b000 size=1 phys_addr=1050b2388";
    let report = changed("forced-6.12/trace_boot.txt", |text| {
        assert_eq!(text.matches(right).count(), 1);
        text.replace(right, wrong)
    });
    let report = report.expect("a report");
    let missed = &report.exceptions[0];
    assert_eq!(
        (missed.line, missed.recorded.as_str(), missed.modelled.as_str()),
        (31, "0x7bc9b000", "0x7bc9a000")
    );
    assert!(missed.what.contains("0x1050b2388"), "{}", missed.what);
    let (agreed, total) = row(&report, "bounce addresses");
    // The mappings around it contradict it; those behind are right again.
    assert!(total == 31 && (27..31).contains(&agreed), "{:?}", report.exceptions);
    assert!(
        report.exceptions.iter().all(|missed| missed.line < 45 || missed.line == 124),
        "{:?}",
        report.exceptions
    );
}

#[test]
fn a_failure_that_the_model_does_not_share_is_noticed() {
    let right = "dma_addr=7bc9a000 size=1 phys_addr=1050b2388";
    let wrong = "dma_addr=ffffffffffffffff size=1 phys_addr=1050b2388";
    let report = changed("forced-6.12/trace_boot.txt", |text| text.replace(right, wrong)).expect("a report");
    assert_eq!(report.exceptions[0].recorded, "no place");
}

#[test]
fn a_bounce_without_need_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["state.txt", "trace_boot.txt"] {
        fs::copy(data("forced-6.12").join(file), folder.path().join(file)).expect("a copy");
    }
    let console = text_of("forced-6.12/console.log").replace("swiotlb=force", "swiotlb=normal");
    fs::write(folder.path().join("console.log"), console).expect("a file");
    let report = trace::compare(&folder.path().join("trace_boot.txt"), None).expect("a report");
    assert_eq!(row(&report, "direct or bounced"), (0, 31));
}

/// A driver that nobody names may have set any mask: a mapping that did not bounce tells nothing. One that did shows its mask.
#[test]
fn a_mask_is_the_drivers_and_unknown_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(data("forced-6.12/trace_boot.txt"), folder.path().join("trace_boot.txt")).expect("a copy");
    let unbound: String = text_of("forced-6.12/state.txt")
        .lines()
        .map(|line| {
            line.replace(" driver=", " was=").replace(" dma_mask_bits", " driver= dma_mask_bits") + "\n"
        })
        .collect();
    fs::write(folder.path().join("state.txt"), unbound).expect("a file");
    let console = text_of("forced-6.12/console.log").replace("swiotlb=force", "swiotlb=normal");
    fs::write(folder.path().join("console.log"), console).expect("a file");
    // As if every buffer were mapped where it lies.
    let value = |line: &str, key: &str| {
        line.split_once(key).map(|(_, rest)| rest.split(' ').next().unwrap_or("").to_owned())
    };
    let direct = |line: &str| match (value(line, " dma_addr="), value(line, " phys_addr=")) {
        (Some(dma), Some(phys)) => {
            line.replace(&format!(" dma_addr={dma}"), &format!(" dma_addr={phys}")) + "\n"
        }
        _ => line.replace("swiotlb_bounced:", "something_else:") + "\n",
    };
    let direct: String = text_of("forced-6.12/trace_boot.txt").lines().map(direct).collect();
    fs::write(folder.path().join("trace_boot.txt"), direct).expect("a file");
    let report = trace::compare(&folder.path().join("trace_boot.txt"), None).expect("a report");
    assert!(
        report.rows.iter().all(|row| row.name != "direct or bounced" || row.total == 0),
        "{:?}",
        report.rows
    );
}

#[test]
fn a_cut_file_leaves_its_last_line_out() {
    let report =
        changed("forced-6.12/trace_boot.txt", |text| text[..text.len() - 700].to_owned()).expect("a report");
    assert!(report.notes.iter().any(|note| note.contains("the file is cut")), "{:?}", report.notes);
    assert!(report.agrees(), "{:?}", report.exceptions);
}

#[test]
fn lost_events_end_what_is_known() {
    let report = changed("forced-6.12/trace_boot.txt", |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.insert(60, "CPU:1 [LOST 12 EVENTS]");
        lines.join("\n")
    });
    let report = report.expect("a report");
    let (_, total) = row(&report, "bounce addresses");
    assert!(total < 31, "{:?}", report.rows);
    assert!(report.notes.iter().any(|note| note.contains("lost")), "{:?}", report.notes);
    assert_eq!(unexplained(&report), 0, "{:?}", report.exceptions);
}

#[test]
fn garbage_is_counted_and_never_a_panic() {
    let text = text_of("forced-6.12/trace_boot.txt");
    let huge = "9".repeat(40);
    for (from, to) in [
        ("size=", "size=-"),
        ("dma_addr=7", "dma_addr=fffffff7"),
        ("size=4096", "size=18446744073709551615"),
        ("size=16", huge.as_str()),
        ("[000]", "[8191]"),
        ("dev_addr=1", "dev_addr=ffffffffffffffff"),
        ("insmod-147", "insmod-4294967296"),
        ("swiotlb_bounced", "swiotlb_bounced_too"),
        ("dma_mask=ffffffffffffffff", "dma_mask=0"),
        ("size=1 ", "size=0 "),
    ] {
        let _ = changed("forced-6.12/trace_boot.txt", |text| text.replace(from, to));
    }
    for cut in (0..text.len()).step_by(997) {
        let _ = changed("forced-6.12/trace_boot.txt", |text| text[..cut].to_owned());
    }
}

#[test]
fn a_file_without_events_is_no_trace() {
    let error =
        changed("forced-6.12/trace_boot.txt", |_| "# tracer: nop\nhello\n".to_owned()).expect_err("no trace");
    assert!(error.contains("no trace event"), "{error}");
}

#[test]
fn the_kernel_must_be_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace_boot.txt");
    fs::copy(data("forced-6.12/trace_boot.txt"), &path).expect("a copy");
    let error = trace::compare(&path, None).expect_err("no release").to_string();
    assert!(error.contains("name the release"), "{error}");
    let error = trace::compare(&path, Some("2.4")).expect_err("an old release").to_string();
    assert!(error.contains("2.4"), "{error}");
    let report = trace::compare(&path, Some("6.12.117")).expect("a report");
    assert!(report.notes.iter().any(|note| note.contains("no console log")), "{:?}", report.notes);
}

const ADDRESSES: &str = "I/O virtual addresses";

#[test]
fn the_addresses_of_a_boot_behind_a_strict_iommu_are_determined_and_right() {
    let report = report("amd-6.12/trace_boot.txt");
    assert_eq!(row(&report, ADDRESSES), (50, 50), "{:?}", report.exceptions);
}

#[test]
fn where_flushes_are_not_shown_only_what_every_history_agrees_on_is_compared() {
    let report = report("lazy-6.12/trace_boot.txt.gz");
    let (agreed, total) = row(&report, ADDRESSES);
    assert!(agreed == total && total >= 80, "{:?}", report.exceptions);
    assert!(report.notes.iter().any(|note| note.contains("flush queue")), "{:?}", report.notes);
}

#[test]
fn shown_flushes_determine_the_caches() {
    let report = report("flushes-6.12/trace_io.txt.gz");
    let (agreed, total) = row(&report, ADDRESSES);
    assert!(agreed == total && total >= 900, "{agreed} of {total}");
    assert_eq!(unexplained(&report), 0, "{:?}", report.exceptions);
}

#[test]
fn probes_on_the_allocator_determine_more() {
    for (name, least) in [("strict-6.1/trace_kp.txt.gz", 300), ("lazy-6.12/trace_kp.txt.gz", 20)] {
        let report = report(name);
        let (agreed, total) = row(&report, ADDRESSES);
        assert!(agreed == total && total >= least, "{name}: {agreed} of {total}");
        assert_eq!(unexplained(&report), 0, "{name}: {:?}", report.exceptions);
        let (agreed, total) = report.totals();
        assert!(agreed * 100 >= total * 95, "{name}: {agreed} of {total}");
    }
}

#[test]
fn a_changed_io_virtual_address_is_noticed() {
    let text = text_of("amd-6.12/trace_boot.txt");
    let wrong =
        text.replace("00000000ffff9000", "00000000ffff0000").replace("0x00000000ffff9", "0x00000000ffff0");
    let wrong = wrong.replace("dma_addr=ffff9", "dma_addr=ffff0");
    assert_ne!(text, wrong);
    let report = changed("amd-6.12/trace_boot.txt", |_| wrong).expect("a report");
    let (agreed, total) = row(&report, ADDRESSES);
    assert!(agreed < total, "{:?}", report.rows);
    assert!(report.exceptions[0].recorded.starts_with("page 0xffff0"), "{:?}", report.exceptions[0]);
}

#[test]
fn garbled_probes_are_no_reason_to_stop() {
    for (from, to) in [
        ("pfn=0x", "pfn=0xffffffffff"),
        ("size=0x1 ", "size=0xffffffffffffffff "),
        ("size=0x", "size=0x0"),
        ("limit_pfn=0xfffff", "limit_pfn=0x0"),
        ("limit_pfn=0xfffff", "limit_pfn=0xffffffffffffffff"),
        ("iovad=0x", "iovad=0"),
        ("[001]", "[4095]"),
        ("iova=0x00000000ff", "iova=0xffffffffff"),
    ] {
        let _ = changed("strict-6.1/trace_kp.txt.gz", |text| text.replace(from, to));
        let _ = changed("amd-6.12/trace_boot.txt", |text| text.replace(from, to));
        let _ = changed("lazy-6.12/trace_boot.txt.gz", |text| text.replace(from, to));
    }
}

/// Recorded boots with drivers of the kernel, if they are there: too large to be kept here.
#[test]
fn whole_recordings_agree_where_they_are_present() {
    let boots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/boots");
    let marks: &[(&str, u64, u64)] = &[
        ("b03_612_5G_swforce/trace_boot.txt", 64, 64),
        ("b03_612_5G_swforce/trace_io.txt.gz", 12493, 12496),
        ("b03_612_5G_swforce/trace_kp.txt.gz", 3400, 3402),
        ("b04_61_5G_swforce/trace_kp.txt.gz", 4513, 4518),
        ("b05_612_5G_none/trace_io.txt.gz", 7336, 7336),
        ("b13_612_5G_intel_lazy/trace_boot.txt.gz", 85, 85),
        ("b13_612_5G_intel_lazy/trace_kp.txt.gz", 599, 615),
        ("b14_61_5G_intel_strict/trace_kp.txt.gz", 1448, 1449),
        ("b19_612_5G_amd/trace_boot.txt", 52, 52),
        ("b19_612_5G_amd/trace_io.txt.gz", 1978, 1983),
        ("b19_612_5G_amd/trace_kp.txt.gz", 1528, 1529),
        ("b26_612_5G_intel_swforce_initcall/trace_io.txt.gz", 4433, 4437),
        ("c14_612_5G_sw1024_full/trace_heavy.txt.gz", 27048, 27057),
    ];
    for (name, least, most) in marks {
        let path = boots.join(name);
        if !path.is_file() {
            continue;
        }
        let report = trace::compare(&path, None).expect("a report");
        let (agreed, total) = report.totals();
        assert!(agreed >= *least && total - agreed <= most - least, "{name}: {agreed} of {total}");
        assert_eq!(unexplained(&report), 0, "{name}");
    }
}
