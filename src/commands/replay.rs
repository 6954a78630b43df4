//! `dmasim replay`.

use std::cell::Cell;
use std::path::Path;

use models::run::{Request, Run, Simulation, Source};
use models::scenario::intern;
use reports::json::{RunJson, line};
use reports::trace::{Level, header, log_line};
use reports::{case, trace};
use sim::choices::{Token, TokenError};
use sim::explore::catching;

use super::Exit;
use crate::args::{Format, ReplayArgs, TraceLevel};
use crate::campaign::Tweaks;
use crate::input::{Failure, resolve};
use crate::output::Out;

/// A longer file holds something else than a token.
const MAX_TOKEN_FILE: u64 = 64 << 20;

pub(super) fn replay(args: &ReplayArgs, out: &mut Out) -> Result<Exit, Failure> {
    if let (Some(from), Some(until)) = (args.from, args.until)
        && from > until
    {
        return Err(Failure::text(format!("there is nothing from step {from} until step {until}")));
    }
    // A token that is none is told at once, whatever the scenario is like.
    let token = read_token(args)?;
    let scenario = resolve(&args.scenario, &args.kernel, out)?;
    if let Some(token) = &token {
        token.check(scenario.digest.0).map_err(|error| Failure::text(advice(&error)))?;
    }
    let source = match (&token, args.seed) {
        (Some(token), _) => Source::Replay(token.choices.clone()),
        (None, seed) => Source::Seed(seed.unwrap_or(0)),
    };
    let seed = token.as_ref().map_or(args.seed.unwrap_or(0), |token| token.seed);
    let simulation = Simulation::new(scenario);
    let request = Tweaks::of(&args.engine).on(Request::full(source));
    let run = match catching(|| simulation.worker().run(&request)) {
        Ok(run) => run,
        Err(message) => {
            out.line(&out.paint.bad(&format!("panic-in-model: the simulator itself panicked: {message}")));
            return Ok(Exit::Unexpected);
        }
    };
    if let Some(token) = &token {
        check(token, &run)?;
    }
    if args.log {
        for entry in run.log() {
            out.line(&log_line(entry.time, &entry.text));
        }
    } else if args.format == Format::Json {
        let name = (simulation.scenario().name.as_str(), simulation.scenario().digest.0);
        let json = RunJson::new(name, seed, &run.end);
        let text = line(&json).map_err(|error| Failure::text(error.to_string()))?;
        out.line(&text);
    } else {
        show(args, &run, seed, &simulation, out);
    }
    Ok(if run.end.findings.is_empty() { Exit::Expected } else { Exit::Unexpected })
}

fn show(args: &ReplayArgs, run: &Run, seed: u64, simulation: &Simulation, out: &mut Out) {
    let level = match args.trace {
        TraceLevel::Brief => Level::Brief,
        TraceLevel::Full => Level::Full,
    };
    let source = if args.seed.is_some() { "seed" } else { "token recorded from seed" };
    out.line(&out.paint.heading(&format!("{}, {source} {seed}", simulation.scenario().name)));
    out.line(&header());
    let wanted = args.from.unwrap_or(0)..=args.until.unwrap_or(u64::MAX);
    let mut shown = 0_u64;
    for event in run.end.trace.events.iter().filter(|event| wanted.contains(&event.step)) {
        if out.is_closed() {
            break;
        }
        if let Some(text) = trace::line(&run.end.trace, event, level) {
            out.line(&text);
            shown += 1;
        }
    }
    if shown == 0 {
        out.line(&format!("(no event here; the run has {} steps)", run.end.steps));
    }
    if run.end.trace.truncated {
        out.line("(the run is longer than what is recorded of a run; its end is missing)");
    }
    for (n, finding) in run.end.findings.iter().enumerate() {
        let head = format!("\nFinding {} of {}: {}", n + 1, run.end.findings.len(), finding.kind);
        out.line(&out.paint.bad(&head));
        out.text(&case::finding(finding, out.paint));
    }
    let findings = match run.end.findings.len() {
        0 => "no finding".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    if let Some(debugfs) = run.facts.debugfs {
        let files: Vec<String> = debugfs.files().map(|(name, value)| format!("{name} {value}")).collect();
        out.line(&format!("\n/sys/kernel/debug/swiotlb at the end: {}", files.join(", ")));
    }
    out.line(&format!("\n{} steps, digest {:032x}, {findings}", run.end.steps, run.end.digest));
}

/// The token that was asked for, if one was.
fn read_token(args: &ReplayArgs) -> Result<Option<Token>, Failure> {
    let text = match (&args.token, &args.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => read_file(file)?,
        (None, None) => return Ok(None),
    };
    let full = Cell::new(false);
    let keep = |name: &str| {
        intern(name).unwrap_or_else(|_| {
            full.set(true);
            ""
        })
    };
    let token = Token::decode(&text, &keep).map_err(|error| Failure::text(advice(&error)))?;
    if full.get() {
        return Err(Failure::text("the token names more things than one process can keep"));
    }
    Ok(Some(token))
}

fn read_file(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::text(format!("cannot read the token in {}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if length > MAX_TOKEN_FILE {
        return Err(failed(format!("the file has {length} bytes, a token {MAX_TOKEN_FILE} at most")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(failed("the file is empty".to_owned()));
    }
    Ok(text)
}

/// The error, and what may help.
fn advice(error: &TokenError) -> String {
    match error {
        TokenError::Scenario { .. } => format!(
            "{error}\n  help: the same file, --variant, --cmdline, --version, --apply and --revert make the same \
             scenario; if the file was edited since, only the seed is left: --seed"
        ),
        TokenError::Engine { .. } => {
            format!(
                "{error}\n  help: build the version of dmasim that recorded it, or search again with `dmasim run`"
            )
        }
        _ => error.to_string(),
    }
}

/// Whether the run is the one that was recorded.
fn check(token: &Token, run: &Run) -> Result<(), Failure> {
    if let Some(divergence) = &run.end.divergence {
        return Err(Failure::text(format!(
            "the token does not fit this run: the first choice that does not fit is {divergence}\n  help: it was \
             recorded with other options (--on-finding, --max-steps), or the models changed since"
        )));
    }
    if run.end.digest != token.digest {
        return Err(Failure::text(format!(
            "every choice of the token fits, but the run is another one: digest {:032x}, recorded {:032x}\n  help: it \
             was recorded with other options (--on-finding, --max-steps), or the models changed since",
            run.end.digest, token.digest
        )));
    }
    Ok(())
}
