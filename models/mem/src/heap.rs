//! The heap: typed live objects, and what their memory holds when they are gone.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use sim::cell::Cell;

use super::addr::{PhysAddr, PhysRange};
use super::content::{Content, ContentError};
use super::layout::{AnyKobject, Field, FieldInfo, Kobject, Layout, encode, trample};
use super::object::{ObjectRecord, Site};
use super::ptr::{Ptr, Raw};
use super::shadow::{Shadow, ShadowError};
use super::source::Source;

/// What is wrong with a pointer that was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// NULL, or a field of it.
    Null,
    /// A pointer without identity: made of bytes that need not have been a pointer.
    Wild,
    /// The object has been freed.
    Freed,
    /// The object lives, and is of another type.
    WrongType,
}

/// A pointer that does not lead to a living object of its type. [`Heap::record`] of the id says who allocated and
/// who freed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// What is wrong.
    pub fault: Fault,
    /// The pointer's address (kernel virtual).
    pub addr: u64,
    /// The object that was meant; 0 if unknown.
    pub id: u32,
}

impl fmt::Display for Dangling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Null => "a NULL pointer",
            Fault::Wild => "a pointer of unknown origin",
            Fault::Freed => "a pointer to a freed object",
            Fault::WrongType => "a pointer to an object of another type",
        };
        write!(f, "{what} ({:#x}, object {})", self.addr, self.id)
    }
}

impl std::error::Error for Dangling {}

/// Result of following a pointer to one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<V> {
    /// The object lives.
    Live(V),
    /// It does not, and this is what the machine would have found (or overwritten) there.
    Stale(V, Dangling),
    /// There is no memory there: the machine would have oopsed.
    Oops(Dangling),
}

impl<V> Access<V> {
    /// What the machine would go on with; `None` after an oops.
    #[must_use]
    pub fn value(self) -> Option<V> {
        match self {
            Self::Live(value) | Self::Stale(value, _) => Some(value),
            Self::Oops(_) => None,
        }
    }

    /// What there is to report.
    #[must_use]
    pub const fn dangling(&self) -> Option<Dangling> {
        match self {
            Self::Live(_) => None,
            Self::Stale(_, dangling) | Self::Oops(dangling) => Some(*dangling),
        }
    }
}

#[derive(Debug)]
struct Live {
    /// Written when it is freed: who follows a pointer to it looks whether it was.
    lives: Cell<()>,
    object: Rc<dyn AnyKobject>,
    layout: &'static Layout,
    start: PhysAddr,
}

/// Simulated memory with the objects in it: [`Content`], [`Shadow`] and the typed objects themselves.
///
/// While an object lives, its fields are the truth and the content below it is stale; reads of raw memory encode it
/// on demand, writes to raw memory decode into it. When it is freed its fields are encoded into the content, where the
/// next user overwrites them in part or in full.
#[derive(Debug)]
pub struct Heap {
    content: Content,
    shadow: Shadow,
    /// By object id.
    live: Vec<Option<Live>>,
    variant: u8,
}

impl Heap {
    /// Memory as the firmware leaves it. `variant` says which [`Layout`]s this kernel has.
    #[must_use]
    pub fn new(untouched_seed: u64, variant: u8) -> Self {
        Self { content: Content::new(untouched_seed), shadow: Shadow::new(), live: Vec::new(), variant }
    }

    /// Back to the firmware's memory, for another run, keeping allocated capacity.
    pub fn reset(&mut self, untouched_seed: u64, variant: u8) {
        self.content.reset(untouched_seed);
        self.shadow.reset();
        self.live.clear();
        self.variant = variant;
    }

    /// Provenance of all bytes. Below living objects it is stale: [`flush`](Self::flush) first.
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Owners of all pages and bytes.
    #[must_use]
    pub const fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// The shadow, to say who owns pages and slabs. Objects are added and removed through the heap.
    pub const fn shadow_mut(&mut self) -> &mut Shadow {
        &mut self.shadow
    }

    /// What is known of the object, alive or freed.
    #[must_use]
    pub fn record(&self, id: u32) -> Option<&ObjectRecord> {
        self.shadow.objects().get(id)
    }

