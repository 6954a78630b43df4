//! Replays a sequence, and finds where the model first answers otherwise.

use serde_json::Value;
use sim::explore::catching;

use super::parse::Sequence;
use super::subject::{Misuse, Subject};

/// How a model answered in the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// With this result.
    Result(Value),
    /// With the recorded result, and with a state that breaks the model's own rules, namely this one.
    Broken(String),
    /// Not at all: it panicked with this message.
    Panic(String),
}

/// The first operation that was answered otherwise than recorded.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// Its index; the number of operations if it is the final state.
    pub(super) at: usize,
    /// What the model answered.
    pub(super) answer: Answer,
}

/// A recording that goes on as none can, and at which operation.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) at: usize,
    pub(super) what: String,
}

/// Replays `sequence` from its beginning. `compared` is called with the index of each operation that was compared,
/// and whether it agrees; the number of operations stands for the final state. It ends with the first difference:
/// what comes later is an answer to another state.
pub(super) fn replay(
    sequence: &Sequence,
    mut compared: impl FnMut(usize, bool),
) -> Result<Option<Difference>, Refused> {
    let mut subject = sequence.kind.subject(sequence.version);
    for at in 0..=sequence.ops.len() {
        let answer = answer(subject.as_mut(), sequence, at).map_err(|Misuse(what)| Refused { at, what })?;
        compared(at, answer.is_none());
        if let Some(answer) = answer {
            return Ok(Some(Difference { at, answer }));
        }
    }
    Ok(None)
}

/// What was recorded at `at`.
pub(super) fn recorded(sequence: &Sequence, at: usize) -> &Value {
    sequence.ops.get(at).map_or(&sequence.last, |op| &op.result)
}

/// Whether the sequence ended with the kernel's end.
fn ended(sequence: &Sequence) -> bool {
    let last = sequence.ops.last().and_then(|op| op.result.as_str());
    matches!(last, Some("bug" | "panic" | "hang"))
}

/// The model's answer at `at`, unless it is the recorded one.
fn answer(subject: &mut dyn Subject, sequence: &Sequence, at: usize) -> Result<Option<Answer>, Misuse> {
    let answered = catching(|| match sequence.ops.get(at) {
        Some(op) => subject.apply(op.spec.name, &op.args),
        None if ended(sequence) => Ok(Value::Null),
        None => Ok(subject.state()),
    });
    let result = match answered {
        Ok(result) => result?,
        Err(message) => return Ok(Some(Answer::Panic(message))),
    };
    if result != *recorded(sequence, at) {
        return Ok(Some(Answer::Result(result)));
    }
    if at + 1 == sequence.ops.len() && ended(sequence) {
        return Ok(None);
    }
    match catching(|| subject.check()) {
        Ok(Ok(())) => Ok(None),
        Ok(Err(rule)) => Ok(Some(Answer::Broken(rule))),
        Err(message) => Ok(Some(Answer::Panic(message))),
    }
}

/// The state before operation `at`, which comes after others that agreed.
pub(super) fn state_before(sequence: &Sequence, at: usize) -> Value {
    let mut subject = sequence.kind.subject(sequence.version);
    let replayed = catching(|| {
        for op in sequence.ops.iter().take(at) {
            if subject.apply(op.spec.name, &op.args).is_err() {
                break;
            }
        }
        subject.state()
    });
    replayed.unwrap_or(Value::Null)
}

/// Replays only the operations in `kept`, and then what is at `at`. Returns the model's answer there, unless an
/// operation before is answered otherwise than recorded, or the answer is the recorded one.
pub(super) fn replay_kept(sequence: &Sequence, kept: &[usize], at: usize) -> Option<Answer> {
    let mut subject = sequence.kind.subject(sequence.version);
    for &index in kept {
        if answer(subject.as_mut(), sequence, index).ok()?.is_some() {
            return None;
        }
    }
    answer(subject.as_mut(), sequence, at).ok()?
}
