//! Allocation of pages and slab objects, and the oracle that watches what is freed.

use std::rc::Rc;

use sim::choices::Stream;
use sim::{Draft, Kind, ObjId};

use super::{Kernel, Kx};
use crate::mem::{
    Gfp, Kobject, MemoryError, PhysAddr, PhysRange, Ptr, Raw, ShadowError, SlabContext, Source,
};
use crate::oracle::check_no_slab;

/// How memory is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GfpFlags {
    /// From which zone down.
    pub zone: Gfp,
    /// Whether the request may not sleep (`GFP_ATOMIC`).
    pub atomic: bool,
    /// Whether the memory comes zeroed (`__GFP_ZERO`).
    pub zero: bool,
    /// Whether injection spares it. The core's own small requests that may sleep do not fail in practice, and what
    /// would follow if they did is not what drivers are tested for.
    pub spared: bool,
}

impl GfpFlags {
    /// `GFP_KERNEL`.
    pub const KERNEL: Self = Self { zone: Gfp::Kernel, atomic: false, zero: false, spared: false };
    /// `GFP_ATOMIC`.
    pub const ATOMIC: Self = Self { atomic: true, ..Self::KERNEL };
    /// `GFP_NOWAIT`.
    pub const NOWAIT: Self = Self { atomic: true, ..Self::KERNEL };
    /// `GFP_KERNEL | __GFP_ZERO`, as the core asks for its own objects.
    pub const ZEROED: Self = Self { zero: true, spared: true, ..Self::KERNEL };
}

/// There was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Labels of an object: its fields, and up to the end what the models keep beside it.
const LABELS: u32 = 32;

impl Kernel {
    /// Gives a new object its engine labels.
    pub(super) fn enter_labels<T: Kobject>(&self, sim: &sim::Sim, id: u32) {
        let (type_name, parts) = (T::TYPE_NAME, T::FULL_NAMES);
        let mut labels = self.labels.borrow_mut();
        let slot = id as usize;
        if labels.len() <= slot {
            labels.resize(slot + 1, ObjId::NONE);
        }
        labels[slot] = sim.objects_with_parts(type_name, parts, LABELS);
    }

    /// The engine's labels of an object: the first, and one past the last; the same twice if it has none.
    #[must_use]
    pub fn labels_of(&self, id: u32) -> (ObjId, ObjId) {
        match self.labels.borrow().get(id as usize) {
            Some(first) if *first != ObjId::NONE => (*first, ObjId(first.0 + LABELS)),
            _ => (ObjId::NONE, ObjId::NONE),
        }
    }

    /// The heap's id of the object that has this label; 0 if none has.
    #[must_use]
    pub fn object_labelled(&self, label: ObjId) -> u32 {
        let has = |first: &ObjId| *first != ObjId::NONE && *first <= label && label.0 - first.0 < LABELS;
        let at = self.labels.borrow().iter().position(has);
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0)
    }
}

impl Kx {
    pub(super) fn note_stack(&self, id: u32, free: bool) {
        if self.k.details {
            let frames = self.frames();
            let mut stacks = self.k.stacks.borrow_mut();
            let stacks = stacks.entry(id).or_default();
            *(if free { &mut stacks.free } else { &mut stacks.alloc }) = frames;
        }
    }

    /// Whether an allocation is to fail, by injection.
    pub(super) fn allocation_fails(&self, flags: GfpFlags) -> bool {
        if flags.spared {
            return false;
        }
        let draws = &self.k.draws;
        if draws.alloc_fail > 0 && self.chance(Stream::Injection, "allocation fails", draws.alloc_fail) {
            self.injected(|| "an allocation fails".to_owned());
            return true;
        }
        if flags.atomic
            && draws.memory_pressure > 0
            && self.chance(Stream::Injection, "memory pressure", draws.memory_pressure)
        {
            self.injected(|| "memory pressure: an atomic allocation fails".to_owned());
            return true;
        }
        false
    }

