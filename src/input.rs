//! Scenario files as the user names them, and what to say when they are of no use.

use std::fmt;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ThemeCharacters, ThemeStyles};
use models::oracle::FINDINGS;
use models::scenario::{Expect, LoadError, Loaded, Overrides, Problem, Resolved, load, nearest};
use reports::{Paint, SCREEN, ascii, wrap};

use crate::args::{EngineArgs, KernelArgs};
use crate::output::Out;
use crate::regression::is_regression;

/// At most this many problems are shown.
const MAX_SHOWN: usize = 20;

/// Why a command cannot do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// In words.
    Text(String),
    /// A scenario cannot be run.
    Load(LoadError),
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl Failure {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Says so on standard error.
    pub(crate) fn show(&self, out: &mut Out) {
        match self {
            Self::Text(text) => {
                let word = out.error_paint.bad("error:");
                for (n, line) in text.lines().enumerate() {
                    let depth = line.len() - line.trim_start().len();
                    let indent = " ".repeat(depth + 2);
                    for (m, part) in wrap(line.trim_start(), SCREEN - 8).iter().enumerate() {
                        match (n, m) {
                            (0, 0) => out.error_line(&format!("{word} {part}")),
                            (_, 0) => out.error_line(&format!("{}{part}", " ".repeat(depth))),
                            _ => out.error_line(&format!("{indent}{part}")),
                        }
                    }
                }
            }
            Self::Load(error) => {
                for problem in error.problems().iter().take(MAX_SHOWN) {
                    let text = graphical(problem, out.error_paint);
                    out.error_line(text.trim_end());
                }
                if let Some(more @ 1..) = error.problems().len().checked_sub(MAX_SHOWN) {
                    out.error_line(&format!("and {more} more"));
                }
            }
        }
    }
}

/// A problem with the line it is in, a caret, and what is allowed.
pub(crate) fn graphical(problem: &Problem, paint: Paint) -> String {
    let shown = Shown(problem);
    let mut text = if problem.labels().into_iter().flatten().all(|l| l.offset() + l.len() == 0) {
        // The file as a whole, or no file at all: there is no line to show.
        format!("{}: {}: {}\n", severity(problem, paint), problem.file(), problem.message())
    } else if let Some(text) = narrow(problem, paint) {
        text
    } else {
        let styles = if paint.color { ThemeStyles::ansi() } else { ThemeStyles::none() };
        let theme = GraphicalTheme { characters: ThemeCharacters::ascii(), styles };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(SCREEN).with_links(false);
        let mut text = String::new();
        if handler.render_report(&mut text, &shown as &dyn Diagnostic).is_err() {
            text = format!("{shown}\n");
        }
        text
    };
    for (n, line) in wrap(problem.advice().unwrap_or_default(), SCREEN - 8).iter().enumerate() {
        if !line.is_empty() {
            text.push_str(&format!("{} {line}\n", if n == 0 { "  help:" } else { "       " }));
        }
    }
    text
}

/// Columns of a line that is shown as a whole.
const LONGEST: usize = 400;

/// A problem in a line that nobody could look at as a whole: the part of it where the problem is. `None` if the line is an
/// ordinary one.
fn narrow(problem: &Problem, paint: Paint) -> Option<String> {
    let label = problem.labels()?.next()?;
    let around = problem.source_code()?.read_span(label.inner(), 1, 1).ok()?;
    let place = label.offset().saturating_sub(around.span().offset()).min(around.data().len());
    let start = around.data()[..place].iter().rposition(|byte| *byte == b'\n').map_or(0, |n| n + 1);
    let line = around.data()[start..].split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    if text.len() <= LONGEST {
        return None;
    }
    let at = text.floor_char_boundary(place - start);
    let from = text.floor_char_boundary(at.saturating_sub(SCREEN / 2));
    let to = text.floor_char_boundary(from + SCREEN - 10);
    let shown: String = text[from..to].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let lead = if from > 0 { "..." } else { "" };
    let caret = lead.len() + text[from..at.max(from)].chars().count();
    Some(format!(
        "{}: {}:{}:{}: {}\n  | {lead}{shown}\n  | {}^\n",
        severity(problem, paint),
        problem.file(),
        problem.line(),
        problem.column(),
        problem.message(),
        " ".repeat(caret)
    ))
}

/// A problem without its advice, which is wrapped between words and not at hyphens: names have hyphens.
#[derive(Debug)]
struct Shown<'a>(&'a Problem);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.0.file(), self.0.line(), self.0.column(), self.0.message())
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        self.0.severity()
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.0.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.0.labels()
    }
}

fn severity(problem: &Problem, paint: Paint) -> String {
    if problem.is_warning() { "warning".to_owned() } else { paint.bad("error") }
}

/// What was asked for: a file, and behind `#` a variant of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) file: PathBuf,
    pub(crate) variant: Option<String>,
}

impl Wanted {
    /// Reads `FILE#NAME`, unless there is a file of that name.
    pub(crate) fn of(path: &Path) -> Self {
        if !path.exists()
            && let Some((file, variant)) = path.to_str().and_then(|text| text.rsplit_once('#'))
        {
            return Self { file: file.into(), variant: Some(variant.to_owned()) };
        }
        Self { file: path.to_owned(), variant: None }
    }

