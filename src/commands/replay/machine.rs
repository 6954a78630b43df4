//! The machine at a step of a run: the run is repeated up to there.

use models::run::state::State;
use models::run::{Request, Run, Simulation, Worker};
use reports::state::{json, place, show};
use serde_json::json;
use sim::Finding;
use sim::explore::catching;
use sim::trace::Trace;

use crate::args::{Format, ReplayArgs};
use crate::commands::Exit;
use crate::input::Failure;
use crate::output::Out;

/// A run that was recorded, and can be repeated up to any step of it.
pub(super) struct Machine<'a> {
    simulation: &'a Simulation,
    worker: Worker,
    request: Request,
    run: Run,
    seed: u64,
    by_token: bool,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        simulation: &'a Simulation,
        request: Request,
        run: Run,
        seed: u64,
        by_token: bool,
    ) -> Self {
        Self { simulation, worker: simulation.worker(), request, run, seed, by_token }
    }

    /// What happened in the whole run.
    pub(super) const fn trace(&self) -> &Trace {
        &self.run.end.trace
    }

    pub(super) fn findings(&self) -> &[Finding] {
        &self.run.end.findings
    }

    /// Steps of the run.
    pub(super) const fn steps(&self) -> u64 {
        self.run.end.steps
    }

    /// What the run is, in words.
    pub(super) fn title(&self) -> String {
        let what = if self.by_token { "token recorded from seed" } else { "seed" };
        format!("{}, {what} {}", self.simulation.scenario().name, self.seed)
    }

    /// Repeats the run up to a step, and looks.
    pub(super) fn look<T: 'static>(
        &mut self,
        step: u64,
        look: impl FnOnce(&models::kernel::Kx) -> T + 'static,
    ) -> Result<T, Failure> {
        let worker = &mut self.worker;
        let seen = catching(|| worker.look(&self.request, step, look));
        match seen {
            Ok(Some(seen)) => Ok(seen),
            Ok(None) => Err(Failure::text(format!(
                "the repeated run did not come to step {step} of {}: a run depends on more than its choices",
                self.run.end.steps
            ))),
            Err(message) => {
                // A worker in which a model panicked is not used again.
                self.worker = self.simulation.worker();
                Err(Failure::text(format!("the simulator itself panicked: {message}")))
            }
        }
    }

    /// The state at a step.
    pub(super) fn state(&mut self, step: u64) -> Result<State, Failure> {
        self.look(step, State::of)
    }

    /// The step at which to look if none is asked for: that of the first finding, or else the last.
    pub(super) fn usual_step(&self) -> u64 {
        self.findings().first().map_or(self.steps(), |finding| finding.step.min(self.steps()))
    }

    /// The step that is asked for, if the run has it.
    pub(super) fn step_of(&self, at: Option<u64>) -> Result<u64, Failure> {
        match at {
            None => Ok(self.usual_step()),
            Some(step) if step <= self.steps() => Ok(step),
            Some(step) => Err(Failure::text(format!(
                "there is no step {step}: the run has {} steps{}",
                self.steps(),
                self.findings().first().map_or_else(String::new, |finding| {
                    format!("\n  help: its first finding is at step {}", finding.step)
                })
            ))),
        }
    }

    /// `--show`.
    pub(super) fn show(mut self, args: &ReplayArgs, out: &mut Out) -> Result<Exit, Failure> {
        let step = self.step_of(args.state.at)?;
        let state = self.state(step)?;
        let views = &args.state.show;
        if args.format == Format::Json {
            let scenario = self.simulation.scenario();
            let value = json!({
                "scenario": scenario.name,
                "scenario_digest": scenario.digest.to_string(),
                "engine": sim::ENGINE_VERSION,
                "seed": self.seed,
                "steps": self.steps(),
                "step": state.step,
                "time_ns": state.time,
                "state": json(&state, views),
            });
            out.line(&value.to_string());
            return Ok(Exit::Expected);
        }
        out.line(&out.paint.heading(&self.title()));
        out.line(&place(&state, self.steps()));
        for view in views {
            let text = show(&state, *view, out.paint);
            out.line("");
            out.text(&text);
        }
        Ok(Exit::Expected)
    }
}
