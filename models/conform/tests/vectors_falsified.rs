//! Recordings that were changed: every change of a result is noticed, and the text says where.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;
use std::sync::OnceLock;

use conform::{Outcome, Source, vectors};
use flate2::read::GzDecoder;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

const SAMPLES: [&str; 7] = [
    "memblock-6.1",
    "memblock-6.12",
    "swiotlb-6.1",
    "swiotlb-6.12",
    "swiotlb-dynamic-6.12",
    "iova-6.1",
    "iova-6.12",
];

/// All sequences of all samples.
fn sequences() -> &'static [Value] {
    static ALL: OnceLock<Vec<Value>> = OnceLock::new();
    ALL.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let read = |name: &&str| {
            let file =
                File::open(folder.join(format!("{name}-sample.jsonl.gz"))).expect("the sample is there");
            BufReader::new(GzDecoder::new(file))
                .lines()
                .collect::<Result<Vec<_>, _>>()
                .expect("it can be read")
        };
        let lines = SAMPLES.iter().flat_map(read);
        lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
    })
}

fn compare(text: String, show: usize) -> Outcome {
    let mut source = Source::new(Path::new("mine.jsonl"), Box::new(Cursor::new(text)));
    vectors::compare(&mut source, show, &mut |_| true)
}

/// Changes one number, string or null somewhere in a value, which one depends on `pick`; adds to what is empty.
fn falsify(value: &mut Value, pick: usize) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let count = items.len();
            falsify(&mut items[pick % count], pick / count);
        }
        Value::Object(fields) if !fields.is_empty() => {
            let key = fields.keys().nth(pick % fields.len()).expect("there is one").clone();
            let count = fields.len();
            falsify(&mut fields[&key], pick / count);
        }
        Value::Number(number) => *value = json!(number.as_u64().map_or(0, |n| n ^ (1 << (pick % 64)))),
        Value::String(text) => text.push('x'),
        other => *other = json!([7]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn every_changed_result_is_noticed_where_it_is(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        pick in any::<usize>(),
    ) {
        let all = sequences();
        let mut sequence = all[which.index(all.len())].clone();
        let count = sequence["ops"].as_array().map_or(0, Vec::len);
        let at = at.index(count + 1);
        let (place, expected) = match sequence["ops"].get_mut(at) {
            Some(op) => (&mut op["result"], format!("operation {} of {count} ", at + 1)),
            None => (&mut sequence["final"], format!("final state after {count} operations")),
        };
        falsify(place, pick);
        let outcome = compare(sequence.to_string(), 0);
        prop_assert!(!outcome.agrees());
        prop_assert!(outcome.error.is_none(), "{:?}", outcome.error);
        let exceptions = &outcome.reports[0].exceptions;
        prop_assert_eq!(exceptions.len(), 1);
        prop_assert!(exceptions[0].what.contains(&expected), "{} at {expected}", exceptions[0].what);
    }

    #[test]
    fn no_damage_of_a_line_makes_it_panic(
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let all = sequences();
        let mut bytes = all[which.index(all.len())].to_string().into_bytes();
        for (at, byte) in places {
            let at = at.index(bytes.len());
            // What can stand in a recording, rather than any byte.
            bytes[at] = b"0123456789,:\"[]{}- eanullbugopst\\\n"[usize::from(byte) % 34];
        }
        let outcome = compare(String::from_utf8_lossy(&bytes).into_owned(), 1);
        for exception in outcome.reports.iter().flat_map(|report| &report.exceptions) {
            prop_assert!(!exception.modelled.contains("panicked"), "{exception:?}");
        }
    }
}

