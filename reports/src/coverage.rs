//! What the runs of a campaign exercised.

use serde::Serialize;
use sim::coverage::{AccessName, Coverage};

use crate::layout::{Paint, counted, paragraph, percent};

/// So many entries of a list are shown.
const SHOWN: usize = 10;

/// The coverage of a campaign. `allowed` are the injections that the scenario allows.
#[must_use]
pub fn coverage(coverage: &Coverage, allowed: &[&'static str], paint: Paint) -> String {
    let mut out = format!("{}\n", paint.heading("What the runs exercised"));
    let now = coverage.now();
    let next = coverage.unseen_states();
    out.push_str(&format!(
        "  {} that differ in more than the order of independent steps; the next seed shows another one\n",
        counted(now.states, "run")
    ));
    out.push_str(&format!("  with a probability of about {:.3} (Good-Turing)\n", next.next()));
    let (pairs, both) = coverage.pairs();
    out.push_str(&format!(
        "  {} of conflicting accesses by different contexts, {both} ({}) in both orders; a seed shows\n",
        counted(pairs, "pair"),
        percent(both, pairs)
    ));
    out.push_str(&format!("  about {:.3} new orders\n", coverage.unseen_orders().next()));
    out.push_str(&format!(
        "  {} entered, {} of locks\n",
        counted(coverage.functions.values().filter(|count| count.entered > 0).count() as u64, "function"),
        counted(coverage.locks.len() as u64, "order")
    ));
    out.push_str("\n       seeds   different      orders\n");
    for growth in coverage.growth.iter().chain(Some(&now).filter(|now| !now.runs.is_power_of_two())) {
        out.push_str(&format!("  {:>10}  {:>10}  {:>10}\n", growth.runs, growth.states, growth.orders));
    }
    list(
        &mut out,
        "In one order only, the commonest",
        coverage
            .one_sided()
            .iter()
            .map(|(first, second, count)| (*count, format!("{}, then {}", access(first), access(second)))),
    );
    let mut functions: Vec<_> = coverage.functions.iter().filter(|(name, _)| !name.is_empty()).collect();
    functions.sort_by_key(|(name, count)| (std::cmp::Reverse(count.steps), **name));
    list(
        &mut out,
        "Functions by steps",
        functions
            .iter()
            .map(|(name, count)| (count.steps, format!("{name}, entered {} times", count.entered))),
    );
    if !coverage.locks.is_empty() {
        let edges = coverage.locks.iter().map(|(from, to)| format!("{from} -> {to}")).collect::<Vec<_>>();
        paragraph(&mut out, "  lock order: ", &edges.join(", "));
    }
    let fired = fired(coverage);
    if !fired.is_empty() {
        let text: Vec<_> =
            fired.iter().map(|one| format!("{} {} of {}", one.what, one.fired, one.asked)).collect();
        paragraph(&mut out, "  injections that fired: ", &text.join(", "));
    }
    let never = never(coverage, allowed);
    if !never.is_empty() {
        paragraph(&mut out, "  allowed and never fired: ", &never.join(", "));
    }
    out
}

/// A list with its counts, cut off.
fn list(
    out: &mut String,
    heading: &str,
    entries: impl ExactSizeIterator<Item = (impl std::fmt::Display, String)>,
) {
    let count = entries.len();
    if count == 0 {
        return;
    }
    out.push_str(&format!("  {heading}:\n"));
    for (number, text) in entries.take(SHOWN) {
        paragraph(out, &format!("  {number:>10}  "), &text);
    }
    if let Some(more @ 1..) = count.checked_sub(SHOWN) {
        out.push_str(&format!("              ... and {more} more\n"));
    }
}

fn access(name: &AccessName) -> String {
    let place = if name.function.is_empty() { String::new() } else { format!(" in {}", name.function) };
    format!("{} {}{place}", name.kind.word(), name.object)
}

fn fired(coverage: &Coverage) -> Vec<InjectionJson> {
    let fired = coverage.injections.iter().filter(|(_, count)| count.fired > 0);
    fired
        .map(|(what, count)| InjectionJson {
            what: (*what).to_owned(),
            asked: count.asked,
            fired: count.fired,
        })
        .collect()
}

/// What the scenario allows and no run did.
fn never(coverage: &Coverage, allowed: &[&'static str]) -> Vec<&'static str> {
    let fires = |name: &&str| coverage.injections.get(*name).is_some_and(|count| count.fired > 0);
    allowed.iter().copied().filter(|name| !fires(name)).collect()
}

/// How much was known after so many runs.
#[derive(Clone, Debug, Serialize)]
pub struct GrowthJson {
    /// Seeds.
    pub seeds: u64,
    /// Different runs.
    pub states: u64,
    /// Orders of two accesses.
    pub orders: u64,
}

/// An injection.
#[derive(Clone, Debug, Serialize)]
pub struct InjectionJson {
    /// What was decided.
    pub what: String,
    /// Times it was asked whether it happens.
    pub asked: u64,
    /// Times it happened.
    pub fired: u64,
}

/// A function.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionJson {
    /// Its name.
    pub name: String,
    /// Times it was entered.
    pub entered: u64,
    /// Steps taken in it itself.
    pub steps: u64,
}

/// What the runs of a campaign exercised.
#[derive(Clone, Debug, Serialize)]
pub struct CoverageJson {
    /// Runs that differ in more than the order of independent steps.
    pub states: u64,
    /// Probability that the next seed shows another one, as estimated.
    pub next_state: f64,
    /// Pairs of conflicting accesses.
    pub pairs: u64,
    /// Those that came up in both orders.
    pub pairs_both_orders: u64,
    /// Orders of two accesses.
    pub orders: u64,
    /// New orders that the next seed shows, as estimated.
    pub next_orders: f64,
    /// After 1, 2, 4, 8, ... seeds, and at the end.
    pub growth: Vec<GrowthJson>,
    /// Functions by name.
    pub functions: Vec<FunctionJson>,
    /// Classes of locks: the first was held when the second was taken.
    pub lock_order: Vec<(String, String)>,
    /// Injections that fired.
    pub injections: Vec<InjectionJson>,
    /// Those that the scenario allows and that never fired.
    pub never_fired: Vec<String>,
}

impl CoverageJson {
    /// Of a campaign. `allowed` are the injections that the scenario allows.
    #[must_use]
    pub fn new(coverage: &Coverage, allowed: &[&'static str]) -> Self {
        let now = coverage.now();
        let (pairs, both) = coverage.pairs();
        let growth = coverage.growth.iter().chain(Some(&now).filter(|now| !now.runs.is_power_of_two()));
        let functions = coverage.functions.iter().filter(|(name, _)| !name.is_empty());
        Self {
            states: now.states,
            next_state: coverage.unseen_states().next(),
            pairs,
            pairs_both_orders: both,
            orders: now.orders,
            next_orders: coverage.unseen_orders().next(),
            growth: growth
                .map(|at| GrowthJson { seeds: at.runs, states: at.states, orders: at.orders })
                .collect(),
            functions: functions
                .map(|(name, count)| FunctionJson {
                    name: (*name).to_owned(),
                    entered: count.entered,
                    steps: count.steps,
                })
                .collect(),
            lock_order: coverage.locks.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            injections: fired(coverage),
            never_fired: never(coverage, allowed).into_iter().map(str::to_owned).collect(),
        }
    }
}
