//! Writes sequences of mappings for the kernel's own code to read, and times the model on them.
//!
//!     swiotlb_peer write OUT.txt [RECORDING.jsonl.gz...]
//!     swiotlb_peer run IN.txt ROUNDS [copying]
//!
//! `models/benches/peers/swiotlb/compare.sh` uses both, and runs the kernel's code on the same file.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]
#![expect(clippy::disallowed_types, reason = "it measures time, and no result depends on it")]
#![expect(clippy::cast_possible_truncation, reason = "small counts")]

#[path = "../benches/swiotlb_ops/mod.rs"]
mod swiotlb_ops;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use swiotlb_ops::apply::{Machine, Threads};
use swiotlb_ops::generate::generate;
use swiotlb_ops::text::{parse, write};
use swiotlb_ops::vectors::convert;
use swiotlb_ops::{Op, Sequence};

/// Pairs that are timed in each generated sequence.
const PAIRS: usize = 4_000;

fn read_recording(path: &str) -> Result<Vec<Sequence>, String> {
    let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut sequences = Vec::new();
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let line = line.map_err(|error| format!("{path}: {error}"))?;
        sequences.extend(convert(&line).map_err(|error| format!("{path}: {error}"))?);
    }
    Ok(sequences)
}

/// Nanoseconds of the timed operations in the fastest round.
fn time(sequence: &Sequence, rounds: u32, copies: bool) -> Result<u64, String> {
    let mut machine = Machine::new(sequence, copies);
    for (index, op) in sequence.ops.iter().enumerate() {
        let got = machine.apply(op);
        if matches!(*op, Op::Map { answer, .. } if answer != got) {
            return Err(format!("{}, operation {index}: {op:x?} gave {got:x}", sequence.name));
        }
    }
    let (setup, timed) = sequence.ops.split_at(sequence.timed_from);
    let mut fastest = u64::MAX;
    for _ in 0..rounds {
        machine.reset();
        for op in setup {
            machine.apply(op);
        }
        let start = Instant::now();
        for op in timed {
            black_box(machine.apply(op));
        }
        fastest = fastest.min(start.elapsed().as_nanos() as u64);
    }
    Ok(fastest)
}

/// The same for a sequence of several threads, on the allocator with locks. All of it is timed.
fn time_threads(sequence: &Sequence, rounds: u32) -> Result<u64, String> {
    let mut fastest = u64::MAX;
    for _ in 0..=rounds {
        let pool = Threads::new(sequence);
        let gate = Barrier::new(sequence.threads as usize);
        let work = &|cpu| {
            let mut mapped = vec![None; sequence.ids()];
            let mut sum = 0_u64;
            gate.wait();
            let began = Instant::now();
            pool.run(cpu, &mut mapped, |answer| sum = sum.wrapping_mul(31).wrapping_add(answer));
            (began, Instant::now(), sum)
        };
        let done: Vec<(Instant, Instant, u64)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..sequence.threads).map(|cpu| scope.spawn(move || work(cpu))).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        });
        // From when the first thread began to when the last one ended.
        let began = done.iter().map(|&(began, ..)| began).min();
        let ended = done.iter().map(|&(_, ended, _)| ended).max();
        let nanos = began.zip(ended).map_or(u64::MAX, |(began, ended)| (ended - began).as_nanos() as u64);
        let sums = done.iter().map(|&(.., sum)| sum);
        for (cpu, sum) in (0..).zip(sums) {
            let own = sequence.ops.iter().filter_map(|op| match *op {
                Op::Map { cpu: of, answer, .. } if of == cpu => Some(answer),
                Op::Map { .. } | Op::Unmap { .. } => None,
            });
            if own.fold(0_u64, |sum, answer| sum.wrapping_mul(31).wrapping_add(answer)) != sum {
                return Err(format!("{}: CPU {cpu} got other slots", sequence.name));
            }
        }
        fastest = fastest.min(nanos);
    }
    Ok(fastest)
}

fn run(path: &str, rounds: u32, copies: bool) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    for sequence in parse(&text).map_err(|error| format!("{path}: {error}"))? {
        let threaded = sequence.name.starts_with("threads-");
        // Recorded buffers lie anywhere.
        if copies && (threaded || sequence.name.starts_with("recorded-")) {
            continue;
        }
        let nanos =
            if threaded { time_threads(&sequence, rounds)? } else { time(&sequence, rounds, copies)? };
        let Sequence { name, .. } = &sequence;
        println!("result {name} {} {nanos} {:x}", sequence.pairs(), sequence.checksum());
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let rounds = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is no number of rounds"));
    let done = match words[..] {
        ["write", out, ref recordings @ ..] => {
            let mut sequences = generate(PAIRS);
            recordings
                .iter()
                .try_for_each(|path| read_recording(path).map(|recorded| sequences.extend(recorded)))
                .and_then(|()| fs::write(out, write(&sequences)).map_err(|error| format!("{out}: {error}")))
        }
        ["run", path, count] => rounds(count).and_then(|count| run(path, count.max(1), false)),
        ["run", path, count, "copying"] => rounds(count).and_then(|count| run(path, count.max(1), true)),
        _ => {
            Err("usage: swiotlb_peer write OUT [RECORDING.jsonl.gz]... | run IN ROUNDS [copying]".to_owned())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("swiotlb_peer: {why}");
            ExitCode::FAILURE
        }
    }
}
