//! Coherent memory that belongs to one device: memory on the device, or set aside for it.
//!
//! Source: `kernel/dma/coherent.c`, v6.1, v6.12. Only with `CONFIG_DMA_DECLARE_COHERENT`, which x86 has not by itself.

use sim::cell::RefCell;
use std::rc::Rc;

use sim::Kind;

use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr, PhysRange, Ptr};
use crate::profile::Behaviour;

/// `-ENOMEM`.
const ENOMEM: u32 = 12;
/// `-EBUSY`.
const EBUSY: u32 = 16;

mem::kobject! {
    /// A device's own coherent memory.
    ///
    /// Source: `kernel/dma/coherent.c: struct dma_coherent_mem`, v6.12.
    pub struct DmaCoherentMem = "struct dma_coherent_mem" {
        /// Where the kernel finds it.
        virt_base: u64 = 0x0,
        /// Where the device finds it.
        device_base: u64 = 0x8,
        /// Its first frame.
        pfn_base: u64 = 0x10,
        /// Pages.
        pages: u32 = 0x18,
    }
    beside {
        /// Which pages are taken.
        bitmap: RefCell<Vec<bool>>,
    }
    size 0x30;
}

/// Whether this kernel knows of such memory.
fn is_on(kx: &Kx) -> bool {
    kx.k.profile().config.dma_declare_coherent
}

/// Sets memory aside for a device: all of its coherent memory comes from there.
///
/// Source: `kernel/dma/coherent.c: dma_declare_coherent_memory(), dma_assign_coherent_memory()`, v6.1, v6.12.
///
/// # Errors
/// `-EBUSY` if the device has such memory already, `-ENOMEM`.
pub async fn dma_declare_coherent_memory(kx: &Kx, dev: Ptr<Device>, range: PhysRange) -> Result<(), u32> {
    if !is_on(kx) {
        return Err(ENOMEM);
    }
    let _frame = kx.enter("dma_declare_coherent_memory");
    let pages = range.size() / PAGE_SIZE;
    let object = Rc::new(DmaCoherentMem::default());
    object.virt_base.set(range.start.virt());
    object.device_base.set(range.start.0);
    object.pfn_base.set(range.start.pfn().0);
    object.pages.set(u32::try_from(pages).unwrap_or(u32::MAX));
    object.bitmap.borrow_mut().resize(usize::try_from(pages).unwrap_or(0), false);
    let mem = kx.kzalloc(0x30, object).await.map_err(|_| ENOMEM)?;
    if !kx.load(dev, Device::dma_mem).await.is_null() {
        release(kx, mem).await;
        return Err(EBUSY);
    }
    kx.store_ptr(dev, Device::dma_mem, mem).await;
    Ok(())
}

/// Gives it back. With `coherent-mem-pointer-cleared` the device forgets it.
///
/// Source: `kernel/dma/coherent.c: dma_release_coherent_memory()`, v6.1, v6.12.
pub async fn dma_release_coherent_memory(kx: &Kx, dev: Ptr<Device>) {
    let _frame = kx.enter("dma_release_coherent_memory");
    let mem = kx.load(dev, Device::dma_mem).await;
    if !mem.is_null() {
        release(kx, mem).await;
    }
    if kx.k.has(Behaviour::CoherentMemPointerCleared) {
        kx.store_ptr(dev, Device::dma_mem, Ptr::NULL).await;
    }
}

async fn release(kx: &Kx, mem: Ptr<DmaCoherentMem>) {
    if let Some(phys) = mem.phys() {
        kx.kfree(phys, mem.id).await;
    }
}

/// Memory for a device that has some of its own. `None`: it has none; `Some(None)`: there is no room in it.
///
/// Source: `kernel/dma/coherent.c: dma_alloc_from_dev_coherent(), __dma_alloc_from_coherent()`, v6.1, v6.12.
pub(super) async fn dma_alloc_from_dev_coherent(
    kx: &Kx,
    dev: Ptr<Device>,
    size: u64,
) -> Option<Option<(PhysAddr, DmaAddr)>> {
    if !is_on(kx) {
        return None;
    }
    let _frame = kx.enter("dma_alloc_from_dev_coherent");
    let mem = kx.load(dev, Device::dma_mem).await;
    if mem.is_null() {
        return None;
    }
    // Under mem->spinlock, which nobody else can hold for long: one step.
    let pages = kx.load(mem, DmaCoherentMem::pages).await;
    let pfn = kx.load(mem, DmaCoherentMem::pfn_base).await;
    let device_base = kx.load(mem, DmaCoherentMem::device_base).await;
    if size > u64::from(pages) * PAGE_SIZE {
        return Some(None);
    }
    kx.step(Kind::Write, kx.label(mem.id, 0)).await;
    let found = kx.k.mem.object(mem).ok().and_then(|object| take(&object.bitmap, size));
    Some(found.map(|at| {
        let offset = at * PAGE_SIZE;
        (PhysAddr((pfn * PAGE_SIZE).wrapping_add(offset)), DmaAddr(device_base.wrapping_add(offset)))
    }))
}

/// Takes the first free pages at a multiple of their number; which page it is.
fn take(bitmap: &RefCell<Vec<bool>>, size: u64) -> Option<u64> {
    let wanted = usize::try_from(pages_of(size)).ok()?;
    let mut taken = bitmap.borrow_mut();
    let at = (0..taken.len())
        .step_by(wanted)
        .find(|at| taken.get(*at..*at + wanted).is_some_and(|run| run.iter().all(|taken| !taken)))?;
    taken[at..at + wanted].fill(true);
    Some(at as u64)
}

const fn pages_of(size: u64) -> u64 {
    let pages = size.div_ceil(PAGE_SIZE);
    if pages == 0 { 1 } else { pages.next_power_of_two() }
}

/// Gives memory back that came from a device's own; whether it did.
///
/// Source: `kernel/dma/coherent.c: dma_release_from_dev_coherent(), __dma_release_from_coherent()`, v6.1, v6.12.
pub(super) async fn dma_release_from_dev_coherent(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
) -> bool {
    if !is_on(kx) {
        return false;
    }
    let _frame = kx.enter("dma_release_from_dev_coherent");
    let mem = kx.load(dev, Device::dma_mem).await;
    if mem.is_null() {
        return false;
    }
    let base = kx.load(mem, DmaCoherentMem::virt_base).await;
    let bytes = u64::from(kx.load(mem, DmaCoherentMem::pages).await) * PAGE_SIZE;
    let Some(offset) = phys.virt().checked_sub(base).filter(|offset| *offset < bytes) else { return false };
    kx.step(Kind::Write, kx.label(mem.id, 0)).await;
    if let Ok(object) = kx.k.mem.object(mem) {
        let at = usize::try_from(offset / PAGE_SIZE).unwrap_or(usize::MAX);
        let count = usize::try_from(pages_of(size)).unwrap_or(0);
        let mut taken = object.bitmap.borrow_mut();
        taken.iter_mut().skip(at).take(count).for_each(|page| *page = false);
    }
    true
}
