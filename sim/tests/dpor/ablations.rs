//! Each known mistake of such searches, made on purpose, is found by the comparison with plain enumeration.

use sim::explore::dpor::{Limits, Planted};

use crate::common::{enumerate, search};
use crate::programs::{FLAVOURS, build, generate};

const MOST: u64 = 300;

/// The first random programs on which the search with a mistake misses something.
fn found_wrong(planted: Planted) -> bool {
    let limits = Limits { planted, ..Limits::default() };
    for seed in 0..1_500 {
        for flavour in FLAVOURS {
            let source = generate(flavour, seed);
            let program = build(&source);
            let Some((_, expected)) = enumerate(source.config, &program, MOST) else { continue };
            // A search that has a mistake may take one thing for another, and need not even end.
            let Some((_, found)) = search(source.config, &limits, &program, 4 * MOST) else { return true };
            if found != expected {
                return true;
            }
        }
    }
    false
}

macro_rules! ablation {
    ($name:ident, $mistake:ident) => {
        #[test]
        fn $name() {
            assert!(found_wrong(Planted { $mistake: true, ..Planted::default() }), "nobody noticed");
        }
    };
}

ablation!(races_of_acquisitions_after_the_release_are_too_late, late_acquire);
ablation!(who_waits_at_the_end_counts, no_pending_at_end);
ablation!(who_waits_when_the_clock_goes_on_counts, no_pending_at_tick);
ablation!(all_answers_of_a_choice_count, one_answer);
ablation!(reading_the_clock_does_not_commute, clock_commutes);
ablation!(masking_does_not_commute, masks_commute);
ablation!(sleepers_wake, deep_sleep);
ablation!(reads_do_not_commute_with_writes, reads_commute);
ablation!(not_to_hear_what_is_touched_is_noticed, deaf);

#[test]
fn a_bounded_search_tries_the_beginning_of_a_run_of_transitions() {
    let planted = Planted { no_block_start: true, ..Planted::default() };
    let differs = |seed, flavour, bound| {
        let source = generate(flavour, seed);
        let program = build(&source);
        let limits = Limits { preemptions: Some(bound), ..Limits::default() };
        let plain = Limits { opaque: true, ..limits.clone() };
        let Some((_, expected)) = search(source.config, &plain, &program, MOST) else { return false };
        let limits = Limits { planted, ..limits };
        search(source.config, &limits, &program, MOST).is_none_or(|(_, found)| found != expected)
    };
    let all = (0..1_500).flat_map(|seed| FLAVOURS.map(|flavour| (seed, flavour)));
    assert!(
        all.into_iter().any(|(seed, flavour)| (0..3).any(|bound| differs(seed, flavour, bound))),
        "nobody noticed"
    );
}
