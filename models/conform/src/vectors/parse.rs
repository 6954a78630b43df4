//! Reads one sequence from its line, and refuses what no recorder can have written.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::subject::{Kind, Version};
use super::table::{self, Args, MAX_QUOTED, Role, Spec, quoted, shortened};
use models::scenario::nearest;

/// Results after which a kernel does nothing any more.
const FATAL: [&str; 3] = ["bug", "panic", "hang"];
/// No sequence has more operations.
const MAX_OPS: usize = 1 << 20;

/// One recorded sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) kind: Kind,
    pub(super) version: Version,
    /// How the recording calls it: its `id` and `profile`.
    pub(super) name: String,
    pub(super) ops: Vec<Op>,
    /// What `dump` printed after the last operation, or null.
    pub(super) last: Value,
}

/// One recorded operation.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) spec: &'static Spec,
    pub(super) args: Args,
    /// The arguments as they were written.
    pub(super) written: String,
    pub(super) result: Value,
    /// Where it begins in its line, in bytes from 1.
    pub(super) column: u64,
}

/// What is wrong with a line, and in which column, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) column: u64,
    pub(super) what: String,
    /// The line ends before its JSON does.
    pub(super) cut: bool,
}

#[derive(Deserialize)]
struct RawSequence<'a> {
    #[serde(borrow)]
    kind: &'a RawValue,
    #[serde(borrow)]
    kernel: &'a RawValue,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    profile: Option<&'a RawValue>,
    #[serde(borrow)]
    ops: Vec<RawOp<'a>>,
    #[serde(borrow)]
    r#final: &'a RawValue,
}

#[derive(Deserialize)]
struct RawOp<'a> {
    #[serde(borrow)]
    op: &'a RawValue,
    #[serde(borrow)]
    args: Vec<&'a RawValue>,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// A line, for saying where something in it stands.
struct Line<'a>(&'a str);

impl Line<'_> {
    /// An error at a piece of the line.
    fn at(&self, piece: &RawValue, what: impl Into<String>) -> Malformed {
        Malformed { column: self.column(piece), what: what.into(), cut: false }
    }

    fn column(&self, piece: &RawValue) -> u64 {
        // The piece was borrowed from the line: the difference says where, wherever the line lies.
        let offset = piece.get().as_ptr().addr().wrapping_sub(self.0.as_ptr().addr());
        offset.min(self.0.len()) as u64 + 1
    }

    /// A piece that is to be a string.
    fn string<'b>(&self, piece: &'b RawValue, what: &str) -> Result<Cow<'b, str>, Malformed> {
        let json = piece.get();
        match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
            _ => serde_json::from_str(json).map(Cow::Owned).map_err(|_| {
                self.at(piece, format!("{what} is {}, and a string is expected", shortened(json, MAX_QUOTED)))
            }),
        }
    }

    /// A piece that can be anything.
    fn value(&self, piece: &RawValue, what: &str) -> Result<Value, Malformed> {
        serde_json::from_str(piece.get())
            .map_err(|error| self.at(piece, format!("{what} cannot be read: {}", bare(&error))))
    }

    fn op(&self, raw: &RawOp<'_>, kind: Kind, version: Version, made: bool) -> Result<Op, Malformed> {
        let name = self.string(raw.op, "`op`")?;
        let spec = table::find(kind.table(), kind.name(), &name, version == Version::V6_12)
            .map_err(|what| self.at(raw.op, what))?;
        if !made && spec.role == Role::Uses {
            let makers: Vec<String> = kind
                .table()
                .iter()
                .filter(|spec| spec.role == Role::Makes)
                .map(|spec| format!("`{}`", spec.name))
                .collect();
            let what = format!("`{}` comes before {}", spec.name, makers.join(", "));
            return Err(self.at(raw.op, what));
        }
        if raw.args.len() != spec.params.len() {
            let what = format!(
                "`{}` has {}, and {} expected: {}",
                spec.name,
                counted(raw.args.len()),
                if spec.params.len() == 1 { "1 is".to_owned() } else { format!("{} are", spec.params.len()) },
                spec.usage()
            );
            return Err(self.at(raw.op, what));
        }
        let mut args = Vec::with_capacity(raw.args.len());
        for (param, piece) in spec.params.iter().zip(&raw.args) {
            let arg = table::argument(param, piece.get())
                .map_err(|what| self.at(piece, format!("{}: {what}", spec.usage())))?;
            args.push(arg);
        }
        let written: Vec<&str> = raw.args.iter().map(|piece| piece.get()).collect();
        Ok(Op {
            spec,
            args: Args(args),
            written: shortened(&format!("[{}]", written.join(", ")), 160),
            result: self.value(raw.result, "`result`")?,
            column: self.column(raw.op),
        })
    }
}

