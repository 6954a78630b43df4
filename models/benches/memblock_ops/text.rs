//! The form: `seq NAME`, then one line an operation, `name arguments = answer`, `timed` where timing begins, `end`.

use std::fmt::Write as _;

use super::{Name, Op, Sequence};

/// All sequences as text.
pub(crate) fn write(sequences: &[Sequence]) -> String {
    let mut text = String::from("memblock-ops 1\n");
    for sequence in sequences {
        let _ = writeln!(text, "seq {}", sequence.name);
        for (index, op) in sequence.ops.iter().enumerate() {
            if index == sequence.timed_from {
                text.push_str("timed\n");
            }
            text.push_str(op.name.text());
            for arg in &op.args[..op.name.takes()] {
                let _ = write!(text, " {arg:x}");
            }
            let _ = writeln!(text, " = {:x}", op.answer);
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
        if number == 0 {
            if line != "memblock-ops 1" {
                return Err(format!("line 1: expected `memblock-ops 1`, found `{line}`"));
            }
        } else if let Some(name) = line.strip_prefix("seq ") {
            sequences.push(Sequence { name: name.to_owned(), ops: Vec::new(), timed_from: 0 });
        } else if let Some(sequence) = sequences.last_mut() {
            match line {
                "timed" => sequence.timed_from = sequence.ops.len(),
                "end" => {}
                _ => sequence.ops.push(parse_op(line).map_err(|why| format!("line {}: {why}", number + 1))?),
            }
        } else {
            return Err(format!("line {}: `{line}` stands before the first `seq`", number + 1));
        }
    }
    Ok(sequences)
}

fn parse_op(line: &str) -> Result<Op, String> {
    let (call, answer) = line.split_once(" = ").ok_or_else(|| format!("no ` = ` in `{line}`"))?;
    let hex =
        |word: &str| u64::from_str_radix(word, 16).map_err(|_| format!("`{word}` is no hexadecimal number"));
    let mut words = call.split(' ');
    let name = words.next().unwrap_or_default();
    let name = Name::find(name).ok_or_else(|| format!("there is no operation `{name}`"))?;
    let args = words.map(hex).collect::<Result<Vec<_>, _>>()?;
    let wrong = || format!("`{line}` has {} arguments, {} are needed", args.len(), name.takes());
    Ok(Op { answer: hex(answer)?, ..name.with(&args).ok_or_else(wrong)? })
}