    /// Takes 2^order pages (`alloc_pages`) for something called `what`.
    ///
    /// # Errors
    /// There are none, or the failure was injected.
    pub async fn alloc_pages(
        &self,
        what: &'static str,
        order: u8,
        flags: GfpFlags,
    ) -> Result<(PhysAddr, u32), NoMemory> {
        if !flags.atomic {
            self.might_sleep();
        }
        self.step(Kind::Alloc, self.k.wild).await;
        if self.allocation_fails(flags) {
            return Err(NoMemory);
        }
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let addr = mem.alloc_pages(order, self.slab_context(flags), site).ok().flatten().ok_or(NoMemory)?;
        let range = PhysRange::new(addr, 4096 << order);
        let entered = mem.heap.alloc_buffer(what, range, site);
        let id = entered.unwrap_or(0);
        if flags.zero || self.k.profile().config.init_on_alloc {
            let _ = mem.heap.write_at(addr, range.size(), Source::Zero, 0);
        }
        drop(mem);
        check_no_slab(self, addr);
        self.sim().mix(addr.0);
        if let Err(ShadowError::Overlap { existing }) = entered {
            self.given_twice(what, existing);
        }
        self.note_stack(id, false);
        self.note_reuse(range, what);
        self.took_memory(addr, range.size(), what);
        Ok((addr, id))
    }

    /// An allocator has handed out memory that is somebody's.
    fn given_twice(&self, what: &str, existing: u32) {
        let Some(record) = self.k.mem.borrow().heap.record(existing).cloned() else { return };
        let title = format!(
            "memory of a living {} at {} is given out again in {}, as {what}",
            record.type_name,
            record.range.start,
            self.function()
        );
        let draft = Draft::warning("overlapping-owners", title).object(record.type_name);
        self.report(draft, || {
            let mut details = Vec::new();
            self.k.explain_object(existing, self.sim(), &mut details);
            details
        });
    }

    /// For the trace: whose memory is used again.
    fn note_reuse(&self, range: PhysRange, what: &'static str) {
        if !self.sim().recording() {
            return;
        }
        let mem = self.k.mem.borrow();
        let objects = mem.heap.shadow().objects();
        // Only structures are worth telling: pages of processes change hands all the time.
        let former = objects.iter().rev().find(|(_, record)| {
            // Its first page is where its fields are.
            !record.alive && range.contains(record.range.start) && record.type_name.starts_with("struct ")
        });
        if let Some((_, record)) = former {
            let (name, at) = (record.type_name, range.start);
            self.note(|| format!("memory of the freed {name} at {at} is used again: {what}"));
        }
    }

    /// Gives pages back (`__free_pages`).
    pub async fn free_pages(&self, addr: PhysAddr, order: u8, id: u32) {
        self.step(Kind::Free, self.k.wild).await;
        self.frees(id);
        self.check_private(PhysRange::new(addr, 4096 << order));
        check_no_slab(self, addr);
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let gone = mem.heap.free_object(id, site);
        if self.k.profile().config.init_on_free {
            let _ = mem.heap.write_at(addr, 4096 << order, Source::Zero, 0);
        }
        let freed = mem.free_pages(addr, order, u32::from(self.cpu()), site);
        drop(mem);
        self.left_memory(addr, 4096 << order);
        self.note_stack(id, true);
        if gone.is_err() || freed.is_err() {
            let title = format!("double free or bad free of pages at {addr} in {}", self.function());
            self.report(Draft::warning("double-free", title), Vec::new);
        }
    }

    /// Takes memory for a driver's data or private object (`kmalloc`).
    ///
    /// # Errors
    /// There is none, or the failure was injected.
    pub async fn kmalloc(
        &self,
        what: &'static str,
        size: u64,
        flags: GfpFlags,
    ) -> Result<(PhysAddr, u32), NoMemory> {
        self.before_slab(flags).await?;
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let taken = mem.kmalloc(what, size, self.slab_context(flags), site);
        if let Err(MemoryError::Shadow(ShadowError::Overlap { existing })) = taken {
            drop(mem);
            self.given_twice(what, existing);
            return Err(NoMemory);
        }
        let (addr, id) = taken.map_err(|_| NoMemory)?;
        if flags.zero || self.k.profile().config.init_on_alloc {
            let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        }
        drop(mem);
        self.sim().mix(addr.0);
        self.note_stack(id, false);
        self.took_memory(addr, size, what);
        Ok((addr, id))
    }

