//! `dmasim size`.

mod chart;
mod plan;
mod report;

use models::run::{Request, Simulation, Worker};
use models::scenario::Resolved;
use models::sizing::{Outcome, PoolRules, Recommendation, Trial, demand, diagnose, recommend, trial};
use models::swiotlb::{IO_TLB_SHIFT, PoolDefaults, PoolSize};

use self::plan::{Source, areas_to_try, in_parallel, sizes_to_try};
use self::report::{Line, Sized, Verified};
use super::Exit;
use crate::args::{Format, SizeArgs};
use crate::input::{Failure, resolve};
use crate::output::Out;

pub(super) fn size(args: &SizeArgs, out: &mut Out) -> Result<Exit, Failure> {
    let _watch = crate::pipe::watch(&args.from_trace);
    let source = match (&args.scenario, &args.from_trace) {
        (Some(scenario), _) => from_scenario(args, resolve(scenario, &args.kernel, out)?)?,
        (None, Some(trace)) => from_trace(args, trace)?,
        (None, None) => return Err(Failure::text("name a scenario, or a trace with --from-trace")),
    };
    let sized = examine(args, &source);
    if let Some(path) = &args.plot {
        let picture = chart::draw(&sized).map_err(|error| Failure::text(format!("the plot: {error}")))?;
        std::fs::write(path, picture)
            .map_err(|error| Failure::text(format!("{} cannot be written: {error}", path.display())))?;
    }
    match args.format {
        Format::Human => out.text(&report::text(&sized, args, out.paint)),
        Format::Json => out.line(&report::json(&sized)),
    }
    Ok(if sized.good() { Exit::Expected } else { Exit::Unexpected })
}

/// Everything that is worked out of the workloads.
fn examine(args: &SizeArgs, source: &Source) -> Sized {
    let jobs = args.jobs;
    let all = |size: PoolSize| {
        let mut outcome = Outcome::default();
        for one in in_parallel(jobs, &source.workloads, |workload| {
            trial(workload, &source.rules, Trial { start: source.start, size })
        }) {
            outcome.add(&one);
        }
        outcome
    };
    let demands = in_parallel(jobs, &source.workloads, |workload| demand(workload, source.rules.search));
    let now = source.current.map(|size| (size, all(size)));
    let none = Outcome::default();
    let (slots, outcome) =
        now.as_ref().map_or((0, &none), |(size, outcome)| (u64::from(size.nslabs), outcome));
    let diagnosis = diagnose(&source.workloads, &demands, outcome, slots, source.asked);
    let maps = source.workloads.iter().map(|workload| u64::from(workload.maps())).sum();
    let leaks = diagnosis.iter().any(|one| matches!(one, models::sizing::Diagnosis::Leak(_)));
    let best = |nareas| {
        recommend(
            &source.workloads,
            &source.rules,
            source.start,
            nareas,
            source.cpus,
            args.margin,
            source.most,
        )
    };
    let recommended: Option<Recommendation> =
        if leaks || maps == 0 { None } else { best(args.areas.first().copied().unwrap_or(0)) };
    let peak = demands.iter().map(|demand| demand.peak).max().unwrap_or(0);
    let enough = peak.saturating_mul(2).checked_next_power_of_two().unwrap_or(plan::MOST);
    let upto = recommended.as_ref().map_or(enough, |best| u64::from(best.size.nslabs).saturating_mul(2));
    let upto = upto.max(now.as_ref().map_or(0, |(size, _)| u64::from(size.nslabs)));
    let fixed = args.areas.first().copied().unwrap_or(0);
    let by_size = sizes_to_try(&args.slots, upto.min(source.most)).into_iter().map(|nslabs| {
        let size = source.rules.boot_pool(nslabs, fixed, source.cpus);
        Line { asked: nslabs, size, outcome: all(size) }
    });
    let by_size: Vec<_> = by_size.collect();
    let by_areas = if source.rules.sizing.areas {
        let nslabs = recommended.as_ref().map_or_else(
            || now.as_ref().map_or(32768, |(size, _)| u64::from(size.nslabs)),
            |best| best.nslabs,
        );
        let lines = areas_to_try(&args.areas, source.cpus).into_iter().map(|nareas| {
            let size = source.rules.boot_pool(nslabs, nareas, source.cpus);
            Line { asked: nslabs, size, outcome: all(size) }
        });
        lines.collect()
    } else {
        Vec::new()
    };
    let verified = recommended.as_ref().and_then(|best| verify(args, source, best));
    Sized {
        about: source.about.clone(),
        runs: source.workloads.len(),
        dropped: source.workloads.iter().map(|workload| workload.dropped).sum(),
        refused: source.workloads.iter().map(|workload| workload.refused).sum(),
        maps,
        peak,
        devices: report::devices(&demands),
        now,
        asked: source.asked,
        by_size,
        by_areas,
        diagnosis,
        recommended,
        margin: args.margin,
        force: source.force,
        most: source.most,
        verified,
    }
}

