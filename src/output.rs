//! The one place that prints.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use reports::Paint;

use crate::args::Color;

/// Standard output and standard error of the command.
pub(crate) struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
    /// Nobody reads any more, or nothing can be written: what follows is dropped.
    closed: bool,
    error: Option<io::Error>,
    /// How to colour standard output.
    pub(crate) paint: Paint,
    /// How to colour standard error.
    pub(crate) error_paint: Paint,
    /// Neither progress nor warnings are wanted.
    pub(crate) quiet: bool,
}

impl Out {
    pub(crate) fn new(color: Color, quiet: bool) -> Self {
        let paint = |terminal: bool| Paint {
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal && wanted(),
            },
        };
        Self {
            stdout: BufWriter::new(io::stdout().lock()),
            closed: false,
            error: None,
            paint: paint(io::stdout().is_terminal()),
            error_paint: paint(io::stderr().is_terminal()),
            quiet,
        }
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let result = self.stdout.write_all(text.as_bytes());
        self.check(result);
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) {
        self.text(line);
        self.text("\n");
    }

    /// Whether writing on makes no sense.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Shows what was written so far.
    pub(crate) fn flush(&mut self) {
        if !self.closed {
            let result = self.stdout.flush();
            self.check(result);
        }
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.error = Some(error);
            }
        }
    }

    /// Writes a line to standard error, after everything that went to standard output.
    pub(crate) fn error_line(&mut self, line: &str) {
        self.flush();
        // When standard error is gone too, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Writes out the rest. False if something was lost that somebody still wanted to read.
    pub(crate) fn finish(&mut self) -> bool {
        self.flush();
        match self.error.take() {
            None => true,
            Some(error) => {
                self.error_line(&format!("dmasim: cannot write to standard output: {error}"));
                false
            }
        }
    }
}

/// Whether the environment lets a terminal have colours.
fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether progress can be shown.
pub(crate) fn progress_visible(quiet: bool) -> bool {
    !quiet && io::stderr().is_terminal()
}
