//! A search in parts: any number of workers, taken up again after any number of interruptions, gives the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sim::choices::{Enumeration, Mode};
use sim::explore::Search;
use sim::explore::dpor::{Check, Limits, Report, Watch};

use crate::common::{enumerate, run, search};
use crate::programs::{FLAVOURS, Source, build, generate};

fn runner(source: &Source) -> impl FnMut(Box<Search>) -> sim::RunEnd + use<> {
    let (program, config) = (build(source), source.config);
    move |search| run(config, Mode::Search(search), &program).0
}

fn whole(source: &Source, limits: &Limits, most: u64, jobs: usize) -> Report {
    let mut check = Check::new(limits, most, runner(source));
    check.run(most, jobs, || runner(source), &(), &AtomicBool::new(false), |_| ())
}

/// Sets the flag after so many runs.
struct After<'a>(AtomicU64, u64, &'a AtomicBool);

impl Watch for After<'_> {
    fn advanced(&self, runs: u64, _: usize, _: usize) {
        if self.0.fetch_add(runs, Ordering::Relaxed) + runs >= self.1 {
            self.2.store(true, Ordering::Relaxed);
        }
    }
}

/// Interrupts the search after `every` runs again and again, writes it down, and reads it back.
fn in_pieces(source: &Source, limits: &Limits, most: u64, jobs: usize, every: u64) -> Report {
    let mut text = Check::new(limits, most, runner(source)).write(7);
    for _ in 0..10_000 {
        let mut check = Check::read(&text, limits, 7).expect("just written");
        assert_eq!(check.write(7), text, "what is read is what was written");
        let stop = AtomicBool::new(false);
        let watch = After(AtomicU64::new(0), every, &stop);
        let report = check.run(most, jobs, || runner(source), &watch, &stop, |_| ());
        if report.complete || report.counts.runs() >= most {
            return report;
        }
        text = check.write(7);
    }
    panic!("no end");
}

fn sources() -> impl Iterator<Item = Source> {
    (0..40).flat_map(|seed| FLAVOURS.map(|flavour| generate(flavour, 50_000 + seed)))
}

#[test]
fn interruptions_and_workers_change_nothing() {
    let mut resumed = 0;
    for (n, source) in sources().step_by(7).enumerate() {
        for limits in [
            Limits::default(),
            Limits { preemptions: Some(1), ..Limits::default() },
            Limits { answers: 1, opaque: true, ..Limits::default() },
        ] {
            let most = if n % 2 == 0 { 150 } else { 37 };
            let report = whole(&source, &limits, most, 1);
            assert_eq!(report, whole(&source, &limits, most, 3), "three workers");
            assert_eq!(report, in_pieces(&source, &limits, most, 1, 5 + n as u64 % 7), "in pieces");
            assert_eq!(report, in_pieces(&source, &limits, most, 2, 23), "in pieces, two workers");
            assert!(report.counts.runs() <= most && report.given_up.is_empty());
            resumed += 1;
        }
    }
    assert_eq!(resumed, 69);
}

/// The signatures that plain enumeration finds.
fn signatures(source: &Source) -> Option<BTreeSet<u64>> {
    let program = build(source);
    let mut walk = Enumeration::new();
    let mut found = BTreeSet::new();
    for _ in 0..1_500 {
        let (end, _) = run(source.config, Mode::Enumerate(walk), &program);
        found.extend(end.findings.iter().map(sim::Finding::signature_hash));
        walk = end.choices.into_enumeration().expect("enumerated");
        if !walk.advance() {
            return Some(found);
        }
    }
    None
}

#[test]
fn parts_find_what_enumeration_finds_and_their_paths_lead_there() {
    let mut compared = 0;
    for source in sources() {
        let Some(expected) = signatures(&source) else { continue };
        let report = whole(&source, &Limits::default(), u64::MAX, 2);
        assert!(report.complete);
        let found: BTreeSet<_> = report.found.keys().copied().collect();
        assert_eq!(found, expected, "{:?}", source.contexts);
        for (hash, found) in &report.found {
            let search = Box::new(Search::repeat(Limits::default(), &found.path));
            let end = runner(&source)(search);
            assert!(end.findings.iter().any(|finding| finding.signature_hash() == *hash));
        }
        compared += 1;
    }
    assert!(compared > 80, "{compared}");
}

/// Plain enumeration with the same bound.
#[test]
fn a_bound_of_preemptions_and_opaque_worlds_are_enumerated_plainly() {
    let mut compared = 0;
    for source in sources() {
        let program = build(&source);
        let Some((all, outcomes)) = enumerate(source.config, &program, 1_500) else { continue };
        let limits = Limits { opaque: true, ..Limits::default() };
        let (counts, found) = search(source.config, &limits, &program, u64::MAX).expect("it ends");
        assert_eq!(found, outcomes);
        assert_eq!((counts.complete, counts.blocked), (all, 0), "{:?}", source.contexts);
        let mut former = 0;
        for bound in 0..4 {
            let limits = Limits { preemptions: Some(bound), opaque: true, ..Limits::default() };
            let (counts, found) = search(source.config, &limits, &program, u64::MAX).expect("it ends");
            assert!(found.is_subset(&outcomes) && counts.complete >= former && counts.complete <= all);
            former = counts.complete;
        }
        let limits = Limits { preemptions: Some(1_000), opaque: true, ..Limits::default() };
        let (counts, found) = search(source.config, &limits, &program, u64::MAX).expect("it ends");
        assert_eq!((counts.complete, found), (all, outcomes));
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn a_damaged_file_is_refused_and_says_where() {
    let source = generate(FLAVOURS[0], 3);
    let text = Check::new(&Limits::default(), 0, runner(&source)).write(7);
    let error = |text: &str, key: u128| Check::read(text, &Limits::default(), key).expect_err("refused");
    assert!(error(&text, 8).what.contains("another scenario"));
    assert!(error("", 7).what.contains("ends"));
    assert!(error(&text.replacen("dmasim-check 1", "dmasim-check 9", 1), 7).what.contains("version 9"));
    assert!(error(&text.replacen("counts 0", "counts 1", 1), 7).what.contains("check sum"));
    for cut in (0..text.len()).step_by(7) {
        let _ = error(&text[..cut], 7);
    }
}
