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

/// What is seen of a replay.
pub(super) trait Watch {
    /// The operation at this index was compared; the number of operations stands for the final state.
    fn compared(&mut self, at: usize, agrees: bool);

    /// The model's state breaks one of its own rules after this operation, whose result agrees.
    fn broken(&mut self, at: usize, rule: String);
}

/// Replays `sequence` from its beginning. It ends with the first difference: what comes later is an answer to another
/// state. A rule of the model's own that is broken is told once.
pub(super) fn replay(sequence: &Sequence, watch: &mut impl Watch) -> Result<Option<Difference>, Refused> {
    let mut whole = true;
    let mut subject = sequence.kind.subject(sequence.version);
    for at in 0..=sequence.ops.len() {
        let answer = answer(subject.as_mut(), sequence, at).map_err(|Misuse(what)| Refused { at, what })?;
        watch.compared(at, answer.is_none());
        if let Some(answer) = answer {
            return Ok(Some(Difference { at, answer }));
        }
        let alive = at < sequence.ops.len() && !(at + 1 == sequence.ops.len() && ended(sequence));
        if whole
            && alive
            && let Err(rule) = catching(|| subject.check()).unwrap_or_else(Err)
        {
            whole = false;
            watch.broken(at, rule);
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
    Ok((result != *recorded(sequence, at)).then_some(Answer::Result(result)))
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

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::show::exception;
    use super::super::table::Args;
    use super::*;

    struct Nobody;

    impl Watch for Nobody {
        fn compared(&mut self, _at: usize, _agrees: bool) {}
        fn broken(&mut self, _at: usize, _rule: String) {}
    }

    #[test]
    fn a_panic_ends_the_sequence_and_nothing_else() {
        let line = r#"{"kind":"iova","kernel":"6.1","ops":[{"op":"init","args":[4096,1,1,0],"result":0},
            {"op":"find","args":[7],"result":null},{"op":"free","args":[7],"result":0}],"final":null}"#;
        let mut sequence = parse::sequence(line).expect("it is well-formed");
        // No recording gets so far: arguments that their table does not allow.
        sequence.ops[2].args = Args(Vec::new());
        let difference = replay(&sequence, &mut Nobody).expect("nothing is refused").expect("it differs");
        assert!(
            difference.at == 2 && matches!(&difference.answer, Answer::Panic(text) if text.contains("table"))
        );
        let shown = exception(&sequence, &difference, 1, true);
        assert_eq!(shown.modelled, "nothing: the model panicked");
        let steps = shown.detail.iter().filter(|line| line.contains(" = ")).count();
        assert_eq!(steps, 2, "`init` and `free`, and not `find`: {:?}", shown.detail);
    }
}
