//! A recorded run as a page and as a trace: what is in them can be read back.

#[expect(dead_code, reason = "the texts need more of it")]
mod toy;

use reports::html::{Heading, html};
use reports::perfetto::perfetto;
use serde_json::Value;
use sim::RunEnd;
use sim::choices::Mode;

/// The first seed that shows something.
fn failing() -> RunEnd {
    (0..200)
        .map(|seed| toy::run(Mode::Seed(seed)))
        .find(|end| !end.findings.is_empty())
        .expect("one in a few does")
}

fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script id="data" type="application/json">"#).expect("it holds data");
    let (json, _) = rest.split_once("</script>").expect("they end");
    serde_json::from_str(json).expect("they are JSON")
}

#[test]
fn the_page_holds_the_run_and_loads_nothing() {
    let end = failing();
    let heading = Heading { title: "</script><b>toy".to_owned(), ..Heading::default() };
    let page = html(&heading, &end.trace, &end.findings).expect("it can be written");
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    let data = data(&page);
    assert_eq!(data["title"], "</script><b>toy");
    let events = &data["events"];
    let columns =
        ["time", "ctx", "kind", "text"].map(|name| events[name].as_array().expect("a column").len());
    assert!(columns.iter().all(|length| *length == columns[0]) && columns[0] > 10);
    let at = data["findings"][0]["event"].as_u64().expect("a number");
    let kind = events["kind"][usize::try_from(at).expect("small")].as_u64().expect("a number");
    assert_eq!(data["kinds"][usize::try_from(kind).expect("small")], "found");
}

#[test]
fn slices_of_a_trace_nest_and_time_never_goes_back() {
    let end = failing();
    let text = perfetto("toy", &end.trace, &end.findings).expect("it can be written");
    let whole: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut depth: std::collections::BTreeMap<u64, Vec<String>> = std::collections::BTreeMap::new();
    let mut last: std::collections::BTreeMap<u64, f64> = std::collections::BTreeMap::new();
    let mut instants = 0;
    for record in whole["traceEvents"].as_array().expect("a list") {
        let (tid, ts) = (record["tid"].as_u64().expect("a thread"), record["ts"].as_f64().expect("a time"));
        let name = record["name"].as_str().expect("a name").to_owned();
        match record["ph"].as_str().expect("a phase") {
            "B" => {
                assert!(ts >= last.insert(tid, ts).unwrap_or(0.0));
                depth.entry(tid).or_default().push(name);
            }
            "E" => {
                assert!(ts >= last.insert(tid, ts).unwrap_or(0.0));
                assert_eq!(depth.entry(tid).or_default().pop(), Some(name));
            }
            "i" if record["cat"] == "finding" => instants += 1,
            _ => {}
        }
    }
    assert!(depth.values().all(Vec::is_empty), "{depth:?}");
    assert_eq!(instants, end.findings.len());
}
