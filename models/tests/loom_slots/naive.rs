//! The allocator written down once more, as naively as can be, and explored by stateright.

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property, StateRecorder};

use crate::outcomes::{Locking, Outcome, Program};

/// An area of at most 128 slots: a bit for each that is taken, and where the next search begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Area {
    taken: u128,
    index: u32,
    used: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// About to look at the n-th area that it tries.
    Trying(u32),
    /// Without a lock: has copied that area and changed the copy, having found a slot in it, perhaps.
    Changed(u32, Area, Option<u32>),
    /// With the lock dropped: has found a slot in that area, and not taken it yet.
    Found(u32, u32),
    /// Has slots of that area, and is to give them back.
    Giving(u32, u32),
    /// The same without a lock.
    Given(u32, Area),
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    areas: Vec<Area>,
    threads: Vec<(At, Option<u32>)>,
}

impl Program {
    fn area_nslabs(&self) -> u32 {
        self.size.nslabs / self.size.nareas
    }

    fn run(&self, slot: u32) -> u128 {
        (0..self.nslots).fold(0, |bits, at| bits | 1 << (slot + at))
    }

    /// Walks from the index as the kernel does; a mapping of two slots and more begins at an even one.
    fn search(&self, area: &Area) -> Option<u32> {
        let nslabs = self.area_nslabs();
        let stride = if self.nslots >= 2 { 2 } else { 1 };
        if self.nslots > nslabs - area.used {
            return None;
        }
        let (mut index, mut checked) = (area.index, 0);
        while checked < nslabs {
            let step = if index % stride != 0 { 1 } else { stride };
            if index % stride == 0 && index + self.nslots <= nslabs && area.taken & self.run(index) == 0 {
                return Some(index);
            }
            index = if index + step >= nslabs { 0 } else { index + step };
            checked += step;
        }
        None
    }

    fn take(&self, area: &mut Area, slot: u32) {
        area.taken |= self.run(slot);
        area.used += self.nslots;
        let next = slot + self.nslots;
        area.index = if next >= self.area_nslabs() { 0 } else { next };
    }

    fn give(&self, area: &mut Area, slot: u32) {
        area.taken &= !self.run(slot);
        area.used = area.used.wrapping_sub(self.nslots);
    }

    fn tries(&self, thread: usize, nth: u32) -> usize {
        (self.cpus[thread] + nth as usize) % self.size.nareas as usize
    }

    /// What a thread is when it was done with an area.
    fn after(&self, thread: usize, nth: u32, slot: Option<u32>) -> (At, Option<u32>) {
        match slot {
            Some(slot) => {
                let at = if self.gives { At::Giving(nth, slot) } else { At::Ended };
                let first = u32::try_from(self.tries(thread, nth)).unwrap() * self.area_nslabs();
                (at, Some(first + slot))
            }
            None if nth + 1 < self.size.nareas => (At::Trying(nth + 1), None),
            None => (At::Ended, None),
        }
    }
}

impl Model for Program {
    type State = State;
    type Action = usize;

    fn init_states(&self) -> Vec<State> {
        let areas = vec![Area::default(); self.size.nareas as usize];
        vec![State { areas, threads: vec![(At::Trying(0), None); self.cpus.len()] }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<usize>) {
        actions.extend((0..state.threads.len()).filter(|&thread| state.threads[thread].0 != At::Ended));
    }

    fn next_state(&self, last: &State, thread: usize) -> Option<State> {
        let mut state = last.clone();
        let (at, got) = state.threads[thread];
        state.threads[thread] = match at {
            At::Trying(nth) => {
                let area = &mut state.areas[self.tries(thread, nth)];
                let slot = self.search(area);
                match (self.locking, slot) {
                    (Locking::Dropped, Some(slot)) => (At::Found(nth, slot), got),
                    (Locking::Missing, _) => {
                        let mut copy = *area;
                        if let Some(slot) = slot {
                            self.take(&mut copy, slot);
                        }
                        (At::Changed(nth, copy, slot), got)
                    }
                    (Locking::Held | Locking::Dropped, _) => {
                        if let Some(slot) = slot {
                            self.take(area, slot);
                        }
                        self.after(thread, nth, slot)
                    }
                }
            }
            At::Changed(nth, copy, slot) => {
                state.areas[self.tries(thread, nth)] = copy;
                self.after(thread, nth, slot)
            }
            At::Found(nth, slot) => {
                self.take(&mut state.areas[self.tries(thread, nth)], slot);
                self.after(thread, nth, Some(slot))
            }
            At::Giving(nth, slot) => {
                let area = &mut state.areas[self.tries(thread, nth)];
                if self.locking == Locking::Missing {
                    let mut copy = *area;
                    self.give(&mut copy, slot);
                    (At::Given(nth, copy), got)
                } else {
                    self.give(area, slot);
                    (At::Ended, got)
                }
            }
            At::Given(nth, copy) => {
                state.areas[self.tries(thread, nth)] = copy;
                (At::Ended, got)
            }
            At::Ended => return None,
        };
        Some(state)
    }

    /// Something has to be checked, or nothing is explored.
    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("threads stay", |program: &Self, state: &State| {
            state.threads.len() == program.cpus.len()
        })]
    }
}

/// All outcomes of a program, and the number of states that lead to them.
pub(crate) fn explore(program: Program) -> (BTreeSet<Outcome>, usize) {
    let (recorder, states) = StateRecorder::new_with_accessor();
    let checker = program.checker().visitor(recorder).spawn_bfs().join();
    checker.assert_properties();
    let ended = |state: &State| state.threads.iter().all(|&(at, _)| at == At::Ended);
    let outcome = |state: State| Outcome {
        slots: state.threads.iter().map(|&(_, got)| got).collect(),
        used: state.areas.iter().map(|area| area.used).fold(0, u32::wrapping_add),
    };
    (states().into_iter().filter(ended).map(outcome).collect(), checker.unique_state_count())
}
