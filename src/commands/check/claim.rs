//! What a check proved, in words that say no more.

use sim::explore::dpor::{Limits, Report};

/// The claim: what was seen of what there is, and whether anything was found.
pub(super) fn claim(report: &Report, limits: &Limits, interrupted: bool) -> String {
    let (done, of) = (report.branches.1, report.branches.0);
    let runs = report.counts.complete;
    let within = within(limits);
    let mut text = if report.complete {
        match (report.failed, limits.opaque) {
            (0, true) => format!("Proved: no finding in all {runs} interleavings of this scenario {within}."),
            (failed, true) => format!(
                "All {runs} interleavings of this scenario {within} were run: {failed} of them have findings."
            ),
            (0, false) => {
                format!(
                    "Proved: no finding in any interleaving of this scenario {within}. {}",
                    stand_for(runs)
                )
            }
            (failed, false) => format!(
                "{failed} of {runs} runs have findings. Seen were all interleavings of this scenario {within}. {}",
                stand_for(runs)
            ),
        }
    } else {
        let why = match () {
            () if interrupted => "Interrupted",
            () if !report.given_up.is_empty() => "Given up in part",
            () => "Stopped at the limit",
        };
        let percent = (done * 100).checked_div(of).unwrap_or(0);
        let found = match report.failed {
            0 => "no finding so far, which proves nothing about the rest".to_owned(),
            failed => format!("{failed} runs have findings"),
        };
        format!(
            "{why} after {runs} runs, {percent} % of the first-level branches done ({done} of {of}), of the \
             interleavings {within}: {found}."
        )
    };
    if report.limited > 0 {
        text.push_str(&format!(
            " {} runs reached the limit of steps; what would follow there was not seen.",
            report.limited
        ));
    }
    text.push_str(&answers(report, limits));
    text
}

/// What the number of runs means where not every order was run. Two of them may stand for the same orders: parts of a
/// search know nothing of one another.
fn stand_for(runs: u64) -> String {
    if runs == 1 {
        return "One run stands for all of them: no others differ in more than the order of steps that touch nothing \
                in common."
            .to_owned();
    }
    format!(
        "{runs} runs stand for all of them: each other one differs from one of these only in the order of steps that \
         touch nothing in common."
    )
}

/// What was and was not tried of the other choices.
fn answers(report: &Report, limits: &Limits) -> String {
    let mut text = String::new();
    if report.counts.cut > 0 {
        let tried = if limits.answers == 1 {
            "the simplest answer alone was".to_owned()
        } else {
            format!("the {} simplest answers were", limits.answers)
        };
        text.push_str(&format!(" Of choices with more answers, {tried} tried."));
    }
    if report.counts.fixed > 0 {
        text.push_str(" Choices before that took their simplest answer.");
    }
    text
}

/// Which interleavings are meant.
fn within(limits: &Limits) -> String {
    let mut parts = Vec::new();
    parts.push(match limits.preemptions {
        None => "with any number of preemptions".to_owned(),
        Some(most) => format!("with at most {most} preemption{}", if most == 1 { "" } else { "s" }),
    });
    let focus = &limits.focus;
    if focus.from_the_beginning() && focus.contexts.is_empty() {
        return parts.remove(0);
    }
    parts.push(varied(limits));
    parts.join(", where ")
}

/// What is varied.
pub(super) fn varied(limits: &Limits) -> String {
    let focus = &limits.focus;
    let from = match (&focus.from, &focus.from_function) {
        (Some(from), _) => format!(" from {} us on", from / 1_000),
        (None, Some(function)) => format!(" from the first call of {function} on"),
        (None, None) => String::new(),
    };
    if focus.contexts.is_empty() {
        return format!("the order of all contexts is varied{from}");
    }
    format!(
        "the order of {} is varied{from}, and others go first whenever they can",
        focus.contexts.join("*, ") + "*"
    )
}

/// Within which bounds.
pub(super) fn bounds(limits: &Limits, most: u64) -> String {
    let preemptions = limits.preemptions.map_or_else(
        || "any number of preemptions".to_owned(),
        |k| format!("{k} preemption{} at most", if k == 1 { "" } else { "s" }),
    );
    format!("{preemptions}, {} answers of each other choice, {most} runs at most", limits.answers)
}
