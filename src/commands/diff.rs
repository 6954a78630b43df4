//! `dmasim diff`.

use std::cmp::Reverse;

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
    let tweaks = Tweaks::of(&args.engine);
    let seed = args.seed.unwrap_or_else(|| busiest(&a, &b, args, tweaks));
    let (facts_a, facts_b) = (facts(&a, seed, tweaks), facts(&b, seed, tweaks));
    let (summary_a, summary_b) = (campaign(&a, args, out), campaign(&b, args, out));
    let side_a = Side { scenario: a.scenario(), facts: &facts_a, summary: &summary_a };
    let side_b = Side { scenario: b.scenario(), facts: &facts_b, summary: &summary_b };
    let text = reports::diff::diff(side_a, side_b, seed, out.paint);
    out.text(&text);
    Ok(if interrupt::pressed() { Exit::Interrupted } else { Exit::Expected })
}

/// At most so many seeds are tried for the boot to compare.
const TRIED: u64 = 50;

/// The seed in which both get furthest: where a machine crashes early, few devices have chosen their path.
fn busiest(a: &Simulation, b: &Simulation, args: &DiffArgs, tweaks: Tweaks) -> u64 {
    let maps = |simulation: &Simulation, seed: u64| -> u64 {
        facts(simulation, seed, tweaks).devices.iter().map(|device| device.maps).sum()
    };
    let end = args.seeds.end.min(args.seeds.start + TRIED);
    let seeds = (args.seeds.start..end).take_while(|_| !interrupt::pressed());
    // The lowest of those that are equal.
    seeds.max_by_key(|&seed| (maps(a, seed) + maps(b, seed), Reverse(seed))).unwrap_or(args.seeds.start)
}

/// What one boot decided. One that panics is a finding of the campaign, and leaves no facts.
fn facts(simulation: &Simulation, seed: u64, tweaks: Tweaks) -> Facts {
    let run = catching(|| simulation.worker().run(&tweaks.on(Request::quick(seed))));
    run.map(|run| run.facts).unwrap_or_default()
}

/// A small campaign.
fn campaign(simulation: &Simulation, args: &DiffArgs, out: &Out) -> Summary {
    let tweaks = Tweaks::of(&args.engine);
    let plan = Plan { seeds: args.seeds.clone(), jobs: args.jobs, tweaks, quiet: out.quiet };
    campaign::run(simulation, &plan, &Expect::default(), interrupt::flag()).summary
}