    /// Takes memory for a kernel object (`kzalloc`) and puts the object there.
    ///
    /// # Errors
    /// There is none, or the failure was injected.
    pub async fn kzalloc<T: Kobject>(&self, size: u64, object: Rc<T>) -> Result<Ptr<T>, NoMemory> {
        self.kzalloc_gfp(size, GfpFlags::ZEROED, object).await
    }

    /// The same, asked for in another way.
    ///
    /// # Errors
    /// There is none, or the failure was injected.
    pub async fn kzalloc_gfp<T: Kobject>(
        &self,
        size: u64,
        flags: GfpFlags,
        object: Rc<T>,
    ) -> Result<Ptr<T>, NoMemory> {
        self.before_slab(flags).await?;
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let context = self.slab_context(flags);
        let taken = mem.kmalloc_object(size, context, site, Rc::clone(&object));
        if let Err(MemoryError::Shadow(ShadowError::Overlap { existing })) = taken {
            drop(mem);
            self.given_twice(T::TYPE_NAME, existing);
            return Err(NoMemory);
        }
        let ptr = taken.map_err(|_| NoMemory)?;
        // Cleared before the object's fields are what counts there; they all begin as zero.
        if let Some(addr) = ptr.phys() {
            let _ = mem.heap.clear_below(addr, size);
        }
        drop(mem);
        self.mix_ptr(ptr);
        self.k.enter_labels::<T>(self.sim(), ptr.id);
        self.note_stack(ptr.id, false);
        if let Some(addr) = ptr.phys() {
            self.took_memory(addr, size, T::TYPE_NAME);
        }
        Ok(ptr)
    }

    const fn slab_context_of(cpu: u32, zone: Gfp) -> SlabContext {
        SlabContext { cpu, gfp: zone, node: 0 }
    }

    pub(super) fn slab_context(&self, flags: GfpFlags) -> SlabContext {
        Self::slab_context_of(u32::from(self.cpu()), flags.zone)
    }

    /// What comes before every slab allocation.
    async fn before_slab(&self, flags: GfpFlags) -> Result<(), NoMemory> {
        if !flags.atomic {
            self.might_sleep();
        }
        self.step(Kind::Alloc, self.k.wild).await;
        if self.allocation_fails(flags) { Err(NoMemory) } else { Ok(()) }
    }

    /// Gives slab memory back (`kfree`).
    pub async fn kfree(&self, addr: PhysAddr, id: u32) {
        self.step(Kind::Free, self.label(id, 0)).await;
        self.frees(id);
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let type_name = mem.heap.record(id).map_or("", |record| record.type_name);
        let size = mem.heap.record(id).map_or(0, |record| record.range.size());
        let freed = mem.kfree(addr, u32::from(self.cpu()), site);
        drop(mem);
        self.left_memory(addr, size);
        self.note_stack(id, true);
        if freed.is_err() {
            let title = format!("BUG: KASAN: double-free or invalid-free in {}", self.function());
            self.report(Draft::warning("double-free", title).object(type_name), Vec::new);
        }
    }

    /// Gives an object that was entered by hand its engine labels.
    pub fn label_object<T: Kobject>(&self, ptr: Ptr<T>) {
        self.k.enter_labels::<T>(self.sim(), ptr.id);
    }

    /// The engine's label of memory that is no object.
    #[must_use]
    pub fn memory_label(&self) -> ObjId {
        self.k.wild
    }

    /// A pointer's raw value, for digests.
    pub fn mix_ptr<T>(&self, ptr: Ptr<T>) {
        self.sim().mix(ptr.to_raw());
    }
}
