//! Where in a RON text each value stands: an index from paths to spans.
//!
//! The deserialiser says where it stumbled, but what it returns has forgotten where it came from. Checks that come
//! later (a name that does not exist, two ranges that overlap) look their place up here. The index understands just
//! enough of RON for that, and leaves it to the deserialiser to complain about what is not RON.

use std::ops::Range;

use schema::MAX_DEPTH;

/// One step from a value to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seg {
    /// A named field.
    Field(&'static str),
    /// The n-th of a list, or of a variant's unnamed values.
    Index(usize),
}

/// Writes a path as `drivers[0].probe[2].name`.
pub(super) fn render(path: &[Seg]) -> String {
    let mut text = String::new();
    for seg in path {
        match seg {
            Seg::Field(name) => push_field(&mut text, name),
            Seg::Index(i) => push_index(&mut text, *i),
        }
    }
    text
}

fn push_field(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}

fn push_index(text: &mut String, index: usize) {
    use std::fmt::Write as _;
    // Writing into a String cannot fail.
    let _ = write!(text, "[{index}]");
}

#[derive(Clone, Debug)]
enum Key {
    Root,
    Field(Range<usize>),
    Index(usize),
}

#[derive(Clone, Debug)]
struct Node {
    key: Key,
    /// The whole value.
    span: Range<usize>,
    /// The name before the parenthesis: a variant or a struct.
    head: Range<usize>,
    /// Index of the first node behind this one and all inside it.
    next: usize,
}

/// The index of one text.
#[derive(Clone, Debug)]
pub(super) struct SpanIndex {
    nodes: Vec<Node>,
    /// Where values nest too deeply, if they do.
    pub(super) too_deep: Option<usize>,
}

impl SpanIndex {
    pub(super) fn new(text: &str) -> Self {
        let mut scan = Scan { text: text.as_bytes(), at: 0, nodes: Vec::new(), too_deep: None };
        scan.attributes();
        scan.value(Key::Root, 0);
        Self { nodes: scan.nodes, too_deep: scan.too_deep }
    }

    /// The span of the value at `path`, or of the innermost value on the way that there is.
    pub(super) fn span(&self, text: &str, path: &[Seg]) -> Range<usize> {
        let mut here = 0;
        for seg in path {
            let Some(inside) = self.step(text, here, *seg) else { break };
            here = inside;
        }
        let Some(node) = self.nodes.get(here) else { return 0..0 };
        // Of a large value only its first line is worth pointing at.
        let line_end = text[node.span.clone()].find('\n').map_or(node.span.end, |n| node.span.start + n);
        node.span.start..line_end
    }

    /// The path of the innermost value that holds byte `at`, and that value's span and name.
    pub(super) fn path_at(&self, text: &str, at: usize) -> (String, Range<usize>, Range<usize>) {
        let mut path = String::new();
        let mut here = 0;
        let covers = |node: &Node| {
            let start = match &node.key {
                Key::Field(key) => key.start,
                Key::Root | Key::Index(_) => node.span.start,
            };
            start <= at && at <= node.span.end
        };
        while let Some(inside) = self.children(here).filter(|i| covers(&self.nodes[*i])).last() {
            match &self.nodes[inside].key {
                Key::Field(key) => push_field(&mut path, &text[key.clone()]),
                Key::Index(i) => push_index(&mut path, *i),
                Key::Root => {}
            }
            here = inside;
        }
        let node = self.nodes.get(here);
        (path, node.map_or(at..at, |n| n.span.clone()), node.map_or(at..at, |n| n.head.clone()))
    }

    fn step(&self, text: &str, from: usize, seg: Seg) -> Option<usize> {
        let found = self.children(from).find(|i| match (&self.nodes[*i].key, seg) {
            (Key::Field(key), Seg::Field(name)) => &text[key.clone()] == name,
            (Key::Index(i), Seg::Index(wanted)) => *i == wanted,
            _ => false,
        });
        // `Some((...))` and `Inline((...))` hold their fields one level deeper.
        found.or_else(|| {
            let mut unnamed = self.children(from).filter(|i| matches!(self.nodes[*i].key, Key::Index(_)));
            match (unnamed.next(), unnamed.next(), seg) {
                (Some(only), None, Seg::Field(_)) => self.step(text, only, seg),
                _ => None,
            }
        })
    }

    fn children(&self, of: usize) -> impl Iterator<Item = usize> {
        let end = self.nodes.get(of).map_or(0, |n| n.next);
        let mut at = of + 1;
        std::iter::from_fn(move || {
            let here = (at < end).then_some(at)?;
            at = self.nodes[here].next.max(here + 1);
            Some(here)
        })
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    too_deep: Option<usize>,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn starts_with(&self, what: &[u8]) -> bool {
        self.text[self.at..].starts_with(what)
    }

    fn blank(&mut self) {
        loop {
            while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
                self.at += 1;
            }
            if self.starts_with(b"//") {
                self.until(b"\n");
            } else if self.starts_with(b"/*") {
                self.block_comment();
            } else {
                return;
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            if self.starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if self.starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += 1;
            }
        }
    }

    /// Moves behind the next `what`, or to the end.
    fn until(&mut self, what: &[u8]) {
        while self.at < self.text.len() && !self.starts_with(what) {
            self.at += 1;
        }
        self.at = (self.at + what.len()).min(self.text.len());
    }

    fn attributes(&mut self) {
        self.blank();
        while self.starts_with(b"#!") {
            self.until(b"]");
            self.blank();
        }
    }

