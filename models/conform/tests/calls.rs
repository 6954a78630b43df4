//! Call logs of real kernels against the models: what agrees, and that a wrong line is noticed.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use conform::Report;
use conform::calls::compare;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/calls")
}

fn fixture(name: &str) -> PathBuf {
    fixtures().join(name).join("dmat.txt.gz")
}

fn text_of(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).expect("the fixture")).read_to_string(&mut text).expect("its text");
    text
}

/// The fixture in a folder of its own, with `edit` done to its lines.
fn edited(name: &str, test: &str, with_trace: bool, edit: impl FnOnce(&mut Vec<String>)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{test}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    for file in ["console.log", "state.txt", "trace_dmatest.txt.gz"] {
        let from = fixtures().join(name).join(file);
        if from.is_file() && (with_trace || !file.starts_with("trace")) {
            fs::copy(from, folder.join(file)).expect("a copy");
        }
    }
    let mut lines: Vec<String> = text_of(&fixture(name)).lines().map(str::to_owned).collect();
    edit(&mut lines);
    let path = folder.join("dmat.txt");
    fs::write(&path, lines.join("\n")).expect("the log");
    path
}

fn rows(report: &Report) -> String {
    let row = |row: &conform::Row| format!("{}: {} of {}", row.name, row.agreed, row.total);
    report.rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// The number of the first line that holds all of `words`, from 1.
fn find(lines: &[String], words: &[&str]) -> usize {
    let at = lines.iter().position(|line| words.iter().all(|word| line.contains(word)));
    at.unwrap_or_else(|| panic!("no line with {words:?}")) + 1
}

#[test]
fn forced_bouncing_on_6_12() {
    let report = compare(&fixture("6.12-pool-forced")).expect("a report");
    assert_eq!((report.version.as_str(), report.exceptions.len()), ("6.12", 0));
    insta::assert_snapshot!(rows(&report), @r"
    A masks and limits: 16 of 16
    B single maps: 1575 of 1575
    C fill, hole, refill: 72 of 72
    D contents: 63 of 63
    E scatterlists: 170 of 170
    F coherent memory: 60 of 60
    G dma_pool: 240 of 240
    H iova_domain: 137 of 137
    H iova caches: 251 of 251
    I iommu_domain: 1 of 1
    J exhaustion: 18 of 18
    ");
}

#[test]
fn everything_agrees_where_everything_is_determined() {
    let first =
        ["6.1-pool-forced", "6.12-pool", "6.1-pool", "6.1-no-pool", "6.1-amd-strict", "6.12-vtd-lazy"];
    // With the driver of `recorder/`: other sizes, lists and maps, drawn with other seeds.
    let own = [
        "6.1-noforce",
        "6.12-areas-forced",
        "6.12-virtio-strict",
        "6.12-vtd-forcedac",
        "6.12-vtd-lazy-2cpu",
        "6.12-vtd-passthrough",
    ];
    for name in first.into_iter().chain(own) {
        let report = compare(&fixture(name)).expect("a report");
        assert!(report.agrees(), "{name}: {:?}", report.exceptions.first());
        assert!(report.totals().1 > 2_500, "{name}: {}", rows(&report));
    }
}

#[test]
fn only_a_total_that_a_timer_changed_differs_on_6_12_amd() {
    let report = compare(&fixture("6.12-amd-strict")).expect("a report");
    let differing: Vec<_> =
        report.exceptions.iter().map(|exception| (exception.line, &exception.why)).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert!(differing[0].1.as_ref().is_some_and(|why| why.contains("trims every 100 ms")));
    assert!(
        report.notes.iter().any(|note| note.contains("moved to another CPU 1 times")),
        "{:?}",
        report.notes
    );
}

/// What the depot's work did while nothing was printed is read from the addresses that follow; an address that no
/// magazine held is noticed all the same, and so is one that was taken twice.
#[test]
fn trims_are_inferred_and_do_not_explain_everything() {
    let jump = "J size=131072 n=20 jump ";
    for other in ["-> fe0000", "-> ffff0000"] {
        let path = edited("6.12-vtd-forcedac", &format!("trims{}", other.len()), false, |lines| {
            let at = find(lines, &[jump]) - 1;
            let (before, _) = lines[at].split_once("-> ").expect("a jump");
            lines[at] = format!("{before}{other}");
        });
        let report = compare(&path).expect("a report");
        assert!(!report.agrees(), "{other}");
    }
}

#[test]
fn a_lazy_domain_is_followed_without_a_trace() {
    let path = edited("6.12-vtd-lazy", "no-trace", false, |_| {});
    let report = compare(&path).expect("a report");
    let (agreed, total) = report.totals();
    assert!(agreed * 100 >= total * 95, "{}", rows(&report));
    assert!(report.notes.iter().any(|note| note.contains("are inferred")), "{:?}", report.notes);
}

/// Each test letter's results are looked at: one digit is altered, and that line differs.
#[test]
fn one_altered_digit_is_noticed() {
    let cases: [(&str, &[&str], &str, &str); 22] = [
        ("6.12-pool-forced", &["A mask bits=20"], "set_mask=-5", "set_mask=0"),
        ("6.12-pool-forced", &["A mask bits=48"], "required=1ffffffff", "required=ffffffff"),
        ("6.12-pool-forced", &["A min_align=fff"], "3f000", "40000"),
        ("6.12-pool-forced", &["B mask=64", "min_align=fff off=4 ", "size=8 "], "-> 7c066004", "-> 7c066804"),
        ("6.12-pool-forced", &["B mask=64", "size=262145 "], "-> ERROR", "-> 7bd65000 i2p=7bd65000"),
        ("6.1-pool", &["C refill map"], "-> dma=7", "-> dma=6"),
        ("6.12-pool-forced", &["D   unmapped"], "orig[0]=44", "orig[0]=4f"),
        ("6.12-pool-forced", &["D dir=BIDIRECTIONAL variant=1"], "buf[-1]=44", "buf[-1]=4f"),
        ("6.12-pool-forced", &["E big out[1]"], "dma=7f012000", "dma=7f013000"),
        ("6.1-amd-strict", &["E endalign", "nents=4"], "-> 2", "-> 3"),
        ("6.1-amd-strict", &["E endalign out[0]"], "len=2200", "len=2000"),
        ("6.1-amd-strict", &["B mask=64", "size=4097 "], "-> ffffc000", "-> ffffe000"),
        ("6.1-amd-strict", &["B mask=64", "size=8 "], "i2p=104100000", "i2p=104101000"),
        ("6.1-amd-strict", &["F alloc mask=32", "size=8192 "], "dma=ffc000", "dma=ffd000"),
        ("6.1-amd-strict", &["F alloc mask=64 gfp=KERNEL"], "vmalloc=1", "vmalloc=0"),
        ("6.12-pool-forced", &["G realloc[10]"], "-> 10406e280", "-> 10406e2c0"),
        ("6.12-pool-forced", &["H alloc_iova[7]"], "cached32=ffdce", "cached32=ffdcf"),
        ("6.12-pool-forced", &["H2 alloc_fast n=128"], "-> fff00", "-> fff80"),
        ("6.12-pool-forced", &["H2 again[127]"], "ff6d2", "ff6d3"),
        ("6.1-amd-strict", &["I unmap iova=20000000"], "-> 0", "-> 200000"),
        ("6.12-vtd-lazy", &["I map iova=10000800"], "-> -22", "-> 0"),
        ("6.12-pool-forced", &["J size=131072", "jump"], "-> 7bca5000", "-> 7bcc5000"),
    ];
    for (number, (name, words, from, to)) in cases.into_iter().enumerate() {
        let mut altered = 0;
        let path = edited(name, &format!("altered-{number}"), true, |lines| {
            altered = find(lines, words);
            let line = &mut lines[altered - 1];
            assert!(line.contains(from), "{line}");
            *line = line.replacen(from, to, 1);
        });
        let report = compare(&path).expect("a report");
        let first = report.exceptions.first().map(|exception| exception.line);
        assert!(
            report.exceptions.iter().any(|exception| exception.line == altered as u64),
            "{name} {words:?}: line {altered}, first exception {first:?}"
        );
        assert!(!report.agrees());
    }
}

/// The first difference of a test shows the state before it.
#[test]
fn the_first_difference_shows_the_state_before() {
    let path = edited("6.12-pool-forced", "state", true, |lines| {
        let at = find(lines, &["B mask=64", "off=4 ", "size=60 "]);
        lines[at - 1] = lines[at - 1].replace("-> 7bd66000", "-> 7bd67000");
    });
    let report = compare(&path).expect("a report");
    let exception = &report.exceptions[0];
    assert_eq!(exception.modelled, "7bd66000 i2p=7bd66000");
    assert!(
        exception.detail.iter().any(|line| line.contains("area 0: next search at slot 386 of 32768")),
        "{:?}",
        exception.detail
    );
}

/// One wrong address does not spoil what follows: the state goes on as the log says. In a domain's caches the address
/// that was never there stays for a while.
#[test]
fn after_a_difference_the_rest_agrees() {
    for (name, from, to, most) in [
        ("6.12-pool-forced", "-> 7bd66000 i2p=7bd66000", "-> 7bd66800 i2p=7bd66800", 4),
        ("6.1-amd-strict", "-> fffff004", "-> ffeff004", 40),
    ] {
        let path = edited(name, &format!("rest-{name}"), true, |lines| {
            let at = find(lines, &["B mask=64", "off=4 ", "size=60 "]);
            assert!(lines[at - 1].contains(from), "{}", lines[at - 1]);
            lines[at - 1] = lines[at - 1].replace(from, to);
        });
        let report = compare(&path).expect("a report");
        assert!(report.exceptions.len() <= most, "{name}: {} exceptions", report.exceptions.len());
    }
}

/// A lazy domain's flushes are guessed, but not so freely that a wrong address finds an excuse.
#[test]
fn a_wrong_address_finds_no_excuse_in_a_flush() {
    for (case, (size, digit)) in
        [("size=513 ", "0"), ("size=60 ", "1"), ("size=65536 ", "4")].into_iter().enumerate()
    {
        let mut altered = 0;
        let path = edited("6.12-vtd-lazy", &format!("excuse-{case}"), false, |lines| {
            altered = find(lines, &["B mask=64 zone=normal min_align=fff", size]);
            let line = lines[altered - 1].clone();
            let (before, after) = line.split_once("-> ").expect("a result");
            let wrong = format!("{before}-> {digit}{}", &after[1..]);
            lines[altered - 1] = wrong;
        });
        let report = compare(&path).expect("a report");
        assert!(report.exceptions.iter().any(|exception| exception.line == altered as u64), "{size}");
    }
}

fn small(name: &str, text: &str) -> PathBuf {
    edited("6.12-pool-forced", name, false, |lines| *lines = text.lines().map(str::to_owned).collect())
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let error = compare(&small("other", "nothing\nof the kind")).expect_err("no call log");
    assert!(error.to_string().contains("no line with `dmat: `"), "{error}");
    let error = compare(&fixtures().join("missing/dmat.txt")).expect_err("no file");
    assert_eq!(error.line, 0);
}

#[test]
fn without_a_kernel_version_nothing_is_compared() {
    let path = small("no-version", "dmat: probe 0000:00:01.0 enable=0 cpu=0 tests=A");
    let folder = path.parent().expect("a folder");
    fs::remove_file(folder.join("console.log")).expect("it was there");
    fs::write(folder.join("state.txt"), "@@@BEGIN s1.version\nLinux version 4.19.0 (x)\n").expect("a file");
    let error = compare(&path).expect_err("no rules");
    assert!(error.to_string().contains("no rules for Linux 4.19.0"), "{error}");
    fs::remove_file(folder.join("state.txt")).expect("it was there");
    let error = compare(&path).expect_err("no version");
    assert!(error.to_string().contains("which kernel was it?"), "{error}");
}

#[test]
fn what_cannot_be_read_is_counted_with_its_line() {
    let text = "dmat: probe 0000:00:01.0 enable=0 cpu=99999999999 tests=A\n\
        dmat: B mask=64 zone=normal min_align=0 off=0 phys=104200000 size=18446744073709551615 -> 7bca5000 i2p=7bca5000\n\
        dmat: B mask=64 zone=normal min_align=0 off=0 phys=fffffffffffff000 size=4096 -> 7bca\n\
        dmat: Z something\n\
        dmat: J size=1 mapped=99999999999 first=0 last=0 jumps=0 descents=0\n\
        dmat: I map iova=0 phys=0 size=ffffffffffffffff -> 0\n\
        dmat: G alloc[18446744073709551615] -> 0\n\
        dmat: E x in[0] phys=0 len=ffffffff\n\
        dmat: H2 99999999x n=1 first=0 last=0\n\
        dmat: H2 rcaches init -> 0\n\
        dmat: H2 99999999x n=1 first=0 last=0\n\
        dmat:";
    let report = compare(&small("unreadable", text)).expect("a report");
    let note = report.notes.iter().find(|note| note.contains("cut, garbled")).expect("a note");
    assert!(note.contains("(first: line 1)"), "{note}");
}

/// Garbled logs end in a report, and soon.
#[test]
fn garbled_logs_end() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    };
    let words = [
        "-1",
        "ffffffffffffffff",
        "18446744073709551615",
        "0",
        "",
        "ERROR",
        "->",
        "[",
        "=",
        "99999999999999999999",
        "é",
    ];
    for round in 0..9 {
        let name = ["6.12-pool-forced", "6.1-amd-strict", "6.12-vtd-lazy"][round % 3];
        let path = edited(name, &format!("garbled-{round}"), round % 2 == 0, |lines| {
            // Filling a lazy domain takes long.
            lines.retain(|line| name != "6.12-vtd-lazy" || !line.contains("dmat: J "));
            for _ in 0..400 {
                let at = draw(lines.len());
                match draw(5) {
                    0 => {
                        let cut = draw(lines[at].len());
                        let mut cut_line = lines[at].clone();
                        cut_line
                            .truncate((0..=cut).rev().find(|at| cut_line.is_char_boundary(*at)).unwrap_or(0));
                        lines[at] = cut_line;
                    }
                    1 => {
                        let other = draw(lines.len());
                        lines.swap(at, other);
                    }
                    2 => {
                        lines.remove(at);
                    }
                    _ => {
                        let mut parts: Vec<String> = lines[at].split([' ', '=']).map(str::to_owned).collect();
                        let part = draw(parts.len());
                        words[draw(words.len())].clone_into(&mut parts[part]);
                        let separators: Vec<char> =
                            lines[at].chars().filter(|c| matches!(c, ' ' | '=')).collect();
                        lines[at] =
                            parts.iter().enumerate().fold(String::new(), |mut line, (number, part)| {
                                line.push_str(part);
                                line.extend(separators.get(number));
                                line
                            });
                    }
                }
            }
        });
        let report = compare(&path).expect("a report");
        assert!(report.totals().1 > 0);
    }
}