fn counted(arguments: usize) -> String {
    match arguments {
        1 => "1 argument".to_owned(),
        n => format!("{n} arguments"),
    }
}

/// What a JSON error says, without the place, which is said elsewhere.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The one of `known` that a string names; the error says which there are.
fn known<T: Copy>(
    found: &str,
    what: &str,
    known: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    if let Some(one) = known.iter().find(|one| name(**one) == found) {
        return Ok(*one);
    }
    let names: Vec<&str> = known.iter().map(|one| name(*one)).collect();
    let near = nearest(found, names.iter().copied())
        .map_or(String::new(), |near| format!("did you mean `{near}`? "));
    Err(format!("{what} is {}; {near}known are {}", quoted(found), names.join(", ")))
}

/// Reads a sequence.
pub(super) fn sequence(text: &str) -> Result<Sequence, Malformed> {
    if !text.trim_start().starts_with('{') {
        return Err(Malformed { column: 1, what: not_an_object(text), cut: false });
    }
    let raw: RawSequence<'_> = serde_json::from_str(text).map_err(|error| Malformed {
        column: error.column() as u64,
        what: bare(&error),
        cut: error.is_eof(),
    })?;
    let line = Line(text);
    let kind = line.string(raw.kind, "`kind`")?;
    let kind = known(&kind, "`kind`", &Kind::ALL, Kind::name).map_err(|what| line.at(raw.kind, what))?;
    let kernel = line.string(raw.kernel, "`kernel`")?;
    let version = known(&kernel, "`kernel`", kind.versions(), Version::name)
        .map_err(|what| line.at(raw.kernel, format!("{what} for {}", kind.name())))?;
    if raw.ops.len() > MAX_OPS {
        return Err(line.at(raw.kind, format!("the sequence has more than {MAX_OPS} operations")));
    }
    if raw.ops.is_empty() {
        return Err(line.at(raw.kind, "`ops` is empty: there is nothing to compare"));
    }
    let mut made = false;
    let mut ops: Vec<Op> = Vec::with_capacity(raw.ops.len());
    for piece in &raw.ops {
        if let Some(before) = ops.last()
            && before.result.as_str().is_some_and(|result| FATAL.contains(&result))
        {
            let what = format!(
                "an operation follows `{}`, whose result {} ended the sequence",
                before.spec.name, before.result
            );
            return Err(line.at(piece.op, what));
        }
        let op = line.op(piece, kind, version, made)?;
        made |= op.spec.role == Role::Makes;
        ops.push(op);
    }
    let label =
        |piece: Option<&RawValue>| piece.map(|piece| shortened(piece.get().trim_matches('"'), MAX_QUOTED));
    let name = match (label(raw.id), label(raw.profile)) {
        (Some(id), Some(profile)) => format!("sequence {id} ({profile})"),
        (Some(id), None) => format!("sequence {id}"),
        (None, _) => "sequence".to_owned(),
    };
    Ok(Sequence { kind, version, name, ops, last: line.value(raw.r#final, "`final`")? })
}

/// What is said of a line that holds no sequence; other recordings are known by their looks.
fn not_an_object(text: &str) -> String {
    let trimmed = text.trim_start();
    let stamp = trimmed.strip_prefix('[').map(str::trim_start).unwrap_or_default();
    let help = if stamp.starts_with(|c: char| c.is_ascii_digit()) && stamp.contains("] ") {
        "; this looks like a kernel log: `dmasim conform --boot` compares those"
    } else if trimmed.starts_with("# tracer:") {
        "; this looks like a trace: `dmasim conform --trace` compares those"
    } else {
        ""
    };
    format!("found {}, and a JSON object with a sequence of operations is expected{help}", quoted(trimmed))
}
