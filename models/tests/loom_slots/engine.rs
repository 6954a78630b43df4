//! The same programs under the project's own engine, every schedule once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use models::swiotlb::{AreaState, Search, SearchPlan, SlotAllocator};
use sim::choices::{Choices, Enumeration, Mode};
use sim::schedule::Strategy;
use sim::sync::{LockClass, SpinLock};
use sim::{Cx, Ended, Kind, ObjId, RunConfig, Sim, SpawnSpec};

use crate::one_pool::plan_for;
use crate::outcomes::{Locking, Outcome, Program};

const IO_TLB_AREA: LockClass = LockClass::new(0, "io_tlb_area.lock");

/// An area and the simulated lock beside it.
struct SimArea {
    lock: SpinLock,
    obj: ObjId,
    state: RefCell<AreaState>,
}

impl SimArea {
    async fn with<R>(&self, cx: &Cx, locking: Locking, step: impl FnOnce(&mut AreaState) -> R) -> R {
        if locking == Locking::Missing {
            cx.step(Kind::Read, self.obj).await;
            let mut copy = self.state.borrow().clone();
            let result = step(&mut copy);
            cx.step(Kind::Write, self.obj).await;
            *self.state.borrow_mut() = copy;
            return result;
        }
        self.lock.lock(cx).await;
        let result = step(&mut self.state.borrow_mut());
        self.lock.unlock(cx);
        result
    }

    async fn find_slots(&self, cx: &Cx, locking: Locking, plan: &SearchPlan) -> Search {
        if locking != Locking::Dropped {
            return self.with(cx, locking, |state| state.find_slots(plan)).await;
        }
        let found = self.with(cx, locking, |state| state.search(plan)).await;
        if let Search::Found { slot, .. } = found {
            self.with(cx, locking, |state| state.take(plan, slot)).await;
        }
        found
    }
}

/// What the threads of one run share.
struct World {
    slots: SlotAllocator<SimArea>,
    got: RefCell<Vec<Option<u32>>>,
}

async fn thread(cx: Cx, program: Program, world: Rc<World>, thread: usize) {
    for (first, area) in world.slots.order(program.cpus[thread]) {
        let plan = plan_for(program.nslots).counted_from(first);
        if let Search::Found { slot, nslots } = area.find_slots(&cx, program.locking, &plan).await {
            world.got.borrow_mut()[thread] = Some(first + slot);
            if program.gives {
                area.with(&cx, program.locking, |state| state.release(slot, nslots)).await;
            }
            return;
        }
    }
}

/// All outcomes of a program, and the number of schedules that lead to them.
pub(crate) fn explore(program: Program) -> (BTreeSet<Outcome>, usize) {
    let mut outcomes = BTreeSet::new();
    let mut schedules = 0;
    let mut walk = Enumeration::new();
    loop {
        let cpus = u8::try_from(program.cpus.len()).unwrap();
        let config = RunConfig { cpus, max_steps: 10_000, ..RunConfig::default() };
        let strategy = Strategy::RoundRobin.build(50, |_| 0);
        let sim = Sim::new(config, Choices::new(Mode::Enumerate(walk), false), strategy);
        let kept = Rc::new(RefCell::new(None));
        let world = Rc::clone(&kept);
        sim.spawn(SpawnSpec::task("root", 0), move |cx| async move {
            let area = |state| SimArea {
                lock: SpinLock::new(&cx, IO_TLB_AREA),
                obj: cx.sim().object("area"),
                state: RefCell::new(state),
            };
            let shared = Rc::new(World {
                slots: SlotAllocator::with_locks(program.size, true, area).unwrap(),
                got: RefCell::new(vec![None; program.cpus.len()]),
            });
            for at in 0..program.cpus.len() {
                let shared = Rc::clone(&shared);
                let spec = SpawnSpec::task("thread", u8::try_from(at).unwrap());
                cx.spawn(spec, move |cx| thread(cx, program, shared, at));
            }
            *world.borrow_mut() = Some(shared);
        });
        let end = sim.run();
        assert_eq!((end.ended, end.findings.len()), (Ended::Done, 0), "{:?}", end.findings);
        let world = kept.take().expect("the run began");
        let areas = world.slots.order(0);
        let used = areas.map(|(_, area)| area.state.borrow().area().used()).fold(0, u64::wrapping_add);
        outcomes.insert(Outcome { slots: world.got.take(), used: crate::outcomes::low32(used) });
        schedules += 1;
        assert!(schedules < 500_000, "the program is too large to be enumerated");
        walk = end.choices.into_enumeration().expect("the run was enumerated");
        if !walk.advance() {
            return (outcomes, schedules);
        }
    }
}
