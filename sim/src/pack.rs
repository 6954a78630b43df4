//! Bytes as one printable line, and back: numbers, names, a check sum, deflated and in base64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Name;
use crate::trace::Digest;

/// A line may not unpack to more than this: a hostile one must not take all memory.
const MAX_UNPACKED: usize = 16 << 20;

/// Why a line cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It does not begin as it should.
    Prefix {
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
    Content(&'static str),
    /// The check sum does not fit.
    CheckSum,
}

/// `packed` as a line that begins with `prefix`.
pub(crate) fn seal(prefix: &str, mut packed: Writer) -> String {
    let sum = check_sum(&packed.0);
    packed.bytes(&sum);
    let squeezed = miniz_oxide::deflate::compress_to_vec(&packed.0, 9);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(squeezed))
}

/// What [`seal`] was given.
pub(crate) fn open(prefix: &str, text: &str) -> Result<Vec<u8>, Damage> {
    let text = text.trim();
    let Some(payload) = text.strip_prefix(prefix) else {
        return Err(Damage::Prefix { found: text.chars().take(12).collect() });
    };
    if let Some((at, found)) =
        payload.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
    {
        return Err(Damage::Character { column: prefix.len() + at + 1, found });
    }
    let squeezed = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Damage::Content("it was cut short"))?;
    let mut unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(&squeezed, MAX_UNPACKED)
        .map_err(|_| Damage::CheckSum)?;
    let Some((content, sum)) = unpacked.split_last_chunk::<4>() else {
        return Err(Damage::Content("it was cut short"));
    };
    if check_sum(content) != *sum {
        return Err(Damage::CheckSum);
    }
    unpacked.truncate(unpacked.len() - 4);
    Ok(unpacked)
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

/// Texts that are used again and again, each kept once.
#[derive(Default)]
pub(crate) struct Symbols {
    list: Vec<String>,
    ids: BTreeMap<String, u64>,
}

impl Symbols {
    /// The number of a text.
    pub(crate) fn id(&mut self, text: &str) -> u64 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let next = self.list.len() as u64;
        self.ids.insert(text.to_owned(), next);
        self.list.push(text.to_owned());
        next
    }
}

/// Bytes that are being written.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first.
    pub(crate) fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.0.push((n & 0x7f) as u8);
    }

    pub(crate) fn name(&mut self, symbols: &mut Symbols, name: Name) {
        self.number(symbols.id(name.text));
        self.number(u64::from(name.nth));
    }

    /// The list of texts; it is read before what uses it.
    pub(crate) fn symbols(&mut self, symbols: &Symbols) {
        self.number(symbols.list.len() as u64);
        for symbol in &symbols.list {
            self.number(symbol.len() as u64);
            self.bytes(symbol.as_bytes());
        }
    }
}

/// Bytes that are being read. Nothing that they say can make it take more memory than a small multiple of their
/// length.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    symbols: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, symbols: Vec::new() }
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let Some((head, tail)) = self.rest.split_at_checked(n) else {
            return Err(Damage::Content("it ends too early"));
        };
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damage> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Damage::Content("a number is too long"))
    }

    pub(crate) fn small(&mut self) -> Result<u32, Damage> {
        u32::try_from(self.number()?).map_err(|_| Damage::Content("a number is too large"))
    }

    pub(crate) fn count(&mut self) -> Result<usize, Damage> {
        // Each counted thing takes a byte at least, so that a false count cannot ask for more than there is.
        let n = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if n > self.rest.len() { Err(Damage::Content("a count is too large")) } else { Ok(n) }
    }

    /// Reads the list of texts. They are interned, so that they live as long as the program.
    pub(crate) fn symbols(&mut self, intern: &dyn Fn(&str) -> &'static str) -> Result<(), Damage> {
        for _ in 0..self.count()? {
            let length = self.count()?;
            let text = std::str::from_utf8(self.bytes(length)?)
                .map_err(|_| Damage::Content("a name is not text"))?;
            self.symbols.push(intern(text));
        }
        Ok(())
    }

    pub(crate) fn symbol(&mut self) -> Result<&'static str, Damage> {
        let id = self.small()? as usize;
        self.symbols.get(id).copied().ok_or(Damage::Content("it names what it does not list"))
    }

    pub(crate) fn name(&mut self) -> Result<Name, Damage> {
        Ok(Name { text: self.symbol()?, nth: self.small()? })
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Damage> {
        if self.rest.is_empty() { Ok(()) } else { Err(Damage::Content("something follows its end")) }
    }
}
