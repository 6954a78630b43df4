//! What a run did, step by step, in little room: so that a later run can be told where it parts from this one.

use std::fmt;

use super::{EventKind, Trace};
use crate::Name;
use crate::choices::{Answer, ChoiceList};
use crate::pack::{Damage, Reader, Symbols, Writer, open, seal};

const PREFIX: &str = "steps1.";
/// So many entries are kept; of a longer run only the beginning.
const MAX_ENTRIES: usize = 20_000;

/// One thing that a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A step was executed.
    Step {
        /// By whom.
        who: Name,
        /// What was done.
        what: &'static str,
        /// To what.
        object: Name,
        /// 16 bits of the digest after it: they differ when something before differed that no entry tells.
        mark: u16,
    },
    /// A choice was answered.
    Choice {
        /// Who asked.
        who: Name,
        /// What was decided.
        what: &'static str,
        /// The answer.
        taken: u64,
        /// How many alternatives there were.
        of: u64,
    },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { who, what, object, .. } => {
                write!(f, "{who}: {what}")?;
                if object.text.is_empty() { Ok(()) } else { write!(f, " {object}") }
            }
            Self::Choice { who, what, taken, of } => write!(f, "{who}: {what} is {taken} of {of}"),
        }
    }
}

/// The steps and choices of a run, or of its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepLog {
    /// In order.
    pub entries: Vec<Entry>,
    /// Whether the run went on behind the last of them.
    pub cut: bool,
}

/// Where two runs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// Steps that are the same in both.
    pub step: u64,
    /// What the recorded run did then; `None` if it was over.
    pub recorded: Option<Entry>,
    /// What the other one does; `None` if it is over.
    pub now: Option<Entry>,
}

impl Parting {
    /// Whether both do the same step, but something that no entry tells (an address, an allocation) was another one.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        match (self.recorded, self.now) {
            (
                Some(Entry::Step { who, what, object, .. }),
                Some(Entry::Step { who: who_now, what: what_now, object: object_now, .. }),
            ) => (who, what, object) == (who_now, what_now, object_now),
            _ => false,
        }
    }
}

/// Why a text holds no steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepLogError(String);

impl fmt::Display for StepLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StepLogError {}

impl From<Damage> for StepLogError {
    fn from(damage: Damage) -> Self {
        Self(match damage {
            Damage::Prefix { found } => {
                format!("recorded steps begin with \"{PREFIX}\", this text with \"{found}\"")
            }
            Damage::Character { column, found } => {
                format!("recorded steps: character {column}: '{found}' cannot be there")
            }
            Damage::Content(what) => format!("the recorded steps are damaged: {what}"),
            Damage::CheckSum => "the recorded steps are damaged: their check sum does not fit".to_owned(),
        })
    }
}

impl StepLog {
    /// Of a recorded run and its recorded choices. Those of the run as a whole are no events and come first.
    #[must_use]
    pub fn of(trace: &Trace, choices: &ChoiceList) -> Self {
        let mut entries = Vec::new();
        for record in choices.records.iter().filter(|record| record.site.who.text == "run") {
            if let Answer::Value { taken, of } = record.answer {
                entries.push(Entry::Choice { who: record.site.who, what: record.site.what, taken, of });
            }
        }
        let mut marks = trace.marks.iter();
        for event in &trace.events {
            if entries.len() >= MAX_ENTRIES {
                return Self { entries, cut: true };
            }
            let who = trace.contexts.get(event.ctx as usize).map_or(Name::new("?"), |context| context.name);
            match &event.kind {
                EventKind::Step { label, object, .. } => {
                    let mark = marks.next().copied().unwrap_or_default();
                    entries.push(Entry::Step { who, what: label.kind.word(), object: *object, mark });
                }
                EventKind::Choice { what, taken, of } => {
                    entries.push(Entry::Choice { who, what, taken: *taken, of: *of });
                }
                _ => {}
            }
        }
        Self { entries, cut: trace.truncated }
    }

    /// Where `now` parts from this run; `None` if it does not, as far as is recorded.
    #[must_use]
    pub fn part(&self, now: &Self) -> Option<Parting> {
        let mut step = 0;
        let mut at = 0;
        loop {
            let (recorded, now_entry) = (self.entries.get(at).copied(), now.entries.get(at).copied());
            if recorded != now_entry {
                // Nothing is known of what is behind the end of either record.
                let unknown = (recorded.is_none() && self.cut) || (now_entry.is_none() && now.cut);
                return (!unknown).then_some(Parting { step, recorded, now: now_entry });
            }
            step += u64::from(matches!(recorded?, Entry::Step { .. }));
            at += 1;
        }
    }

