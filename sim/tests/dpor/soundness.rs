//! On random programs the search finds exactly the final states and findings that plain enumeration finds.

use sim::explore::dpor::Limits;

use crate::common::{enumerate, search};
use crate::programs::{FLAVOURS, Flavour, build, generate};

/// Programs with more interleavings are left out.
const MOST: u64 = 500;

fn compare(flavour: Flavour, seeds: std::ops::Range<u64>) {
    let (mut compared, mut runs, mut of, mut blocked) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for seed in seeds.clone() {
        let source = generate(flavour, seed);
        let program = build(&source);
        let Some((all, expected)) = enumerate(source.config, &program, MOST) else { continue };
        let found = search(source.config, &Limits::default(), &program, 10 * MOST);
        let Some((counts, found)) = found else { panic!("{flavour:?} {seed}: the search does not end") };
        if found != expected {
            let missed: Vec<_> = expected.difference(&found).take(2).collect();
            wrong.push(format!("{flavour:?} {seed}: {:?}\n misses {missed:#?}", source.contexts));
        }
        compared += 1;
        runs += counts.complete;
        blocked += counts.blocked;
        of += all;
    }
    let total = seeds.end - seeds.start;
    println!("{flavour:?}: {compared} of {total} compared, {runs} runs and {blocked} broken off, of {of}");
    wrong.sort_by_key(String::len);
    assert!(
        wrong.is_empty(),
        "{} wrong of {compared}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(4)].join("\n")
    );
    assert!(compared * 2 > total, "too few programs are small enough: {compared} of {total}");
}

#[test]
fn the_search_finds_what_enumeration_finds() {
    let count = std::env::var("DPOR_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let first = std::env::var("DPOR_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for flavour in FLAVOURS {
        compare(flavour, first..first + count);
    }
}

#[test]
#[ignore = "for looking at one program"]
fn look_at_one() {
    let seed = std::env::var("DPOR_SEED").expect("set").parse().expect("a number");
    let flavour = FLAVOURS[std::env::var("DPOR_FLAVOUR").expect("set").parse::<usize>().expect("a number")];
    let source = generate(flavour, seed);
    let program = build(&source);
    println!("{:?} {:?}", source.contexts, source.config);
    let mut search = Box::new(sim::explore::Search::new(Limits::default()));
    loop {
        let (end, text) = crate::common::run(source.config, sim::choices::Mode::Search(search), &program);
        let abandoned = end.abandoned;
        search = end.choices.into_search().expect("a search");
        println!("{abandoned} {text}\n{search:#?}");
        if !search.advance(abandoned) {
            break;
        }
    }
}
