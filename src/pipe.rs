//! Files that are pipes: whoever reads one waits for its writer, and there may be none.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::interrupt;
use crate::stopwatch::Stopwatch;

/// How often is looked whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);
/// After so long the user is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whoever is not stuck has so long to tell what it has found.
const GRACE: Duration = Duration::from_secs(1);

/// Somebody looks after a command that reads pipes, for as long as this lives.
#[must_use = "nobody looks any more when this is dropped"]
pub(crate) struct Watch(#[expect(dead_code, reason = "dropped to end the other side")] Option<Sender<()>>);

/// While those of `files` that are pipes are read: says on standard error what is waited for if that takes long, and ends the
/// process after Ctrl-C if it is stuck, since a context that waits in `open` or `read` does not look.
pub(crate) fn watch<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Watch {
    let pipes = files.into_iter().map(|file| file.as_ref().to_owned()).filter(|file| is_pipe(file));
    let pipes: Vec<PathBuf> = pipes.collect();
    if pipes.is_empty() {
        return Watch(None);
    }
    // Whoever started this may have had Ctrl-C ignored.
    interrupt::flag();
    let (alive, over) = channel();
    thread::spawn(move || look_after(&pipes, &over));
    Watch(Some(alive))
}

fn look_after(pipes: &[PathBuf], over: &Receiver<()>) {
    let since = Stopwatch::start();
    let mut told = false;
    let mut pressed: Option<Stopwatch> = None;
    while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(LOOK) {
        if interrupt::pressed() && pressed.get_or_insert_with(Stopwatch::start).elapsed() >= GRACE {
            std::process::exit(130);
        }
        if !told && since.elapsed() >= PATIENCE {
            told = true;
            for pipe in pipes {
                let name = pipe.display();
                let _ = writeln!(
                    std::io::stderr(),
                    "reading {name}, which is a pipe, until its writer closes it"
                );
            }
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
