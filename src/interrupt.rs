//! Ctrl-C: the first one ends the campaign and shows what was found, the second one ends everything.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C sets, from now on.
pub(crate) fn flag() -> &'static AtomicBool {
    // A handler that cannot be set leaves Ctrl-C as it is: it kills the process.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    &STOP
}

/// Whether Ctrl-C was pressed.
pub(crate) fn pressed() -> bool {
    STOP.load(Ordering::Relaxed)
}
