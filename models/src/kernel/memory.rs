//! The one way to simulated memory, which tells a search what is looked at and what is changed.

use std::cell::{self, Ref, RefMut};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use sim::ObjId;
use sim::probe::{Op, of_model, touch};

use crate::mem::{self, Access, Dangling, Field, Kobject, Ptr, Raw};
use crate::memblock::Memblock;

/// Simulated memory and those who manage it. A worker keeps it from run to run.
#[derive(Debug)]
pub struct Memory {
    /// Pages, slabs, objects, content, owners.
    pub ram: mem::Memory,
    /// The boot-time allocator.
    pub memblock: Memblock,
}

impl Deref for Memory {
    type Target = mem::Memory;

    fn deref(&self) -> &Self::Target {
        &self.ram
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.ram
    }
}

/// All of memory, as one variable: whoever asks for it in general may do anything to it.
const ALL: ObjId = of_model(0);

/// The memory of one run. What is asked of it in general counts as a look at all of it, or as a change of all of it.
///
/// The fields of living objects are cells of their own, and so is whether an object lives: who follows a pointer to one
/// does not get in the way of those who allocate and write elsewhere.
#[derive(Debug)]
pub struct MemoryCell(cell::RefCell<Memory>);

impl MemoryCell {
    pub(super) const fn new(memory: Memory) -> Self {
        Self(cell::RefCell::new(memory))
    }

    /// The memory, when the run is over.
    pub(crate) fn into_inner(self) -> Memory {
        self.0.into_inner()
    }

    /// Looks at anything.
    ///
    /// # Panics
    /// If it is being changed.
    #[inline]
    pub fn borrow(&self) -> Ref<'_, Memory> {
        touch(ALL, Op::Read);
        self.0.borrow()
    }

    /// Changes anything.
    ///
    /// # Panics
    /// If it is being looked at.
    #[inline]
    pub fn borrow_mut(&self) -> RefMut<'_, Memory> {
        touch(ALL, Op::Write);
        self.0.borrow_mut()
    }

    /// The living object to which a pointer leads.
    ///
    /// # Errors
    /// It leads to no living object of this type.
    #[inline]
    pub fn object<T: Kobject>(&self, ptr: Ptr<T>) -> Result<Rc<T>, Dangling> {
        let found = self.0.borrow().heap.get(ptr);
        if found.is_err() {
            touch(ALL, Op::Read);
        }
        found
    }

    /// Looks into the living object to which a pointer leads; cheaper than a share of it.
    ///
    /// # Errors
    /// It leads to no living object of this type.
    #[inline]
    pub(crate) fn look<T: Kobject, R>(&self, ptr: Ptr<T>, look: impl FnOnce(&T) -> R) -> Result<R, Dangling> {
        let found = self.0.borrow().heap.get_ref(ptr).map(look);
        if found.is_err() {
            touch(ALL, Op::Read);
        }
        found
    }

    /// Reads a field: [`mem::Heap::load`].
    #[inline]
    pub(super) fn load<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>) -> Access<V> {
        let access = self.0.borrow().heap.load(ptr, field);
        if !matches!(access, Access::Live(_)) {
            touch(ALL, Op::Read);
        }
        access
    }

    /// Writes a field: [`mem::Heap::store`].
    #[inline]
    pub(super) fn store<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>, value: V) -> Access<()> {
        let access = self.0.borrow_mut().heap.store(ptr, field, value);
        if !matches!(access, Access::Live(())) {
            touch(ALL, Op::Write);
        }
        access
    }
}
