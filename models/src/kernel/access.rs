//! Loads and stores of fields of kernel objects, each a step, each asking the shadow.

use std::future::Future;

use sim::{Kind, ObjId};

use super::Kx;
use super::load::Load;
use crate::mem::{Access, Dangling, Field, Kobject, PhysAddr, Ptr, Raw};

impl Kx {
    /// The engine's label of a field of an object.
    #[inline]
    #[must_use]
    pub fn label(&self, id: u32, field: u8) -> ObjId {
        match self.k.labels.borrow().get(id as usize) {
            Some(base) if base.0 != 0 => ObjId(base.0 + u32::from(field)),
            _ => self.k.wild,
        }
    }

    /// Loads a field: `ptr->field`. Another context may run before it happens.
    ///
    /// A pointer that leads to no living object of its type is a finding; the load then gives what lies there now, as
    /// on the real machine, or ends the run in an oops if nothing does.
    #[inline]
    pub fn load<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>) -> impl Future<Output = V> {
        Load::new(self, ptr, field, Some(sim::sync::Access::READ))
    }

    /// Loads a field in some way; `None`: one that no oracle looks at.
    #[inline]
    pub(crate) fn load_as<T: Kobject, V: Raw>(
        &self,
        ptr: Ptr<T>,
        field: Field<T, V>,
        how: Option<sim::sync::Access>,
    ) -> impl Future<Output = V> {
        Load::new(self, ptr, field, how)
    }

    /// Loads a field as part of a step that was taken already.
    pub fn load_within<T: Kobject, V: Raw>(
        &self,
        ptr: Ptr<T>,
        field: Field<T, V>,
    ) -> impl Future<Output = V> {
        Load::within(self, ptr, field, Some(sim::sync::Access::READ))
    }

    /// Stores a field: `ptr->field = value`.
    #[inline]
    pub async fn store<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>, value: V) {
        self.store_as(ptr, field, value, Some(sim::sync::Access::WRITE)).await;
    }

    /// Stores a field in some way; `None`: one that no oracle looks at.
    #[inline]
    pub(crate) async fn store_as<T: Kobject, V: Raw>(
        &self,
        ptr: Ptr<T>,
        field: Field<T, V>,
        value: V,
        how: Option<sim::sync::Access>,
    ) {
        self.step(Kind::Write, self.label(ptr.id, field.index)).await;
        let spot = Spot::of(ptr, field);
        match self.k.mem.object(ptr) {
            Err(dangling) => self.stale_store(&spot, dangling).await,
            Ok(object) => {
                if let Some(how) = how
                    && (field.get)(&object).to_raw() != value.to_raw()
                {
                    self.accesses(ptr, field, how);
                }
            }
        }
        let access = self.k.mem.store(ptr, field, value);
        if let Access::Oops(dangling) = access {
            self.stale_store(&spot, dangling).await;
        }
    }

    /// Loads a field without a step: for set-up code that nobody can interfere with, and for oracles. `None` if the
    /// object does not live.
    #[must_use]
    pub fn peek<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>) -> Option<V> {
        match self.k.mem.load(ptr, field) {
            Access::Live(value) => Some(value),
            Access::Stale(..) | Access::Oops(_) => None,
        }
    }

    /// Stores a field without a step: for objects that nobody else can see yet.
    pub fn poke<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>, value: V) {
        if let Ok(object) = self.k.mem.object(ptr) {
            (field.set)(&object, value);
        }
    }

    /// A plain store of bytes to memory that need not be any object: a stray or wild write. Returns the living object
    /// that it changed, 0 if none.
    pub fn raw_write(&self, addr: PhysAddr, bytes: &[u8]) -> u32 {
        self.k.mem.borrow_mut().heap.raw_write(addr, bytes).unwrap_or(0)
    }

    /// A plain load of up to 8 bytes.
    #[must_use]
    pub fn raw_read(&self, addr: PhysAddr, size: u16) -> u64 {
        self.k.mem.borrow().heap.raw_read(addr, size)
    }
}

/// Which field of which object an access means.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Address of the object (kernel virtual).
    pub base: u64,
    /// Its heap id.
    pub id: u32,
    /// Its type.
    pub type_name: &'static str,
    /// The field.
    pub field: &'static str,
    /// Offset of the field.
    pub offset: u64,
    /// Size of the field.
    pub size: u16,
}

impl Spot {
    pub(super) fn of<T: Kobject, V>(ptr: Ptr<T>, field: Field<T, V>) -> Self {
        Self {
            base: ptr.addr,
            id: ptr.id,
            type_name: T::TYPE_NAME,
            field: field.name,
            // Layouts differ by kernel in size only where this matters; the default names the field.
            offset: field.offset(T::layout(0)),
            size: field.size,
        }
    }

    /// Address of the field.
    #[must_use]
    pub const fn addr(&self) -> u64 {
        self.base.wrapping_add(self.offset)
    }
}

impl Kx {
    pub(super) async fn stale_load(&self, spot: &Spot, dangling: Dangling, value: u64) -> u64 {
        self.report_dangling(spot, dangling, "Read");
        if self.k.image.mapped(spot.addr()).is_none() {
            self.page_fault(spot.addr(), "read").await;
        }
        value
    }

    async fn stale_store(&self, spot: &Spot, dangling: Dangling) {
        self.report_dangling(spot, dangling, "Write");
        if self.k.image.writable(spot.addr()).is_none() {
            self.page_fault(spot.addr(), "write").await;
        }
    }
}
