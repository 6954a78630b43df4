//! `struct io_tlb_mem`.

use sim::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use sim::sync::{LockClass, SpinLock};

use super::areas::SLOTS;
use super::grow::Growth;
use crate::kernel::{Kx, LockCell, LockHeld};
use crate::mem::{LockWord, PhysAddr, Ptr};
use crate::oracle::Beside;
use crate::swiotlb::{Area, Pool, Usage};

/// Class of `mem->lock`.
pub const POOL_LOCK: LockClass = LockClass::new(2, "&mem->lock");

/// Class of `area->lock`.
pub const AREA_LOCK: LockClass = LockClass::new(5, "&area->lock");

/// The slots of a pool without areas, which `mem->lock` protects.
pub(super) const MEM_SLOTS: Beside = Beside { label: SLOTS, name: "struct io_tlb_mem.slots" };

/// The slots of an area, which `area->lock` protects.
pub(super) const AREA_SLOTS: Beside = Beside { label: SLOTS, name: "slots of struct io_tlb_area" };

/// Bytes of a slot record behind the structure (`struct io_tlb_slot`).
pub const IO_TLB_SLOT_SIZE: u64 = 24;

mem::kobject! {
    /// Descriptor of a bounce pool; where the pool is one object from memblock, its slots follow at once.
    ///
    /// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, linux-next of June 2021. In 5.13 and 5.14 the last two
    /// flags are missing.
    pub struct IoTlbMem = "struct io_tlb_mem" {
        /// First byte of the bounce buffer.
        start: PhysAddr = 0x00,
        /// One past its last byte.
        end: PhysAddr = 0x08,
        /// Number of slots.
        nslabs: u64 = 0x10,
        /// Slots in use.
        used: u64 = 0x18,
        /// Where the next search begins.
        index: u32 = 0x20,
        /// Protects the slots.
        lock: LockWord = 0x24,
        /// Directory in debugfs.
        debugfs: Ptr<()> = 0x28,
        /// Whether it was set up after boot.
        late_alloc: bool = 0x30,
        /// Whether everything bounces.
        force_bounce: bool = 0x31,
        /// Whether coherent memory comes from it too.
        for_alloc: bool = 0x32,
    }
    beside {
        /// The slots, while the pool lives.
        pool: RefCell<Option<Pool>>,
        /// The lock, while the pool lives.
        spinlock: LockCell,
        /// Where the slot records lie if not behind the structure: address and heap id.
        slots_at: Cell<(PhysAddr, u32)>,
        /// Heap id of the bounce buffer.
        buffer_id: Cell<u32>,
        /// Its areas, where pools have them (`mem->areas`).
        areas: RefCell<Vec<Ptr<IoTlbArea>>>,
        /// Slots in use in all pools, and the most there ever were (`total_used`, `used_hiwater`).
        usage: Cell<Usage>,
        /// Slots in pools that were made for one mapping each (`transient_nslabs`).
        transient_nslabs: Cell<u64>,
        /// The list of pools and what belongs to it, where pools can grow.
        growth: OnceCell<Rc<Growth>>,
    }
    size 0x38;
}

mem::kobject! {
    /// A pool that was added to the default one, or made for one mapping. Its areas follow in the same memory.
    ///
    /// Source: `include/linux/swiotlb.h: struct io_tlb_pool`, v6.12 with `CONFIG_SWIOTLB_DYNAMIC`.
    pub struct IoTlbPool = "struct io_tlb_pool" {
        /// First byte of the bounce buffer.
        start: PhysAddr = 0x00,
        /// One past its last byte.
        end: PhysAddr = 0x08,
        /// Number of slots.
        nslabs: u64 = 0x18,
        /// Whether it was made of the page allocator's memory: always.
        late_alloc: bool = 0x20,
        /// Number of areas.
        nareas: u32 = 0x24,
        /// Slots in each of them.
        area_nslabs: u32 = 0x28,
        /// Whether it was made for one mapping.
        transient: bool = 0x60,
    }
    beside {
        /// The slots.
        pool: RefCell<Option<Pool>>,
        /// Locks of its areas.
        locks: RefCell<Vec<Rc<SpinLock>>>,
        /// Where the bounce buffer comes from.
        tlb: Cell<Option<super::grow::Tlb>>,
        /// The pages of the slot records: address, heap id and order.
        slots_at: Cell<(PhysAddr, u32, u8)>,
        /// When it went off the list on which readers find it, as a moment of RCU; for an oracle.
        unlisted: Cell<Option<u64>>,
    }
    size 0x68;
}

mem::kobject! {
    /// One area of a pool. Source: `kernel/dma/swiotlb.c: struct io_tlb_area`, v6.1, v6.12.
    pub struct IoTlbArea = "struct io_tlb_area" {
        /// Slots in use.
        used: u64 = 0x0,
        /// Where the next search begins, counted from the area's first slot.
        index: u32 = 0x8,
        /// Protects the area's slots and counters.
        lock: LockWord = 0xc,
    }
    beside {
        /// The lock.
        spinlock: LockCell,
    }
    size 0x10;
}