fn from_trace(args: &SizeArgs, trace: &std::path::Path) -> Result<Source, Failure> {
    let kernel = &args.kernel;
    let of_scenarios = [
        ("--seeds", args.seeds.is_some()),
        ("--variant", kernel.variant.is_some()),
        ("--cmdline", kernel.cmdline.is_some()),
        ("--append", kernel.append.is_some()),
        ("--apply", !kernel.apply.is_empty()),
        ("--revert", !kernel.revert.is_empty()),
    ];
    if let Some((option, _)) = of_scenarios.iter().find(|(_, given)| *given) {
        let what =
            format!("{option} changes a scenario, and a trace is what happened: only --version goes with it");
        return Err(Failure::text(what));
    }
    let recorded = conform::trace::workload(trace, args.kernel.version.as_deref())
        .map_err(|error| Failure::text(error.to_string()))?;
    let rules = PoolRules { search: recorded.search, sizing: recorded.sizing, bounce: recorded.bounce };
    let cpus = args.cpus.or(recorded.cpus).unwrap_or_else(|| recorded.workload.cpus());
    if recorded.workload.maps() == 0 {
        let what = "no bounce is in this trace: record swiotlb:swiotlb_bounced and the dma events";
        return Err(Failure::text(format!("{}: {what}", trace.display())));
    }
    Ok(Source {
        about: format!("{}, kernel {}", trace.display(), recorded.version),
        workloads: vec![recorded.workload],
        rules,
        start: recorded.start,
        cpus,
        current: recorded.size,
        asked: None,
        force: recorded.force,
        most: plan::MOST,
        scenario: None,
    })
}