    /// The fields of a living object: what each is, where it lies in the object, and what it holds. None if it has no
    /// fields, or does not live.
    pub fn fields(&self, id: u32) -> impl Iterator<Item = (&'static FieldInfo, u64, u64)> {
        let live = self.live.get(id as usize).and_then(Option::as_ref);
        live.into_iter().flat_map(|live| {
            let fields = live.object.fields().iter().zip(live.layout.offsets).zip(0_u8..);
            fields.map(|((info, offset), index)| (info, u64::from(*offset), live.object.load_raw(index)))
        })
    }

    /// The fields of a living object and what the models keep beside them, as text; `None` for what has no fields.
    #[must_use]
    pub fn describe(&self, id: u32) -> Option<String> {
        self.live.get(id as usize)?.as_ref().map(|live| format!("{:?}", live.object))
    }

    /// Places an object of `size` bytes (at least the layout's, more with a flexible array) at `addr`. Content is not
    /// changed: bytes that are no field keep what was there.
    ///
    /// # Errors
    /// The range is no range of memory, or another object lives there.
    pub fn alloc_object<T: Kobject>(
        &mut self,
        addr: PhysAddr,
        size: u64,
        site: Site,
        object: Rc<T>,
    ) -> Result<Ptr<T>, ShadowError> {
        let id = self.alloc_buffer(T::TYPE_NAME, PhysRange::new(addr, size), site)?;
        let slot = id as usize;
        if self.live.len() <= slot {
            self.live.resize_with(slot + 1, || None);
        }
        self.live[slot] =
            Some(Live { lives: Cell::new(()), object, layout: T::layout(self.variant), start: addr });
        Ok(Ptr::new(addr.virt(), id))
    }

    /// Enters an object that has no fields: a buffer, a stack, a foreign allocation. Returns its id.
    ///
    /// # Errors
    /// The range is no range of memory, or another object lives there.
    pub fn alloc_buffer(
        &mut self,
        type_name: &'static str,
        range: PhysRange,
        site: Site,
    ) -> Result<u32, ShadowError> {
        self.shadow.add_object(type_name, range, site)
    }

    /// Frees an object or buffer: its fields become bytes, which stay until somebody writes there.
    ///
    /// # Errors
    /// It is dead already, or never lived.
    pub fn free_object(&mut self, id: u32, site: Site) -> Result<PhysRange, ShadowError> {
        let range = self.shadow.remove_object(id, site)?;
        if let Some(live) = self.live.get_mut(id as usize).and_then(Option::take) {
            live.lives.set(());
            flush_one(&mut self.content, &live, range);
        }
        Ok(range)
    }

    /// Whether a living object is a structure, and no plain memory.
    #[must_use]
    pub fn is_structure(&self, id: u32) -> bool {
        matches!(self.live.get(id as usize), Some(Some(_)))
    }

    /// Adds the fields of a living structure that are as long as a pointer to `words`.
    #[inline]
    pub fn words_of(&self, id: u32, words: &mut Vec<u64>) {
        let Some(Some(live)) = self.live.get(id as usize) else { return };
        let fields = (0_u8..).zip(live.object.fields()).filter(|(_, field)| field.size == 8);
        words.extend(fields.map(|(index, _)| live.object.load_raw(index)));
    }

    /// The living object.
    ///
    /// # Errors
    /// The pointer does not lead to a living object of this type.
    #[inline]
    pub fn get<T: Kobject>(&self, ptr: Ptr<T>) -> Result<Rc<T>, Dangling> {
        if let Some(Some(live)) = self.live.get(ptr.id as usize) {
            live.lives.get();
            let any: Rc<dyn Any> = Rc::<dyn AnyKobject>::clone(&live.object);
            return any.downcast().map_err(|_| Dangling {
                fault: Fault::WrongType,
                addr: ptr.addr,
                id: ptr.id,
            });
        }
        Err(self.why(ptr))
    }

