//! Tokens outlive unrelated edits of a program, and say what no longer fits.

use std::rc::Rc;

use sim::choices::{ChoiceList, Stream};
use sim::schedule::Strategy;
use sim::sync::Var;
use sim::{Cx, RunEnd};

use crate::common::{Program, Setup, kinds, program, task};

/// How the program was edited since the token was recorded.
#[derive(Clone, Copy, Default)]
struct Edit {
    step_elsewhere: bool,
    object_before: bool,
    without_clearer: bool,
    fewer_lengths: bool,
}

/// A check, then an act; the clearer comes between in few runs.
fn check_then_act(edit: Edit) -> Program {
    program(move |cx| {
        if edit.object_before {
            _ = Var::new(cx, "other", 0);
        }
        let pointer = Rc::new(Var::new(cx, "pointer", true));
        let used = Rc::clone(&pointer);
        task(cx, "user", 0, async move |cx| {
            cx.point().await;
            if used.read_once(cx).await {
                let lengths = if edit.fewer_lengths { 5 } else { 50 };
                let length = cx.choose(Stream::Workload, "length", lengths);
                if !used.read_once(cx).await && length > 10 {
                    cx.report(sim::Draft::fatal("null-pointer", "Oops".to_owned()), Vec::new);
                }
            }
        });
        if !edit.without_clearer {
            task(cx, "clearer", 1, async move |cx| {
                cx.point().await;
                pointer.write_once(cx, false).await;
            });
        }
        let noise = Rc::new(Var::new(cx, "noise", 0));
        task(cx, "bystander", 2, async move |cx: &Cx| {
            for _ in 0..if edit.step_elsewhere { 4 } else { 3 } {
                noise.load(cx).await;
            }
        });
    })
}

fn failing() -> (RunEnd, ChoiceList) {
    let setup = Setup::cpus(3).strategy(Strategy::Random);
    for seed in 0..1_000 {
        let mut end = setup.recorded(&check_then_act(Edit::default()), seed);
        if kinds(&end) == ["null-pointer"] {
            let choices = end.choices.take_records();
            return (end, choices);
        }
    }
    panic!("no seed shows the bug");
}

fn replay(edit: Edit, choices: &ChoiceList) -> RunEnd {
    Setup::cpus(3).replay(&check_then_act(edit), choices)
}

#[test]
fn the_same_program_replays_to_the_same_run() {
    let (recorded, choices) = failing();
    let end = replay(Edit::default(), &choices);
    assert_eq!((end.digest, &end.trace, end.divergence), (recorded.digest, &recorded.trace, None));
}

#[test]
fn a_step_or_an_object_added_elsewhere_does_not_matter() {
    let (_, choices) = failing();
    for edit in
        [Edit { step_elsewhere: true, ..Edit::default() }, Edit { object_before: true, ..Edit::default() }]
    {
        let end = replay(edit, &choices);
        assert_eq!((kinds(&end), end.divergence), (vec!["null-pointer"], None));
    }
}

#[test]
fn a_context_that_is_gone_is_named_with_what_was_recorded_and_what_there_is() {
    let (_, choices) = failing();
    let end = replay(Edit { without_clearer: true, ..Edit::default() }, &choices);
    assert!(kinds(&end).is_empty());
    let divergence = end.divergence.expect("the clearer is gone");
    assert_eq!(divergence.recorded, "a switch to clearer");
    assert!(divergence.now.starts_with("only ") && !divergence.now.contains("clearer"), "{divergence}");
    let text = divergence.to_string();
    assert!(text.starts_with("at \"") && text.contains("(time 1)"), "{text}");
}

#[test]
fn a_choice_with_other_alternatives_is_named() {
    let (_, choices) = failing();
    let end = replay(Edit { fewer_lengths: true, ..Edit::default() }, &choices);
    let divergence = end.divergence.expect("there are fewer lengths");
    assert_eq!(divergence.site, "user: length (time 1)");
    assert!(divergence.recorded.ends_with(" of 50 alternatives"), "{divergence}");
    assert_eq!(divergence.now, "5 alternatives");
}

#[test]
fn a_choice_that_is_never_asked_for_is_named() {
    let (_, choices) = failing();
    let mut padded = choices;
    let mut record = *padded.records.last().expect("some choice was made");
    record.site.nth += 77;
    padded.records.push(record);
    let divergence = replay(Edit::default(), &padded).divergence.expect("never asked for");
    assert_eq!(divergence.now, "the run never comes to this point");
    assert!(divergence.site.contains(&format!("(time {})", record.site.nth + 1)), "{divergence}");
}
