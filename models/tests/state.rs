//! The state at a step of a run against what the run itself says.

use std::collections::BTreeSet;
use std::path::Path;

use models::run::state::{IovaUse, ObjectState, State};
use models::run::{Request, Simulation, Source};
use models::scenario::{Overrides, Resolved, load};
use sim::trace::EventKind;

fn resolved(name: &str) -> Resolved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let loaded = load(path).unwrap_or_else(|error| panic!("{error}"));
    loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Pools that are full, translated and lazily flushed mappings, a pool that is torn down, pools that grow.
const SCENARIOS: [&str; 4] = [
    "lkml-2021-07/hp-4300g.ron",
    "debian/nvme-full-pool-6.1.ron",
    "debian/nvme-full-pool-6.12.ron",
    "bugs/flush-timer-vs-domain-teardown/fixed.ron",
];

/// The states of a run at so many steps of it, and how many steps it has.
fn states(simulation: &Simulation, seed: u64, count: u64) -> (Vec<State>, u64) {
    let request = Request::full(Source::Seed(seed));
    let mut worker = simulation.worker();
    let steps = worker.run(&request).end.steps;
    let wanted: BTreeSet<u64> = (0..=count).map(|n| steps * n / count).collect();
    let state =
        |step: &u64| worker.look(&request, *step, State::of).unwrap_or_else(|| panic!("no step {step}"));
    let states = wanted.iter().map(state).collect();
    assert!(worker.look(&request, steps + 1, State::of).is_none());
    (states, steps)
}

#[test]
fn slots_in_use_are_those_that_are_counted_and_belong_to_mappings() {
    let (mut runs, mut mapped) = (0, 0);
    for name in SCENARIOS {
        let simulation = Simulation::new(resolved(name));
        let (states, _) = states(&simulation, 1, 24);
        for state in states {
            for pool in state.swiotlb.iter().flat_map(|allocator| &allocator.pools) {
                let counted: u64 = pool.areas.iter().map(|area| area.used).sum();
                let shown: u64 = pool.runs.iter().map(|run| u64::from(run.count)).sum();
                assert_eq!(pool.used, counted, "{name} step {}", state.step);
                // An area's lock is held from the first slot to the counter.
                let busy = state.contexts.iter().flat_map(|context| &context.held);
                if busy.clone().all(|held| !["&area->lock", "&mem->lock"].contains(&held.class)) {
                    assert_eq!(shown, counted, "{name} step {}", state.step);
                }
                runs += pool.runs.len();
                for run in &pool.runs {
                    let Some(by) = run.mapping.and_then(|at| state.mappings.get(at)) else { continue };
                    mapped += 1;
                    assert!(by.mapping.pieces.iter().any(|piece| pool.range.contains(piece.target)));
                    assert!(by.mapping.since.step <= state.step && !by.by.is_empty());
                }
            }
        }
    }
    assert!(runs > 100 && mapped > 100, "{runs} {mapped}");
}

#[test]
fn addresses_of_a_domain_are_those_of_its_mappings_and_its_queues() {
    let (mut mapped, mut queued) = (0, 0);
    for name in SCENARIOS {
        let simulation = Simulation::new(resolved(name));
        for state in states(&simulation, 2, 24).0 {
            for domain in &state.iommu.domains {
                for iova in &domain.iovas {
                    match iova.what {
                        IovaUse::Mapping(at) => {
                            let mapping = &state.mappings[at].mapping;
                            assert!(
                                mapping.dma.0 >= iova.start.0 && mapping.dma.0 - iova.start.0 < iova.size
                            );
                            mapped += 1;
                        }
                        IovaUse::Queued(cpu) => {
                            let entries = &domain.queues[cpu].entries;
                            assert!(entries.iter().any(|(start, ..)| *start == iova.start));
                            queued += 1;
                        }
                        IovaUse::Cached | IovaUse::Other => {}
                    }
                }
                // No range is taken twice.
                assert!(domain.iovas.windows(2).all(|two| two[0].start.0 + two[0].size <= two[1].start.0));
            }
        }
    }
    assert!(mapped > 20 && queued > 0, "{mapped} {queued}");
}

#[test]
fn the_state_at_the_end_is_what_the_run_says_of_itself() {
    for name in SCENARIOS {
        let simulation = Simulation::new(resolved(name));
        for seed in 0..4 {
            let request = Request::full(Source::Seed(seed));
            let run = simulation.worker().run(&request);
            let state = simulation.worker().look(&request, run.end.steps, State::of).expect("the end");
            assert_eq!((state.step, state.time), (run.end.steps, run.end.time));
            assert_eq!(state.swiotlb[0].files, run.facts.debugfs, "{name} seed {seed}");
            assert_eq!(state.devices.len(), run.facts.devices.len());
            for (device, facts) in state.devices.iter().zip(&run.facts.devices) {
                assert_eq!(device.bdf, facts.bdf);
                assert_eq!(device.driver, facts.driver);
                assert_eq!((device.group, device.domain), (facts.group, facts.domain));
                assert_eq!(device.counts, (facts.maps, facts.bounced, facts.failed));
                assert_eq!(device.pool.map_or("", |(_, what)| what), facts.pool.replace("no pointer", ""));
            }
        }
    }
}

#[test]
fn an_object_is_found_by_its_address_and_by_what_steps_call_it() {
    let simulation = Simulation::new(resolved("lkml-2021-07/hp-4300g.ron"));
    let request = Request::full(Source::Seed(0));
    let run = simulation.worker().run(&request);
    let finding = run.end.findings.first().expect("the crash of July 2021");
    let step = run.end.trace.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Step { label, object, .. } if object.text.starts_with("struct io_tlb_mem") => {
            Some((event.step, label.obj))
        }
        _ => None,
    });
    let (step, label) = step.expect("somebody looks at the pool");
    assert!(step <= run.end.steps && finding.step <= step);
    let mut worker = simulation.worker();
    let by_label = worker.look(&request, step, move |kx| ObjectState::labelled(kx, label)).flatten();
    let by_label = by_label.expect("the pool was an object");
    assert_eq!((by_label.type_name, by_label.alive), ("struct io_tlb_mem", false));
    assert!(by_label.life.iter().any(|(heading, _)| heading == "freed by"));
    assert!(by_label.fields.is_empty(), "a freed object has no fields");
    assert!(by_label.labels.0 <= label && label < by_label.labels.1);
    // Before it was freed it has fields, and lies where it lay.
    let at = by_label.at;
    let early = run.end.trace.events.iter().find_map(|event| match &event.kind {
        EventKind::Step { object, .. } if object.text == "struct io_tlb_mem.start" => Some(event.step),
        _ => None,
    });
    let early = early.expect("the pool was looked at while it lived");
    let alive = worker.look(&request, early - 1, move |kx| ObjectState::at(kx, at)).flatten();
    let alive = alive.expect("the pool lay there");
    assert_eq!((alive.type_name, alive.alive, alive.at), ("struct io_tlb_mem", true, at));
    let field = |name| alive.fields.iter().find(|field| field.name == name).map(|field| field.value);
    assert!(field("nslabs").is_some_and(|nslabs| nslabs > 0));
    assert!(field("start").is_some_and(|start| start > 0));
    assert!(worker.look(&request, early, |kx| ObjectState::at(kx, 0)).flatten().is_none());
}
