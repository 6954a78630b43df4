//! The form: `seq NAME START NSLABS NAREAS THREADS`, then one line an operation, `timed` where timing begins, `end`.

use std::fmt::Write as _;

use super::{Op, Sequence};

/// All sequences as text.
pub(crate) fn write(sequences: &[Sequence]) -> String {
    let mut text = String::from("swiotlb-ops 1\n");
    for sequence in sequences {
        let Sequence { name, start, nslabs, nareas, threads, ops, timed_from } = sequence;
        let _ = writeln!(text, "seq {name} {start:x} {nslabs:x} {nareas:x} {threads:x}");
        for (index, op) in ops.iter().enumerate() {
            if index == *timed_from {
                text.push_str("timed\n");
            }
            let _ = match *op {
                Op::Map { cpu, id, addr, size, align_mask, min_align_mask, boundary_mask, answer } => {
                    writeln!(
                        text,
                        "map {cpu:x} {id:x} {addr:x} {size:x} {align_mask:x} {min_align_mask:x} {boundary_mask:x} = {answer:x}"
                    )
                }
                Op::Unmap { cpu, id } => writeln!(text, "unmap {cpu:x} {id:x}"),
            };
        }
        text.push_str("end\n");
    }
    text
}

/// What [`write`] wrote.
///
/// # Errors
/// The line that is not of this form, and why.
pub(crate) fn parse(text: &str) -> Result<Vec<Sequence>, String> {
    let mut sequences: Vec<Sequence> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("line {}: {why}, found `{line}`", number + 1);
        if number == 0 {
            if line != "swiotlb-ops 1" {
                return Err(wrong("expected `swiotlb-ops 1`"));
            }
        } else if let Some(rest) = line.strip_prefix("seq ") {
            let (name, rest) =
                rest.split_once(' ').ok_or_else(|| wrong("expected a name and four numbers"))?;
            let numbers = numbers(rest).ok_or_else(|| wrong("expected hexadecimal numbers"))?;
            let [start, nslabs, nareas, threads] = numbers[..] else {
                return Err(wrong("expected four numbers"));
            };
            let (nslabs, nareas, threads) = (nslabs as u32, nareas as u32, threads as u32);
            let name = name.to_owned();
            sequences.push(Sequence { name, start, nslabs, nareas, threads, ops: Vec::new(), timed_from: 0 });
        } else if let Some(sequence) = sequences.last_mut() {
            match line {
                "timed" => sequence.timed_from = sequence.ops.len(),
                "end" => {}
                _ => sequence.ops.push(parse_op(line).ok_or_else(|| wrong("expected an operation"))?),
            }
        } else {
            return Err(wrong("expected `seq`"));
        }
    }
    Ok(sequences)
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split(' ').map(|word| u64::from_str_radix(word, 16).ok()).collect()
}

fn parse_op(line: &str) -> Option<Op> {
    let (name, rest) = line.split_once(' ')?;
    match (name, &numbers(&rest.replace("= ", ""))?[..]) {
        ("map", &[cpu, id, addr, size, align_mask, min_align_mask, boundary_mask, answer]) => Some(Op::Map {
            cpu: cpu as u32,
            id: id as u32,
            addr,
            size,
            align_mask: align_mask as u32,
            min_align_mask: min_align_mask as u32,
            boundary_mask,
            answer,
        }),
        ("unmap", &[cpu, id]) => Some(Op::Unmap { cpu: cpu as u32, id: id as u32 }),
        _ => None,
    }
}
