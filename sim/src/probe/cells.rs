//! Cells that tell a search who looks into them and who changes them: see [`crate::cell`].

use std::cell::{self, Ref, RefMut};
use std::fmt;

use super::{Access, Op, WORLD, note, on};
use crate::ObjId;

/// Ids of cells begin here; those of objects are below, those of the engine above.
pub(crate) const FIRST_CELL: u32 = 1 << 30;

thread_local! {
    /// How many cells were made on this thread in runs that somebody listened to, and how many before the present run.
    static MADE: cell::Cell<(u64, u64)> = const { cell::Cell::new((1, 1)) };
}

/// A run begins: cells are numbered from 0 on again.
pub(super) fn begin_run() {
    let (made, _) = MADE.get();
    MADE.set((made, made));
}

/// Which variable a cell is to the search. 0 for cells that were made while nobody listened, which all count as one.
#[derive(Clone, Copy)]
struct Key(u64);

impl Key {
    #[inline]
    fn new() -> Self {
        if on() { Self::fresh() } else { Self(0) }
    }

    #[cold]
    fn fresh() -> Self {
        // Numbers are given out in order: who makes cells does not commute with whoever else does.
        super::touch(super::OBJECTS, Op::Write);
        let (made, base) = MADE.get();
        MADE.set((made + 1, base));
        Self(made)
    }

    #[inline]
    fn touch(self, op: Op) {
        if on() {
            self.tell(op);
        }
    }

    #[cold]
    fn tell(self, op: Op) {
        let (_, base) = MADE.get();
        let obj = if self.0 == 0 {
            WORLD
        } else {
            let nth = self.0.checked_sub(base).and_then(|nth| u32::try_from(nth).ok());
            // The same cell under another number in the next run would hide what does not commute.
            let Some(nth) = nth else { panic!("a cell outlived its run: it is to be made by kept()") };
            ObjId(FIRST_CELL + nth.min(FIRST_CELL - 1))
        };
        note(Access { obj, op });
    }
}

/// [`std::cell::Cell`], telling.
pub struct Cell<T> {
    key: Key,
    cell: cell::Cell<T>,
}

impl<T> Cell<T> {
    /// A cell with this value.
    #[inline]
    pub fn new(value: T) -> Self {
        Self { key: Key::new(), cell: cell::Cell::new(value) }
    }

    /// Puts a value in.
    #[inline]
    pub fn set(&self, value: T) {
        self.key.touch(Op::Write);
        self.cell.set(value);
    }

    /// Puts a value in and returns the former one.
    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.key.touch(Op::Write);
        self.cell.replace(value)
    }
}

impl<T: Copy> Cell<T> {
    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T {
        self.key.touch(Op::Read);
        self.cell.get()
    }
}

impl<T: Default> Cell<T> {
    /// Takes the value and leaves the default one.
    #[inline]
    pub fn take(&self) -> T {
        self.replace(T::default())
    }
}

impl<T: Default> Default for Cell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.touch(Op::Read);
        self.cell.fmt(f)
    }
}

/// [`std::cell::RefCell`], telling: a borrow is a look, a mutable borrow a change.
pub struct RefCell<T> {
    key: Key,
    cell: cell::RefCell<T>,
}

impl<T> RefCell<T> {
    /// A cell with this value.
    #[inline]
    pub fn new(value: T) -> Self {
        Self { key: Key::new(), cell: cell::RefCell::new(value) }
    }

    /// A cell that may be kept from run to run. All of these count as one variable.
    #[inline]
    pub const fn kept(value: T) -> Self {
        Self { key: Key(0), cell: cell::RefCell::new(value) }
    }

    /// Looks in.
    ///
    /// # Panics
    /// If it is mutably borrowed.
    #[inline]
    pub fn borrow(&self) -> Ref<'_, T> {
        self.key.touch(Op::Read);
        self.cell.borrow()
    }

    /// Changes what is in it.
    ///
    /// # Panics
    /// If it is borrowed.
    #[inline]
    pub fn borrow_mut(&self) -> RefMut<'_, T> {
        self.key.touch(Op::Write);
        self.cell.borrow_mut()
    }

    /// Changes what is in it, in a way that commutes with all other changes that give the same `what`: a counter that
    /// is added to, a set that is added to.
    ///
    /// # Panics
    /// If it is borrowed.
    #[inline]
    pub fn borrow_for(&self, what: u32) -> RefMut<'_, T> {
        self.key.touch(Op::Same(what));
        self.cell.borrow_mut()
    }

    /// Puts a value in and returns the former one.
    ///
    /// # Panics
    /// If it is borrowed.
    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.key.touch(Op::Write);
        self.cell.replace(value)
    }

    /// What nobody else can see: no change for others.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.cell.get_mut()
    }

    /// What was in it.
    #[inline]
    pub fn into_inner(self) -> T {
        self.cell.into_inner()
    }
}

impl<T: Default> RefCell<T> {
    /// Takes the value and leaves the default one.
    ///
    /// # Panics
    /// If it is borrowed.
    pub fn take(&self) -> T {
        self.key.touch(Op::Write);
        self.cell.take()
    }
}

impl<T: Default> Default for RefCell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for RefCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.touch(Op::Read);
        self.cell.fmt(f)
    }
}

/// [`std::cell::OnceCell`], telling.
pub struct OnceCell<T> {
    key: Key,
    cell: cell::OnceCell<T>,
}

impl<T> OnceCell<T> {
    /// An empty cell.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self { key: Key::new(), cell: cell::OnceCell::new() }
    }

    /// What is in it.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.key.touch(Op::Read);
        self.cell.get()
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// There is one already: the new one comes back.
    #[inline]
    pub fn set(&self, value: T) -> Result<(), T> {
        self.key.touch(Op::Write);
        self.cell.set(value)
    }

    /// What is in it, made now if there is nothing yet.
    #[inline]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        // Only the first one changes it, and all find the same.
        self.key.touch(if self.cell.get().is_some() { Op::Read } else { Op::Write });
        self.cell.get_or_init(make)
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.touch(Op::Read);
        self.cell.fmt(f)
    }
}
