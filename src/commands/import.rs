//! `dmasim import`.

use std::path::{Path, PathBuf};

use conform::import::{self, Imported, Options};

use super::Exit;
use super::test::similar;
use crate::args::ImportArgs;
use crate::input::Failure;
use crate::output::Out;
use crate::pipe;

pub(super) fn import(args: &ImportArgs, out: &mut Out) -> Result<Exit, Failure> {
    for file in args.logs.iter().chain(&args.state) {
        if !file.exists() {
            return Err(Failure::text(format!("there is no {}{}", file.display(), similar(file))));
        }
    }
    let _watch = pipe::watch(args.logs.iter().chain(&args.state));
    let (log, state) = parts(args)?;
    let options = Options { state, boot: args.boot };
    let imported = import::import(&log, &options).map_err(|error| Failure::text(error.to_string()))?;
    match &args.output {
        None => out.text(&imported.text),
        Some(file) => {
            std::fs::write(file, &imported.text)
                .map_err(|error| Failure::text(format!("cannot write {}: {error}", file.display())))?;
            told(&imported, file, out);
        }
    }
    Ok(Exit::Expected)
}

/// The log and the state file among what was named.
fn parts(args: &ImportArgs) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let (mut logs, mut states): (Vec<&PathBuf>, Vec<&PathBuf>) = (Vec::new(), args.state.iter().collect());
    for file in &args.logs {
        if import::is_state(file) { &mut states } else { &mut logs }.push(file);
    }
    let named = |files: &[&PathBuf]| {
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    match (logs.as_slice(), states.as_slice()) {
        ([log], [] | [_]) => Ok(((*log).clone(), states.first().map(|state| (*state).clone()))),
        ([], _) => {
            Err(Failure::text(format!("{} is a state file; the log of the boot is missing", named(&states))))
        }
        ([_], _) => Err(Failure::text(format!("one state file belongs to a boot, not {}", named(&states)))),
        (logs, _) => Err(Failure::text(format!(
            "one boot makes one scenario: import {} one after the other",
            named(logs)
        ))),
    }
}

/// What was made of the log, in a few words.
fn told(imported: &Imported, file: &Path, out: &mut Out) {
    let (number, count, line) = imported.boot;
    if count > 1 {
        out.line(&format!("the log holds {count} boots; this is number {number}, from line {line} on"));
    }
    let assumed = match imported.assumptions.len() {
        0 => "nothing had to be assumed".to_owned(),
        1 => "1 assumption is at its head".to_owned(),
        count => format!("{count} assumptions are at its head"),
    };
    out.line(&format!("wrote {}; {assumed}", file.display()));
    out.line(&format!("next: dmasim run {}", file.display()));
}
