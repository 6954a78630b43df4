//! The file in which a check is kept.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use models::scenario::read_text;
use sim::explore::dpor::{Check, Limits};
use sim::trace::Digest;

use crate::args::CheckArgs;
use crate::input::Failure;
use crate::stopwatch::Stopwatch;

/// The file is written at most so often while the check runs.
const PAUSE: Duration = Duration::from_millis(100);
/// A longer file is something else.
const MAX_FILE: u64 = 1 << 30;

/// Names the scenario and all options on which the search depends. The limit of runs is not one of them: a search can be
/// taken up again to go further.
pub(super) fn key(scenario: u128, args: &CheckArgs) -> u128 {
    let mut digest = Digest::new();
    let options = (
        sim::ENGINE_VERSION,
        args.preemptions,
        args.no_reduction,
        args.answers,
        args.max_steps,
        args.on_finding,
        &args.focus.from_us,
        &args.focus.from_function,
        &args.focus.contexts,
    );
    digest.mix_str(&format!("{scenario:032x} {options:?}"));
    digest.value()
}

/// The check that was kept in the file, if there is one.
pub(super) fn read(file: &Path, limits: &Limits, key: u128) -> Result<Option<Check>, Failure> {
    let failed =
        |why: String| Failure::text(format!("cannot take up the check in {}: {why}", file.display()));
    let text = match read_text(file, MAX_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    Check::read(&text, limits, key).map(Some).map_err(|error| {
        failed(format!("{error}\n  help: give the command that began it, or remove the file to begin anew"))
    })
}

/// Writes a check down, so that whoever kills the process loses little and never finds half a file.
#[derive(Debug)]
pub(super) struct Keeper {
    file: Option<PathBuf>,
    key: u128,
    last: Stopwatch,
    failed: Option<String>,
}

impl Keeper {
    pub(super) fn new(file: Option<&Path>, key: u128) -> Self {
        Self { file: file.map(Path::to_owned), key, last: Stopwatch::start(), failed: None }
    }

    /// Writes it unless that was done a moment ago. What fails is told at the end.
    pub(super) fn now_and_then(&mut self, check: &Check) {
        if self.file.is_some() && self.last.elapsed() >= PAUSE {
            self.failed = self.write(check).err();
            self.last = Stopwatch::start();
        }
    }

    /// Writes it.
    pub(super) fn keep(&mut self, check: &Check) -> Result<(), Failure> {
        self.write(check).map_err(Failure::text)
    }

    fn write(&self, check: &Check) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut name = file.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let text = check.write(self.key);
        let written = std::fs::File::create(&new).and_then(|mut handle| {
            handle.write_all(text.as_bytes())?;
            // Only what is on the disk may take the place of what was there.
            handle.sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&new, file))
            .map_err(|error| format!("cannot keep the check in {}: {error}", file.display()))
    }
}
