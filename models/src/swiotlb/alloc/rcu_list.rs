//! Pools in lists that are read while they change.
//!
//! The kernel links descriptors by pointers. Here they have numbers, from 1; 0 ends a list. As with pointers, whoever
//! reads a list without its lock must read it within a section of [`super::ReadSections`], and a descriptor is used
//! for something else only after a grace period.

use super::{AreaState, Platform, SharedWord, SlotLock};
use crate::mem::PhysAddr;
use crate::swiotlb::sizing::{IO_TLB_SHIFT, PoolSize, low32};

/// The descriptor of one pool.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_pool`, v6.12.
pub(super) struct Node<P: Platform> {
    start: P::Word,
    /// Slots, and areas from bit 32; 0 for a descriptor that is no pool.
    size: P::Word,
    transient: P::Word,
    next: P::Word,
    /// As many as a pool may have.
    pub(super) areas: Vec<P::Lock<AreaState>>,
}

/// What a descriptor says of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) start: PhysAddr,
    pub(super) size: PoolSize,
}

impl Descriptor {
    pub(super) const fn contains(self, addr: PhysAddr) -> bool {
        addr.0 >= self.start.0 && addr.0 - self.start.0 < (self.size.nslabs as u64) << IO_TLB_SHIFT
    }
}

impl<P: Platform> Node<P> {
    pub(super) fn spare(areas: u32) -> Self {
        let area = |_| P::Lock::new(AreaState::new(0, true));
        Self {
            start: P::Word::new(0),
            size: P::Word::new(0),
            transient: P::Word::new(0),
            next: P::Word::new(0),
            areas: (0..areas).map(area).collect(),
        }
    }

    /// Makes this a pool that nobody else knows yet.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_io_tlb_pool()`, v6.12.
    pub(super) fn init(&self, pool: Descriptor, list_clamped: bool) {
        let area_nslabs = pool.size.area_nslabs();
        for (_, area) in (0..pool.size.nareas).zip(&self.areas) {
            area.with(|state| *state = AreaState::new(area_nslabs, list_clamped));
        }
        self.start.write_once(pool.start.0);
        self.size.write_once(u64::from(pool.size.nareas) << 32 | u64::from(pool.size.nslabs));
        self.transient.write_once(0);
    }

    /// Makes this no pool any more, and says what it was.
    pub(super) fn clear(&self) -> Descriptor {
        let pool = self.get();
        for (_, area) in (0..pool.size.nareas).zip(&self.areas) {
            area.with(|state| *state = AreaState::new(0, true));
        }
        self.size.write_once(0);
        self.start.write_once(0);
        pool
    }

    /// # Panics
    ///
    /// If it is no pool: SW-RETIRED, SW-PUBLISHED.
    pub(super) fn get(&self) -> Descriptor {
        let size = self.size.read_once();
        assert_ne!(size, 0, "a pool was used before it was published, or after it was retired");
        let size = PoolSize { nslabs: low32(size), nareas: low32(size >> 32) };
        Descriptor { start: PhysAddr(self.start.read_once()), size }
    }

    pub(super) fn set_transient(&self) {
        self.transient.write_once(1);
    }

    pub(super) fn is_transient(&self) -> bool {
        self.transient.read_once() != 0
    }
}

/// A list of pools (`struct io_tlb_mem.pools`, `struct device.dma_io_tlb_pools`) and its lock.
pub(super) struct PoolList<P: Platform> {
    head: P::Word,
    lock: P::Lock<()>,
}

impl<P: Platform> PoolList<P> {
    pub(super) fn new() -> Self {
        Self { head: P::Word::new(0), lock: P::Lock::new(()) }
    }

    /// Puts a pool at the head: whoever meets it there sees it whole.
    ///
    /// Source: `include/linux/rculist.h: list_add_rcu()`, within the lock, v6.12.
    pub(super) fn add(&self, nodes: &[Node<P>], number: usize) {
        self.lock.with(|()| {
            nodes[number - 1].next.write_once(self.head.read_once());
            self.head.rcu_assign(number as u64);
        });
    }

    /// Takes a pool out. Its own link stays, for readers that are at it. A list without it stays as it is.
    ///
    /// Source: `include/linux/rculist.h: list_del_rcu()`, within the lock, v6.12. The store releases, which the
    /// kernel's need not.
    pub(super) fn remove(&self, nodes: &[Node<P>], number: usize) {
        self.lock.with(|()| {
            let mut link = &self.head;
            loop {
                match usize::try_from(link.read_once()).unwrap_or(0) {
                    0 => return,
                    at if at == number => break,
                    at => link = &nodes[at - 1].next,
                }
            }
            link.rcu_assign(nodes[number - 1].next.read_once());
        });
    }

    /// The first pool, newest first, for which `look` has an answer. To be called within a read section.
    ///
    /// Source: `include/linux/rculist.h: list_for_each_entry_rcu()`, v6.12.
    pub(super) fn find<R>(
        &self,
        nodes: &[Node<P>],
        mut look: impl FnMut(usize, &Node<P>) -> Option<R>,
    ) -> Option<R> {
        let mut link = &self.head;
        loop {
            let number = usize::try_from(link.rcu_dereference()).ok()?;
            let node = nodes.get(number.checked_sub(1)?)?;
            if let Some(found) = look(number, node) {
                return Some(found);
            }
            link = &node.next;
        }
    }
}
