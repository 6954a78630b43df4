//! What a search is told of a run: where one transition ends and the next begins, and who waits when nobody can go on.

use super::Sim;
use super::state::{Wait, ctx};
use crate::explore::dpor::{Moment, Offer, Waiting};
use crate::probe;
use crate::{Class, CtxId, CtxSet, Name, ObjId};

impl Sim {
    /// A transition ended; the search says who begins the next one.
    pub(super) fn decide_by_search(
        &self,
        current: Option<CtxId>,
        set: CtxSet,
        staying: Option<CtxId>,
        what: &'static str,
        obj: ObjId,
    ) -> Option<CtxId> {
        let default = staying.or_else(|| set.first());
        let named = self.choices.borrow().named();
        let site = named.then(|| {
            let who = current.map_or(Name::new("idle"), |id| self.name_of(id));
            let object = self.object_name(obj);
            self.choices.borrow_mut().switch(who, what, object, u64::from(set.len())).1
        });
        let next = {
            let mut choices = self.choices.borrow_mut();
            let moment = self.moment();
            let search = choices.search()?;
            let offer =
                Offer { eligible: set.0, barred: self.barred.get(), staying, focused: self.focused.get() };
            let next = search.decide(&moment, &offer);
            if set.is_empty() {
                return None;
            }
            if let Some(next) = next {
                search.begins(next, self.cpu_for_search(next), self.cpu_state(next));
            }
            next
        };
        let Some(next) = next else {
            self.abandoned.set(true);
            self.stopped.set(true);
            return None;
        };
        if let Some(site) = site
            && Some(next) != default
        {
            self.choices.borrow_mut().record_switch(site, self.name_of(next));
        }
        Some(next)
    }

    fn moment(&self) -> Moment {
        let (now, step) = (self.now.get(), self.config.step_ns);
        let ends = self.injection_ends.get();
        Moment {
            now,
            near: now + step >= self.next_deadline.get()
                || (now < ends && now + step >= ends)
                || self.steps.get() + 1 >= self.config.max_steps,
            cpu_state: ctx(self.chosen.get()).map_or(0, |id| self.cpu_state(id)),
        }
    }

    fn cpu_for_search(&self, id: CtxId) -> Option<u8> {
        let slot = self.slot(id);
        (slot.class.get() != Class::Device).then(|| slot.cpu.get())
    }

    /// Nobody can go on and the clock is about to: those who wait for a lock or for their CPU could have come earlier.
    pub(super) fn search_waits(&self) {
        let waiting = self.waiting();
        let moment = self.moment();
        if let Some(search) = self.choices.borrow_mut().search() {
            search.close(&moment);
            search.waits(&waiting);
        }
    }

    /// The run is over.
    pub(super) fn search_ends(&self) {
        let waiting = self.waiting();
        let moment = self.moment();
        let eligible = self.ready.get() & !self.barred.get();
        if let Some(search) = self.choices.borrow_mut().search() {
            search.close(&moment);
            if !self.abandoned.get() {
                search.ends(&waiting, eligible);
            }
        }
        probe::listen(false);
    }

    fn waiting(&self) -> Vec<Waiting> {
        self.alive()
            .iter()
            .map(|id| Waiting {
                id,
                lock: match self.wait_of(id) {
                    Wait::Object { obj, .. } => Some(obj),
                    Wait::None => Some(self.pending[id.index()].get().obj),
                    Wait::Clock(_) | Wait::Forever { .. } => None,
                },
                cpu: self.cpu_for_search(id),
            })
            .collect()
    }

    /// A context was started: whether the search varies its order.
    pub(super) fn search_meets(&self, id: CtxId, name: Name) {
        let varied = self.choices.borrow_mut().search().is_none_or(|search| search.concerns(name));
        let others = self.focused.get() & !id.bit();
        self.focused.set(if varied { others | id.bit() } else { others });
    }

    /// The function was entered: a search may begin here.
    pub(super) fn search_enters(&self, function: &'static str) {
        if let Some(search) = self.choices.borrow_mut().search() {
            search.entered(function);
        }
    }
}
