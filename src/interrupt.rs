//! Ctrl-C, and being asked to end: the first one ends the campaign and shows what was found, the second one ends
//! everything.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::stopwatch::Stopwatch;

static STOP: AtomicBool = AtomicBool::new(false);

/// A signal that comes so soon after the first is the same wish: `timeout` and shells send theirs to the process and to its
/// group, so that it comes twice, and what was found must be told all the same.
const ECHO: Duration = Duration::from_millis(500);

/// The flag that Ctrl-C sets, from now on.
pub(crate) fn flag() -> &'static AtomicBool {
    // A handler that cannot be set leaves Ctrl-C as it is: it kills the process.
    let first: OnceLock<Stopwatch> = OnceLock::new();
    let _ = ctrlc::set_handler(move || {
        STOP.store(true, Ordering::Relaxed);
        if first.get_or_init(Stopwatch::start).elapsed() > ECHO {
            std::process::exit(130);
        }
    });
    &STOP
}

/// Whether Ctrl-C was pressed.
pub(crate) fn pressed() -> bool {
    STOP.load(Ordering::Relaxed)
}
