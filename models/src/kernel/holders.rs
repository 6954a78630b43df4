//! Who holds pointers to what: noted whenever a pointer is stored in a kernel object.

use sim::cell::RefCell;

use super::{Kernel, Kx};
use crate::mem::{Field, Kobject, Ptr, Raw, Site};

/// Pointers that are stored, and those that were.
#[derive(Debug, Default)]
pub(super) struct Holders {
    now: RefCell<Vec<Holder>>,
    /// What was overwritten or cleared: the holder as it was, and who did so.
    let_go: RefCell<Vec<(Holder, Site)>>,
}

/// A pointer stored in an object or a global variable.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The object that holds it; 0 for a global variable.
    pub object: u32,
    /// Type of that object; the variable's name for a global.
    pub holder: &'static str,
    /// The field.
    pub field: &'static str,
    /// The object pointed at.
    pub target: u32,
    /// Since when, and who stored it.
    pub since: Site,
}

impl Kernel {
    /// Everything that still points at `target`, in the order in which the pointers were stored.
    #[must_use]
    pub fn holders_of(&self, target: u32) -> Vec<Holder> {
        self.holders
            .now
            .borrow()
            .iter()
            .filter(|holder| holder.target == target && target != 0)
            .copied()
            .collect()
    }

    /// Objects that live although the last pointer to them was overwritten or cleared: what that pointer was, and who
    /// did it. Pointers in objects that are gone do not count.
    #[must_use]
    pub fn forgotten(&self) -> Vec<(Holder, Site)> {
        let mem = self.mem.borrow();
        let alive = |id: u32| mem.heap.record(id).is_some_and(|record| record.alive);
        let held = |target: u32| {
            let holders = self.holders.now.borrow();
            holders
                .iter()
                .any(|holder| holder.target == target && (holder.object == 0 || alive(holder.object)))
        };
        let mut forgotten: Vec<(Holder, Site)> = Vec::new();
        for (holder, by) in self.holders.let_go.borrow().iter() {
            let known = forgotten.iter().any(|(known, _)| known.target == holder.target);
            if !known && alive(holder.target) && !held(holder.target) {
                forgotten.push((*holder, *by));
            }
        }
        forgotten
    }

    /// Since when the field of an object holds what it holds.
    #[must_use]
    pub fn held_since(&self, object: u32, field: &str) -> Option<Site> {
        self.holders.now.borrow().iter().find(|h| h.object == object && h.field == field).map(|h| h.since)
    }

    /// Who holds what: the object, its field, and what that points at.
    pub(crate) fn holdings(&self) -> Vec<(u32, &'static str, u32)> {
        let mut list: Vec<_> = self
            .holders
            .now
            .borrow()
            .iter()
            .map(|h| (h.object, if h.object == 0 { h.holder } else { h.field }, h.target))
            .collect();
        list.sort_unstable();
        list
    }

    pub(super) fn note_holder(&self, holder: Holder) {
        let mut holders = self.holders.now.borrow_mut();
        let same = holders
            .iter()
            .position(|h| h.object == holder.object && h.field == holder.field && h.holder == holder.holder);
        if let Some(at) = same
            && holders[at].target != holder.target
        {
            self.holders.let_go.borrow_mut().push((holders[at], holder.since));
        }
        match (same, holder.target) {
            (Some(at), 0) => {
                holders.remove(at);
            }
            (Some(at), _) => holders[at] = holder,
            (None, 0) => {}
            (None, _) => holders.push(holder),
        }
    }
}

impl Kx {
    /// Stores a pointer in a field of an object, and notes who holds it.
    pub async fn store_ptr<T: Kobject, U: Kobject>(&self, ptr: Ptr<T>, field: Field<T, Ptr<U>>, value: Ptr<U>)
    where
        Ptr<U>: Raw,
    {
        self.store(ptr, field, value).await;
        self.k.note_holder(Holder {
            object: ptr.id,
            holder: T::TYPE_NAME,
            field: field.name,
            target: value.id,
            since: self.site(),
        });
    }

    /// Notes that a global variable now holds a pointer.
    pub fn note_global(&self, variable: &'static str, target: u32) {
        self.k.note_holder(Holder { object: 0, holder: variable, field: "", target, since: self.site() });
    }
}
