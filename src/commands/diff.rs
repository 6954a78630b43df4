//! `dmasim diff`.

use models::run::{Facts, Request, Simulation};
use models::scenario::Expect;
use reports::diff::Side;
use sim::explore::{Summary, catching};

use super::Exit;
use crate::args::{DiffArgs, KernelArgs};
use crate::campaign::{self, Plan, Tweaks};
use crate::input::{Failure, resolve};
use crate::interrupt;
use crate::output::Out;

pub(super) fn diff(args: &DiffArgs, out: &mut Out) -> Result<Exit, Failure> {
    let none = KernelArgs::default();
    let a = Simulation::new(resolve(&args.a, &none, out)?);
    let b = Simulation::new(resolve(&args.b, &none, out)?);
    let (facts_a, summary_a) = boot(&a, args, out);
    let (facts_b, summary_b) = boot(&b, args, out);
    let side_a = Side { scenario: a.scenario(), facts: &facts_a, summary: &summary_a };
    let side_b = Side { scenario: b.scenario(), facts: &facts_b, summary: &summary_b };
    let text = reports::diff::diff(side_a, side_b, args.seed, out.paint);
    out.text(&text);
    Ok(if interrupt::pressed() { Exit::Interrupted } else { Exit::Expected })
}

/// One boot and a small campaign.
fn boot(simulation: &Simulation, args: &DiffArgs, out: &Out) -> (Facts, Summary) {
    let tweaks = Tweaks::of(&args.engine);
    // A boot that panics is a finding of the campaign, and leaves no facts.
    let run = catching(|| simulation.worker().run(&tweaks.on(Request::quick(args.seed))));
    let facts = run.map(|run| run.facts).unwrap_or_default();
    let plan = Plan { seeds: args.seeds.clone(), jobs: args.jobs, tweaks, quiet: out.quiet };
    let result = campaign::run(simulation, &plan, &Expect::default(), interrupt::flag());
    (facts, result.summary)
}
