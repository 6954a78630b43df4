//! Tokens as the user gives them, and what to say when the run that they give is not the recorded one.

use std::cell::Cell;
use std::path::Path;

use models::run::{Request, Run, Simulation, Source};
use models::scenario::{intern, read_text};
use sim::choices::{ChoiceList, Fitted, Token, TokenError, fit};
use sim::explore::catching;

use crate::input::Failure;
use crate::output::Out;
use crate::pipe;

/// A longer file holds something else than a token.
const MAX_TOKEN_FILE: u64 = 64 << 20;

/// The token that was asked for, if one was.
pub(crate) fn read(token: Option<&str>, file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let _watch = pipe::watch(file);
    match (token, file) {
        (Some(token), _) => decode(token).map(Some),
        (None, Some(file)) => decode(&read_file(file)?).map(Some),
        (None, None) => Ok(None),
    }
}

/// The token in a text.
pub(crate) fn decode(text: &str) -> Result<Token, Failure> {
    with_names(|keep| Token::decode(text, keep).map_err(|error| Failure::text(error.to_string())))
}

/// Calls `read` with what keeps names for ever, and fails if there are too many.
pub(crate) fn with_names<T>(
    read: impl FnOnce(&dyn Fn(&str) -> &'static str) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let full = Cell::new(false);
    let keep = |name: &str| {
        intern(name).unwrap_or_else(|_| {
            full.set(true);
            ""
        })
    };
    let value = read(&keep)?;
    if full.get() {
        return Err(Failure::text("the token names more things than one process can keep"));
    }
    Ok(value)
}

fn read_file(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::text(format!("cannot read the token in {}: {why}", file.display()));
    let text = read_text(file, MAX_TOKEN_FILE).map_err(|error| failed(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(failed("the file is empty".to_owned()));
    }
    Ok(text)
}

/// In what the token does not belong to this engine or this scenario. It is tried all the same: choices have names,
/// which outlive many changes.
fn foreign(token: &Token, scenario: u128) -> Vec<TokenError> {
    let mut list = Vec::new();
    if token.engine != sim::ENGINE_VERSION {
        list.push(TokenError::Engine { found: token.engine });
    }
    if token.scenario != scenario {
        list.push(TokenError::Scenario { recorded: token.scenario, here: scenario });
    }
    list
}

/// Says how the run of a token compares with the recorded one. An error if it is another run and nothing explains it,
/// or if a choice does not fit.
pub(crate) fn compare(token: &Token, scenario: u128, run: &Run, out: &mut Out) -> Result<(), Failure> {
    let foreign = foreign(token, scenario);
    if let Some(divergence) = &run.end.divergence {
        let why: Vec<String> = foreign.iter().map(|error| format!("{error}\n")).collect();
        let because = if foreign.is_empty() {
            "it was recorded with other options (--on-finding, --max-steps), or the models changed since; "
        } else {
            ""
        };
        return Err(Failure::text(format!(
            "{}the token does not fit this run: the first choice that does not fit is {divergence}\n  help: {because}\
             --nearest goes on with the closest match",
            why.concat()
        )));
    }
    let same = run.end.digest == token.digest;
    if !same && foreign.is_empty() {
        return Err(Failure::text(format!(
            "every choice of the token fits, but the run is another one: digest {:032x}, recorded {:032x}\n  help: it \
             was recorded with other options (--on-finding, --max-steps), or the models changed since",
            run.end.digest, token.digest
        )));
    }
    for error in &foreign {
        out.error_line(&format!("note: {error}"));
    }
    if !foreign.is_empty() {
        let outcome = if same {
            "every choice fits, and the run is the recorded one".to_owned()
        } else {
            format!("every choice fits, but the run is another one{}", outcome(token, run))
        };
        out.error_line(&format!("note: {outcome}"));
    }
    Ok(())
}

/// Whether the finding is there that the token was recorded for.
fn outcome(token: &Token, run: &Run) -> &'static str {
    if token.signature == 0 {
        ""
    } else if run.end.findings.iter().any(|finding| finding.signature_hash() == token.signature) {
        "; it shows the same finding"
    } else {
        "; it does not show the finding for which the token was recorded"
    }
}

/// The choices of a token, changed where they do not fit, with what was changed.
pub(crate) fn nearest(simulation: &Simulation, request: &Request, choices: &ChoiceList) -> Fitted {
    let mut worker = simulation.worker();
    fit(choices, |list| {
        let request = Request {
            source: Source::Replay(list.clone()),
            record: false,
            details: false,
            record_choices: false,
            record_questions: true,
            ..request.clone()
        };
        catching(|| worker.run(&request)).map_or_else(
            |_| {
                // The report will say so; a run that panics asks nothing more.
                worker = simulation.worker();
                (Vec::new(), Vec::new())
            },
            |mut run| (run.end.choices.misfits(), run.end.choices.take_questions()),
        )
    })
}

/// Says what was changed to make a token fit, and what came out.
pub(crate) fn tell_changes(token: &Token, fitted: &Fitted, run: &Run, out: &mut Out) {
    if fitted.changes.is_empty() {
        return;
    }
    let count = match fitted.changes.len() {
        1 => "1 choice does".to_owned(),
        n => format!("{n} choices do"),
    };
    out.error_line(&format!("note: {count} not fit; the closest were taken{}", outcome(token, run)));
    for change in &fitted.changes {
        let now = match &change.now {
            None => "left out: nothing is like it".to_owned(),
            Some(now) if now.site == change.was.site => format!("now {}", now.answer),
            Some(now) => format!("now {} at \"{}\"", now.answer, now.site),
        };
        out.error_line(&format!("  at \"{}\": recorded {}, {now}", change.was.site, change.was.answer));
    }
}
