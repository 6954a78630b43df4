//! Exploring a model: all its executions, or all with few preemptions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What came of it.
pub(crate) struct Explored {
    pub(crate) executions: usize,
    /// What the execution that failed said.
    pub(crate) failure: Option<String>,
}

/// Runs all executions of `body`, or those with at most `bound` preemptions, until one fails; says on the terminal
/// what was done.
#[expect(clippy::print_stdout, reason = "the bounds of a check belong to its verdict")]
pub(crate) fn explore(name: &str, bound: Option<usize>, body: impl Fn() + Send + Sync + 'static) -> Explored {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 20_000;
    let run = move || {
        builder.check(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            body();
        });
    };
    let failure = catch_unwind(AssertUnwindSafe(run)).err().map(|cause| match cause.downcast::<String>() {
        Ok(text) => *text,
        Err(cause) => cause.downcast::<&str>().map_or_else(|_| String::new(), |text| (*text).to_owned()),
    });
    let executions = count.load(Ordering::Relaxed);
    let bound = bound.map_or("all".to_owned(), |bound| format!("all with at most {bound} preemptions"));
    let end =
        failure.as_deref().map_or("none failed".to_owned(), |failure| format!("the last failed: {failure}"));
    println!("{name}: {executions} executions ({bound}), {end}");
    Explored { executions, failure }
}

/// The model must hold.
pub(crate) fn holds(name: &str, bound: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let Explored { executions, failure } = explore(name, bound, body);
    assert_eq!(failure, None, "in execution {executions}");
    assert!(executions >= 2, "{executions} executions are no interleavings");
}

/// The model must fail, and say `symptom`. In which execution it did. The first one is sequential, but a load in it may
/// give an old value already, where nothing orders it after the store.
pub(crate) fn fails(
    name: &str,
    bound: Option<usize>,
    symptom: &str,
    body: impl Fn() + Send + Sync + 'static,
) -> usize {
    let Explored { executions, failure } = explore(name, bound, body);
    let Some(failure) = failure else { panic!("not caught in {executions} executions") };
    assert!(failure.contains(symptom), "caught, but not by `{symptom}`: {failure}");
    executions
}

/// The same, but not in the first execution: what that catches is no matter of interleaving.
pub(crate) fn is_caught(
    name: &str,
    bound: Option<usize>,
    symptom: &str,
    body: impl Fn() + Send + Sync + 'static,
) {
    assert!(fails(name, bound, symptom, body) >= 2, "fails even without interleaving");
}
