//! Recorded sequences of the kernel, as operations to time.

use serde_json::Value;

use super::apply::{apply, new_machine};
use super::{Name, Sequence};

/// The sequence of one line of a recording; `None` if the kernel stopped in it.
///
/// Whole dumps are left out: they are the recorder's and not memblock's.
///
/// # Errors
/// The line is no sequence, or has an operation that this does not know.
pub(crate) fn convert(line: &str) -> Result<Option<Sequence>, String> {
    let recorded: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let name = format!("vector-{}", recorded["id"]);
    let list = recorded["ops"].as_array().ok_or_else(|| format!("{name}: no operations"))?;
    let mut mb = new_machine();
    let mut ops = Vec::with_capacity(list.len());
    for entry in list {
        let op = entry["op"].as_str().unwrap_or_default();
        if matches!(op, "dump" | "mem_ranges" | "dram_range") {
            continue;
        }
        if entry["result"] == "bug" || entry["result"] == "panic" {
            return Ok(None);
        }
        let found = Name::find(op).ok_or_else(|| format!("{name}: unknown operation {op}"))?;
        let args = entry["args"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number =
            |value: &Value| value.as_u64().or_else(|| value.as_i64().map(|negative| negative as u64));
        let args: Option<Vec<u64>> = args.iter().map(number).collect();
        let mut op = args
            .and_then(|args| found.with(&args))
            .ok_or_else(|| format!("{name}: wrong arguments of {op}: {}", entry["args"]))?;
        op.answer = apply(&mut mb, &op);
        ops.push(op);
    }
    Ok(Some(Sequence { name, ops, timed_from: 0 }))
}
