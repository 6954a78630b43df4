//! What nobody can reach any more when everything has settled: structures, and the core's own memory.

use std::collections::BTreeSet;

use sim::Draft;

use crate::iommu::core::DeviceEntry;
use crate::kernel::{Kx, seconds};
use crate::mem::{PageOwner, PhysAddr, Ptr};
use crate::swiotlb::kernel::{IoTlbMem, IoTlbPool, PoolPtr};

/// Memory without fields that the core takes for itself: it is lost when nothing that lives says where it is.
const OF_THE_CORE: [&str; 3] = ["swiotlb bounce buffer", "swiotlb slot records", "IOMMU page table"];

/// Where the core begins to look for what is its own, and what it found so far.
struct Reached {
    /// By id.
    ids: Vec<bool>,
    /// Addresses, physical or virtual, that something reached holds.
    words: Vec<u64>,
    waiting: Vec<u32>,
}

impl Reached {
    fn add(&mut self, id: u32) {
        let slot = id as usize;
        if self.ids.len() <= slot {
            self.ids.resize(slot + 1, false);
        }
        if id != 0 && !std::mem::replace(&mut self.ids[slot], true) {
            self.waiting.push(id);
        }
    }

    fn has(&self, id: u32) -> bool {
        self.ids.get(id as usize).copied().unwrap_or(false)
    }
}

/// Structures that live and that no structure, list or table leads to are lost; so is the core's memory that nothing
/// describes. `told` are those that were reported already.
pub(super) fn check_reachable(kx: &Kx, told: &BTreeSet<u32>) {
    let mut reached = Reached { ids: Vec::new(), words: Vec::new(), waiting: Vec::new() };
    for id in roots(kx) {
        reached.add(id);
    }
    while let Some(id) = reached.waiting.pop() {
        let from = reached.words.len();
        let mem = kx.k.mem.borrow();
        mem.heap.words_of(id, &mut reached.words);
        for at in from..reached.words.len() {
            let target = PhysAddr::from_virt(reached.words[at]).map(|at| mem.heap.shadow().object_at(at));
            reached.add(target.unwrap_or(0));
        }
        drop(mem);
        beside(kx, id, &mut reached);
    }
    reached.words.sort_unstable();
    let boot_memory_too = kx.k.profile().config.debug_kmemleak;
    let lost: Vec<_> = {
        let mem = kx.k.mem.borrow();
        let heap = &mem.heap;
        let described = |record: &crate::mem::ObjectRecord| {
            let start = record.range.start;
            [start.0, start.virt()].iter().any(|word| reached.words.binary_search(word).is_ok())
        };
        let gone = |(id, record): &(u32, &crate::mem::ObjectRecord)| {
            if told.contains(id) || reached.has(*id) {
                return false;
            }
            if heap.is_structure(*id) {
                return true;
            }
            // Boot memory is seldom given back, and what the host can read is leaked on purpose.
            let given = || matches!(heap.shadow().page_owner(record.range.start), PageOwner::Pages { .. });
            OF_THE_CORE.contains(&record.type_name)
                && (boot_memory_too || given())
                && !described(record)
                && heap.shadow().first_shared(record.range).is_none()
        };
        heap.shadow().objects().live().filter(gone).map(|(id, record)| (id, record.clone())).collect()
    };
    for (id, record) in lost {
        let title = format!(
            "memory leak: {} of {} bytes, allocated in {} at {}: nothing that lives leads to it",
            record.type_name,
            record.range.size(),
            record.alloc.func,
            seconds(record.alloc.time_ns)
        );
        let draft =
            Draft::warning("memory-leak", title).object(record.type_name).discriminator(record.alloc.func);
        kx.report(draft, || {
            let mut details = Vec::new();
            kx.k.explain_object(id, kx.sim(), &mut details);
            details
        });
    }
}

/// Global variables, the lists of devices that are there and of pools, and what the hardware's table says of these devices.
/// Groups are reached from their devices: one without a device is no use to anybody.
fn roots(kx: &Kx) -> Vec<u32> {
    let mut ids = vec![kx.k.globals.io_tlb_default_mem.get().id];
    ids.extend(kx.k.globals.restricted_pools.borrow().iter().map(|(_, mem)| mem.id));
    let devices = kx.k.devices.borrow();
    ids.extend(devices.iter().filter(|node| node.present.get()).map(|node| node.ptr.get().id));
    for node in devices.iter().filter(|node| node.present.get()) {
        if let DeviceEntry::Domain(domain) = kx.k.iommu.entry(node.index) {
            ids.push(domain.id);
        }
    }
    ids.extend(kx.k.iommu.si_domain.get().map(|domain| domain.id));
    ids.retain(|id| *id != 0);
    ids
}

/// What a structure leads to in ways that are no field of it here.
fn beside(kx: &Kx, id: u32, reached: &mut Reached) {
    let mem = kx.k.mem.borrow();
    if let Ok(object) = mem.heap.get_ref(Ptr::<IoTlbMem>::new(0, id)) {
        object.areas.borrow().iter().for_each(|area| reached.add(area.id));
        let pools = object.growth.get().map(|growth| growth.pools());
        pools.iter().flat_map(|pools| pools.iter()).for_each(|pool| reached.add(pool_id(*pool)));
        reached.words.push(object.slots_at.get().0.0);
    } else if let Ok(object) = mem.heap.get_ref(Ptr::<IoTlbPool>::new(0, id)) {
        reached.words.push(object.slots_at.get().0.0);
    } else if let Ok(object) = mem.heap.get_ref(Ptr::<crate::device::Device>::new(0, id)) {
        object.io_tlb.transient_pools().iter().for_each(|pool| reached.add(pool_id(*pool)));
        for node in kx.k.devices.borrow().iter().filter(|node| node.ptr.get().id == id) {
            let links = node.links.suppliers().into_iter().chain(node.links.consumers());
            links.for_each(|link| reached.add(link.id));
        }
    } else if let Ok(object) = mem.heap.get_ref(Ptr::<crate::iommu::core::IommuDomain>::new(0, id))
        && let Some(cookie) = object.cookie.borrow().as_ref()
    {
        reached.words.extend(cookie.table.table_pages().map(|(page, _)| page.0));
    }
}

const fn pool_id(pool: PoolPtr) -> u32 {
    pool.id()
}
