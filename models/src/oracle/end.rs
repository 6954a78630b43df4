//! What is checked when everything has settled.

use std::collections::BTreeSet;
use std::rc::Rc;

use sim::Draft;

use super::addresses::check_addresses;
use super::allocators::check_allocators;
use super::groups::check_groups;
use super::leaks::check_reachable;
use super::slots::{check_atomic_pools, check_growth, nobodys_slots};
use crate::kernel::{Kx, seconds};
use crate::mem::{Kobject, PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::kernel::{IoTlbMem, IoTlbPool, PoolPtr};
use crate::swiotlb::{Pool, Usage};

/// The checks at the end of a run.
pub fn end_of_run(kx: &Kx) {
    let _frame = kx.enter("end of run");
    if kx.k.power.is_over() {
        // Nothing was to be given back.
        return;
    }
    let default = kx.k.globals.io_tlb_default_mem.get();
    let targets = kx.k.ledger.targets();
    check_allocator(kx, default, &targets);
    for (_, mem) in kx.k.globals.restricted_pools.borrow().iter() {
        check_allocator(kx, *mem, &targets);
    }
    let devices: Vec<_> = kx.k.devices.borrow().iter().map(|node| node.ptr.get()).collect();
    for dev in devices {
        let own = kx.k.mem.object(dev).map(|dev| dev.io_tlb.transient_pools());
        for pool in own.iter().flat_map(|pools| pools.iter()) {
            check_pool(kx, *pool, &targets);
        }
    }
    check_atomic_pools(kx, targets);
    check_addresses(kx);
    check_groups(kx);
    check_allocators(kx);
    let told = check_forgotten(kx);
    check_reachable(kx, &told);
}

/// All pools of an allocator, and its own counters.
fn check_allocator(kx: &Kx, mem: Ptr<IoTlbMem>, targets: &[(PhysAddr, u64)]) {
    let object = kx.k.mem.object(mem);
    let Ok(object) = object else { return };
    let only = || Rc::from([PoolPtr::First(mem)]);
    let pools = object.growth.get().map_or_else(only, |growth| growth.pools());
    for pool in pools.iter() {
        check_pool(kx, *pool, targets);
    }
    if let Some(growth) = object.growth.get() {
        check_growth(kx, growth);
    }
    let Some(first) = object.pool.borrow().as_ref().map(Pool::used) else { return };
    let counted = object.used.get();
    if counted != first && !kx.k.has(Behaviour::GlobalPoolVariables) {
        let title = format!("swiotlb: the descriptor counts {counted} slots in use, the slots say {first}");
        kx.report(Draft::warning("slots-inconsistent", title).object(IoTlbMem::TYPE_NAME), Vec::new);
    }
    let used: u64 = pools.iter().filter_map(|pool| pool.with(kx, |pool| pool.used())).sum();
    let (total, transient) = (object.usage.get().total_used, object.transient_nslabs.get());
    check_high_water(kx, object.usage.get());
    if total != used.wrapping_add(transient) {
        let title = format!(
            "swiotlb: {total} slots are counted as used, and {used} are in the pools, {transient} in pools for one mapping"
        );
        kx.report(Draft::warning("slots-inconsistent", title).object(IoTlbMem::TYPE_NAME), Vec::new);
    }
}

/// The most slots that were ever in use are no fewer than those of now.
pub fn check_high_water(kx: &Kx, usage: Usage) {
    let Usage { total_used, used_hiwater } = usage;
    if total_used > used_hiwater && total_used.cast_signed() > 0 {
        let title = format!(
            "swiotlb: {total_used} slots are in use, and {used_hiwater} at most are said to have been"
        );
        let draft = Draft::warning("slots-inconsistent", title).discriminator("high-water mark");
        kx.report(draft.object(IoTlbMem::TYPE_NAME), Vec::new);
    }
}

/// An object to which the last pointer was given up is lost. Returns which those were.
fn check_forgotten(kx: &Kx) -> BTreeSet<u32> {
    let mut told = BTreeSet::new();
    for (holder, by) in kx.k.forgotten() {
        let record = kx.k.mem.borrow().heap.record(holder.target).cloned();
        let Some(record) = record else { continue };
        told.insert(holder.target);
        let title = format!(
            "memory leak: {} of {} bytes, allocated in {} at {}: nothing points at it since {} changed {}.{}",
            record.type_name,
            record.range.size(),
            record.alloc.func,
            seconds(record.alloc.time_ns),
            by.func,
            holder.holder,
            holder.field
        );
        let draft = Draft::warning("memory-leak", title).object(record.type_name).discriminator(by.func);
        kx.report(draft, || {
            let mut details = Vec::new();
            kx.k.explain_object(holder.target, kx.sim(), &mut details);
            details
        });
    }
    told
}

/// A pool's counters must agree with its slots, and slots in use must belong to somebody.
fn check_pool(kx: &Kx, pool: PoolPtr, targets: &[(PhysAddr, u64)]) {
    let look = |pool: &mut Pool| (pool.violation(), nobodys_slots(pool, targets));
    let Some((violation, lost)) = pool.with(kx, look) else { return };
    let type_name = match pool {
        PoolPtr::First(_) => IoTlbMem::TYPE_NAME,
        PoolPtr::Added(_) => IoTlbPool::TYPE_NAME,
    };
    if let Some(violation) = violation {
        let title = format!("swiotlb: {violation}");
        kx.report(Draft::warning("slots-inconsistent", title).object(type_name), Vec::new);
    }
    if lost > 0 {
        let title = match lost {
            1 => "swiotlb: 1 slot is in use, and no mapping leads to it".to_owned(),
            _ => format!("swiotlb: {lost} slots are in use, and no mapping leads to them"),
        };
        kx.report(Draft::warning("slots-lost", title).object(type_name), Vec::new);
    }
}