    /// Reads the file.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        if self.file.is_dir() {
            return Err(Failure::text(format!(
                "{} is a folder; name a scenario file in it, or try `dmasim test {}`",
                self.file.display(),
                self.file.display()
            )));
        }
        if is_regression(&self.file) {
            return Err(Failure::text(format!(
                "{} is a regression and no scenario: `dmasim test {}` repeats it",
                self.file.display(),
                self.file.display()
            )));
        }
        Ok(load(&self.file)?)
    }
}

/// Reads the scenario at `path` with what is to be changed in it, and says what is doubtful about it.
pub(crate) fn resolve(path: &Path, kernel: &KernelArgs, out: &mut Out) -> Result<Resolved, Failure> {
    let wanted = Wanted::of(path);
    if let (Some(a), Some(b)) = (&wanted.variant, &kernel.variant)
        && a != b
    {
        return Err(Failure::text(format!("two variants are asked for: `{a}` and `{b}`")));
    }
    let loaded = wanted.load()?;
    let resolved = loaded.resolve(&kernel.overrides(wanted.variant.as_deref()))?;
    warn(&resolved.warnings, out);
    warn_kinds(&resolved, out);
    Ok(resolved)
}

/// Says which kinds of findings the expectation names that do not exist: it can never be met.
pub(crate) fn warn_kinds(scenario: &Resolved, out: &mut Out) {
    let Expect::Findings { all, .. } = &scenario.expect else { return };
    for pattern in all {
        if out.quiet || FINDINGS.iter().any(|(kind, _)| *kind == pattern.kind) {
            continue;
        }
        let near = nearest(&pattern.kind, FINDINGS.iter().map(|(kind, _)| *kind));
        let near = near.map_or("`dmasim list findings` has them all".to_owned(), |near| {
            format!("did you mean `{near}`?")
        });
        out.error_line(&format!(
            "warning: {}: expect: no kind of finding is called `{}`\n  help: {near}",
            scenario.name,
            ascii(&pattern.kind)
        ));
    }
}

/// Shows warnings, unless nobody wants any.
pub(crate) fn warn(warnings: &[Problem], out: &mut Out) {
    if out.quiet {
        return;
    }
    for problem in warnings.iter().take(MAX_SHOWN) {
        let text = graphical(problem, out.error_paint);
        out.error_line(text.trim_end());
    }
}

/// Resolves a variant of a loaded file, or the file itself.
pub(crate) fn variant(loaded: &Loaded, name: Option<&str>) -> Result<Resolved, LoadError> {
    loaded.resolve(&Overrides { variant: name.map(str::to_owned), ..Overrides::default() })
}

/// The kernel in a few words: `next-2021-06 + a - b`.
pub(crate) fn kernel_words(scenario: &Resolved) -> String {
    let mut text = scenario.kernel.version.clone();
    for name in &scenario.kernel.apply {
        text.push_str(&format!(" + {name}"));
    }
    for name in &scenario.kernel.revert {
        text.push_str(&format!(" - {name}"));
    }
    text
}

/// The command that repeats something, with all that was changed from the command line.
pub(crate) fn command(
    verb: &str,
    scenario: &Path,
    kernel: &KernelArgs,
    engine: &EngineArgs,
    rest: &[&str],
) -> String {
    let mut words = vec!["dmasim".to_owned(), verb.to_owned(), quoted(&scenario.to_string_lossy())];
    let mut option = |name: &str, value: &str| {
        words.push(name.to_owned());
        words.push(quoted(value));
    };
    for (name, value) in [
        ("--variant", &kernel.variant),
        ("--cmdline", &kernel.cmdline),
        ("--append", &kernel.append),
        ("--version", &kernel.version),
    ] {
        if let Some(value) = value {
            option(name, value);
        }
    }
    for (name, list) in [("--apply", &kernel.apply), ("--revert", &kernel.revert)] {
        if !list.is_empty() {
            option(name, &list.join(","));
        }
    }
    if let Some(strategy) = engine.strategy {
        option("--strategy", &strategy.to_string());
    }
    if let Some(steps) = engine.max_steps {
        option("--max-steps", &steps.to_string());
    }
    if let Some(what) = engine.on_finding {
        option("--on-finding", if what == crate::args::OnFinding::Stop { "stop" } else { "continue" });
    }
    words.extend(rest.iter().map(|word| quoted(word)));
    words.join(" ")
}

/// The word as a shell takes it for one.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%#".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('#') {
        word.to_owned()
    } else {
        format!("'{}'", ascii(word).replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let kernel = KernelArgs {
            cmdline: Some("quiet swiotlb=force".to_owned()),
            apply: vec!["a".to_owned(), "b".to_owned()],
            ..KernelArgs::default()
        };
        let text =
            command("replay", Path::new("it's.ron"), &kernel, &EngineArgs::default(), &["--seed", "7"]);
        assert_eq!(text, r"dmasim replay 'it'\''s.ron' --cmdline 'quiet swiotlb=force' --apply a,b --seed 7");
    }

    #[test]
    fn a_variant_stands_behind_a_hash() {
        let wanted = Wanted::of(Path::new("no/such.ron#iommu-pt"));
        assert_eq!(wanted.file, Path::new("no/such.ron"));
        assert_eq!(wanted.variant.as_deref(), Some("iommu-pt"));
    }
}
