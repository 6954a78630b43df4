//! Repeating a regression, and saying where it parts from the recorded run.

use std::path::Path;

use models::run::{Request, Run, Simulation, Source};
use models::scenario::{Loaded, Resolved};
use sim::choices::Token;
use sim::explore::catching;
use sim::trace::{Entry, Parting, StepLog};

use super::Regression;
use crate::campaign::Tweaks;
use crate::input::{Failure, Wanted};
use crate::token;

/// A regression and the run that it gives now.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Whether the run is the recorded one.
    pub(crate) same: bool,
    /// Whether it shows what was recorded: the signature, or nothing if the run was clean.
    pub(crate) shows: bool,
    /// What there is to say.
    pub(crate) remarks: Vec<String>,
    /// The regression as it would be recorded now.
    pub(crate) now: Regression,
}

/// The scenario of a regression.
fn scenario(regression: &Regression, path: &Path) -> Result<Resolved, Failure> {
    let wanted = Wanted::of(&regression.scenario_path(path));
    let loaded: Loaded = wanted.load()?;
    Ok(loaded.resolve(&regression.kernel_args().overrides(wanted.variant.as_deref()))?)
}

/// The run of a regression, fully recorded, and the token that it was asked for with.
fn run(regression: &Regression, scenario: Resolved) -> Result<(Simulation, Run, Option<Token>), Failure> {
    let token = regression.token.as_deref().map(token::decode).transpose()?;
    let tweaks = Tweaks::of(&regression.engine_args().map_err(Failure::text)?);
    let source = match (&token, regression.seed) {
        (Some(token), _) => Source::Replay(token.choices.clone()),
        (None, seed) => Source::Seed(seed.unwrap_or(0)),
    };
    let simulation = Simulation::new(scenario);
    let request = Request { details: false, ..tweaks.on(Request::full(source)) };
    let run = catching(|| simulation.worker().run(&request))
        .map_err(|message| Failure::text(format!("the simulator itself panicked: {message}")))?;
    Ok((simulation, run, token))
}

/// The regression with what its run gives: `wanted` says which finding it is to show, by hash or by words.
pub(crate) fn make(
    mut regression: Regression,
    path: &Path,
    wanted: impl Fn(&sim::Finding) -> bool,
) -> Result<Regression, Failure> {
    let (simulation, mut run, token) = run(&regression, scenario(&regression, path)?)?;
    fill(&mut regression, &simulation, &mut run, token.as_ref(), wanted);
    Ok(regression)
}

fn fill(
    regression: &mut Regression,
    simulation: &Simulation,
    run: &mut Run,
    token: Option<&Token>,
    wanted: impl Fn(&sim::Finding) -> bool,
) {
    let choices = run.end.choices.take_records();
    let finding = run.end.findings.iter().find(|finding| wanted(finding));
    regression.signature = finding.map(sim::Finding::signature).unwrap_or_default();
    regression.signature_hash = finding.map(|f| format!("{:016x}", f.signature_hash())).unwrap_or_default();
    regression.digest = format!("{:032x}", run.end.digest);
    regression.scenario_digest = simulation.scenario().digest.to_string();
    regression.engine = sim::ENGINE_VERSION;
    regression.set_steps(&StepLog::of(&run.end.trace, &choices).encode());
    if let Some(token) = token {
        let token = Token {
            engine: sim::ENGINE_VERSION,
            scenario: simulation.scenario().digest.0,
            seed: token.seed,
            digest: run.end.digest,
            signature: finding.map_or(0, sim::Finding::signature_hash),
            choices,
        };
        regression.token = Some(token.encode());
    }
}

/// Repeats a regression.
pub(crate) fn compare(regression: &Regression, path: &Path) -> Result<Compared, Failure> {
    let (simulation, mut run, token) = run(regression, scenario(regression, path)?)?;
    let recorded = token::with_names(|keep| {
        StepLog::decode(&regression.steps_line(), keep)
            .map_err(|error| Failure::text(format!("{}: {error}", path.display())))
    })?;
    let hash = regression.signature_hash();
    let shows = match hash {
        Some(hash) => run.end.findings.iter().any(|finding| finding.signature_hash() == hash),
        None => run.end.findings.is_empty(),
    };
    let same = format!("{:032x}", run.end.digest) == regression.digest;
    let mut remarks = Vec::new();
    if regression.engine != sim::ENGINE_VERSION {
        let engine = sim::ENGINE_VERSION;
        remarks.push(format!("recorded by engine version {}, this is version {engine}", regression.engine));
    }
    if simulation.scenario().digest.to_string() != regression.scenario_digest {
        remarks.push("the scenario was changed since it was recorded".to_owned());
    }
    if !same {
        remarks.push(format!(
            "the run is another one: digest {:032x}, recorded {}",
            run.end.digest, regression.digest
        ));
        if let Some(divergence) = &run.end.divergence {
            remarks.push(format!("the first choice that does not fit is {divergence}"));
        }
    }
    let mut now = regression.clone();
    let divergence = run.end.divergence.is_some();
    let findings: Vec<String> = run.end.findings.iter().map(sim::Finding::signature).collect();
    fill(&mut now, &simulation, &mut run, token.as_ref(), |finding| {
        hash.is_none_or(|hash| finding.signature_hash() == hash)
    });
    if !same {
        let log = token::with_names(|keep| {
            StepLog::decode(&now.steps_line(), keep).map_err(|error| Failure::text(error.to_string()))
        })?;
        match recorded.part(&log) {
            Some(parting) => remarks.push(parted(&parting)),
            None if recorded.cut || divergence => remarks.push(format!(
                "the {} steps and choices that were kept are the same: they part later",
                recorded.entries.len()
            )),
            None => remarks.push("every step and choice is the same: they part in what is found".to_owned()),
        }
    }
    if !shows {
        let found = if findings.is_empty() { "nothing".to_owned() } else { findings.join("; ") };
        let wanted = match hash {
            Some(_) => format!("it no longer shows {}", regression.signature),
            None => "it was clean".to_owned(),
        };
        remarks.push(format!("{wanted}; found now: {found}"));
    } else if !same {
        remarks.push(match hash {
            Some(_) => "it shows the same finding; `dmasim test --update` records the new run".to_owned(),
            None => "it is clean as it was; `dmasim test --update` records the new run".to_owned(),
        });
    }
    Ok(Compared { same, shows, remarks, now })
}

/// Where and how two runs part.
fn parted(parting: &Parting) -> String {
    let words = |entry: &Option<Entry>| {
        entry.map_or_else(|| "the end of the run".to_owned(), |entry| format!("\"{entry}\""))
    };
    let what = match (&parting.recorded, &parting.now) {
        (Some(Entry::Choice { .. }), Some(Entry::Choice { .. })) => "the next choice",
        _ => "what comes next",
    };
    if parting.is_hidden() {
        return format!(
            "they part between steps {} and {}: both do {}, but an address or something else that no step shows differs",
            parting.step,
            parting.step + 1,
            words(&parting.now)
        );
    }
    format!(
        "they part after step {}: {what} was {}, and is now {}",
        parting.step,
        words(&parting.recorded),
        words(&parting.now)
    )
}
