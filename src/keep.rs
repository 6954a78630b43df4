//! Files that survive whatever happens to the process: written whole, or line by line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use sim::explore::shrink::Journal;

use crate::input::Failure;

/// Writes a file so that at every moment either the old content or the new one is there.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create(&part)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // What is left of it is of no use to anybody.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// The same, with an error for the user.
pub(crate) fn write_for_user(path: &Path, text: &str) -> Result<(), Failure> {
    write_whole(path, text)
        .map_err(|error| Failure::text(format!("cannot write {}: {error}", path.display())))
}

/// The verdicts of a search in a file: a head that says which search it is, and one character for each candidate.
#[derive(Debug)]
pub(crate) struct FileJournal {
    file: File,
    known: Vec<bool>,
    at: usize,
    failed: Option<io::Error>,
}

/// What stands before the verdicts.
const VERDICTS: &str = "verdicts:\n";
/// A longer file is something else.
const MAX_BYTES: u64 = 256 << 20;

impl FileJournal {
    /// Opens the file, or begins it. `head` is what the search depends on, in lines of `word: value`; a file with
    /// another head belongs to another search.
    pub(crate) fn open(path: &Path, head: &str) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::text(format!("cannot keep the state of the search in {}: {error}", path.display()))
        };
        let head = format!("dmasim search, format 1\n{head}");
        let known = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_whole(path, &format!("{head}{VERDICTS}")).map_err(failed)?;
                Vec::new()
            }
            Err(error) => return Err(failed(error)),
            Ok(about) if !about.is_file() => return Err(failed(io::Error::other("not a regular file"))),
            Ok(about) if about.len() > MAX_BYTES => return Err(failed(io::Error::other("it is too large"))),
            Ok(_) => verdicts(path, &std::fs::read_to_string(path).map_err(failed)?, &head)?,
        };
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        Ok(Self { file, known, at: 0, failed: None })
    }

    /// What went wrong in writing, if anything did.
    pub(crate) fn failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }
}

fn verdicts(path: &Path, text: &str, head: &str) -> Result<Vec<bool>, Failure> {
    let Some((found, verdicts)) = text.split_once(VERDICTS) else {
        return Err(Failure::text(format!("{} holds no state of a search", path.display())));
    };
    if found != head {
        let mut lines = head.lines().zip(found.lines());
        let (wanted, other) = lines.find(|(a, b)| a != b).unwrap_or(("its end", "something else"));
        return Err(Failure::text(format!(
            "{} belongs to another search: it has \"{other}\", this one \"{wanted}\"\n  help: give the same options \
             as then, or another file",
            path.display()
        )));
    }
    let mut known = Vec::with_capacity(verdicts.len());
    for (n, c) in verdicts.bytes().enumerate() {
        match c {
            b'0' => known.push(false),
            b'1' => known.push(true),
            _ => {
                return Err(Failure::text(format!(
                    "{} is damaged: verdict {} is neither 0 nor 1",
                    path.display(),
                    n + 1
                )));
            }
        }
    }
    Ok(known)
}

impl Journal for FileJournal {
    fn recall(&mut self) -> Option<bool> {
        let verdict = self.known.get(self.at).copied();
        self.at += usize::from(verdict.is_some());
        verdict
    }

    fn note(&mut self, shown: bool) {
        // Unbuffered, so that nothing is lost when the process is killed.
        if self.failed.is_none()
            && let Err(error) = self.file.write_all(if shown { b"1" } else { b"0" })
        {
            self.failed = Some(error);
        }
    }
}
