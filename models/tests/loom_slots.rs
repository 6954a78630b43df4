//! The locking of the slot allocator under every interleaving of a few threads.
//!
//! Each model has broken twins that the same check must catch. A model that ran once has tried no
//! interleaving, so it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::{Arc, Mutex};
use models::mem::PhysAddr;
use models::swiotlb::{
    AreaState, DmaLimits, PoolSize, Request, Search, SearchPlan, SearchRules, SlotAllocator, SlotLock,
};

struct Locked(Mutex<AreaState>);

impl SlotLock for Locked {
    fn new(state: AreaState) -> Self {
        Self(Mutex::new(state))
    }

    fn with<R>(&self, step: impl FnOnce(&mut AreaState) -> R) -> R {
        step(&mut self.0.lock().unwrap())
    }
}

/// Broken: each load and store happens at once, but nothing holds them together.
struct Unlocked(Mutex<AreaState>);

impl SlotLock for Unlocked {
    fn new(state: AreaState) -> Self {
        Self(Mutex::new(state))
    }

    fn with<R>(&self, step: impl FnOnce(&mut AreaState) -> R) -> R {
        let mut copy = self.0.lock().unwrap().clone();
        let result = step(&mut copy);
        *self.0.lock().unwrap() = copy;
        result
    }
}

/// The operations of a thread, sound or broken.
trait Slots: Send + Sync + 'static {
    fn create(size: PoolSize) -> Self;
    fn take(&self, cpu: usize, plan: &SearchPlan) -> Search;
    fn give(&self, slot: u32, nslots: u32);
    fn used(&self) -> u64;
    /// Whether each area has all its slots free again.
    fn is_whole(&self) -> bool;
}

impl<L: SlotLock + Send + Sync + 'static> Slots for SlotAllocator<L> {
    fn create(size: PoolSize) -> Self {
        Self::new(size, true).unwrap()
    }

    fn take(&self, cpu: usize, plan: &SearchPlan) -> Search {
        self.find_slots(cpu, plan)
    }

    fn give(&self, slot: u32, nslots: u32) {
        assert!(self.release(slot, nslots));
    }

    fn used(&self) -> u64 {
        Self::used(self)
    }

    fn is_whole(&self) -> bool {
        let mut whole = true;
        self.for_each_area(|state| {
            let slots = state.slots();
            whole &= !slots.is_detailed() && slots.list(0) == slots.nslabs().min(128);
        });
        whole
    }
}

/// Broken: the lock is dropped between the search and the taking.
struct DroppedBetween(Vec<Locked>, u32);

impl Slots for DroppedBetween {
    fn create(size: PoolSize) -> Self {
        let area = |_| Locked::new(AreaState::new(size.area_nslabs(), true));
        Self((0..size.nareas).map(area).collect(), size.area_nslabs())
    }

    fn take(&self, cpu: usize, plan: &SearchPlan) -> Search {
        let count = self.0.len();
        for at in (0..count).map(|step| (cpu + step) % count) {
            let first = u32::try_from(at).unwrap() * self.1;
            let plan = plan.counted_from(first);
            if let Search::Found { slot, nslots } = self.0[at].with(|state| state.search(&plan)) {
                self.0[at].with(|state| state.take(&plan, slot));
                return Search::Found { slot: first + slot, nslots };
            }
        }
        Search::Full
    }

    fn give(&self, slot: u32, nslots: u32) {
        assert!(self.0[(slot / self.1) as usize].with(|state| state.release(slot % self.1, nslots)));
    }

    fn used(&self) -> u64 {
        self.0.iter().map(|area| area.with(|state| state.area().used())).sum()
    }

    fn is_whole(&self) -> bool {
        self.0.iter().all(|area| area.with(|state| !state.slots().is_detailed() && state.slots().list(0) > 0))
    }
}

/// Broken: the slots in use are counted after the lock was dropped.
struct CountedOutside {
    slots: SlotAllocator<Locked>,
    used: Mutex<u64>,
}

impl CountedOutside {
    fn count(&self, change: i64) {
        let used = *self.used.lock().unwrap();
        *self.used.lock().unwrap() = used.wrapping_add_signed(change);
    }
}

