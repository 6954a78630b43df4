//! One pool of a fixed size: no slot in two mappings, none lost, counters equal to what is taken, no deadlock.

use loom::sync::{Arc, Mutex};
use models::mem::PhysAddr;
use models::swiotlb::{
    AreaState, DmaLimits, PoolSize, Request, Search, SearchPlan, SearchRules, SlotAllocator, SlotLock,
};

use crate::explore;
use crate::platform::{Locked as LockedAs, Unlocked as UnlockedAs};

type Locked = LockedAs<AreaState>;
type Unlocked = UnlockedAs<AreaState>;

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

/// Broken: where the last search ended is looked up with the lock held, and believed when it is gone.
struct IndexAfterUnlock(DroppedBetween);

impl Slots for IndexAfterUnlock {
    fn create(size: PoolSize) -> Self {
        Self(DroppedBetween::create(size))
    }

    fn take(&self, cpu: usize, plan: &SearchPlan) -> Search {
        let area = &self.0.0[0];
        let (index, fits) = area.with(|state| {
            let index = state.area().index();
            (index, state.slots().list(index) >= plan.nslots)
        });
        if !fits {
            return self.0.take(cpu, plan);
        }
        area.with(|state| state.take(plan, index));
        Search::Found { slot: index, nslots: plan.nslots }
    }

    fn give(&self, slot: u32, nslots: u32) {
        self.0.give(slot, nslots);
    }

    fn used(&self) -> u64 {
        self.0.used()
    }