impl IoTlbArea {
    /// Bytes of one (`sizeof(struct io_tlb_area)`).
    pub const SIZE: u64 = 0x10;

    /// The engine's side of `area->lock`.
    #[must_use]
    pub const fn lock_of(&self) -> &LockCell {
        &self.spinlock
    }
}

impl IoTlbMem {
    /// The engine's side of `mem->lock`.
    #[must_use]
    pub const fn lock_of(&self) -> &LockCell {
        &self.spinlock
    }

    /// Brings the counters in memory in line with the slots.
    pub fn publish(&self) {
        if let Some(pool) = self.pool.borrow().as_ref() {
            self.used.set(pool.used());
            self.index.set(pool.areas().first().map_or(0, Area::index));
        }
    }

    /// Counts slots as taken (`inc_used_and_hiwater`).
    pub(super) fn count_taken(&self, nslots: u32) {
        let mut usage = self.usage.get();
        usage.add(nslots);
        self.usage.set(usage);
    }

    /// Counts slots as given back (`dec_used`).
    pub(super) fn count_given_back(&self, nslots: i64) {
        let mut usage = self.usage.get();
        usage.sub(nslots);
        self.usage.set(usage);
    }
}

/// One pool of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolPtr {
    /// The first, which lies in the allocator's descriptor (`defpool`; before 6.6 they are one).
    First(Ptr<IoTlbMem>),
    /// One that came later.
    Added(Ptr<IoTlbPool>),
}

impl PoolPtr {
    /// The heap's id of its descriptor.
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::First(mem) => mem.id,
            Self::Added(pool) => pool.id,
        }
    }

    /// First byte and end of its bounce buffer, as the descriptor says.
    pub(super) async fn range(self, kx: &Kx) -> (PhysAddr, PhysAddr) {
        match self {
            Self::First(mem) => (kx.load(mem, IoTlbMem::start).await, kx.load(mem, IoTlbMem::end).await),
            Self::Added(pool) => (kx.load(pool, IoTlbPool::start).await, kx.load(pool, IoTlbPool::end).await),
        }
    }

    /// First byte of its bounce buffer, as the descriptor says.
    pub(super) async fn start(self, kx: &Kx) -> PhysAddr {
        match self {
            Self::First(mem) => kx.load(mem, IoTlbMem::start).await,
            Self::Added(pool) => kx.load(pool, IoTlbPool::start).await,
        }
    }

    /// Looks at its slots; `None` if the descriptor does not live, or has none.
    pub fn with<R>(self, kx: &Kx, f: impl FnOnce(&mut Pool) -> R) -> Option<R> {
        match self {
            Self::First(mem) => {
                let object = kx.k.mem.object(mem).ok()?;
                object.pool.borrow_mut().as_mut().map(f)
            }
            Self::Added(pool) => {
                let object = kx.k.mem.object(pool).ok()?;
                object.pool.borrow_mut().as_mut().map(f)
            }
        }
    }

    /// Takes the lock of an area; `None` if there is no such area.
    pub(super) async fn lock_area(self, kx: &Kx, area: u32) -> Option<LockHeld> {
        match self {
            Self::First(mem) => {
                let object = kx.k.mem.object(mem).ok()?;
                let ptr = *object.areas.borrow().get(area as usize)?;
                Some(kx.raw_spin_lock_irqsave(ptr, IoTlbArea::lock, AREA_LOCK, IoTlbArea::lock_of).await)
            }
            Self::Added(pool) => {
                // Following pool->areas asks whether the pool lives.
                kx.load(pool, IoTlbPool::nareas).await;
                let object = kx.k.mem.object(pool).ok()?;
                let lock = Rc::clone(object.locks.borrow().get(area as usize)?);
                Some(kx.raw_spin_lock_irqsave_of(&lock).await)
            }
        }
    }

    /// What memory says of counters follows the slots.
    pub(super) fn publish(self, kx: &Kx, area: u32) {
        let mem = match self {
            Self::First(mem) => mem,
            Self::Added(pool) => {
                // Labels are few: the areas behind the first ones share one, and are not watched.
                if area == 0 {
                    kx.changes(pool, AREA_SLOTS);
                }
                return;
            }
        };
        let Ok(object) = kx.k.mem.object(mem) else { return };
        object.publish();
        let pool = object.pool.borrow();
        let counters = pool.as_ref().and_then(|pool| pool.areas().get(area as usize));
        if let (Some(counters), Some(ptr)) = (counters, object.areas.borrow().get(area as usize)) {
            kx.poke(*ptr, IoTlbArea::used, counters.used());
            kx.poke(*ptr, IoTlbArea::index, counters.index());
            kx.changes(*ptr, AREA_SLOTS);
        }
    }
}
