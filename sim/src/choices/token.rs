//! Tokens: a run as one printable line.

use std::fmt;

use super::{Answer, ChoiceList, Record, Site};
use crate::ENGINE_VERSION;
use crate::pack::{Damage, Reader, Symbols, Writer, open, seal};

const PREFIX: &str = "dmasim1.";

/// A run that can be repeated: where it belongs, what it chose, and what came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Version of the engine that recorded it.
    pub engine: u32,
    /// Digest of the scenario.
    pub scenario: u128,
    /// The seed from which it was recorded, for the reader.
    pub seed: u64,
    /// Digest of the run.
    pub digest: u128,
    /// Hash of the signature of the finding that it shows; 0 if none.
    pub signature: u64,
    /// The choices that differ from the default.
    pub choices: ChoiceList,
}

/// Why a text is not a usable token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It does not begin as tokens do.
    NotAToken {
        /// What it begins with.
        found: String,
    },
    /// A character that does not belong there.
    Character {
        /// Column, from 1.
        column: usize,
        /// The character.
        found: char,
    },
    /// It ends too early, or its parts do not fit together.
    Damaged(&'static str),
    /// The check sum does not fit: a character was changed or lost.
    CheckSum,
    /// It was recorded by another engine version.
    Engine {
        /// Which.
        found: u32,
    },
    /// It was recorded on another scenario.
    Scenario {
        /// Digest of that scenario.
        recorded: u128,
        /// Digest of this one.
        here: u128,
    },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAToken { found } => {
                write!(f, "a token begins with \"{PREFIX}\", this text with \"{found}\"")
            }
            Self::Character { column, found } => {
                write!(
                    f,
                    "column {column}: '{found}' cannot be in a token (letters, digits, '-' and '_' can)"
                )
            }
            Self::Damaged(what) => write!(f, "the token is damaged: {what}"),
            Self::CheckSum => {
                f.write_str("the token is damaged: its check sum does not fit; was all of the line copied?")
            }
            Self::Engine { found } => write!(
                f,
                "the token was recorded by engine version {found}, this is version {ENGINE_VERSION}: its choices may mean another run"
            ),
            Self::Scenario { recorded, here } => write!(
                f,
                "the token was recorded on another scenario (digest {recorded:032x}; this one has {here:032x})"
            ),
        }
    }
}

impl std::error::Error for TokenError {}

impl Token {
    /// The token as a line.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut symbols = Symbols::default();
        let mut body = Writer::default();
        body.number(self.choices.records.len() as u64);
        for record in &self.choices.records {
            let site = &record.site;
            body.name(&mut symbols, site.who);
            body.number(symbols.id(site.what));
            body.name(&mut symbols, site.object);
            body.number(u64::from(site.nth));
            match record.answer {
                Answer::Switch(to) => {
                    body.number(0);
                    body.name(&mut symbols, to);
                }
                Answer::Value { taken, of } => {
                    body.number(of);
                    body.number(taken);
                }
            }
        }
        let mut packed = Writer::default();
        packed.number(u64::from(self.engine));
        packed.bytes(&self.scenario.to_le_bytes());
        packed.number(self.seed);
        packed.bytes(&self.digest.to_le_bytes());
        packed.bytes(&self.signature.to_le_bytes());
        packed.symbols(&symbols);
        packed.bytes(&body.0);
        seal(PREFIX, packed)
    }

    /// Reads a token. Names in it are interned through `intern`, so that they live as long as the program.
    ///
    /// # Errors
    /// If the text is not a whole token. Whether it fits a scenario and this engine is told by [`Token::check`].
    pub fn decode(text: &str, intern: &dyn Fn(&str) -> &'static str) -> Result<Self, TokenError> {
        let content = open(PREFIX, text)?;
        Ok(read(Reader::new(&content), intern)?)
    }

    /// Whether the token belongs to this engine and to the scenario with this digest.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self, scenario: u128) -> Result<(), TokenError> {
        if self.engine != ENGINE_VERSION {
            return Err(TokenError::Engine { found: self.engine });
        }
        if self.scenario != scenario {
            return Err(TokenError::Scenario { recorded: self.scenario, here: scenario });
        }
        Ok(())
    }
}