    fn word(&mut self) -> Range<usize> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'#' || b >= 0x80) {
            self.at += 1;
        }
        start..self.at
    }

    /// Takes a value, or nothing where none begins.
    fn value(&mut self, key: Key, depth: usize) {
        let start = self.at;
        let node = self.nodes.len();
        self.nodes.push(Node { key, span: start..start, head: start..start, next: node + 1 });
        let mut end = start;
        match self.peek() {
            Some(b'"') => {
                self.string();
                end = self.at;
            }
            Some(b'\'') => {
                self.character();
                end = self.at;
            }
            Some(b'r' | b'b') if self.raw_string() => end = self.at,
            Some(b'(' | b'[' | b'{') => {
                self.group(depth);
                end = self.at;
            }
            Some(b) if b.is_ascii_alphabetic() || b == b'_' || b >= 0x80 => {
                self.nodes[node].head = self.word();
                end = self.at;
                self.blank();
                if self.peek() == Some(b'(') {
                    self.group(depth);
                    end = self.at;
                } else {
                    self.at = end;
                }
            }
            Some(b) if !matches!(b, b')' | b']' | b'}' | b',' | b':') => {
                while self.peek().is_some_and(|b| !b.is_ascii_whitespace() && !b",:()[]{}\"/".contains(&b)) {
                    self.at += 1;
                }
                end = self.at;
            }
            _ => {}
        }
        self.nodes[node].span = start..end;
        self.nodes[node].next = self.nodes.len();
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(b) = self.peek() {
            self.at += if b == b'\\' { 2 } else { 1 };
            if b == b'"' {
                break;
            }
        }
        self.at = self.at.min(self.text.len());
    }

    fn character(&mut self) {
        self.at += 1;
        if self.peek() == Some(b'\\') {
            self.at += 1;
        }
        self.at = (self.at + 1).min(self.text.len());
        let line = self.at;
        while self.peek().is_some_and(|b| b != b'\'' && b != b'\n') && self.at - line < 12 {
            self.at += 1;
        }
        if self.peek() == Some(b'\'') {
            self.at += 1;
        }
    }

    /// Takes `r"..."`, `r#"..."#`, `b"..."` and `br"..."`; leaves anything else alone.
    fn raw_string(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let prefix = rest.iter().take(2).take_while(|b| matches!(b, b'r' | b'b')).count();
        let raw = rest[..prefix].contains(&b'r');
        let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
        if rest.get(prefix + hashes) != Some(&b'"') || (!raw && hashes > 0) {
            return false;
        }
        self.at += prefix + hashes;
        if raw {
            self.at += 1;
            let mut close = vec![b'"'];
            close.resize(hashes + 1, b'#');
            self.until(&close);
        } else {
            self.string();
        }
        true
    }

    /// Takes what is between brackets of any kind.
    fn group(&mut self, depth: usize) {
        if depth >= MAX_DEPTH {
            self.too_deep.get_or_insert(self.at);
            self.at = self.text.len();
            return;
        }
        self.at += 1;
        let mut index = 0;
        loop {
            self.blank();
            let before = self.at;
            match self.peek() {
                None => return,
                Some(b')' | b']' | b'}') => {
                    self.at += 1;
                    return;
                }
                Some(b',' | b':') => self.at += 1,
                Some(_) => match self.field_name() {
                    Some(name) => {
                        self.blank();
                        self.value(Key::Field(name), depth + 1);
                    }
                    None => {
                        self.value(Key::Index(index), depth + 1);
                        index += 1;
                    }
                },
            }
            if self.at == before {
                self.at += 1;
            }
        }
    }

    /// Takes `name:`, if that is what comes.
    fn field_name(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        if !self.peek().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') {
            return None;
        }
        let name = self.word();
        self.blank();
        if self.peek() == Some(b':') {
            self.at += 1;
            return Some(name);
        }
        self.at = start;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#![enable(implicit_some)]\n// (\n(a: 1, /* b: [ /* ( */ */ list: [\"x)\", r#\"\"]\"#, Map(name: 'c', dir: To),\n  ],\n  some: Some((inner: 0x10)), two: Pair(1, 2))";

    fn at(path: &[Seg]) -> &'static str {
        let index = SpanIndex::new(TEXT);
        &TEXT[index.span(TEXT, path)]
    }

    #[test]
    fn values_are_found_by_their_path() {
        use Seg::{Field, Index};
        assert_eq!(at(&[Field("a")]), "1");
        assert_eq!(at(&[Field("list"), Index(0)]), "\"x)\"");
        assert_eq!(at(&[Field("list"), Index(1)]), "r#\"\"]\"#");
        assert_eq!(at(&[Field("list"), Index(2), Field("dir")]), "To");
        assert_eq!(at(&[Field("some"), Field("inner")]), "0x10", "Some(( )) is looked through");
        assert_eq!(at(&[Field("two"), Index(1)]), "2");
        assert_eq!(at(&[Field("a"), Field("missing")]), "1", "the nearest there is");
    }

    #[test]
    fn paths_are_found_by_their_place() {
        let index = SpanIndex::new(TEXT);
        let (path, span, _) = index.path_at(TEXT, TEXT.find("To").unwrap_or(0));
        assert_eq!((path.as_str(), &TEXT[span]), ("list[2].dir", "To"));
    }

    #[test]
    fn any_text_ends_and_deep_nesting_is_noticed() {
        for text in [
            "", "(", ")", "[[[", "(a:", "\"", "'", "r#\"", "/*", "(a:b:c)", "{1:2", "\\", "#![", "é(", "b'",
            ": ,",
        ] {
            let index = SpanIndex::new(text);
            for at in 0..=text.len() {
                let _ = index.path_at(text, at);
            }
            assert!(index.too_deep.is_none());
        }
        assert_eq!(SpanIndex::new(&"[".repeat(100_000)).too_deep, Some(MAX_DEPTH));
    }
}
