//! Reading recordings: plain or gzip, line by line, with bounds.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// No line of a recording is longer, unless its kind says otherwise; one that is points to a file of another kind.
pub const MAX_LINE: usize = 1 << 20;

/// A recording that is read line by line.
pub struct Source {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: u64,
    text: Vec<u8>,
    max_line: usize,
    consumed: Arc<AtomicU64>,
    at_end: bool,
}

/// Why a recording cannot be read on.
#[derive(Debug)]
pub struct SourceError {
    /// The file.
    pub path: PathBuf,
    /// The line that could not be read, from 1; 0 if the file could not be opened.
    pub line: u64,
    /// Where in the line, in bytes from 1; 0 if it is about the line as a whole.
    pub column: u64,
    /// What is wrong.
    pub what: String,
}

impl SourceError {
    /// An error about a file as a whole.
    #[must_use]
    pub fn of_file(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, column: 0, what: what.into() }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}", self.what)
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
    /// If it cannot be opened or read, or is compressed by something else than gzip.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |what: String| SourceError { path: path.to_owned(), line: 0, column: 0, what };
        if path.is_dir() {
            return Err(failed("is a folder; a file is expected".to_owned()));
        }
        let file = File::open(path).map_err(|error| failed(format!("cannot be opened: {error}")))?;
        let consumed = Arc::new(AtomicU64::new(0));
        let mut plain = BufReader::new(Counted { file, consumed: Arc::clone(&consumed) });
        let head = plain.fill_buf().map_err(|error| failed(format!("cannot be read: {error}")))?;
        if let Some((_, name)) = OTHER_PACKERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(failed(format!(
                "is compressed with {name}; only gzip can be read, or no compression"
            )));
        }
        let compressed = head.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead> =
            if compressed { Box::new(BufReader::new(MultiGzDecoder::new(plain))) } else { Box::new(plain) };
        Ok(Self { consumed, ..Self::new(path, reader) })
    }

    /// Reads from `reader`; `path` is what messages call it.
    #[must_use]
    pub fn new(path: &Path, reader: Box<dyn BufRead>) -> Self {
        Self {
            path: path.to_owned(),
            reader,
            line: 0,
            text: Vec::new(),
            max_line: MAX_LINE,
            consumed: Arc::default(),
            at_end: false,
        }
    }

    /// Lets lines be up to `bytes` long, instead of [`MAX_LINE`].
    pub const fn set_max_line(&mut self, bytes: usize) {
        self.max_line = bytes;
    }

    /// How many bytes of the file were read so far, as they lie in it; 0 if this is not read from a file.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Whether the line that was read last has no end: the file ends there.
    #[must_use]
    pub const fn at_end(&self) -> bool {
        self.at_end
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
        self.error_at(0, what)
    }

    /// An error in the line that was read last, at a column in bytes from 1.
    #[must_use]
    pub fn error_at(&self, column: u64, what: impl Into<String>) -> SourceError {
        SourceError { path: self.path.clone(), line: self.line, column, what: what.into() }
    }

    /// The next line without its end, or nothing at the end of the file. Bytes that are no UTF-8 are replaced: the
    /// console of a real machine holds all kinds of them.
    ///
    /// # Errors
    ///
    /// If reading fails, compressed data are damaged or cut off, or the line is longer than allowed.
    pub fn next_line(&mut self) -> Result<Option<String>, SourceError> {
        self.line += 1;
        self.text.clear();
        let limit = self.max_line as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.text);
        self.at_end = !self.text.ends_with(b"\n");
        match read {
            Err(error) => Err(self.error(unreadable(&error))),
            Ok(0) => Ok(None),
            Ok(_) if self.text.len() > self.max_line => {
                Err(self
                    .error(format!("the line is longer than {} bytes: this is no recording", self.max_line)))
            }
            Ok(_) => {
                let end =
                    self.text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
                Ok(Some(String::from_utf8_lossy(&self.text[..end]).into_owned()))
            }
        }
    }
}

/// How files begin that are compressed by other means.
const OTHER_PACKERS: [(&[u8], &str); 4] =
    [(b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")];

/// What an error of reading means.
fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed data end too early: the file was cut off".to_owned(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("the compressed data are damaged: {error}")
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// A file that counts what was read of it.
struct Counted {
    file: File,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.consumed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