impl Slots for CountedOutside {
    fn create(size: PoolSize) -> Self {
        Self { slots: SlotAllocator::create(size), used: Mutex::new(0) }
    }

    fn take(&self, cpu: usize, plan: &SearchPlan) -> Search {
        let found = self.slots.find_slots(cpu, plan);
        if let Search::Found { nslots, .. } = found {
            self.count(i64::from(nslots));
        }
        found
    }

    fn give(&self, slot: u32, nslots: u32) {
        self.slots.give(slot, nslots);
        self.count(-i64::from(nslots));
    }

    fn used(&self) -> u64 {
        *self.used.lock().unwrap()
    }

    fn is_whole(&self) -> bool {
        self.slots.is_whole()
    }
}

fn plan_for(nslots: u32) -> SearchPlan {
    let request =
        Request { orig_addr: PhysAddr(0), alloc_size: u64::from(nslots) * 2048, alloc_align_mask: 0 };
    let start = PhysAddr(0x400_0000);
    SearchPlan::new(SearchRules::v6_12(), DmaLimits::default(), start, &request)
}

/// One interleaving: every CPU of `cpus` is a thread that takes a run and keeps it until all have theirs,
/// then gives it back; `full` of them must find no place.
#[derive(Clone, Copy)]
struct Model {
    size: PoolSize,
    cpus: [usize; 2],
    nslots: u32,
    full: usize,
}

