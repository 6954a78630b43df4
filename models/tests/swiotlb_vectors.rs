//! Replays what the real allocator of two kernels did, operation by operation.
//!
//! A trimmed sample lies in `tests/data`; the full recordings are replayed where they are present.

#[path = "swiotlb_replay/dump.rs"]
mod dump;
#[path = "swiotlb_replay/growing.rs"]
mod growing;
#[path = "swiotlb_replay/memory.rs"]
mod memory;
#[path = "swiotlb_replay/one_pool.rs"]
mod one_pool;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

/// A replayed subject: one operation in, its result out.
trait Replay {
    fn run(&mut self, op: &str, strings: &[Value], args: &[u64]) -> Value;
    fn last(&self) -> Value;
}

fn subject(kind: &str, kernel: &str) -> Box<dyn Replay> {
    match kind {
        "swiotlb" => Box::new(one_pool::OnePool::new(kernel)),
        "swiotlb-dynamic" => Box::new(growing::Growing::new()),
        _ => panic!("unknown kind {kind}"),
    }
}

/// What differs from the recording, if anything; on success the number of operations.
fn replay(sequence: &Value) -> Result<usize, String> {
    let text = |key: &str| sequence[key].as_str().unwrap_or_default().to_owned();
    let mut subject = subject(&text("kind"), &text("kernel"));
    let name = format!("{} {} {}", text("kind"), text("profile"), sequence["id"]);
    let ops = sequence["ops"].as_array().ok_or("no operations")?;
    let mut fatal = false;
    for (at, op) in ops.iter().enumerate() {
        let strings = op["args"].as_array().ok_or("no arguments")?;
        let args: Vec<u64> = strings.iter().map(|arg| arg.as_u64().unwrap_or(0)).collect();
        let got = subject.run(op["op"].as_str().unwrap_or_default(), strings, &args);
        if got != op["result"] {
            return Err(format!("{name}, operation {at}: {op}\n  got {got}"));
        }
        fatal = got == "bug" || got == "hang";
    }
    let last = if fatal { Value::Null } else { subject.last() };
    if last != sequence["final"] {
        return Err(format!("{name}: final state\n  want {}\n  got  {last}", sequence["final"]));
    }
    Ok(ops.len())
}

fn sequences(path: &Path) -> impl Iterator<Item = Value> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    BufReader::new(GzDecoder::new(file)).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn agree(path: &Path) -> usize {
    let (mut good, mut ops, mut bad) = (0, 0, Vec::new());
    for sequence in sequences(path) {
        match replay(&sequence) {
            Ok(count) => {
                good += 1;
                ops += count;
            }
            Err(error) => bad.push(error),
        }
    }
    let count = bad.len();
    bad.truncate(5);
    assert!(count == 0, "{}: {good} sequences agree, {count} do not:\n{}", path.display(), bad.join("\n"));
    ops
}

fn sample(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    assert!(agree(&path) > 1000, "a sample that is all but empty proves nothing");
}

/// The full recordings are no part of the repository.
fn full(name: &str) {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "shared", "data", "vectors", name].iter().collect();
    if path.exists() {
        assert!(agree(&path) > 10_000);
    }
}

#[test]
fn sample_6_1() {
    sample("swiotlb-6.1-sample.jsonl.gz");
}

#[test]
fn sample_6_12() {
    sample("swiotlb-6.12-sample.jsonl.gz");
}

#[test]
fn sample_growing_6_12() {
    sample("swiotlb-dynamic-6.12-sample.jsonl.gz");
}

#[test]
fn full_6_1() {
    full("swiotlb-6.1.jsonl.gz");
}

#[test]
fn full_6_12() {
    full("swiotlb-6.12.jsonl.gz");
}

#[test]
fn full_growing_6_12() {
    full("swiotlb-dynamic-6.12.jsonl.gz");
}
