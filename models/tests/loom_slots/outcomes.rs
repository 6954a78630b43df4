//! What a program can lead to, by three explorers that share no code: loom, the project's engine, and stateright on a
//! naive model. The broken programs too: what they do wrong must be the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use models::swiotlb::{AreaState, PoolSize, Search, SlotAllocator, SlotLock};

use crate::one_pool::plan_for;
use crate::platform::{Locked, Unlocked};
use crate::{engine, explore, naive};

/// How an area is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    Held,
    /// Not between the search and the taking.
    Dropped,
    /// Not at all: the area is copied, changed, and stored.
    Missing,
}

/// Each thread takes a run of slots, and perhaps gives it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) size: PoolSize,
    pub(crate) cpus: &'static [usize],
    pub(crate) nslots: u32,
    pub(crate) locking: Locking,
    pub(crate) gives: bool,
}

/// How a program ended: the first slot of each thread, if any, and the slots that are counted as in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    pub(crate) slots: Vec<Option<u32>>,
    pub(crate) used: u32,
}

/// Counters below zero count modulo 2^32 here.
pub(crate) fn low32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap()
}

fn run_thread<L: SlotLock>(slots: &SlotAllocator<L>, program: &Program, thread: usize) -> Option<u32> {
    for (first, area) in slots.order(program.cpus[thread]) {
        let plan = plan_for(program.nslots).counted_from(first);
        let found = if program.locking == Locking::Dropped {
            let found = area.with(|state| state.search(&plan));
            if let Search::Found { slot, .. } = found {
                area.with(|state| state.take(&plan, slot));
            }
            found
        } else {
            area.with(|state| state.find_slots(&plan))
        };
        if let Search::Found { slot, nslots } = found {
            if program.gives {
                area.with(|state| state.release(slot, nslots));
            }
            return Some(first + slot);
        }
    }
    None
}

fn by_loom<L: SlotLock + Send + Sync + 'static>(program: &Program) -> (BTreeSet<Outcome>, usize) {
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let (seen, program) = (Arc::clone(&outcomes), *program);
    let explored = explore::explore("outcomes", None, move || {
        let slots = loom::sync::Arc::new(SlotAllocator::<L>::new(program.size, true).unwrap());
        let threads: Vec<_> = (0..program.cpus.len())
            .map(|thread| {
                let slots = loom::sync::Arc::clone(&slots);
                loom::thread::spawn(move || run_thread(&slots, &program, thread))
            })
            .collect();
        let got = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        seen.lock().unwrap().insert(Outcome { slots: got, used: low32(slots.used()) });
    });
    assert_eq!(explored.failure, None);
    assert!(explored.executions >= 2, "{} executions are no interleavings", explored.executions);
    let outcomes = outcomes.lock().unwrap().clone();
    (outcomes, explored.executions)
}

/// All three must know the same outcomes, `many` of them.
#[expect(clippy::print_stdout, reason = "what was explored belongs to the verdict")]
fn agree(name: &str, program: &Program, many: usize) {
    let (loom, executions) = match program.locking {
        Locking::Missing => by_loom::<Unlocked<AreaState>>(program),
        Locking::Held | Locking::Dropped => by_loom::<Locked<AreaState>>(program),
    };
    let (engine, schedules) = engine::explore(*program);
    let (naive, states) = naive::explore(*program);
    println!(
        "{name}: {} outcomes; loom {executions} executions, engine {schedules} schedules, stateright {states} states",
        loom.len()
    );
    assert_eq!(loom, engine, "loom and the engine");
    assert_eq!(loom, naive, "loom and stateright");
    assert_eq!(loom.len(), many, "{loom:?}");
}

const ONE_AREA: Program = Program {
    size: PoolSize { nslabs: 8, nareas: 1 },
    cpus: &[0, 1],
    nslots: 2,
    locking: Locking::Held,
    gives: false,
};
const STEALING: Program =
    Program { size: PoolSize { nslabs: 256, nareas: 2 }, cpus: &[0, 0], nslots: 128, ..ONE_AREA };
const EXHAUSTED: Program = Program { size: PoolSize { nslabs: 4, nareas: 1 }, nslots: 3, ..ONE_AREA };

macro_rules! programs {
    ($($name:ident: $program:expr, $many:literal;)*) => {
        $(
            #[test]
            fn $name() {
                agree(stringify!($name), &$program, $many);
            }
        )*
    };
}

programs! {
    outcomes_one_area_2_threads: ONE_AREA, 2;
    outcomes_one_area_3_threads: Program { cpus: &[0, 1, 2], ..ONE_AREA }, 6;
    outcomes_one_area_2_threads_lock_dropped: Program { locking: Locking::Dropped, ..ONE_AREA }, 3;
    outcomes_one_area_2_threads_lock_missing: Program { locking: Locking::Missing, ..ONE_AREA }, 3;
    outcomes_one_area_2_threads_giving: Program { gives: true, ..ONE_AREA }, 2;
    outcomes_one_area_2_threads_giving_lock_dropped:
        Program { gives: true, locking: Locking::Dropped, ..ONE_AREA }, 3;
    outcomes_one_area_2_threads_giving_lock_missing:
        Program { gives: true, locking: Locking::Missing, ..ONE_AREA }, 8;
    outcomes_stealing_2_threads: STEALING, 2;
    outcomes_stealing_2_threads_lock_dropped: Program { locking: Locking::Dropped, ..STEALING }, 3;
    outcomes_stealing_2_threads_lock_missing: Program { locking: Locking::Missing, ..STEALING }, 3;
    outcomes_exhausted_2_threads: EXHAUSTED, 2;
    outcomes_exhausted_2_threads_giving: Program { gives: true, ..EXHAUSTED }, 3;
    outcomes_exhausted_2_threads_lock_missing: Program { locking: Locking::Missing, ..EXHAUSTED }, 3;
}
