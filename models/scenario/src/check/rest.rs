//! Injections, exploration and expectations.

use super::super::index::Seg;
use super::super::limits;
use super::{Checker, World};
use schema::{Delay, Expect, Explore, Inject, SeedCount, Strategy};

pub(super) fn inject(checker: &mut Checker<'_>, inject: &Inject, world: &World<'_>) {
    for (field, delay) in [("delay", inject.delay), ("late_irq", inject.late_irq)] {
        if let Some(Delay { max_us, percent }) = delay {
            checker.field(field, |c| {
                c.range("max_us", max_us, 0, limits::DELAY_US);
                c.percent(percent);
            });
        }
    }
    let chances = [
        ("probe_defer", inject.probe_defer),
        ("memory_pressure", inject.memory_pressure),
        ("spurious_irq", inject.spurious_irq),
    ];
    for (field, chance) in chances {
        if let Some(chance) = chance {
            checker.field(field, |c| c.percent(chance.percent));
        }
    }
    if let Some(fail) = inject.alloc_fail {
        checker.field("alloc_fail", |c| c.range("per_mille", fail.per_mille.into(), 0, 1_000));
    }
    if let Some(window) = inject.probe_before_init {
        checker.field("probe_before_init", |c| c.range("max_us", window.max_us, 0, limits::DELAY_US));
    }
    if let Some(unplug) = inject.hot_unplug {
        checker.field("hot_unplug", |c| {
            c.range("devices", unplug.devices.into(), 0, limits::DEVICES as u64);
            c.percent(unplug.percent);
        });
    }
    if let Some(trample) = &inject.trample {
        checker.field("trample", |c| {
            c.name("object", &trample.object);
            c.percent(trample.percent);
            for (i, field) in trample.fields.iter().enumerate() {
                if field.is_empty() {
                    c.error(&[Seg::Field("fields"), Seg::Index(i)], "an empty name");
                }
            }
            if let Some(bdf) = &trample.device {
                c.device(&[Seg::Field("device")], bdf, world);
            }
        });
    }
    checker.range("settle_ms", inject.settle_ms, 1, limits::DELAY_US / 1_000);
}

pub(super) fn explore(checker: &mut Checker<'_>, explore: &Explore) {
    checker.range("seeds", explore.seeds, 1, limits::SEEDS);
    checker.range("max_steps", explore.max_steps, 1, limits::STEPS);
    match explore.strategy {
        Strategy::Pct(depth) => checker.range("strategy", depth.into(), 1, limits::PCT_DEPTH.into()),
        Strategy::Delay(most) => checker.range("strategy", most.into(), 1, limits::DELAYS.into()),
        Strategy::Swarm
        | Strategy::RoundRobin
        | Strategy::Random
        | Strategy::Pos
        | Strategy::Urw
        | Strategy::Rff => {}
    }
}

pub(super) fn expect(checker: &mut Checker<'_>, expect: &Expect, _world: &World<'_>) {
    for (i, line) in expect.log().iter().enumerate() {
        if line.is_empty() {
            checker.error(&[Seg::Field("log"), Seg::Index(i)], "an empty line is in every log");
        }
    }
    let Expect::Findings { all, others, .. } = expect else { return };
    if all.is_empty() && !others {
        checker.error_help(
            &[Seg::Field("all")],
            "no finding is named",
            "`Clean()` says that there must be none",
        );
    }
    for (i, pattern) in all.iter().enumerate() {
        checker.field("all", |c| {
            c.at(Seg::Index(i), |c| {
                c.name("kind", &pattern.kind);
                let texts =
                    [("function", &pattern.function), ("object", &pattern.object), ("text", &pattern.text)];
                for (field, text) in texts {
                    if text.as_ref().is_some_and(String::is_empty) {
                        c.error_help(&[Seg::Field(field)], "an empty text fits anything", "leave it out");
                    }
                }
                if pattern.seeds == SeedCount::AtLeast(0) {
                    c.error_help(&[Seg::Field("seeds")], "a finding in no seed", "allowed: 1 and more");
                }
            });
        });
    }
}
