//! The programs under loom.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::model::Builder;

use crate::exhaustive::Finals;

crate::threads::threads!(loom);

fn check(most: u64, run: impl Fn() + Send + Sync + 'static) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let mut builder = Builder::new();
    // No bound on preemptions: everything is to be seen.
    builder.preemption_bound = None;
    builder.max_permutations = Some(usize::try_from(most).unwrap_or(usize::MAX));
    // It looks whether to stop at each checkpoint.
    builder.checkpoint_interval = 1_000;
    let _ = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            run();
        });
    }));
    count.load(Ordering::Relaxed)
}

/// How many runs it takes until the bug shows, or how many there are if it does not.
pub(crate) fn until_found(program: Program) -> u64 {
    check(1_000_000, move || assert!(!perform(program).twice, "taken twice"))
}

/// All runs, or about `most`: how many there were.
pub(crate) fn all(program: Program, most: u64, finals: Option<&Arc<StdMutex<Finals>>>) -> u64 {
    let finals = finals.map(Arc::clone);
    check(most, move || {
        let data = perform(program);
        if let Some(finals) = &finals {
            finals.lock().unwrap().add(&data);
        }
    })
}
