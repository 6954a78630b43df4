//! From text to schema types, and from the deserialiser's errors to ours.

use std::ops::Range;
use std::sync::Arc;

use ron::error::{Error, Position, SpannedError};

use super::error::{Problem, SourceText, floor_boundary};
use super::nearest::nearest;
use schema::MAX_DEPTH;

/// Has a whole text read, and puts the place to what is wrong with it.
pub(super) fn parse<T>(
    source: &Arc<SourceText>,
    read: impl FnOnce(&str) -> Result<T, SpannedError>,
) -> Result<T, Problem> {
    if let Some(at) = source.index.too_deep {
        let (path, ..) = source.index.path_at(&source.text, at);
        let message = format!("values nest deeper than {MAX_DEPTH} levels");
        return Err(Problem::at_span(source, at..at + 1, path, message));
    }
    read(&source.text).map_err(|error| translate(source, &error))
}

fn translate(source: &Arc<SourceText>, error: &SpannedError) -> Problem {
    let text = &source.text;
    let (start, end) = (offset(text, error.span.start), offset(text, error.span.end));
    let (at, message, help) = describe(text, start..end.max(start), &error.code);
    let (mut path, value, _) = source.index.path_at(text, at.start);
    let at = match &error.code {
        // The parser stands behind the sign or the digits.
        Error::IntegerOutOfBounds if value.contains(&at.start) => value.clone(),
        _ => at,
    };
    if let Error::MissingStructField { field, .. } = &error.code {
        let dot = if path.is_empty() { "" } else { "." };
        path = format!("{path}{dot}{field}");
    }
    let found = match &error.code {
        Error::NoSuchStructField { .. }
        | Error::NoSuchEnumVariant { .. }
        | Error::DuplicateStructField { .. }
        | Error::MissingStructField { .. }
        | Error::ExpectedDifferentLength { .. } => None,
        _ => excerpt(text, &value, at.start),
    };
    let message = match found {
        Some(found) => format!("{message}, found {found}"),
        None => message,
    };
    Problem::at_span(source, at, path, message).with_help(help)
}

/// Where, what and what instead.
fn describe(text: &str, span: Range<usize>, code: &Error) -> (Range<usize>, String, String) {
    let start = skip_blank(text, span.start);
    let here = word_at(text, start);
    match code {
        Error::NoSuchStructField { expected, found, outer } => (
            word_near(text, &span, found),
            format!("no field `{found}`{}", within(outer.as_deref())),
            allowed(found, expected),
        ),
        Error::NoSuchEnumVariant { expected, found, outer } => {
            let (at, found) = match found.as_str() {
                "" => (here.clone(), text[here.clone()].to_owned()),
                name => (word_near(text, &span, name), name.to_owned()),
            };
            (at, format!("no variant `{found}`{}", within(outer.as_deref())), allowed(&found, expected))
        }
        Error::MissingStructField { field, outer } => (
            value_start(text, span),
            format!("field `{field}` is missing{}", within(outer.as_deref())),
            format!("write `{field}: ...`"),
        ),
        Error::DuplicateStructField { field, outer } => (
            word_near(text, &span, field),
            format!("field `{field}` is given twice{}", within(outer.as_deref())),
            "each field is given once".to_owned(),
        ),
        Error::InvalidValueForType { expected, found } => {
            (value_start(text, span), format!("expected {expected} but got {found}"), String::new())
        }
        Error::ExpectedDifferentLength { expected, found } => {
            (value_start(text, span), format!("expected {expected} but got {found} values"), String::new())
        }
        Error::IntegerOutOfBounds => {
            (value_start(text, span), "the number does not fit here".to_owned(), String::new())
        }
        Error::ExceededRecursionLimit => {
            (here, format!("values nest deeper than {MAX_DEPTH} levels"), String::new())
        }
        Error::ExpectedIdentifier | Error::InvalidIdentifier(_) | Error::SuggestRawIdentifier(_) => (
            here,
            "expected the name of a variant".to_owned(),
            "a number that a run draws is written `Fixed(4096)`, `Uniform(1, 9)`, `OneOf([1, 2])` or \
             `Weighted([(3, 1), (1, 2)])`"
                .to_owned(),
        ),
        Error::Eof => {
            let end = text.trim_end().len();
            (
                end..end,
                "the file ends too early".to_owned(),
                "is a closing bracket or quote missing?".to_owned(),
            )
        }
        Error::TrailingCharacters => {
            (here, "something follows the closing bracket".to_owned(), "a file holds one value".to_owned())
        }
        other => (here, syntax(other), hint(other).to_owned()),
    }
}