#[test]
fn plain_and_compressed_logs_are_alike() {
    let path = edited("6.1-no-pool", "plain", true, |_| {});
    let plain = compare(&path).expect("a report");
    let packed = path.with_extension("txt.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&packed).expect("a file"), Compression::fast());
    encoder.write_all(&fs::read(&path).expect("the log")).expect("written");
    encoder.finish().expect("written");
    assert_eq!(compare(&packed).expect("a report"), plain);
}

/// The whole recordings, where they lie beside the project.
#[test]
fn whole_recordings() {
    let boots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/boots");
    let Ok(entries) = fs::read_dir(boots) else { return };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    for folder in folders {
        let Some(log) =
            ["dmat.txt", "dmat.txt.gz"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file())
        else {
            continue;
        };
        let report = compare(&log).expect("a report");
        let (agreed, total) = report.totals();
        let alone = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with('c'));
        assert!(agreed == total || !alone, "{}: {}", folder.display(), rows(&report));
        assert!(agreed * 100 >= total * 85, "{}: {}", folder.display(), rows(&report));
        let unexplained: Vec<_> =
            report.exceptions.iter().filter(|exception| exception.why.is_none()).collect();
        assert!(unexplained.is_empty(), "{}: {unexplained:?}", folder.display());
    }
}