fn read(mut reader: Reader<'_>, intern: &dyn Fn(&str) -> &'static str) -> Result<Token, Damage> {
    let engine = reader.small()?;
    let scenario = u128::from_le_bytes(reader.array()?);
    let seed = reader.number()?;
    let digest = u128::from_le_bytes(reader.array()?);
    let signature = u64::from_le_bytes(reader.array()?);
    reader.symbols(intern)?;
    let mut records = Vec::new();
    for _ in 0..reader.count()? {
        let who = reader.name()?;
        let what = reader.symbol()?;
        let object = reader.name()?;
        let nth = reader.small()?;
        let answer = match reader.number()? {
            0 => Answer::Switch(reader.name()?),
            of => Answer::Value { taken: reader.number()?, of },
        };
        records.push(Record { site: Site { who, what, object, nth }, answer });
    }
    reader.end()?;
    Ok(Token { engine, scenario, seed, digest, signature, choices: ChoiceList { records } })
}

impl From<Damage> for TokenError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Prefix { found } => Self::NotAToken { found },
            Damage::Character { column, found } => Self::Character { column, found },
            Damage::Content(what) => Self::Damaged(what),
            Damage::CheckSum => Self::CheckSum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;
    use proptest::prelude::*;

    const WORDS: [&str; 5] = ["", "swapper", "kworker/0:1", "dev->mutex", "length"];

    fn intern(text: &str) -> &'static str {
        WORDS.into_iter().find(|word| *word == text).unwrap_or("?")
    }

    fn names() -> impl Strategy<Value = Name> {
        (0..WORDS.len(), 0..300_u32).prop_map(|(word, nth)| Name { text: WORDS[word], nth })
    }

    fn tokens() -> impl Strategy<Value = Token> {
        let answer = prop_oneof![
            names().prop_map(Answer::Switch),
            (1..u64::MAX, any::<u64>()).prop_map(|(of, taken)| Answer::Value { taken, of }),
        ];
        let record = (names(), 0..WORDS.len(), names(), any::<u32>(), answer).prop_map(
            |(who, what, object, nth, answer)| Record {
                site: Site { who, what: WORDS[what], object, nth },
                answer,
            },
        );
        (any::<u128>(), any::<u64>(), any::<u128>(), any::<u64>(), prop::collection::vec(record, 0..40))
            .prop_map(|(scenario, seed, digest, signature, records)| Token {
                engine: ENGINE_VERSION,
                scenario,
                seed,
                digest,
                signature,
                choices: ChoiceList { records },
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(token in tokens()) {
            prop_assert_eq!(Token::decode(&token.encode(), &intern), Ok(token));
        }

        #[test]
        fn a_changed_character_is_noticed(token in tokens(), at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
            let line = token.encode();
            let at = PREFIX.len() + at.index(line.len() - PREFIX.len());
            let mut changed = line.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != line);
            // The last character may hold bits that base64 does not use; then nothing was changed.
            if let Ok(decoded) = Token::decode(&changed, &intern) {
                prop_assert_eq!(decoded, token);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "(dmasim1\\.)?[ -~]{0,200}") {
            let _ = Token::decode(&text, &intern);
        }
    }

    #[test]
    fn errors_say_what_was_found() {
        let error = |text: &str| Token::decode(text, &intern).expect_err("not a token").to_string();
        assert_eq!(error("hello"), "a token begins with \"dmasim1.\", this text with \"hello\"");
        assert_eq!(
            error("dmasim1.ab!c"),
            "column 11: '!' cannot be in a token (letters, digits, '-' and '_' can)"
        );
    }
}
