//! `dmasim merge`.

use std::path::Path;

use models::scenario::read_text;
use reports::json::TestJson;
use reports::merge;

use super::Exit;
use super::test::finish;
use crate::args::MergeArgs;
use crate::input::Failure;
use crate::output::Out;
use crate::pipe;

/// A longer file is no result.
const MAX_FILE: u64 = 256 << 20;

pub(super) fn merge(args: &MergeArgs, out: &mut Out) -> Result<Exit, Failure> {
    let _watch = pipe::watch(&args.files);
    let parts: Result<Vec<(String, TestJson)>, Failure> = args.files.iter().map(|file| read(file)).collect();
    let whole = merge::merge(&parts?).map_err(Failure::text)?;
    finish(&whole, args.format, &args.report, out)
}

/// The result that the last line of a file holds: what stood before it on standard output does no harm.
fn read(file: &Path) -> Result<(String, TestJson), Failure> {
    let name = file.display().to_string();
    let failed = |why: String| Failure::text(format!("cannot read {name}: {why}"));
    let text = read_text(file, MAX_FILE).map_err(|error| failed(error.to_string()))?;
    let Some((number, line)) = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).last()
    else {
        return Err(failed(
            "the file is empty; `dmasim test --partition K/N --format json` is expected in it".to_owned(),
        ));
    };
    let result = serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        // It counts lines from the one that it was given.
        let text = text.split(" at line ").next().unwrap_or_default();
        Failure::text(format!(
            "{name}:{number}:{}: not the result of a test: {text}\n  help: the last line of what `dmasim test \
             --partition K/N --format json` prints is expected",
            error.column()
        ))
    })?;
    Ok((name, result))
}
