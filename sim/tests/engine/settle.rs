//! Injection stops when it is told to.

use sim::choices::{Choices, Mode};
use sim::inject::Delays;
use sim::schedule::RoundRobin;
use sim::{RunConfig, Sim, SpawnSpec};

/// Virtual time that 200 steps take with a delay of up to a millisecond in every other step, until `stop`.
fn time_with_delays_until(stop: u64) -> u64 {
    let choices = Choices::new(Mode::Seed(3), false);
    let sim = Sim::new(RunConfig::default(), choices, Box::new(RoundRobin::new()));
    sim.set_delays(Delays::new(2, 1_000_000));
    sim.stop_injection_at(stop);
    sim.spawn(SpawnSpec::task("walker", 0), |cx| async move {
        for _ in 0..200 {
            cx.point().await;
        }
    });
    sim.run().time
}

#[test]
fn nothing_is_delayed_any_more() {
    let undisturbed = 201 * RunConfig::default().step_ns;
    assert_eq!(time_with_delays_until(0), undisturbed);
    assert!(time_with_delays_until(u64::MAX) > 10 * 1_000_000);
    // One that began before the end is finished.
    let stopped = time_with_delays_until(2_000_000);
    assert!((2_000_000..4_000_000).contains(&stopped), "{stopped}");
}
