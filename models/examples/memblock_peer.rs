//! Writes sequences of memblock operations for the kernel's own code to read, and times the model on them.
//!
//!     memblock_peer write OUT.txt [RECORDING.jsonl.gz]
//!     memblock_peer run IN.txt ROUNDS
//!
//! `models/benches/peers/memblock/compare.sh` uses both, and runs the kernel's code on the same file.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]
#![expect(clippy::disallowed_types, reason = "it measures time, and no result depends on it")]
#![expect(clippy::cast_possible_truncation, reason = "small counts")]

#[path = "../benches/memblock_ops/mod.rs"]
mod memblock_ops;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::Instant;

use memblock_ops::Sequence;
use memblock_ops::apply::{apply, new_machine};
use memblock_ops::generate::generate;
use memblock_ops::text::{parse, write};
use memblock_ops::vectors::convert;

/// Operations that are timed in each generated sequence.
const TIMED: usize = 4_000;

fn read_recording(path: &str) -> Result<Vec<Sequence>, String> {
    let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut sequences = Vec::new();
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let line = line.map_err(|error| format!("{path}: {error}"))?;
        sequences.extend(convert(&line).map_err(|error| format!("{path}: {error}"))?);
    }
    Ok(sequences)
}

/// Nanoseconds of the timed operations of a sequence in the fastest round; every answer is compared in a round that is
/// not timed.
fn time(sequence: &Sequence, rounds: u32) -> Result<u64, String> {
    let mut mb = new_machine();
    for (index, op) in sequence.ops.iter().enumerate() {
        let answer = apply(&mut mb, op);
        if answer != op.answer {
            return Err(format!("{}, operation {index}: {op:x?} gave {answer:x}", sequence.name));
        }
    }
    let (setup, timed) = sequence.ops.split_at(sequence.timed_from);
    let mut fastest = u64::MAX;
    for _ in 0..rounds {
        let mut mb = new_machine();
        for op in setup {
            apply(&mut mb, op);
        }
        let start = Instant::now();
        for op in timed {
            black_box(apply(&mut mb, op));
        }
        fastest = fastest.min(start.elapsed().as_nanos() as u64);
    }
    Ok(fastest)
}

fn run(path: &str, rounds: u32) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    for sequence in parse(&text).map_err(|error| format!("{path}: {error}"))? {
        let nanos = time(&sequence, rounds)?;
        println!("result {} {} {nanos}", sequence.name, sequence.ops.len() - sequence.timed_from);
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["write", out, ref recordings @ ..] => {
            let mut sequences = generate(TIMED);
            recordings
                .iter()
                .try_for_each(|path| read_recording(path).map(|recorded| sequences.extend(recorded)))
                .and_then(|()| fs::write(out, write(&sequences)).map_err(|error| format!("{out}: {error}")))
        }
        ["run", path, rounds] => rounds
            .parse()
            .map_err(|_| format!("`{rounds}` is no number of rounds"))
            .and_then(|rounds: u32| run(path, rounds.max(1))),
        _ => Err("usage: memblock_peer write OUT [RECORDING.jsonl.gz]... | run IN ROUNDS".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("memblock_peer: {why}");
            ExitCode::FAILURE
        }
    }
}
