//! The programs under shuttle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler, UrwRandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::exhaustive::Finals;

crate::threads::threads!(shuttle);

/// How shuttle is to choose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choose {
    Random,
    Pct,
    Urw,
}

fn config() -> Config {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    config
}

fn with(choose: Choose, seed: u64, most: usize, run: impl Fn() + Send + Sync + 'static) {
    fn go(scheduler: impl Scheduler + 'static, run: impl Fn() + Send + Sync + 'static) {
        Runner::new(scheduler, config()).run(run);
    }
    match choose {
        Choose::Random => go(RandomScheduler::new_from_seed(seed, most), run),
        Choose::Pct => go(PctScheduler::new_from_seed(seed, 3, most), run),
        Choose::Urw => go(UrwRandomScheduler::new_from_seed(seed, most), run),
    }
}

/// So many runs.
pub(crate) fn runs(program: Program, choose: Choose, seed: u64, count: u64) {
    with(choose, seed, usize::try_from(count).unwrap_or(usize::MAX), move || {
        std::hint::black_box(perform(program));
    });
}

/// How many runs it takes until the bug shows, `most` at most.
pub(crate) fn until_found(program: Program, choose: Choose, seed: u64, most: u64) -> Option<u64> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let over = catch_unwind(AssertUnwindSafe(|| {
        with(choose, seed, usize::try_from(most).unwrap_or(usize::MAX), move || {
            counted.fetch_add(1, Ordering::Relaxed);
            assert!(!perform(program).twice, "taken twice");
        });
    }));
    over.is_err().then(|| count.load(Ordering::Relaxed))
}

/// All runs, or `most`: how many there were.
pub(crate) fn all(program: Program, most: u64, finals: Option<&Arc<StdMutex<Finals>>>) -> u64 {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let finals = finals.map(Arc::clone);
    let ran = Runner::new(DfsScheduler::new(Some(most), false), config()).run(move || {
        let data = perform(program);
        if let Some(finals) = &finals {
            finals.lock().unwrap().add(&data);
        }
    });
    ran as u64
}
