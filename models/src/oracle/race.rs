//! Data races on kernel objects: what KCSAN looks for, by happens-before in place of watchpoints, so that a lock that is
//! not taken shows also when nothing went wrong.
//!
//! Every access that a code path makes to a field of a living object comes here. It is plain unless the kernel marks
//! it: [`Kx::load_once`], [`Kx::store_once`]. An access that races in the kernel by design says so where it is made:
//! [`Kx::load_racy`], [`Kx::store_racy`]. The oracle knows no exception.
//!
//! What a lock protects beside the fields (lists, slots, counters that the models keep as data) has a number among the
//! labels of the object: [`Kx::looks_at`], [`Kx::changes`].
//!
//! As with KCSAN, a store that leaves what was there is no change (`CONFIG_KCSAN_REPORT_VALUE_CHANGE_ONLY`), and what
//! happens on one CPU is ordered as far as interrupts and what they interrupt are concerned
//! (`CONFIG_KCSAN_INTERRUPT_WATCHER` is off).
//!
//! Source: `kernel/kcsan/core.c`; `mm/slub.c: slab_free_hook()` for what is freed, v6.12.

use sim::sync::{Access, Accesses};

use crate::kernel::Kx;
use crate::mem::{Field, Kobject, Ptr, Raw};

/// The last accesses of the fields of all objects of a run, and of what is beside them.
#[derive(Debug, Default)]
pub struct FieldAccesses {
    /// By heap id.
    objects: Vec<Watched>,
    accesses: Vec<Accesses>,
    /// By heap id and label: few.
    beside: Vec<(u32, u8, Accesses)>,
}

/// What is kept beside the fields of an object, and is accessed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its label among those of the object.
    pub(crate) label: u8,
    /// Its name in reports.
    pub(crate) name: &'static str,
}

/// One object, and where its fields' accesses are. An object that no code path has accessed has none.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    first: u32,
    fields: &'static [&'static str],
}

impl FieldAccesses {
    #[inline]
    fn of(&mut self, id: u32, field: u8, fields: &'static [&'static str]) -> Option<&Accesses> {
        let at = match self.objects.get(id as usize) {
            Some(object) if !object.fields.is_empty() => object.first,
            _ => self.enter(id, fields),
        };
        self.accesses.get(at as usize + usize::from(field))
    }

    #[cold]
    fn enter(&mut self, id: u32, fields: &'static [&'static str]) -> u32 {
        let slot = id as usize;
        if self.objects.len() <= slot {
            self.objects.resize(slot + 1, Watched::default());
        }
        if self.accesses.is_empty() {
            // Most runs need no more.
            self.accesses.reserve(1024);
        }
        let first = u32::try_from(self.accesses.len()).unwrap_or(u32::MAX);
        self.objects[slot] = Watched { first, fields };
        self.accesses.resize_with(self.accesses.len() + fields.len(), Accesses::default);
        first
    }

    fn beside(&mut self, id: u32, label: u8) -> &Accesses {
        let found = self.beside.iter().position(|(other, nth, _)| (*other, *nth) == (id, label));
        let at = found.unwrap_or_else(|| {
            self.beside.push((id, label, Accesses::default()));
            self.beside.len() - 1
        });
        &self.beside[at].2
    }
}

impl Kx {
    /// A code path accesses a field of a living object, as part of the step that it has just taken.
    #[inline]
    pub(crate) fn accesses<T: Kobject, V>(&self, ptr: Ptr<T>, field: Field<T, V>, how: Access) {
        self.accesses_field(ptr.id, field.index, T::FULL_NAMES, how);
    }

    /// The same for all types: this is compiled once.
    fn accesses_field(&self, id: u32, field: u8, names: &'static [&'static str], how: Access) {
        let mut races = self.k.races.borrow_mut();
        let Some(accesses) = races.of(id, field, names) else { return };
        let raced = accesses.note_across_cpus(self.cx(), how, || self.label(id, field));
        if let Some(earlier) = raced {
            drop(races);
            let name = names[usize::from(field)];
            earlier.report(self.cx(), how, name, self.label(id, field), || self.about(id));
        }
    }

    /// A structure is freed: that must come after all accesses to it, marked or not.
    pub(crate) fn frees(&self, id: u32) {
        let mut field = 0;
        loop {
            let (raced, name) = {
                let races = self.k.races.borrow();
                let Some(object) = races.objects.get(id as usize) else { return };
                let Some(name) = object.fields.get(usize::from(field)) else { return };
                let accesses = &races.accesses[object.first as usize + usize::from(field)];
                (accesses.note_across_cpus(self.cx(), Access::WRITE, || self.label(id, field)), *name)
            };
            if let Some(earlier) = raced {
                earlier.report(self.cx(), Access::WRITE, name, self.label(id, field), || self.about(id));
                // One says it all.
                return;
            }
            field += 1;
        }
    }

    /// A code path looks at what is kept beside an object, as part of the step that it has just taken.
    pub(crate) fn looks_at<T>(&self, ptr: Ptr<T>, what: Beside) {
        self.beside(ptr.id, what, Access::READ);
    }

    /// A code path changes what is kept beside an object, as part of the step that it has just taken.
    pub(crate) fn changes<T>(&self, ptr: Ptr<T>, what: Beside) {
        self.beside(ptr.id, what, Access::WRITE);
    }

    fn beside(&self, id: u32, what: Beside, how: Access) {
        if self.is_first_and_alone() {
            return;
        }
        let label = || self.label(id, what.label);
        let raced = self.k.races.borrow_mut().beside(id, what.label).note_across_cpus(self.cx(), how, label);
        if let Some(earlier) = raced {
            earlier.report(self.cx(), how, what.name, label(), || self.about(id));
        }
    }

    fn about(&self, id: u32) -> Vec<(String, Vec<String>)> {
        let mut details = Vec::new();
        self.k.explain_object(id, self.sim(), &mut details);
        details
    }

    /// `READ_ONCE(ptr->field)`: races with plain stores alone.
    #[inline]
    pub async fn load_once<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>) -> V {
        self.load_as(ptr, field, Some(Access::READ_ONCE)).await
    }

    /// `WRITE_ONCE(ptr->field, value)`, or an atomic operation that orders nothing: races with plain accesses alone.
    #[inline]
    pub async fn store_once<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>, value: V) {
        self.store_as(ptr, field, value, Some(Access::WRITE_ONCE)).await;
    }

    /// A load that races in the kernel, and is meant to or does no harm there: `why` names the function and says what
    /// keeps it from harm. As `data_race()`, it is not looked at.
    #[inline]
    pub async fn load_racy<T: Kobject, V: Raw>(
        &self,
        ptr: Ptr<T>,
        field: Field<T, V>,
        why: &'static str,
    ) -> V {
        debug_assert!(!why.is_empty());
        self.load_as(ptr, field, None).await
    }

    /// The same for a store.
    #[inline]
    pub async fn store_racy<T: Kobject, V: Raw>(
        &self,
        ptr: Ptr<T>,
        field: Field<T, V>,
        value: V,
        why: &'static str,
    ) {
        debug_assert!(!why.is_empty());
        self.store_as(ptr, field, value, None).await;
    }
}
