//! Results in the formats of others, read back by what others wrote, and parts joined to the whole.

mod results;

use reports::ci;
use reports::json::{PartJson, TestJson, TestedJson, line};
use reports::merge::{merge, part_of};
use results::whole;

/// What `dmasim test --partition` gives for each part.
fn parts(of: usize) -> Vec<(String, TestJson)> {
    let all = whole();
    (0..of)
        .map(|part| {
            let mut mine = TestJson { part: Some(PartJson::new(part + 1, of)), ..TestJson::default() };
            let belong = all.scenarios.iter().enumerate().filter(|(index, _)| part_of(*index, of) == part);
            belong.for_each(|(_, tested)| mine.add(tested.clone()));
            (format!("part{}.json", part + 1), mine)
        })
        .collect()
}

#[test]
fn parts_give_what_the_whole_gives_in_any_order() {
    for of in 1..=7 {
        let mut some = parts(of);
        some.reverse();
        assert_eq!(merge(&some), Ok(whole()), "{of} parts");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |parts: &[(String, TestJson)]| merge(parts).expect_err("they do not fit");
    assert!(refused(&[]).contains("none of these"));
    assert_eq!(refused(&parts(3)[..2]), "part 3/3 is missing");
    let mut twice = parts(2);
    twice.push(("again.json".to_owned(), twice[0].1.clone()));
    assert_eq!(refused(&twice), "part1.json and again.json are both part 1/2");
    let mut other = parts(2);
    other[1] = parts(3).remove(1);
    assert!(refused(&other).contains("is one of 3 parts"));
    let mut stopped = parts(2);
    stopped[1].1.interrupted = true;
    assert!(refused(&stopped).contains("was interrupted"));
    let mut short = parts(2);
    short[0].1.scenarios.truncate(1);
    assert!(refused(&short).contains("too few scenarios"));
    let mut full = parts(2);
    full[1].1.part = None;
    assert!(refused(&full).contains("whole run"));
    let mut beyond = parts(2);
    beyond[1].1.part = Some(PartJson::new(9, 2));
    assert!(refused(&beyond).contains("part 9/2"));
}

#[test]
fn a_result_survives_its_json() {
    let text = line(&whole()).expect("it can be written");
    assert_eq!(serde_json::from_str::<TestJson>(&text).expect("it can be read"), whole());
}

#[test]
fn junit_is_read_back() {
    let text = ci::junit(&whole()).expect("it can be written");
    let report = quick_junit::Report::deserialize_from_str(&text).expect("it can be read");
    let cases: Vec<_> = report.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
    assert_eq!((report.test_suites.len(), cases.len()), (3, 5));
    let failed =
        cases.iter().find(|case| case.name.as_str() == "scenarios/a/two.ron#sme").expect("it is there");
    assert!(matches!(
        &failed.status,
        quick_junit::TestCaseStatus::NonSuccess { kind: quick_junit::NonSuccessKind::Failure, message: Some(message), .. }
            if message.as_str() == "not expected: use-after-free, 100 %"
    ));
    assert!(text.contains("&lt;8 &amp; more&gt;"), "{text}");
}

#[test]
fn sarif_names_rules_results_and_places() {
    let text = ci::sarif(&whole(), &[("use-after-free", "freed memory was used")], false)
        .expect("it can be written");
    let read: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(read["version"], "2.1.0");
    let run = &read["runs"][0];
    let results = run["results"].as_array().expect("there are results");
    let ids: Vec<_> = results.iter().filter_map(|result| result["ruleId"].as_str()).collect();
    assert_eq!(ids, ["use-after-free", "expectation", "expectation"]);
    let rules = run["tool"]["driver"]["rules"].as_array().expect("there are rules");
    let known: Vec<_> = rules.iter().filter_map(|rule| rule["id"].as_str()).collect();
    assert!(ids.iter().all(|id| known.contains(id)), "{known:?}");
    let place = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, "scenarios/a/two.ron");
}

#[test]
fn the_rest_looks_as_its_readers_want_it() {
    insta::assert_snapshot!("ktap", ci::ktap(&whole()));
    insta::assert_snapshot!("github", ci::github(&whole()));
    let lines = ci::lines(&whole()).expect("it can be written");
    let read: Vec<TestedJson> =
        lines.lines().map(|line| serde_json::from_str(line).expect("it can be read")).collect();
    assert_eq!(read, whole().scenarios);
}