impl Model {
    fn interleave<S: Slots>(self) {
        let slots = Arc::new(S::create(self.size));
        let threads: Vec<_> = self
            .cpus
            .iter()
            .map(|&cpu| {
                let slots = Arc::clone(&slots);
                let nslots = self.nslots;
                loom::thread::spawn(move || slots.take(cpu, &plan_for(nslots)))
            })
            .collect();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for thread in threads {
            match thread.join().unwrap() {
                Search::Found { slot, nslots } => runs.push((slot, nslots)),
                other => assert_eq!(other, Search::Full),
            }
        }
        assert_eq!(self.cpus.len() - runs.len(), self.full, "threads without a place");
        if let [(one, count), (other, _)] = runs[..] {
            assert!(one.abs_diff(other) >= count, "slot in two mappings: {runs:?}");
        }
        let taken: u64 = runs.iter().map(|&(_, nslots)| u64::from(nslots)).sum();
        assert_eq!(slots.used(), taken, "slots in use while both hold theirs");

        let threads: Vec<_> = runs
            .into_iter()
            .map(|(slot, nslots)| {
                let slots = Arc::clone(&slots);
                loom::thread::spawn(move || slots.give(slot, nslots))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(slots.used(), 0, "slots in use at the end");
        assert!(slots.is_whole(), "slots lost");
    }

    /// One interleaving: every thread takes a run and gives it back while the others are at it. Who finds
    /// no place goes without. What a thread holds is noted aside, so that an overlap is seen at once.
    fn churn<S: Slots>(self) {
        let slots = Arc::new(S::create(self.size));
        let held = std::sync::Arc::new(std::sync::Mutex::new(vec![false; self.size.nslabs as usize]));
        let threads: Vec<_> = self
            .cpus
            .iter()
            .map(|&cpu| {
                let slots = Arc::clone(&slots);
                let held = std::sync::Arc::clone(&held);
                let nslots = self.nslots;
                loom::thread::spawn(move || {
                    let note = |slot: u32, nslots: u32, hold: bool| {
                        for slot in slot..slot + nslots {
                            let before = std::mem::replace(&mut held.lock().unwrap()[slot as usize], hold);
                            assert_ne!(before, hold, "slot {slot} in two mappings");
                        }
                    };
                    if let Search::Found { slot, nslots } = slots.take(cpu, &plan_for(nslots)) {
                        note(slot, nslots, true);
                        loom::thread::yield_now();
                        note(slot, nslots, false);
                        slots.give(slot, nslots);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(slots.used(), 0, "slots in use at the end");
        assert!(slots.is_whole(), "slots lost");
    }

    /// Explores all interleavings, and says how many there were and whether one failed.
    fn explore(self, interleave: fn(Self)) -> (usize, bool) {
        let count = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&count);
        let run = move || {
            loom::model(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                interleave(self);
            });
        };
        let failed = catch_unwind(AssertUnwindSafe(run)).is_err();
        (count.load(Ordering::Relaxed), failed)
    }

    fn holds(self, interleave: fn(Self)) {
        let (executions, failed) = self.explore(interleave);
        assert!(!failed, "failed in execution {executions}");
        assert!(executions >= 2, "{executions} executions are no interleavings");
    }

    fn is_caught(self, interleave: fn(Self)) {
        let (executions, failed) = self.explore(interleave);
        assert!(failed, "not caught in {executions} executions");
        // The first execution is sequential: what it catches is no matter of interleaving.
        assert!(executions >= 2, "fails even without interleaving");
    }
}

/// Two threads in one area.
const ONE_AREA: Model = Model { size: PoolSize { nslabs: 8, nareas: 1 }, cpus: [0, 0], nslots: 2, full: 0 };
/// Both threads want all of area 0: one must steal from area 1.
const STEALING: Model =
    Model { size: PoolSize { nslabs: 256, nareas: 2 }, cpus: [0, 0], nslots: 128, full: 0 };
/// Room for one of the two.
const EXHAUSTED: Model = Model { size: PoolSize { nslabs: 4, nareas: 1 }, cpus: [0, 1], nslots: 3, full: 1 };

#[test]
fn one_area_2_threads_take_then_give() {
    ONE_AREA.holds(Model::interleave::<SlotAllocator<Locked>>);
}

#[test]
fn one_area_2_threads_without_lock_is_caught() {
    ONE_AREA.is_caught(Model::interleave::<SlotAllocator<Unlocked>>);
}

#[test]
fn one_area_2_threads_with_lock_dropped_before_taking_is_caught() {
    ONE_AREA.is_caught(Model::interleave::<DroppedBetween>);
}

#[test]
fn one_area_2_threads_counting_outside_is_caught() {
    ONE_AREA.is_caught(Model::interleave::<CountedOutside>);
}

#[test]
fn stealing_2_areas_2_threads_take_then_give() {
    STEALING.holds(Model::interleave::<SlotAllocator<Locked>>);
}

#[test]
fn stealing_2_areas_2_threads_without_lock_is_caught() {
    STEALING.is_caught(Model::interleave::<SlotAllocator<Unlocked>>);
}

#[test]
fn stealing_2_areas_2_threads_with_lock_dropped_before_taking_is_caught() {
    STEALING.is_caught(Model::interleave::<DroppedBetween>);
}

#[test]
fn stealing_2_areas_2_threads_counting_outside_is_caught() {
    STEALING.is_caught(Model::interleave::<CountedOutside>);
}

#[test]
fn exhausted_4_slots_2_threads_take_then_give() {
    EXHAUSTED.holds(Model::interleave::<SlotAllocator<Locked>>);
}

#[test]
fn exhausted_4_slots_2_threads_without_lock_is_caught() {
    EXHAUSTED.is_caught(Model::interleave::<SlotAllocator<Unlocked>>);
}

#[test]
fn exhausted_4_slots_2_threads_with_lock_dropped_before_taking_is_caught() {
    EXHAUSTED.is_caught(Model::interleave::<DroppedBetween>);
}

#[test]
fn churn_4_slots_2_threads_take_and_give() {
    EXHAUSTED.holds(Model::churn::<SlotAllocator<Locked>>);
}

#[test]
fn churn_2_areas_2_threads_take_and_give() {
    STEALING.holds(Model::churn::<SlotAllocator<Locked>>);
}

#[test]
fn churn_8_slots_2_threads_without_lock_is_caught() {
    ONE_AREA.is_caught(Model::churn::<SlotAllocator<Unlocked>>);
}

#[test]
fn churn_8_slots_2_threads_with_lock_dropped_before_taking_is_caught() {
    ONE_AREA.is_caught(Model::churn::<DroppedBetween>);
}

#[test]
fn churn_8_slots_2_threads_counting_outside_is_caught() {
    ONE_AREA.is_caught(Model::churn::<CountedOutside>);
}