    /// As [`get`](Self::get), without taking a share of the object.
    ///
    /// # Errors
    /// The pointer does not lead to a living object of this type.
    #[inline]
    pub fn get_ref<T: Kobject>(&self, ptr: Ptr<T>) -> Result<&T, Dangling> {
        if let Some(Some(live)) = self.live.get(ptr.id as usize) {
            live.lives.get();
            let any: &dyn Any = &*live.object;
            let wrong = Dangling { fault: Fault::WrongType, addr: ptr.addr, id: ptr.id };
            return any.downcast_ref().ok_or(wrong);
        }
        Err(self.why(ptr))
    }

    #[cold]
    fn why<T>(&self, ptr: Ptr<T>) -> Dangling {
        let fault = if ptr.is_null() {
            Fault::Null
        } else if ptr.id == 0 {
            Fault::Wild
        } else if self.record(ptr.id).is_some_and(|record| record.alive) {
            // A buffer: memory that somebody owns, without being a structure at all.
            Fault::WrongType
        } else {
            Fault::Freed
        };
        Dangling { fault, addr: ptr.addr, id: ptr.id }
    }

    /// Reads one field, from the living object or else from what lies in its place.
    #[inline]
    pub fn load<T: Kobject, V: Raw>(&self, ptr: Ptr<T>, field: Field<T, V>) -> Access<V> {
        match self.get_ref(ptr) {
            Ok(object) => Access::Live((field.get)(object)),
            Err(dangling) => match self.field_addr(ptr, field) {
                Some(addr) => Access::Stale(V::from_raw(self.raw_read(addr, field.size)), dangling),
                None => Access::Oops(dangling),
            },
        }
    }

    /// Writes one field, in the living object or else into whatever lies in its place.
    #[inline]
    pub fn store<T: Kobject, V: Raw>(&mut self, ptr: Ptr<T>, field: Field<T, V>, value: V) -> Access<()> {
        match self.get_ref(ptr) {
            Ok(object) => {
                (field.set)(object, value);
                Access::Live(())
            }
            Err(dangling) => {
                let bytes = value.to_raw().to_le_bytes();
                let size = usize::from(field.size).min(bytes.len());
                match self.field_addr(ptr, field).map(|addr| self.raw_write(addr, &bytes[..size])) {
                    Some(Ok(_)) => Access::Stale((), dangling),
                    _ => Access::Oops(dangling),
                }
            }
        }
    }

    /// Physical address of the field in this kernel's layout, if the pointer leads into memory at all.
    #[must_use]
    pub fn field_addr<T: Kobject, V>(&self, ptr: Ptr<T>, field: Field<T, V>) -> Option<PhysAddr> {
        PhysAddr::from_virt(ptr.addr.wrapping_add(field.offset(T::layout(self.variant))))
    }

    /// Gives an address the identity of the living object of type `T` that begins there: for pointers that were made
    /// by arithmetic or read from bytes.
    #[must_use]
    pub fn adopt<T: Kobject>(&self, addr: u64) -> Option<Ptr<T>> {
        let phys = PhysAddr::from_virt(addr)?;
        let ptr = Ptr::new(addr, self.shadow.object_at(phys));
        let starts_here = self.record(ptr.id).is_some_and(|record| record.range.start == phys);
        (starts_here && self.get_ref::<T>(ptr).is_ok()).then_some(ptr)
    }

    /// The `size` (at most 8) bytes at `addr`, little-endian, as a plain load would find them.
    #[must_use]
    pub fn raw_read(&self, addr: PhysAddr, size: u16) -> u64 {
        let mut bytes = [0; 8];
        self.read_bytes(addr, &mut bytes[..usize::from(size).min(8)]);
        u64::from_le_bytes(bytes)
    }

    /// Fills `out` with the bytes at `addr`; living objects there are encoded.
    pub fn read_bytes(&self, addr: PhysAddr, out: &mut [u8]) {
        self.content.read_bytes(addr, out);
        let range = PhysRange::new(addr, out.len() as u64);
        self.shadow.for_each_object(range, |id, _| {
            let Some(Some(live)) = self.live.get(id as usize) else { return };
            let skip = live.start.0.saturating_sub(addr.0);
            let from = addr.0.saturating_sub(live.start.0);
            if let Some(part) = usize::try_from(skip).ok().and_then(|skip| out.get_mut(skip..)) {
                encode(&*live.object, live.layout, from, part);
            }
        });
    }