/// A few short sequences of memblock, one of them false when `wrong` is set.
fn small(wrong: bool) -> String {
    let op = |op: &str, args: Value, result: Value| json!({ "op": op, "args": args, "result": result });
    let empty = json!({ "max": 128, "regions": [], "total": 0 });
    let state = |memory: Value, reserved: Value| json!({ "memory": memory, "reserved": reserved, "current_limit": u64::MAX, "bottom_up": 1 });
    let list = |regions: Value, total: u64| json!({ "max": 128, "regions": regions, "total": total });
    let first = json!({
        "kind": "memblock", "kernel": "6.12", "id": 0, "profile": "hand-made",
        "ops": [
            op("config", json!([1, 0, 0, 1, u64::MAX]), json!(0)),
            op("add", json!([0, 1 << 20]), json!(0)),
            op("is_memory", json!([4096]), json!(1)),
            op("reserve", json!([0, 8192]), json!(0)),
            op("totals", json!([]), json!([1 << 20, 8192])),
            op("phys_alloc_range", json!([256, 64, 0, 0]), json!(if wrong { 8256 } else { 8192 })),
        ],
        "final": state(list(json!([[0, 1 << 20, 0, 1024]]), 1 << 20), list(json!([[0, 8448, 0, 1024]]), 8448)),
    });
    let second = json!({
        "kind": "memblock", "kernel": "6.12", "id": 1,
        "ops": [op("config", json!([0, 0, 0, 1, u64::MAX]), json!(0))],
        "final": state(empty.clone(), empty),
    });
    format!("{first}\n{second}\n")
}

#[test]
fn text_of_a_sample_that_agrees() {
    let outcome = compare(small(false), 3);
    assert!(outcome.agrees());
    insta::assert_snapshot!(outcome.reports[0].text("mine.jsonl", 3));
}

#[test]
fn text_of_a_falsified_sample() {
    let outcome = compare(small(true), 3);
    assert!(!outcome.agrees() && outcome.error.is_none());
    insta::assert_snapshot!(outcome.reports[0].text("mine.jsonl", 3));
}

#[test]
fn json_of_a_falsified_sample() {
    let outcome = compare(small(true), 3);
    let line = conform::line("vectors", &[(Path::new("mine.jsonl"), &outcome)]);
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line.lines().count(), 1);
    assert_eq!(
        (&value["agrees"], &value["compared"], &value["agreed"]),
        (&json!(false), &json!(8), &json!(7))
    );
    let report = &value["files"][0]["reports"][0];
    assert_eq!(report["counts"], json!({ "sequences": 2, "differing": 1, "operations_compared": 7 }));
    assert_eq!(report["exceptions"][0]["line"], 1);
}

#[test]
fn what_is_not_needed_is_dropped() {
    let outcome = compare(small(true), 3);
    let detail = &outcome.reports[0].exceptions[0].detail;
    // `is_memory`, `totals` and nothing else can go.
    let steps: Vec<&str> =
        detail.iter().filter(|line| line.contains(" = ")).map(|line| line.trim()).collect();
    let names: Vec<&str> = steps.iter().filter_map(|step| step.split_whitespace().nth(1)).collect();
    assert_eq!(names, ["config", "add", "reserve", "phys_alloc_range"], "{detail:?}");
}

#[test]
fn several_kinds_in_one_file_have_a_report_each() {
    let text: String = sequences().iter().step_by(40).map(|sequence| format!("{sequence}\n")).collect();
    let outcome = compare(text, 0);
    assert!(outcome.agrees(), "{:?}", outcome.error);
    let kinds: Vec<String> = outcome.reports.iter().map(|r| format!("{} {}", r.kind, r.version)).collect();
    assert!(kinds.len() >= 5 && kinds.contains(&"iova vectors 6.12".to_owned()), "{kinds:?}");
}

#[test]
fn it_can_be_stopped_between_sequences() {
    let mut source = Source::new(Path::new("mine.jsonl"), Box::new(Cursor::new(small(false))));
    let outcome = vectors::compare(&mut source, 3, &mut |_| false);
    assert!(outcome.error.is_none());
    assert_eq!(outcome.reports[0].counts[0], ("sequences".to_owned(), 1));
}
