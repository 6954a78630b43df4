//! What names of a driver stand for at run time, and what is drawn.

use sim::cell::RefCell;
use std::rc::Rc;

use sim::choices::Stream;

use super::program::NameId;

use crate::device::Device;
use crate::dma::{Attrs, Coherent, SgEntry};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, JunkClass as Class, PhysAddr, Ptr, Source};
use crate::scenario::schema::{Dist, JunkClass};
use crate::swiotlb::Direction;

/// Memory of a driver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) phys: PhysAddr,
    pub(super) size: u64,
    /// Heap id.
    pub(super) id: u32,
    /// Where it comes from.
    pub(super) home: Home,
}

/// Where memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// `kmalloc`.
    Slab,
    /// The page allocator: 2^order pages.
    Pages(u8),
    /// The stack of a context, of 2^order pages.
    Stack(u8),
    /// `vmalloc`: here in one piece, which nobody may rely on.
    Vmalloc(u8),
    /// It was there from the start, and stays.
    Nobody,
}

/// A mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapItem {
    /// Tells mappings apart, also those of one address.
    pub(super) serial: u32,
    pub(super) dev: Ptr<Device>,
    pub(super) dma: DmaAddr,
    pub(super) size: u64,
    pub(super) dir: Direction,
    pub(super) attrs: Attrs,
    pub(super) phys: PhysAddr,
    /// The buffer, if the mapping made it and frees it.
    pub(super) own: Option<Buffer>,
}

/// A mapped scatterlist.
#[derive(Clone, Debug)]
pub(super) struct SgItem {
    pub(super) serial: u32,
    pub(super) dev: Ptr<Device>,
    pub(super) list: Vec<SgEntry>,
    pub(super) segments: usize,
    pub(super) dir: Direction,
    pub(super) attrs: Attrs,
    pub(super) buffers: Vec<Buffer>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Buffer(Buffer),
    Map(MapItem),
    Sg(Rc<SgItem>),
    Coherent(Coherent, Ptr<Device>),
    Object(Buffer),
    /// What was unmapped or freed: who uses it again makes a mistake that is worth finding.
    Gone(Rc<Self>),
}

impl Item {
    /// What it is or was.
    pub(super) fn thing(&self) -> &Self {
        match self {
            Self::Gone(thing) => thing,
            thing => thing,
        }
    }

    /// Whether it is there no more.
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }

    /// Whether both are the same mapping or memory.
    fn same(&self, other: &Self) -> bool {
        match (self.thing(), other.thing()) {
            (Self::Buffer(a) | Self::Object(a), Self::Buffer(b) | Self::Object(b)) => a.id == b.id,
            (Self::Map(a), Self::Map(b)) => a.serial == b.serial,
            (Self::Sg(a), Self::Sg(b)) => a.serial == b.serial,
            (Self::Coherent(a, _), Self::Coherent(b, _)) => a == b,
            _ => false,
        }
    }
}

/// Things by their names.
#[derive(Debug, Default)]
pub(super) struct Items(RefCell<Vec<Option<Item>>>);

impl Items {
    pub(super) fn get(&self, name: NameId) -> Option<Item> {
        self.0.borrow().get(usize::from(name)).cloned().flatten()
    }

    pub(super) fn put(&self, name: NameId, item: Item) {
        let mut items = self.0.borrow_mut();
        let at = usize::from(name);
        if items.len() <= at {
            items.resize_with(at + 1, || None);
        }
        items[at] = Some(item);
    }

    pub(super) fn forget(&self, name: NameId) {
        if let Some(item) = self.0.borrow_mut().get_mut(usize::from(name)) {
            *item = None;
        }
    }

    /// Marks a thing as gone, if that is what the name still stands for here.
    pub(super) fn retire(&self, name: NameId, thing: &Item) {
        if let Some(Some(item)) = self.0.borrow_mut().get_mut(usize::from(name))
            && item.same(thing)
            && !item.is_gone()
        {
            *item = Item::Gone(Rc::new(item.clone()));
        }
    }

    /// A copy of all of them.
    pub(super) fn all(&self) -> Vec<Option<Item>> {
        self.0.borrow().clone()
    }

    /// Takes those out that are not in `before` and are still there.
    pub(super) fn take_new(&self, before: &[Option<Item>]) -> Vec<Item> {
        let mut made = Vec::new();
        for (at, slot) in self.0.borrow_mut().iter_mut().enumerate() {
            let old = before.get(at).and_then(Option::as_ref);
            let new =
                slot.as_ref().is_some_and(|item| !item.is_gone() && old.is_none_or(|old| !item.same(old)));
            if new {
                made.extend(slot.take());
            }
        }
        made
    }

    /// Takes all of them out.
    pub(super) fn take(&self) -> Vec<Item> {
        self.0.take().into_iter().flatten().collect()
    }
}

/// Draws from a distribution. The first of its alternatives is the simplest.
pub(crate) fn draw(kx: &Kx, what: &'static str, dist: &Dist) -> u64 {
    match dist {
        Dist::Fixed(value) => *value,
        Dist::Uniform(low, high) => {
            let of = high.saturating_sub(*low).saturating_add(1);
            low + kx.choose(Stream::Workload, what, of)
        }
        Dist::OneOf(values) => {
            let nth = kx.choose(Stream::Workload, what, values.len() as u64);
            usize::try_from(nth).ok().and_then(|nth| values.get(nth)).copied().unwrap_or(0)
        }
        Dist::Weighted(pairs) => weighted(kx, Stream::Workload, what, pairs).copied().unwrap_or(0),
    }
}

/// Draws by weight.
pub(super) fn weighted<'a, T>(
    kx: &Kx,
    stream: Stream,
    what: &'static str,
    pairs: &'a [(u32, T)],
) -> Option<&'a T> {
    let total: u64 = pairs.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let mut at = kx.choose(stream, what, total);
    for (weight, value) in pairs {
        let weight = u64::from(*weight);
        if at < weight {
            return Some(value);
        }
        at -= weight;
    }
    pairs.last().map(|(_, value)| value)
}

/// Writes content of a class over memory, as its new owner does.
pub(super) fn fill(kx: &Kx, phys: PhysAddr, size: u64, class: JunkClass, owner: u32) {
    let class = match class {
        JunkClass::Untouched => return,
        JunkClass::Zero => Class::Zero,
        JunkClass::SmallInts => Class::SmallInts,
        JunkClass::Text => Class::Text,
        JunkClass::Pointers => Class::Pointers,
        JunkClass::Ints32 => Class::Ints32,
        JunkClass::Random => Class::Random,
    };
    let source = if class == Class::Zero {
        Source::Zero
    } else {
        let seed = kx.choose(Stream::Content, "content", 1 << 32);
        Source::Junk { class, seed: u32::try_from(seed).unwrap_or(u32::MAX), owner }
    };
    let _ = kx.k.mem.borrow_mut().heap.write_at(phys, size, source, 0);
}
