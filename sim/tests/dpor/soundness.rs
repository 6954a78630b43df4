//! On random programs the search finds exactly the final states and findings that plain enumeration finds.

use sim::explore::dpor::Limits;

use crate::common::{enumerate, search};
use crate::programs::{FLAVOURS, Flavour, build, generate};

/// Programs with more interleavings are left out.
const MOST: u64 = 300;

fn compare(flavour: Flavour, seeds: std::ops::Range<u64>) {
    let (mut compared, mut runs, mut of) = (0, 0, 0);
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
        of += all;
    }
    let total = seeds.end - seeds.start;
    wrong.sort_by_key(String::len);
    assert!(
        wrong.is_empty(),
        "{} wrong of {compared}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(4)].join("\n")
    );
    assert!(runs * 2 < of, "nothing is left out: {runs} runs of {of}");
    assert!(compared * 2 > total, "too few programs are small enough: {compared} of {total}");
}

#[test]
fn the_search_finds_what_enumeration_finds() {
    let count = std::env::var("DPOR_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    let first = std::env::var("DPOR_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for flavour in FLAVOURS {
        compare(flavour, first..first + count);
    }
}

/// With a bound, the search finds exactly what all orders within the bound show.
#[test]
fn a_bounded_search_finds_what_the_orders_within_the_bound_show() {
    let count = std::env::var("DPOR_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let (mut runs, mut of) = (0, 0);
    for seed in 0..count {
        for flavour in FLAVOURS {
            let source = generate(flavour, seed);
            let program = build(&source);
            for bound in 0..4 {
                let limits = Limits { preemptions: Some(bound), ..Limits::default() };
                let plain = Limits { opaque: true, ..limits.clone() };
                let Some((all, expected)) = search(source.config, &plain, &program, MOST) else { continue };
                let found = search(source.config, &limits, &program, MOST);
                let Some((counts, found)) = found else {
                    panic!("{flavour:?} {seed}: more runs than orders")
                };
                assert_eq!(found, expected, "{flavour:?} {seed}, {bound} preemptions: {:?}", source.contexts);
                runs += counts.complete;
                of += all.complete;
            }
        }
    }
    assert!(runs * 4 < of * 3, "hardly anything is left out: {runs} runs of {of}");
}