    /// As one line.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut symbols = Symbols::default();
        let mut body = Writer::default();
        body.number(self.entries.len() as u64);
        // Columns of like things deflate better than rows.
        for entry in &self.entries {
            match entry {
                Entry::Step { who, what, object, .. } => {
                    body.number(0);
                    body.name(&mut symbols, *who);
                    body.number(symbols.id(what));
                    body.name(&mut symbols, *object);
                }
                Entry::Choice { who, what, taken, of } => {
                    body.number(1);
                    body.name(&mut symbols, *who);
                    body.number(symbols.id(what));
                    body.number(*taken);
                    body.number(*of);
                }
            }
        }
        for entry in &self.entries {
            if let Entry::Step { mark, .. } = entry {
                body.bytes(&mark.to_le_bytes());
            }
        }
        let mut packed = Writer::default();
        packed.number(u64::from(self.cut));
        packed.symbols(&symbols);
        packed.bytes(&body.0);
        seal(PREFIX, packed)
    }

    /// Reads what [`StepLog::encode`] wrote. Names are interned through `intern`.
    ///
    /// # Errors
    /// If the text is not a whole record.
    pub fn decode(text: &str, intern: &dyn Fn(&str) -> &'static str) -> Result<Self, StepLogError> {
        let content = open(PREFIX, text)?;
        let mut reader = Reader::new(&content);
        let cut = reader.number()? != 0;
        reader.symbols(intern)?;
        let mut entries = Vec::new();
        for _ in 0..reader.count()? {
            entries.push(match reader.number()? {
                0 => Entry::Step {
                    who: reader.name()?,
                    what: reader.symbol()?,
                    object: reader.name()?,
                    mark: 0,
                },
                1 => Entry::Choice {
                    who: reader.name()?,
                    what: reader.symbol()?,
                    taken: reader.number()?,
                    of: reader.number()?,
                },
                _ => return Err(Damage::Content("an entry of no known sort").into()),
            });
        }
        for entry in &mut entries {
            if let Entry::Step { mark, .. } = entry {
                *mark = u16::from_le_bytes(reader.array()?);
            }
        }
        reader.end()?;
        Ok(Self { entries, cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(who: &'static str, mark: u16) -> Entry {
        Entry::Step { who: Name::new(who), what: "read", object: Name::new("x"), mark }
    }

    const fn choice(taken: u64) -> Entry {
        Entry::Choice { who: Name::new("a"), what: "size", taken, of: 9 }
    }

    fn log(entries: &[Entry]) -> StepLog {
        StepLog { entries: entries.to_vec(), cut: false }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let log = log(&[step("a", 7), choice(3), step("b", 65_535)]);
        let intern =
            |text: &str| ["a", "b", "read", "x", "size", ""].into_iter().find(|w| *w == text).unwrap_or("?");
        assert_eq!(StepLog::decode(&log.encode(), &intern), Ok(log.clone()));
        let text = log.encode();
        assert!(StepLog::decode(&text[..text.len() - 3], &intern).is_err());
        assert!(StepLog::decode("steps", &intern).expect_err("no steps").to_string().contains("begin with"));
    }

    #[test]
    fn runs_part_where_they_first_differ() {
        let recorded = log(&[step("a", 1), choice(3), step("b", 2)]);
        assert_eq!(recorded.part(&recorded), None);
        let parting = recorded.part(&log(&[step("a", 1), choice(4), step("b", 9)])).expect("they part");
        assert_eq!((parting.step, parting.recorded, parting.now), (1, Some(choice(3)), Some(choice(4))));
        let hidden = recorded.part(&log(&[step("a", 1), choice(3), step("b", 3)])).expect("they part");
        assert!(hidden.is_hidden() && hidden.step == 1);
        let shorter = recorded.part(&log(&[step("a", 1)])).expect("they part");
        assert_eq!((shorter.recorded, shorter.now), (Some(choice(3)), None));
        let cut = StepLog { cut: true, ..log(&[step("a", 1)]) };
        assert_eq!(cut.part(&recorded), None, "nothing is known of what comes then");
    }
}
