//! What is wrong with a scenario, and where.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use super::index::{Seg, SpanIndex, render};

/// A text that was read, with the index of what stands where in it.
#[derive(Debug)]
pub(super) struct SourceText {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) index: SpanIndex,
    named: NamedSource<String>,
}

impl SourceText {
    pub(super) fn new(name: String, text: String) -> Arc<Self> {
        let index = SpanIndex::new(&text);
        let named = NamedSource::new(&name, text.clone());
        Arc::new(Self { name, text, index, named })
    }

    /// Line and column of a byte, both from 1; columns count characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..floor_boundary(&self.text, at)];
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column)
    }
}

/// The beginning of the character that holds byte `at`, or the end of the text.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// One thing that is wrong, or at least doubtful.
#[derive(Clone, Debug)]
pub struct Problem {
    source: Arc<SourceText>,
    span: Range<usize>,
    path: String,
    message: String,
    help: Option<String>,
    warning: bool,
}

impl Problem {
    pub(super) fn at_span(
        source: &Arc<SourceText>,
        span: Range<usize>,
        path: String,
        message: impl Into<String>,
    ) -> Self {
        Self { source: Arc::clone(source), span, path, message: message.into(), help: None, warning: false }
    }

    pub(super) fn at_path(source: &Arc<SourceText>, path: &[Seg], message: impl Into<String>) -> Self {
        Self::at_span(source, source.index.span(&source.text, path), render(path), message)
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        self.help = (!help.is_empty()).then_some(help);
        self
    }

    pub(super) fn into_warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.source.position(self.span.start).0
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.source.position(self.span.start).1
    }

    /// The field, as `drivers[0].probe[2].name`; empty for the file as a whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What is allowed, and what may have been meant.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Whether the scenario can be run nevertheless.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        self.warning
    }

    /// Whether both say the same about the same place.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.source.name == other.source.name && self.span == other.span && self.message == other.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.position(self.span.start);
        write!(f, "{}:{line}:{column}: ", self.source.name)?;
        if self.warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n    help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source.named)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = if self.path.is_empty() { "here" } else { &self.path };
        let span = LabeledSpan::new(Some(label.to_owned()), self.span.start, self.span.len());
        Some(Box::new(std::iter::once(span)))
    }
}

/// Why a scenario cannot be run: everything that one stage of reading it found wrong.
#[derive(Clone, Debug)]
pub struct LoadError {
    problems: Vec<Problem>,
}

/// More problems than this are not shown.
const MAX_SHOWN: usize = 50;

impl LoadError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "an error says what is wrong");
        Self { problems }
    }

    /// All problems, in the order in which they were found.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for LoadError {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().take(MAX_SHOWN).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        match self.problems.len().checked_sub(MAX_SHOWN) {
            Some(more @ 1..) => write!(f, "\nand {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for LoadError {}

impl Diagnostic for LoadError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.problems.as_slice() {
            [only] => only.help(),
            _ => None,
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problems.first().and_then(Diagnostic::source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self.problems.as_slice() {
            [only] => only.labels(),
            _ => None,
        }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.problems.len() < 2 {
            return None;
        }
        Some(Box::new(self.problems.iter().take(MAX_SHOWN).map(|p| p as &dyn Diagnostic)))
    }
}
