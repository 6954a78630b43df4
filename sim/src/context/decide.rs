//! Who goes on: asks the strategy, the replayed list or the enumeration.

use super::Sim;
use super::state::NOBODY;
use crate::choices::{Decision, Offer};
use crate::schedule::View;
use crate::trace::EventKind;
use crate::{CtxId, CtxSet, Label, Name, ObjId};

impl Sim {
    /// `id` announces its step. `true` if it may take it at once; otherwise it is polled again when it was chosen.
    #[inline]
    pub(crate) fn ask(&self, id: CtxId, label: Label) -> bool {
        self.pending[id.index()].set(label);
        !self.delayed(id, label) && self.announce(id, label)
    }

    /// Lets the scheduler decide at a step of `id`. `true` if `id` itself goes on.
    #[inline]
    pub(super) fn announce(&self, id: CtxId, label: Label) -> bool {
        let eligible = self.ready.get() & !self.barred.get();
        if self.by_strategy {
            if eligible == id.bit() {
                return !self.stopped.get();
            }
            if !self.config.record {
                return self.decide_by_strategy(id, eligible);
            }
        }
        self.decide(Some(id), eligible, label.kind.word(), label.obj) == Some(id)
    }

    /// What [`Sim::decide`] does at a step in most runs: nobody records it, and the strategy alone decides.
    fn decide_by_strategy(&self, id: CtxId, eligible: u64) -> bool {
        if self.stopped.get() {
            self.chosen.set(NOBODY);
            return false;
        }
        let set = CtxSet(eligible);
        // Counting the bits would cost more than all else here.
        let next = if eligible & eligible.wrapping_sub(1) == 0 {
            set.first().map_or(NOBODY, |next| next.0)
        } else {
            self.ask_strategy(set, set.contains(id).then_some(id)).0
        };
        self.chosen.set(next);
        next == id.0
    }

    /// Chooses who goes on among `eligible` and notes it.
    pub(super) fn decide(
        &self,
        current: Option<CtxId>,
        eligible: u64,
        what: &'static str,
        obj: ObjId,
    ) -> Option<CtxId> {
        if self.stopped.get() {
            self.chosen.set(NOBODY);
            return None;
        }
        let set = CtxSet(eligible);
        let staying = current.filter(|id| set.contains(*id));
        let next = if self.searching {
            self.decide_by_search(current, set, staying, what, obj)
        } else if self.by_strategy {
            // Counting the bits would cost more than all else here.
            if eligible & eligible.wrapping_sub(1) == 0 {
                set.first()
            } else {
                Some(self.ask_strategy(set, staying))
            }
        } else {
            self.decide_named(current, set, staying, what, obj)
        };
        self.chosen.set(next.map_or(NOBODY, |id| id.0));
        if self.config.record
            && let (Some(staying), Some(next)) = (staying, next)
            && staying != next
        {
            self.event_of(staying, EventKind::Preempted { by: self.slot(next).serial.get() });
        }
        next
    }

    #[inline]
    fn ask_strategy(&self, eligible: CtxSet, current: Option<CtxId>) -> CtxId {
        let view = View { eligible, current, pending: &*self.pending, step: self.steps.get(), sim: self };
        self.decisions.set(self.decisions.get() + 1);
        let mut choices = self.choices.borrow_mut();
        let picked = self.scheduler.borrow_mut().pick(&view, choices.schedule_rng());
        debug_assert!(eligible.contains(picked), "a strategy picks among the eligible");
        picked
    }

    fn decide_named(
        &self,
        current: Option<CtxId>,
        set: CtxSet,
        staying: Option<CtxId>,
        what: &'static str,
        obj: ObjId,
    ) -> Option<CtxId> {
        let default = staying.or_else(|| set.first());
        let who = current.map_or(Name::new("idle"), |id| self.name_of(id));
        let named = self.choices.borrow().named();
        let object = if named { self.object_name(obj) } else { Name::new("") };
        if !named {
            let nth = self.choices.borrow_mut().nth_unnamed(u64::from(set.len()));
            return self.alternative(set, default, nth);
        }
        let (decision, site) = self.choices.borrow_mut().switch(who, what, object, u64::from(set.len()));
        let default = default?;
        if self.choices.borrow().keeps_questions() {
            let others = set.iter().filter(|id| *id != default);
            let names = std::iter::once(default).chain(others).map(|id| self.name_of(id)).collect();
            self.choices.borrow_mut().asked_switch(site, names);
        }
        let next = match decision {
            Decision::Strategy if set.len() > 1 => self.ask_strategy(set, staying),
            Decision::Strategy | Decision::Default => default,
            Decision::Nth(nth) => self.alternative(set, Some(default), nth)?,
            Decision::Switch(to) => {
                if let Some(id) = set.iter().find(|id| self.name_of(*id) == to) {
                    id
                } else {
                    let names: Vec<Name> = set.iter().map(|id| self.name_of(id)).collect();
                    let list: Vec<_> = names.iter().map(ToString::to_string).collect();
                    let (recorded, now) = (format!("a switch to {to}"), format!("only {}", list.join(", ")));
                    self.choices.borrow_mut().diverge(&site, recorded, now, Offer::Contexts(names));
                    default
                }
            }
        };
        if next != default {
            self.choices.borrow_mut().record_switch(site, self.name_of(next));
        }
        Some(next)
    }

    /// The n-th way to go on: 0 is the default, the others follow in slot order.
    fn alternative(&self, set: CtxSet, default: Option<CtxId>, nth: u64) -> Option<CtxId> {
        let default = default?;
        if nth == 0 {
            return Some(default);
        }
        set.iter().filter(|id| *id != default).nth(usize::try_from(nth - 1).ok()?).or(Some(default))
    }
}
