//! Running a program in all its interleavings, by enumeration and by the search.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use sim::choices::{Choices, Enumeration, Mode};
use sim::explore::Search;
use sim::explore::dpor::{Counts, Limits};
use sim::schedule::RoundRobin;
use sim::{Cx, RunConfig, RunEnd, Sim, SpawnSpec};

/// Builds the world and starts the contexts; what it returns tells the final state when the run is over.
pub(crate) type Program = Rc<dyn Fn(&Cx) -> Box<dyn Fn() -> String>>;

/// What runs of a program came to: final state and signatures.
pub(crate) type Outcomes = BTreeSet<String>;

pub(crate) fn run(config: RunConfig, mode: Mode, program: &Program) -> (RunEnd, String) {
    let sim = Sim::new(config, Choices::new(mode, config.record_choices), Box::new(RoundRobin::new()));
    let state: Rc<RefCell<Option<Box<dyn Fn() -> String>>>> = Rc::default();
    let (inner, program) = (Rc::clone(&state), Rc::clone(program));
    sim.spawn(SpawnSpec::task("root", 0), |cx| async move {
        *inner.borrow_mut() = Some(program(&cx));
    });
    let end = sim.run();
    let state = state.borrow();
    let mut found: Vec<_> = end.findings.iter().map(|finding| finding.signature()).collect();
    found.sort();
    let text =
        format!("{} {:?} {}", state.as_ref().map_or(String::new(), |f| f()), end.ended, found.join("; "));
    drop(state);
    (end, text)
}

/// Every interleaving; `None` if there are more than `most`.
pub(crate) fn enumerate(config: RunConfig, program: &Program, most: u64) -> Option<(u64, Outcomes)> {
    let mut walk = Enumeration::new();
    let mut outcomes = Outcomes::new();
    for runs in 1..=most {
        let (end, text) = run(config, Mode::Enumerate(walk), program);
        outcomes.insert(text);
        walk = end.choices.into_enumeration().expect("the run was enumerated");
        if !walk.advance() {
            return Some((runs, outcomes));
        }
    }
    None
}

/// What the search comes to; `None` if it takes more than `most` runs.
pub(crate) fn search(
    config: RunConfig,
    limits: &Limits,
    program: &Program,
    most: u64,
) -> Option<(Counts, Outcomes)> {
    let mut search = Box::new(Search::new(limits.clone()));
    let mut outcomes = Outcomes::new();
    for _ in 0..most {
        let (end, text) = run(config, Mode::Search(search), program);
        if !end.abandoned {
            outcomes.insert(text);
        }
        let abandoned = end.abandoned;
        search = end.choices.into_search().expect("a search chose");
        assert!(!search.astray(), "the same choices led elsewhere");
        if !search.advance(abandoned) {
            return Some((search.counts(), outcomes));
        }
    }
    None
}
