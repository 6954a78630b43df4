//! Who holds pointers to what: noted whenever a pointer is stored in a kernel object.

use super::{Kernel, Kx};
use crate::mem::{Field, Kobject, Ptr, Raw, Site};

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
            .borrow()
            .iter()
            .filter(|holder| holder.target == target && target != 0)
            .copied()
            .collect()
    }

    /// Since when the field of an object holds what it holds.
    #[must_use]
    pub fn held_since(&self, object: u32, field: &str) -> Option<Site> {
        self.holders.borrow().iter().find(|h| h.object == object && h.field == field).map(|h| h.since)
    }

    pub(super) fn note_holder(&self, holder: Holder) {
        let mut holders = self.holders.borrow_mut();
        let same = holders
            .iter()
            .position(|h| h.object == holder.object && h.field == holder.field && h.holder == holder.holder);
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