    /// Writes known bytes, as a plain store would. Returns the first living object of which a field changed, 0 if
    /// none: it was trampled.
    ///
    /// # Errors
    /// As [`Content::write_bytes`].
    pub fn raw_write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<u32, ContentError> {
        self.content.write_bytes(addr, bytes)?;
        Ok(self.decode(PhysRange::new(addr, bytes.len() as u64)))
    }

    /// Writes `len` bytes of `source` from its byte `offset` on, as a device or a driver fills a buffer. Returns the
    /// first living object of which a field changed, 0 if none.
    ///
    /// # Errors
    /// As [`Content::write_at`].
    #[inline]
    pub fn write_at(
        &mut self,
        addr: PhysAddr,
        len: u64,
        source: Source,
        offset: u64,
    ) -> Result<u32, ContentError> {
        self.content.write_at(addr, len, source, offset)?;
        Ok(self.decode(PhysRange::new(addr, len)))
    }

    /// Copies memory, with a snapshot of the living objects in the source. Returns the first living object of which a
    /// field changed, 0 if none.
    ///
    /// # Errors
    /// As [`Content::copy`].
    pub fn copy(&mut self, dst: PhysAddr, src: PhysAddr, len: u64) -> Result<u32, ContentError> {
        self.flush(PhysRange::new(src, len));
        self.content.copy(dst, src, len)?;
        Ok(self.decode(PhysRange::new(dst, len)))
    }

    /// Zeroes the content below an object that was just placed, whose fields are all zero: `kzalloc`.
    ///
    /// # Errors
    /// As [`Content::write`].
    pub fn clear_below(&mut self, addr: PhysAddr, len: u64) -> Result<(), ContentError> {
        self.content.write(addr, len, Source::Zero)
    }

    /// Brings the content below living objects up to date, so that extents and copies show their bytes.
    pub fn flush(&mut self, range: PhysRange) {
        let Self { content, shadow, live, .. } = self;
        shadow.for_each_object(range, |id, record| {
            if let Some(Some(live)) = live.get(id as usize) {
                flush_one(content, live, record.range);
            }
        });
    }

    /// Decodes the content of `range` into the living objects there.
    #[inline]
    fn decode(&self, range: PhysRange) -> u32 {
        let mut first = 0;
        self.shadow.for_each_object(range, |id, record| {
            let Some(Some(live)) = self.live.get(id as usize) else { return };
            // The structure is short; a flexible array behind it is no field.
            let struct_end = live.start.0 + u64::from(live.layout.size);
            let start = PhysAddr(range.start.0.max(record.range.start.0));
            let end = range.end.0.min(record.range.end.0).min(struct_end);
            let Ok(len) = usize::try_from(end.saturating_sub(start.0)) else { return };
            let changed = with_buffer(len, |bytes| {
                self.content.read_bytes(start, bytes);
                trample(&*live.object, live.layout, start.0 - live.start.0, bytes)
            });
            if changed && first == 0 {
                first = id;
            }
        });
        first
    }
}

/// Encodes the object over what lies below it.
fn flush_one(content: &mut Content, live: &Live, range: PhysRange) {
    let size = range.size().min(u64::from(live.layout.size));
    with_buffer(usize::try_from(size).unwrap_or(0), |bytes| {
        content.read_bytes(live.start, bytes);
        encode(&*live.object, live.layout, 0, bytes);
        // Cannot fail for a range that the shadow took, except when the arena is full; then the old bytes stay.
        let _ = content.write_bytes(live.start, bytes);
    });
}

/// Lends a buffer of zeroes: from the stack unless the structure is a large one.
fn with_buffer<R>(len: usize, use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut small = [0; 256];
    match small.get_mut(..len) {
        Some(bytes) => use_it(bytes),
        None => use_it(&mut vec![0; len]),
    }
}
