//! The run from which shrinking starts, and the finding that is to stay.

use models::run::{Request, Simulation};
use models::scenario::edit::flat as lay_flat;
use models::scenario::{Expect, FindingPattern, OnFinding, Resolved, ScenarioFile, SeedCount};
use models::shrink::{Settings, Target, first_seed};
use sim::Finding;
use sim::choices::ChoiceList;
use sim::explore::catching;
use sim::explore::shrink::{Halt, Search};

use crate::args::ShrinkArgs;
use crate::campaign::{self, Tweaks};
use crate::commands::Exit;
use crate::input::Failure;
use crate::output::Out;
use crate::token;

/// The run from which shrinking starts.
pub(in crate::commands) struct Start {
    pub(in crate::commands) settings: Settings,
    pub(in crate::commands) seed: u64,
    pub(in crate::commands) choices: ChoiceList,
    pub(in crate::commands) finding: Finding,
}

/// Why there is nothing to start from.
pub(in crate::commands) enum Nothing {
    NotFound(String),
    Interrupted,
}

/// Finds the run: the seed or token that was asked for, or the first seed that shows the finding.
pub(super) fn find(
    args: &ShrinkArgs,
    simulation: &Simulation,
    search: &mut Search<'_>,
) -> Result<Result<Start, Nothing>, Failure> {
    let token = token::read(args.origin.token.as_deref(), args.origin.token_file.as_deref())?;
    let request = Tweaks::of(&args.subject.engine).on(Request::quick(0));
    let mut settings =
        Settings { target: Target::named(args.signature.as_deref()), tries: args.tries, request };
    if let (Some(token), None) = (&token, &args.signature)
        && token.signature != 0
    {
        settings.target = Target::Signature(token.signature);
    }
    let (seed, choices) = match (token, args.origin.seed) {
        (Some(token), _) => (token.seed, token.choices),
        (None, wanted) => {
            let seeds = match wanted {
                Some(seed) => seed..seed + 1,
                None => campaign::seeds(simulation.scenario(), args.seeds.as_ref()),
            };
            let count = seeds.end - seeds.start;
            match first_seed(search, &settings, simulation, seeds) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    let seeds =
                        if count == 1 { "the seed".to_owned() } else { format!("none of {count} seeds") };
                    return Ok(Err(Nothing::NotFound(seeds)));
                }
                Err(Halt::Interrupted) => return Ok(Err(Nothing::Interrupted)),
                Err(Halt::Budget) => return Ok(Err(Nothing::NotFound("none of the seeds tried".to_owned()))),
                Err(Halt::Journal) => {
                    return Err(Failure::text(
                        "the state of the search says that another seed shows the finding: the models changed since",
                    ));
                }
            }
        }
    };
    begin(simulation, settings, seed, choices)
}

/// Runs once more what shows the finding: which finding it is, and the choices that the run really asks for.
pub(in crate::commands) fn begin(
    simulation: &Simulation,
    mut settings: Settings,
    seed: u64,
    choices: ChoiceList,
) -> Result<Result<Start, Nothing>, Failure> {
    let request = Request { record_choices: true, ..settings.request.clone() };
    let request = Request { source: models::run::Source::Replay(choices), ..request };
    let run = catching(|| simulation.worker().run(&request));
    let mut run =
        run.map_err(|message| Failure::text(format!("the simulator itself panicked: {message}")))?;
    let Some(finding) = settings.target.among(&run.end.findings).cloned() else {
        let mut why = "the run of the token".to_owned();
        if let Some(divergence) = &run.end.divergence {
            why.push_str(&format!(", whose first choice that does not fit is {divergence},"));
        }
        return Ok(Err(Nothing::NotFound(why)));
    };
    settings.target = Target::Signature(finding.signature_hash());
    // What the run itself recorded: what it does not ask for is gone.
    let choices = run.end.choices.take_records();
    Ok(Ok(Start { settings, seed, choices, finding }))
}

/// Says that there is nothing to shrink.
pub(super) fn nothing(why: Nothing, args: &ShrinkArgs, out: &mut Out) -> Exit {
    match why {
        Nothing::Interrupted => Exit::Interrupted,
        Nothing::NotFound(who) => {
            let what = match &args.signature {
                Some(text) => format!("a finding of signature \"{text}\""),
                None => "a finding".to_owned(),
            };
            let who =
                if who.starts_with("none") { format!("{who} shows") } else { format!("{who} does not show") };
            let text = format!("There is nothing to shrink: {who} {what}.");
            for line in reports::wrap(&reports::ascii(&text), reports::WIDTH) {
                out.line(&line);
            }
            Exit::Unexpected
        }
    }
}

/// The scenario in one piece, with what was asked for on the command line in it, and the finding as its expectation.
pub(super) fn flat(scenario: &Resolved, start: &Start, args: &ShrinkArgs) -> ScenarioFile {
    let mut file = laid_flat(scenario, start);
    if let Some(explore) = &mut file.explore {
        explore.max_steps = args.subject.engine.max_steps.unwrap_or(explore.max_steps);
        match args.subject.engine.on_finding {
            None => {}
            Some(crate::args::OnFinding::Stop) => explore.on_finding = OnFinding::Stop,
            Some(crate::args::OnFinding::Continue) => explore.on_finding = OnFinding::Continue,
        }
    }
    file
}

/// The scenario in one piece, with the finding as its expectation.
pub(in crate::commands) fn laid_flat(scenario: &Resolved, start: &Start) -> ScenarioFile {
    let mut file = lay_flat(scenario);
    let finding = &start.finding;
    file.about = Some(finding.signature());
    file.source = Some(format!("shrunk from {}", scenario.name));
    let pattern = FindingPattern {
        kind: finding.kind.to_owned(),
        function: finding.frames.first().map(|frame| (*frame).to_owned()),
        object: (!finding.object.is_empty()).then(|| finding.object.to_owned()),
        text: None,
        seeds: SeedCount::default(),
    };
    file.expect = Some(Expect::Findings { all: vec![pattern], others: true, log: Vec::new() });
    file
}