    fn is_whole(&self) -> bool {
        self.0.is_whole()
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

pub(crate) fn plan_for(nslots: u32) -> SearchPlan {
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
    cpus: &'static [usize],
    nslots: u32,
    full: usize,
    /// Preemptions of an execution, at most.
    bound: Option<usize>,
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
        assert_eq!(self.cpus.len() - runs.len(), self.full, "threads without slots");
        for (at, &(one, count)) in runs.iter().enumerate() {
            let apart = |&(other, _): &(u32, u32)| one.abs_diff(other) >= count;
            assert!(runs[at + 1..].iter().all(apart), "slot in two mappings: {runs:?}");
        }
        let taken: u64 = runs.iter().map(|&(_, nslots)| u64::from(nslots)).sum();
        assert_eq!(slots.used(), taken, "slots in use while both hold theirs");

        // Loom knows five threads in all; what is left is given back here, at the same time.
        let (aside, here) = runs.split_at(runs.len().min(4 - self.cpus.len()));
        let threads: Vec<_> = aside
            .iter()
            .map(|&(slot, nslots)| {
                let slots = Arc::clone(&slots);
                loom::thread::spawn(move || slots.give(slot, nslots))
            })
            .collect();
        for &(slot, nslots) in here {
            slots.give(slot, nslots);
        }
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

    fn holds(self, name: &str, interleave: fn(Self)) {
        explore::holds(name, self.bound, move || interleave(self));
    }

    fn is_caught(self, name: &str, interleave: fn(Self)) {
        explore::is_caught(name, self.bound, "slot", move || interleave(self));
    }
}

/// Two threads in one area.
const ONE_AREA: Model =
    Model { size: PoolSize { nslabs: 8, nareas: 1 }, cpus: &[0, 0], nslots: 2, full: 0, bound: None };
/// Both threads want all of area 0: one must steal from area 1.
const STEALING: Model =
    Model { size: PoolSize { nslabs: 256, nareas: 2 }, cpus: &[0, 0], nslots: 128, full: 0, bound: None };
/// Room for one of the two.
const EXHAUSTED: Model =
    Model { size: PoolSize { nslabs: 4, nareas: 1 }, cpus: &[0, 1], nslots: 3, full: 1, bound: None };

/// Three threads in one area, which cannot hold more.
const ONE_AREA_3: Model =
    Model { size: PoolSize { nslabs: 6, nareas: 1 }, cpus: &[0, 0, 0], nslots: 2, full: 0, bound: Some(3) };
/// Three threads, two areas: the third is turned away.
const STEALING_3: Model = Model {
    size: PoolSize { nslabs: 256, nareas: 2 },
    cpus: &[0, 1, 0],
    nslots: 128,
    full: 1,
    bound: Some(3),
};
/// Room for one of three.
const EXHAUSTED_3: Model =
    Model { size: PoolSize { nslabs: 4, nareas: 1 }, cpus: &[0, 1, 2], nslots: 3, full: 2, bound: Some(3) };

macro_rules! models {
    ($($verdict:ident $name:ident: $model:ident $way:ident $slots:ty;)*) => {
        $(
            #[test]
            fn $name() {
                $model.$verdict(stringify!($name), Model::$way::<$slots>);
            }
        )*
    };
}

type Sound = SlotAllocator<Locked>;
type WithoutLock = SlotAllocator<Unlocked>;

models! {
    holds one_area_2_threads_take_then_give: ONE_AREA interleave Sound;
    holds one_area_3_threads_bound_3_take_then_give: ONE_AREA_3 interleave Sound;
    is_caught one_area_2_threads_without_lock_is_caught: ONE_AREA interleave WithoutLock;
    is_caught one_area_3_threads_bound_3_without_lock_is_caught: ONE_AREA_3 interleave WithoutLock;
    is_caught one_area_2_threads_with_lock_dropped_before_taking_is_caught: ONE_AREA interleave DroppedBetween;
    is_caught one_area_2_threads_with_index_after_unlock_is_caught: ONE_AREA interleave IndexAfterUnlock;
    is_caught one_area_2_threads_counting_outside_is_caught: ONE_AREA interleave CountedOutside;

    holds stealing_2_areas_2_threads_take_then_give: STEALING interleave Sound;
    holds stealing_2_areas_3_threads_bound_3_take_then_give: STEALING_3 interleave Sound;
    is_caught stealing_2_areas_2_threads_without_lock_is_caught: STEALING interleave WithoutLock;
    is_caught stealing_2_areas_2_threads_with_lock_dropped_before_taking_is_caught: STEALING interleave DroppedBetween;
    is_caught stealing_2_areas_2_threads_with_index_after_unlock_is_caught: STEALING interleave IndexAfterUnlock;
    is_caught stealing_2_areas_2_threads_counting_outside_is_caught: STEALING interleave CountedOutside;

    holds exhausted_4_slots_2_threads_take_then_give: EXHAUSTED interleave Sound;
    holds exhausted_4_slots_3_threads_bound_3_take_then_give: EXHAUSTED_3 interleave Sound;
    is_caught exhausted_4_slots_2_threads_without_lock_is_caught: EXHAUSTED interleave WithoutLock;
    is_caught exhausted_4_slots_2_threads_with_lock_dropped_before_taking_is_caught: EXHAUSTED interleave DroppedBetween;
    is_caught exhausted_4_slots_2_threads_with_index_after_unlock_is_caught: EXHAUSTED interleave IndexAfterUnlock;

    holds churn_4_slots_2_threads_take_and_give: EXHAUSTED churn Sound;
    holds churn_4_slots_3_threads_bound_3_take_and_give: EXHAUSTED_3 churn Sound;
    holds churn_2_areas_2_threads_take_and_give: STEALING churn Sound;
    holds churn_2_areas_3_threads_bound_3_take_and_give: STEALING_3 churn Sound;
    is_caught churn_8_slots_2_threads_without_lock_is_caught: ONE_AREA churn WithoutLock;
    is_caught churn_8_slots_2_threads_with_lock_dropped_before_taking_is_caught: ONE_AREA churn DroppedBetween;
    is_caught churn_8_slots_2_threads_with_index_after_unlock_is_caught: ONE_AREA churn IndexAfterUnlock;
    is_caught churn_8_slots_2_threads_counting_outside_is_caught: ONE_AREA churn CountedOutside;
}
