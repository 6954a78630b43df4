//! What a reader of a report sees, byte for byte.

mod toy;

use reports::case::{Case, Neighbour, Shortened};
use reports::interleaving::{MAX_LINES, interleaving};
use reports::summary::{Head, summary};
use reports::{Paint, WIDTH, trace};
use sim::choices::Mode;
use sim::explore::{Outcome, Summary, minimise};
use sim::{Finding, RunEnd};

fn kinds(end: &RunEnd) -> Vec<&str> {
    end.findings.iter().map(|finding| finding.kind).collect()
}

/// The first seed that shows both findings.
fn seed() -> (u64, RunEnd) {
    (0..200)
        .map(|seed| (seed, toy::run(Mode::Seed(seed))))
        .find(|(_, end)| kinds(end) == ["use-after-free", "page-fault"])
        .expect("one seed in a few shows both")
}

/// No line is too wide, nothing but printable ASCII.
fn assert_mailable(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= WIDTH, "{} columns: {line}", line.len());
        assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
    }
}

#[test]
fn a_case_tells_the_story() {
    let (seed, mut first) = seed();
    let hash = first.findings[0].signature_hash();
    let shows = |end: &RunEnd| end.findings.iter().any(|finding| finding.signature_hash() == hash);
    let list = first.choices.take_records();
    let minimised = minimise(&list, 300, |choices| shows(&toy::replay(choices)));
    let end = toy::replay(&minimised.choices);
    let case = Case {
        number: 1,
        of: 2,
        finding: &end.findings[0],
        searched: false,
        first_seed: seed,
        count: 970,
        ran: 1000,
        trace: &end.trace,
        choices: &minimised.choices,
        drawn: &list.records[..1],
        shortened: Some(Shortened {
            before: list.records.len(),
            after: minimised.choices.records.len(),
            runs: minimised.runs,
            gave_up: minimised.gave_up,
        }),
        conditions: None,
        neighbours: vec![Neighbour { finding: &first.findings[1], number: Some(2), earlier: false }],
        kernel: "toy",
        machine: "toy",
        reproduce: vec![
            "the seed as it was drawn:".to_owned(),
            format!("  dmasim replay toy.ron --seed {seed}"),
        ],
    };
    let text = case.render(Paint::PLAIN);
    assert_mailable(&text);
    insta::assert_snapshot!(text);
    let colored = case.render(Paint { color: true });
    let mut plain = String::new();
    for (n, part) in colored.split('\x1b').enumerate() {
        plain.push_str(if n == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) });
    }
    assert_eq!(plain, text, "colour says nothing that the text does not");
}

#[test]
fn an_interleaving_is_short_and_shows_both_sides() {
    for seed in 0..60 {
        let end = toy::run(Mode::Seed(seed));
        for finding in &end.findings {
            let lines = interleaving(&end.trace, finding, &[]);
            assert!(!lines.is_empty() && lines.len() <= MAX_LINES, "seed {seed}: {} lines", lines.len());
            let text = lines.join("\n");
            assert_mailable(&text);
            assert!(text.contains("***"), "the finding itself is there");
            if finding.kind == "use-after-free" {
                assert!(text.contains("swiotlb_exit frees"), "seed {seed}: {text}");
                assert!(text.contains("memblock_alloc"), "seed {seed}: {text}");
            }
        }
    }
}

#[test]
fn without_a_recorded_run_there_is_no_interleaving() {
    let (_, end) = seed();
    assert!(interleaving(&sim::trace::Trace::default(), &end.findings[0], &[]).is_empty());
}

#[test]
fn a_trace_has_one_line_for_each_event() {
    let (_, end) = seed();
    let lines = |level| -> Vec<String> {
        end.trace.events.iter().filter_map(|event| trace::line(&end.trace, event, level)).collect()
    };
    assert_eq!(lines(trace::Level::Full).len(), end.trace.events.len());
    let brief = format!("{}\n{}", trace::header(), lines(trace::Level::Brief).join("\n"));
    insta::assert_snapshot!(brief);
}

fn finding(kind: &'static str, title: &str) -> Finding {
    Finding {
        kind,
        title: title.to_owned(),
        severity: sim::Severity::Warning,
        frames: vec!["is_swiotlb_buffer", "iommu_dma_unmap_page", "dma_unmap_page_attrs", "nvme_unmap_data"],
        object: "struct io_tlb_mem",
        discriminator: "swiotlb_exit",
        context: sim::Name::new("nvme irq"),
        cpu: Some(2),
        time: 2_468_000_000,
        step: 4711,
        ending: kind,
        details: Vec::new(),
    }
}

fn campaign() -> Summary {
    let mut all = Summary::default();
    for seed in 0..100_000 {
        let mut findings = vec![finding("use-after-free", "BUG: KASAN: use-after-free in is_swiotlb_buffer")];
        if seed % 7 == 3 {
            findings.push(finding(
                "page-fault",
                "BUG: unable to handle page fault for address: 00000000003a8290",
            ));
        }
        if seed == 77_777 {
            findings.push(finding("wild-write", "8 bytes of somebody else's memory were overwritten"));
        }
        all.add(seed, Outcome { digest: u128::from(seed), steps: 900 + seed % 100, findings });
    }
    all.rechecked = 1563;
    all
}

#[test]
fn a_summary_fits_on_a_screen() {
    let head = Head {
        scenario: "scenarios/lkml-2021-07/hp-4300g.ron".to_owned(),
        about: "stale per-device pool pointer after swiotlb_exit".to_owned(),
        settings: vec![("kernel".to_owned(), "next-2021-06".to_owned())],
    };
    let text = format!("{}\n{}", head.render(Paint::PLAIN), summary(&campaign(), Some(5123), Paint::PLAIN));
    assert_mailable(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn an_empty_and_an_interrupted_campaign_say_so() {
    let empty = Summary { interrupted: true, ..Summary::default() };
    insta::assert_snapshot!(summary(&empty, None, Paint::PLAIN));
}

#[test]
fn the_json_of_a_campaign_is_stable() {
    use reports::json::{CampaignJson, ExpectationJson, line};
    let expectation = ExpectationJson { result: "met", remarks: Vec::new() };
    let token = |stats: &sim::explore::SignatureStats| Some(format!("dmasim1.{}", stats.first_seed));
    let json = CampaignJson::new(("a.ron#b", 7), &campaign(), expectation, token);
    let text = line(&json).expect("everything in it can be written");
    assert!(!text.contains('\n'), "it is one line");
    let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).expect("it was JSON"));
}
