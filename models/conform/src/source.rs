//! Reading recordings: plain or gzip, line by line, with bounds.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

/// No line of a recording is longer; one that is points to a file of another kind.
pub const MAX_LINE: usize = 1 << 20;

/// A recording that is read line by line.
pub struct Source {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: u64,
    text: Vec<u8>,
}

/// Why a recording cannot be read on.
#[derive(Debug)]
pub struct SourceError {
    /// The file.
    pub path: PathBuf,
    /// The line that could not be read, from 1; 0 if the file could not be opened.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.what),
        }
    }
}

impl std::error::Error for SourceError {}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file. Whether it is compressed is seen from its first bytes, not from its name.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed =
            |error: io::Error| SourceError { path: path.to_owned(), line: 0, what: error.to_string() };
        let mut plain = BufReader::new(File::open(path).map_err(failed)?);
        let compressed = plain.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead> =
            if compressed { Box::new(BufReader::new(MultiGzDecoder::new(plain))) } else { Box::new(plain) };
        Ok(Self::new(path, reader))
    }

    /// Reads from `reader`; `path` is what messages call it.
    #[must_use]
    pub fn new(path: &Path, reader: Box<dyn BufRead>) -> Self {
        Self { path: path.to_owned(), reader, line: 0, text: Vec::new() }
    }

    /// What messages call it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line that was read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// An error at the line that was read last.
    #[must_use]
    pub fn error(&self, what: impl Into<String>) -> SourceError {
        SourceError { path: self.path.clone(), line: self.line, what: what.into() }
    }

    /// The next line without its end, or nothing at the end of the file. Bytes that are no UTF-8 are replaced: the
    /// console of a real machine holds all kinds of them.
    ///
    /// # Errors
    ///
    /// If reading fails, or the line is longer than [`MAX_LINE`].
    pub fn next_line(&mut self) -> Result<Option<String>, SourceError> {
        self.line += 1;
        self.text.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.text);
        match read {
            Err(error) => Err(self.error(format!("cannot be read: {error}"))),
            Ok(0) => Ok(None),
            Ok(_) if self.text.len() > MAX_LINE => {
                Err(self.error(format!("the line is longer than {MAX_LINE} bytes: this is no recording")))
            }
            Ok(_) => {
                let end =
                    self.text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
                Ok(Some(String::from_utf8_lossy(&self.text[..end]).into_owned()))
            }
        }
    }
}
