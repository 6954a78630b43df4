//! Tokens: a run as one printable line.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Answer, ChoiceList, Record, Site};
use crate::trace::Digest;
use crate::{ENGINE_VERSION, Name};

const PREFIX: &str = "dmasim1.";
/// A token may not unpack to more than this: a hostile one must not take all memory.
const MAX_UNPACKED: usize = 16 << 20;

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
        packed.number(symbols.list.len() as u64);
        for symbol in &symbols.list {
            packed.number(symbol.len() as u64);
            packed.bytes(symbol.as_bytes());
        }
        packed.bytes(&body.0);
        let sum = check_sum(&packed.0);
        packed.bytes(&sum);
        let squeezed = miniz_oxide::deflate::compress_to_vec(&packed.0, 9);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(squeezed))
    }

    /// Reads a token. Names in it are interned through `intern`, so that they live as long as the program.
    ///
    /// # Errors
    /// If the text is not a whole token. Whether it fits a scenario and this engine is told by [`Token::check`].
    pub fn decode(text: &str, intern: &dyn Fn(&str) -> &'static str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(payload) = text.strip_prefix(PREFIX) else {
            return Err(TokenError::NotAToken { found: text.chars().take(12).collect() });
        };
        if let Some((at, found)) =
            payload.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
        {
            return Err(TokenError::Character { column: PREFIX.len() + at + 1, found });
        }
        let squeezed =
            URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Damaged("it was cut short"))?;
        let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(&squeezed, MAX_UNPACKED)
            .map_err(|_| TokenError::CheckSum)?;
        let Some((content, sum)) = unpacked.split_last_chunk::<4>() else {
            return Err(TokenError::Damaged("it was cut short"));
        };
        if check_sum(content) != *sum {
            return Err(TokenError::CheckSum);
        }
        Reader { rest: content, symbols: Vec::new() }.token(intern)
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

fn check_sum(bytes: &[u8]) -> [u8; 4] {
    let mut digest = Digest::new();
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        digest.mix(u64::from_le_bytes(word));
    }
    digest.mix(bytes.len() as u64);
    let value = digest.value().to_le_bytes();
    [value[0], value[1], value[2], value[3]]
}

#[derive(Default)]
struct Symbols {
    list: Vec<&'static str>,
    ids: BTreeMap<&'static str, u64>,
}

impl Symbols {
    fn id(&mut self, text: &'static str) -> u64 {
        let next = self.list.len() as u64;
        *self.ids.entry(text).or_insert_with(|| {
            self.list.push(text);
            next
        })
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.0.push((n & 0x7f) as u8);
    }

    fn name(&mut self, symbols: &mut Symbols, name: Name) {
        self.number(symbols.id(name.text));
        self.number(u64::from(name.nth));
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    symbols: Vec<&'static str>,
}

impl Reader<'_> {
    fn bytes(&mut self, n: usize) -> Result<&[u8], TokenError> {
        let Some((head, tail)) = self.rest.split_at_checked(n) else {
            return Err(TokenError::Damaged("it ends too early"));
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn number(&mut self) -> Result<u64, TokenError> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(TokenError::Damaged("a number is too long"))
    }

    fn small(&mut self) -> Result<u32, TokenError> {
        u32::try_from(self.number()?).map_err(|_| TokenError::Damaged("a number is too large"))
    }

    fn count(&mut self) -> Result<usize, TokenError> {
        // Each counted thing takes a byte at least, so that a false count cannot ask for more than there is.
        let n = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if n > self.rest.len() { Err(TokenError::Damaged("a count is too large")) } else { Ok(n) }
    }

    fn symbol(&mut self) -> Result<&'static str, TokenError> {
        let id = self.small()? as usize;
        self.symbols.get(id).copied().ok_or(TokenError::Damaged("it names what it does not list"))
    }

    fn name(&mut self) -> Result<Name, TokenError> {
        Ok(Name { text: self.symbol()?, nth: self.small()? })
    }

    fn token(mut self, intern: &dyn Fn(&str) -> &'static str) -> Result<Token, TokenError> {
        let engine = self.small()?;
        let scenario = u128::from_le_bytes(self.array()?);
        let seed = self.number()?;
        let digest = u128::from_le_bytes(self.array()?);
        let signature = u64::from_le_bytes(self.array()?);
        for _ in 0..self.count()? {
            let length = self.count()?;
            let text = std::str::from_utf8(self.bytes(length)?)
                .map_err(|_| TokenError::Damaged("a name is not text"))?;
            let symbol = intern(text);
            self.symbols.push(symbol);
        }
        let mut records = Vec::new();
        for _ in 0..self.count()? {
            let who = self.name()?;
            let what = self.symbol()?;
            let object = self.name()?;
            let nth = self.small()?;
            let answer = match self.number()? {
                0 => Answer::Switch(self.name()?),
                of => Answer::Value { taken: self.number()?, of },
            };
            records.push(Record { site: Site { who, what, object, nth }, answer });
        }
        if !self.rest.is_empty() {
            return Err(TokenError::Damaged("something follows its end"));
        }
        Ok(Token { engine, scenario, seed, digest, signature, choices: ChoiceList { records } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
