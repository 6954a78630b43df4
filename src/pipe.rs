//! Files that are pipes: opening a named one waits until somebody writes to it, and nobody may.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::interrupt;
use crate::output::Out;
use crate::stopwatch::Stopwatch;

/// How often is looked whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);
/// After so long the user is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until somebody writes to those of `files` that are pipes, and says on standard error what it waits for if that takes
/// long. What it returns keeps them open: whoever writes is not told in between that nobody reads. Files of other kinds, and
/// what cannot be opened, are left to those who read them.
pub(crate) fn await_writers<P: AsRef<Path>>(files: impl IntoIterator<Item = P>, out: &mut Out) -> Vec<File> {
    let pipes = files.into_iter().filter(|file| is_pipe(file.as_ref()));
    pipes.filter_map(|file| await_writer(file.as_ref(), out)).collect()
}

fn await_writer(path: &Path, out: &mut Out) -> Option<File> {
    let (sender, opened) = channel();
    let own = path.to_owned();
    // Nothing ends it while nobody writes: it ends with the process.
    thread::spawn(move || sender.send(File::open(own)));
    let since = Stopwatch::start();
    let mut told = false;
    loop {
        match opened.recv_timeout(LOOK) {
            Ok(file) => return file.ok(),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupt::pressed() {
            std::process::exit(130);
        }
        if !told && since.elapsed() >= PATIENCE {
            told = true;
            out.error_line(&format!("waiting for somebody to write to {}, which is a pipe", path.display()));
        }
    }
}

#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_: &Path) -> bool {
    false
}