fn from_scenario(args: &SizeArgs, scenario: Resolved) -> Result<Source, Failure> {
    let seeds = args.seeds.clone().unwrap_or(0..20);
    let runs = seeds.end.saturating_sub(seeds.start);
    if runs > plan::MAX_SEEDS {
        let what =
            format!("--seeds: {runs} runs are too many: at most {} are sized at once", plan::MAX_SEEDS);
        return Err(Failure::text(what));
    }
    let rules = models::swiotlb::kernel::pool_rules(&scenario.profile);
    let mut defaults = PoolDefaults::new(rules.sizing);
    let words = plan::swiotlb_words(&scenario.cmdline);
    words.iter().for_each(|word| defaults.parse(word));
    if defaults.force_disable {
        return Err(Failure::text("the command line has swiotlb=noforce: there shall be no pool"));
    }
    let cpus = args.cpus.unwrap_or(scenario.machine.nr_cpus.min(scenario.machine.cpus.max(1)));
    let asked = defaults.boot_nslabs(cpus);
    let about = format!("{}, kernel {}", scenario.name, crate::input::kernel_words(&scenario));
    let pool = |cmdline: Option<String>| -> Result<(Simulation, Option<(u64, u64)>), Failure> {
        let mut kernel = args.kernel.clone();
        if let Some(cmdline) = cmdline {
            kernel.cmdline = Some(cmdline);
            kernel.append = None;
        }
        let path = args.scenario.as_deref().unwrap_or(std::path::Path::new(""));
        let wanted = crate::input::Wanted::of(path);
        let resolved = wanted.load()?.resolve(&kernel.overrides(wanted.variant.as_deref()))?;
        let simulation = Simulation::new(resolved);
        let facts = simulation.worker().run(&request(0, false)).facts;
        let pool = facts.pool.map(|pool| (pool.start, pool.bytes >> IO_TLB_SHIFT));
        Ok((simulation, pool))
    };
    let (_, current) = pool(None)?;
    // Demand is measured in the largest pool that this machine can have.
    let mut most = plan::MOST;
    let (roomy, start) = loop {
        let cmdline = plan::with_swiotlb(&scenario.cmdline, &most.to_string(), defaults.force_bounce);
        match pool(Some(cmdline))? {
            (simulation, Some((start, slots))) if slots >= most => break (simulation, start),
            (simulation, Some((start, slots))) if most <= plan::LEAST => {
                most = slots;
                break (simulation, start);
            }
            _ if most <= plan::LEAST => {
                let what = "no bounce pool is set up on this machine, whatever size is asked for";
                return Err(Failure::text(format!("{about}: {what}")));
            }
            _ => most /= 2,
        }
    };
    let seeds: Vec<u64> = seeds.collect();
    let most_events = plan::events_of_one(seeds.len());
    let workloads = plan::with_workers(args.jobs, &seeds, &roomy, |worker: &mut Worker, seed| {
        let mut workload = worker.run(&request(seed, true)).bounces.unwrap_or_default();
        workload.truncate(most_events);
        workload
    });
    let size = |(_, slots): (u64, u64)| {
        let mut pool = rules.boot_pool(slots, defaults.nareas, cpus);
        pool.nslabs = u32::try_from(slots).unwrap_or(u32::MAX);
        pool
    };
    Ok(Source {
        about,
        workloads,
        rules,
        start: models::mem::PhysAddr(start),
        cpus,
        current: current.map(size),
        asked: Some(asked),
        force: defaults.force_bounce,
        most,
        scenario: Some((scenario, seeds)),
    })
}

fn request(seed: u64, record_bounces: bool) -> Request {
    Request { record_bounces, on_finding_stop: Some(false), ..Request::quick(seed) }
}

/// Runs the scenario with the recommended pool: here drivers react to failures, and boot has to find the memory.
fn verify(args: &SizeArgs, source: &Source, best: &Recommendation) -> Option<Verified> {
    let (scenario, seeds) = source.scenario.as_ref()?;
    let cmdline = plan::with_swiotlb(&scenario.cmdline, &best.word, source.force);
    let mut kernel = args.kernel.clone();
    kernel.cmdline = Some(cmdline.clone());
    kernel.append = None;
    let wanted = crate::input::Wanted::of(args.scenario.as_deref()?);
    let resolved = wanted.load().ok()?.resolve(&kernel.overrides(wanted.variant.as_deref())).ok()?;
    let simulation = Simulation::new(resolved);
    let runs = plan::with_workers(args.jobs, seeds, &simulation, |worker: &mut Worker, seed| {
        let run = worker.run(&request(seed, false));
        let failed: u64 = run.facts.devices.iter().map(|device| device.failed).sum();
        (failed, run.facts.pool.map_or(0, |pool| pool.bytes >> IO_TLB_SHIFT))
    });
    Some(Verified {
        runs: runs.len(),
        failed: runs.iter().filter(|(failed, _)| *failed > 0).count(),
        slots: runs.iter().map(|&(_, slots)| slots).min().unwrap_or(0),
        cmdline,
    })
}
