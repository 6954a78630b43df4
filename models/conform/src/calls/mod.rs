//! Compares the models with a log of DMA API calls, made by a test driver on a real kernel.
//!
//! The driver makes calls in a fixed order and prints each with its result. The replay makes the same calls and
//! predicts each result before it looks at it; the state of the pool, the domains and the caches carries through the
//! whole log. `docs/conform-calls.md` tells what is determined, and by which rules.

mod bytes;
mod coherent;
mod contents;
mod exhaustion;
mod flushes;
mod guide;
mod iova;
mod line;
mod lists;
mod machine;
mod maps;
mod masks;
mod path;
mod raw;
mod session;
mod state;

use std::path::Path;

use crate::report::Report;
use crate::source::{Source, SourceError};

use machine::Machine;
use session::Session;

/// Compares a call log, with the console log, the state file and the trace in its folder where they exist.
///
/// # Errors
///
/// If the log cannot be read, holds no line of the test driver, or does not tell which kernel it was.
pub fn compare(path: &Path) -> Result<Report, SourceError> {
    let mut source = Source::open(path)?;
    let (lines, others) = line::read(&mut source)?;
    if lines.is_empty() {
        let what = "no line with `dmat: `: this is no call log".to_owned();
        return Err(SourceError::of_file(path, what));
    }
    let machine = Machine::beside(path)?;
    let guide = guide::Guide::beside(path, &lines)?;
    let mut session = Session::new(&machine, guide, &lines);
    session.run();
    Ok(session.finish(others))
}