fn within(outer: Option<&str>) -> String {
    outer.map_or_else(String::new, |outer| format!(" in `{outer}`"))
}

/// "did you mean ...? allowed: ...".
pub(super) fn allowed(found: &str, names: &[&str]) -> String {
    let list = names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let list =
        if list.is_empty() { "nothing is allowed here".to_owned() } else { format!("allowed: {list}") };
    match nearest(found, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? {list}"),
        None => list,
    }
}

fn syntax(code: &Error) -> String {
    let text = code.to_string();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn hint(code: &Error) -> &'static str {
    match code {
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) => {
            "fields stand in parentheses, also when there is none: `Clean()`, `(percent: 5)`"
        }
        Error::ExpectedStructLikeEnd | Error::ExpectedComma => "is a comma or a closing bracket missing?",
        Error::ExpectedArray => "a list is written `[a, b]`",
        Error::ExpectedArrayEnd => "is a comma or a `]` missing?",
        Error::ExpectedString => "text stands in double quotes",
        Error::ExpectedStringEnd => "is a closing quote missing?",
        Error::ExpectedMapColon => "a field is written `name: value`",
        Error::ExpectedInteger | Error::InvalidIntegerDigit { .. } => {
            "whole numbers are written `4096`, `4_096` or `0x1000`"
        }
        Error::ExpectedBoolean => "allowed: `true`, `false`",
        Error::ExpectedOption => "write the value itself, or leave the field out",
        _ => "",
    }
}

/// The text of a value, cut short, if the error lies at its beginning.
fn excerpt(text: &str, value: &Range<usize>, at: usize) -> Option<String> {
    let from = if value.contains(&at) && at - value.start < 80 { value.start } else { at };
    let rest = text.get(from..).filter(|r| !r.trim().is_empty())?;
    let line = rest.lines().next().unwrap_or(rest);
    let line =
        if value.start == from { line.get(..value.len().min(line.len())).unwrap_or(line) } else { line };
    let short: String = line.chars().take(30).collect();
    let dots = if short.len() < line.len() { "..." } else { "" };
    (!short.is_empty()).then(|| format!("`{short}{dots}`"))
}

/// The byte of a position that counts lines and characters from 1.
fn offset(text: &str, position: Position) -> usize {
    let mut start = 0;
    for _ in 1..position.line {
        match text[start..].find('\n') {
            Some(n) => start += n + 1,
            None => return text.len(),
        }
    }
    let line = &text[start..];
    start + line.char_indices().nth(position.col.saturating_sub(1)).map_or(line.len(), |(i, _)| i)
}

fn skip_blank(text: &str, at: usize) -> usize {
    at + text[at..].len() - text[at..].trim_start().len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The word, or the one character, at `at`.
fn word_at(text: &str, at: usize) -> Range<usize> {
    let rest = &text[at..];
    let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let length = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
    at..at + length
}

/// The last place of `word` as a whole word at or before the end of `span`.
fn word_near(text: &str, span: &Range<usize>, word: &str) -> Range<usize> {
    let end = (span.end + word.len()).min(text.len());
    let window = &text[..floor_boundary(text, end)];
    let whole =
        |at: &usize| !text[..*at].ends_with(is_word) && !text[*at + word.len()..].starts_with(is_word);
    let mut until = window.len();
    while !word.is_empty() {
        let Some(at) = window[..until].rfind(word) else { break };
        if whole(&at) {
            return at..at + word.len();
        }
        until = floor_boundary(text, at + word.len() - 1);
    }
    word_at(text, skip_blank(text, span.start))
}

/// The beginning of a value that the parser has passed already.
fn value_start(text: &str, span: Range<usize>) -> Range<usize> {
    let start = skip_blank(text, span.start);
    let end = span.end.max(start);
    let line_end = text[start..end].find('\n').map_or(end, |n| start + n);
    start..line_end
}
