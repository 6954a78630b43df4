//! Recorded sequences of the kernel, as operations to time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::apply::BUFFERS;
use super::generate::Recorder;
use super::{Op, Sequence};

/// The sequence of one line of a recording; `None` if there is something in it that is no mapping of one pool.
///
/// # Errors
/// The line is no sequence.
pub(crate) fn convert(line: &str) -> Result<Option<Sequence>, String> {
    let recorded: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let name = format!("recorded-{}", recorded["id"]);
    let list = recorded["ops"].as_array().ok_or_else(|| format!("{name}: no operations"))?;
    let mut recorder: Option<Recorder> = None;
    let (mut devices, mut live, mut cpu) = (BTreeMap::new(), BTreeMap::new(), 0);
    for entry in list {
        let args: Vec<u64> = entry["args"]
            .as_array()
            .map(|args| args.iter().map(|arg| arg.as_u64().unwrap_or(0)).collect())
            .unwrap_or_default();
        let arg = |at: usize| args.get(at).copied().unwrap_or(0);
        let result = &entry["result"];
        if result == "bug" || result == "hang" {
            return Ok(None);
        }
        match entry["op"].as_str().unwrap_or_default() {
            "init" => {
                let number = |key: &str| result[key].as_u64().map(|number| number as u32);
                let (Some(nslabs), Some(nareas)) = (number("nslabs"), number("nareas")) else {
                    return Ok(None);
                };
                recorder = Some(Recorder::new(&name, nslabs, nareas, nslabs));
            }
            "dev" => {
                let boundary = if arg(3) == 0 { u64::MAX } else { arg(3) };
                devices.insert(arg(0), (arg(2) as u32, boundary));
            }
            "cpu" => cpu = arg(0) as u32,
            kind @ ("map" | "smap") => {
                let Some(recorder) = &mut recorder else { return Ok(None) };
                let (min_align_mask, boundary_mask) = devices.get(&arg(0)).copied().unwrap_or((0, u64::MAX));
                let align_mask = if kind == "map" { arg(4) as u32 } else { 0 };
                let addr = BUFFERS + arg(1);
                let id = recorder.map_with(Op::Map {
                    cpu,
                    id: 0,
                    addr,
                    size: arg(2),
                    align_mask,
                    min_align_mask,
                    boundary_mask,
                    answer: 0,
                });
                match (id, result["off"].as_u64()) {
                    (Some(id), Some(off)) => {
                        live.insert(off, id);
                    }
                    // The device does not reach so far.
                    (Some(id), None) => recorder.unmap(cpu, id),
                    (None, _) => {}
                }
            }
            "unmap" => match (&mut recorder, live.remove(&arg(1))) {
                (Some(recorder), Some(id)) => recorder.unmap(cpu, id),
                _ => return Ok(None),
            },
            "max_map" | "is_buffer" | "sync_cpu" | "sync_dev" | "wr" | "set" | "crc" | "stat" | "dump" => {}
            _ => return Ok(None),
        }
    }
    Ok(recorder.map(Recorder::finish))
}
