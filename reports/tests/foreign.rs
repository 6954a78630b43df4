//! What was written, read by programs that others wrote.

mod results;
#[expect(dead_code, reason = "the texts need more of it")]
mod toy;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use junit_parser::TestStatus;
use reports::ci;
use reports::perfetto::perfetto;
use results::whole;
use serde_sarif::sarif::{ResultLevel, Sarif};
use sim::choices::Mode;
use typescript_tsbuildinfo::{TraceEventType, TraceJson};

/// Says why a test does nothing, past the capture of the test's output.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

#[test]
fn junit_is_what_a_parser_of_junit_reads() {
    let text = ci::junit(&whole()).expect("it can be written");
    let read = junit_parser::from_reader(text.as_bytes()).expect("it can be read");
    assert_eq!((read.tests, read.failures, read.errors, read.skipped), (5, 1, 1, 0));
    let names: Vec<&str> = read.suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(names, ["scenarios/a", "scenarios/b", "."]);
    let cases: Vec<_> = read.suites.iter().flat_map(|suite| &suite.cases).collect();
    let by_name = |name: &str| {
        cases.iter().find(|case| case.original_name == name).unwrap_or_else(|| panic!("{name} is there"))
    };
    assert!(by_name("scenarios/a/one.ron").status.is_success());
    assert!(by_name("scenarios/b/three.ron").status.is_error());
    let failed = by_name("scenarios/a/two.ron#sme");
    let TestStatus::Failure(failure) = &failed.status else { panic!("{:?}", failed.status) };
    assert_eq!(failure.message, "not expected: use-after-free, 100 %");
    let output = failed.system_out.as_deref().expect("it says what was run");
    // This reader leaves `&lt;` and its like out of texts; the test in `ci.rs` looks at them.
    assert!(
        output.contains("10 seeds") && output.contains("use-after-free in is_swiotlb_buffer: "),
        "{output}"
    );
}

#[test]
fn sarif_is_what_the_schema_of_sarif_reads() {
    let text = ci::sarif(&whole(), &[("use-after-free", "freed memory was used")], false)
        .expect("it can be written");
    let read: Sarif = serde_json::from_str(&text).expect("it can be read");
    let run = &read.runs[0];
    assert_eq!(run.tool.driver.name, "dmasim");
    let rules: Vec<&str> = run.tool.driver.rules.iter().flatten().map(|rule| rule.id.as_str()).collect();
    let results = run.results.as_ref().expect("there are results");
    assert_eq!(results.len(), 3);
    for result in results {
        let rule = result.rule_id.as_deref().expect("a rule");
        assert!(rules.contains(&rule), "{rule} is not among {rules:?}");
        assert_eq!(result.level, Some(ResultLevel::Error));
        let places = result.locations.as_ref().expect("a place");
        let file = places[0].physical_location.as_ref().and_then(|place| place.artifact_location.as_ref());
        assert!(file.and_then(|file| file.uri.as_deref()).is_some_and(|uri| uri.ends_with(".ron")));
    }
}

#[test]
fn a_trace_is_what_a_parser_of_trace_events_reads() {
    for seed in 0..60 {
        let end = toy::run(Mode::Seed(seed));
        let text = perfetto("toy", &end.trace, &end.findings).expect("it can be written");
        let whole: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        // The object form of the format holds the array form, which that library reads.
        let read: TraceJson = serde_json::from_value(whole["traceEvents"].clone()).expect("it can be read");
        let mut open: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        let mut asynchronous: BTreeMap<(&str, &str), i32> = BTreeMap::new();
        let mut named = Vec::new();
        for event in read.iter() {
            match event.ph {
                TraceEventType::DurationBegin => open.entry(event.tid).or_default().push(&event.name),
                TraceEventType::DurationEnd => {
                    assert_eq!(open.entry(event.tid).or_default().pop(), Some(event.name.as_str()));
                }
                TraceEventType::Complete => assert!(event.dur.is_some_and(|dur| dur >= 0.0), "{event:?}"),
                TraceEventType::AsyncStart | TraceEventType::AsyncEnd => {
                    let id = event.id.as_deref().expect("an id");
                    let by = if event.ph == TraceEventType::AsyncStart { 1 } else { -1 };
                    *asynchronous.entry((id, &event.name)).or_default() += by;
                }
                TraceEventType::FlowStart | TraceEventType::FlowStep | TraceEventType::FlowEnd => {
                    assert!(event.id.is_some());
                }
                TraceEventType::Counter => assert!(event.args.values().all(serde_json::Value::is_number)),
                TraceEventType::Metadata if event.name == "thread_name" => named.push(event.tid),
                _ => {}
            }
        }
        assert!(open.values().all(Vec::is_empty), "seed {seed}: {open:?}");
        assert!(asynchronous.values().all(|left| *left == 0), "seed {seed}: {asynchronous:?}");
        assert!(read.iter().all(|event| named.contains(&event.tid)), "seed {seed}: a thread without a name");
        let found = read.iter().filter(|event| event.cat == "finding").count();
        assert_eq!(found, end.findings.len(), "seed {seed}");
    }
}

/// The kernel's own parser, of Debian's package of the sources: unpacked there, or taken out of its archive.
fn kunit(folder: &Path) -> Option<PathBuf> {
    let sources = std::fs::read_dir("/usr/src").ok()?;
    let mut names: Vec<PathBuf> = sources.flatten().map(|entry| entry.path()).collect();
    names.sort();
    for source in names.iter().rev() {
        let unpacked = source.join("tools/testing/kunit/kunit.py");
        if unpacked.is_file() {
            return Some(unpacked);
        }
        let name = source.file_name()?.to_string_lossy().into_owned();
        let Some(version) = name.strip_suffix(".tar.xz").filter(|name| name.starts_with("linux-source"))
        else {
            continue;
        };
        let wanted = format!("{version}/tools/testing/kunit");
        let done = Command::new("tar").arg("-xf").arg(source).arg("-C").arg(folder).arg(&wanted).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(folder.join(wanted).join("kunit.py"));
        }
    }
    None
}

#[test]
fn ktap_is_what_the_kernels_parser_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(parser) = kunit(folder.path()) else {
        return skipped("KTAP is not read by the kernel's parser: linux-source is not installed");
    };
    let file = folder.path().join("result.ktap");
    std::fs::write(&file, ci::ktap(&whole())).expect("it can be written");
    let read = match Command::new("python3").arg(&parser).arg("parse").arg(&file).output() {
        Ok(read) => read,
        Err(error) => return skipped(&format!("the kernel's parser cannot be started: {error}")),
    };
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(
        text.contains("Ran 5 tests: passed: 3, failed: 2"),
        "{text}\n{}",
        String::from_utf8_lossy(&read.stderr)
    );
    for line in ["[PASSED] one.ron", "[FAILED] two.ron:sme", "[FAILED] three.ron", "[PASSED] four.ron"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
