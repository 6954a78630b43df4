//! The state as JSON. Addresses and masks are strings: they need not be exact as numbers of JSON.

use models::memblock::{ListDump, Stage};
use models::run::state::{
    AllocatorState, DeviceState, DomainState, IovaUse, MappingState, PoolState, State, Translation,
};
use serde_json::{Map, Value, json};
use sim::{ContextState, Doing};

use super::View;

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// The views of a state as an object, one key for each, and `mappings`, which they refer to by number.
#[must_use]
pub fn views(state: &State, wanted: &[View]) -> Value {
    let mut all = Map::new();
    for view in wanted {
        let value = match view {
            View::Memblock => memblock(state),
            View::Swiotlb => state.swiotlb.iter().map(allocator).collect(),
            View::Iommu => iommu(state),
            View::Devices => state.devices.iter().map(device).collect(),
            View::Locks => locks(state),
            View::Contexts => state.contexts.iter().map(context).collect(),
        };
        all.insert(view.name().to_owned(), value);
    }
    if wanted.iter().any(|view| matches!(view, View::Swiotlb | View::Iommu)) {
        all.insert("mappings".to_owned(), state.mappings.iter().map(mapping).collect());
    }
    Value::Object(all)
}

fn memblock(state: &State) -> Value {
    let list = |list: &ListDump| -> Value {
        let region = |region: &models::memblock::Region| {
            json!({
                "base": hex(region.base.0),
                "size": region.size,
                "node": region.nid.is_valid().then_some(region.nid.0),
                "flags": region.flags.0,
            })
        };
        list.regions.iter().map(region).collect()
    };
    let stage = match state.memblock.stage {
        Stage::Early => "early",
        Stage::HandedOver => "handed over",
        Stage::Discarded => "discarded",
    };
    let owners: Vec<Value> = state
        .memblock
        .owners
        .iter()
        .map(|owned| {
            json!({
                "base": hex(owned.range.start.0),
                "size": owned.range.size(),
                "by": owned.owner.site,
                "time_ns": owned.owner.at_ns,
                "allocated": owned.allocated,
            })
        })
        .collect();
    json!({
        "stage": stage,
        "memory": list(&state.memblock.dump.memory),
        "reserved": list(&state.memblock.dump.reserved),
        "owners": owners,
    })
}

fn allocator(allocator: &AllocatorState) -> Value {
    let files: Option<Map<String, Value>> = allocator
        .files
        .map(|files| files.files().map(|(name, value)| (name.to_owned(), json!(value))).collect());
    json!({
        "restricted": allocator.restricted.map(|start| hex(start.0)),
        "descriptor": hex(allocator.at),
        "files": files,
        "freed_by": allocator.freed.map(|(by, _)| by),
        "pools": allocator.pools.iter().map(pool).collect::<Vec<_>>(),
    })
}

fn pool(pool: &PoolState) -> Value {
    let areas: Vec<Value> = pool
        .areas
        .iter()
        .map(|area| json!({ "first": area.first, "nslabs": area.nslabs, "used": area.used, "index": area.index }))
        .collect();
    let runs: Vec<Value> = pool
        .runs
        .iter()
        .map(|run| {
            json!({
                "first": run.first,
                "count": run.count,
                "alloc_size": run.alloc_size,
                "orig_addr": run.orig.map(|orig| hex(orig.0)),
                "mapping": run.mapping,
            })
        })
        .collect();
    json!({
        "start": hex(pool.range.start.0),
        "nslabs": pool.nslabs,
        "used": pool.used,
        "transient_of": pool.transient_of,
        "areas": areas,
        "slots": runs,
    })
}

fn mapping(state: &MappingState) -> Value {
    let mapping = &state.mapping;
    let pieces: Vec<Value> = mapping
        .pieces
        .iter()
        .map(|piece| {
            json!({
                "dma": hex(piece.dma.0),
                "size": piece.len,
                "buffer": hex(piece.phys.0),
                "memory": hex(piece.target.0),
            })
        })
        .collect();
    json!({
        "device": state.device,
        "dma": hex(mapping.dma.0),
        "size": mapping.size,
        "direction": mapping.dir,
        "kind": mapping.kind,
        "function": mapping.since.func,
        "context": state.by,
        "time_ns": mapping.since.time_ns,
        "step": mapping.since.step,
        "unmapping": mapping.leaving,
        "stack": mapping.stack,
        "pieces": pieces,
    })
}

fn iommu(state: &State) -> Value {
    let groups: Vec<Value> = state
        .iommu
        .groups
        .iter()
        .map(|group| {
            json!({
                "id": group.id,
                "type": group.type_,
                "devices": group.devices,
                "default_domain": group.default_domain,
                "domain": group.domain,
            })
        })
        .collect();
    json!({
        "groups": groups,
        "domains": state.iommu.domains.iter().map(domain).collect::<Vec<_>>(),
    })
}

fn domain(domain: &DomainState) -> Value {
    let iovas: Vec<Value> = domain
        .iovas
        .iter()
        .map(|iova| {
            let (what, mapping, cpu) = match iova.what {
                IovaUse::Mapping(at) => ("mapping", Some(at), None),
                IovaUse::Queued(cpu) => ("queued", None, Some(cpu)),
                IovaUse::Cached => ("cached", None, None),
                IovaUse::Other => ("other", None, None),
            };
            json!({ "start": hex(iova.start.0), "size": iova.size, "what": what, "mapping": mapping, "cpu": cpu })
        })
        .collect();
    let queues: Vec<Value> = domain
        .queues
        .iter()
        .map(|queue| {
            let entries: Vec<Value> = queue
                .entries
                .iter()
                .map(|(start, size, flushed)| json!({ "start": hex(start.0), "size": size, "flushed": flushed }))
                .collect();
            json!({ "cpu": queue.cpu, "entries": entries })
        })
        .collect();
    let tlb: Vec<Value> = domain
        .tlb
        .iter()
        .map(|page| {
            let stale = page.table != Some(page.phys);
            json!({ "iova": hex(page.iova.0), "memory": hex(page.phys.0), "stale": stale })
        })
        .collect();
    json!({
        "id": domain.id,
        "type": domain.type_,
        "attached": domain.attached,
        "iovas": iovas,
        "flush_queues": queues,
        "iotlb": tlb,
    })
}

fn device(device: &DeviceState) -> Value {
    let translation = match device.translation {
        Translation::Off => json!("off"),
        Translation::Blocked => json!("blocked"),
        Translation::Identity => json!("identity"),
        Translation::Copied => json!("copied"),
        Translation::Misread => json!("misread"),
        Translation::BadStream => json!("bad stream table entry"),
        Translation::BadContext => json!("bad context descriptor"),
        Translation::Domain(id) => json!(id),
        Translation::FreedDomain => json!("freed domain"),
    };
    let (maps, bounced, failed) = device.counts;
    json!({
        "bdf": device.bdf,
        "name": device.name,
        "present": device.present,
        "driver": device.driver,
        "probing": device.probing,
        "dma_mask": device.masks.map(|(mask, ..)| hex(mask)),
        "coherent_dma_mask": device.masks.map(|(_, mask, _)| hex(mask)),
        "bus_dma_limit": device.masks.map(|(.., limit)| hex(limit)),
        "dma_ops": device.ops,
        "dma_io_tlb_mem": device.pool.map(|(at, _)| hex(at)),
        "pool": device.pool.map(|(_, what)| what),
        "group": device.group,
        "type": device.domain,
        "translation": translation,
        "maps": maps,
        "bounced": bounced,
        "failed": failed,
    })
}

fn locks(state: &State) -> Value {
    let names = |list: &[(sim::Name, bool)]| -> Vec<String> {
        list.iter().map(|(name, _)| name.to_string()).collect()
    };
    let locks: Vec<Value> = state
        .locks
        .locks
        .iter()
        .map(|lock| {
            json!({
                "lock": lock.lock.to_string(),
                "class": lock.class,
                "holders": names(&lock.holders),
                "waiters": names(&lock.waiters),
            })
        })
        .collect();
    let chains: Vec<Value> = state
        .locks
        .chains
        .iter()
        .map(|chain| {
            let names: Vec<String> = chain.links.iter().map(|(name, _)| name.to_string()).collect();
            json!({ "contexts": names, "cycle": chain.closed })
        })
        .collect();
    let order: Vec<Value> = state
        .locks
        .order
        .iter()
        .map(|order| {
            json!({
                "held": order.held,
                "taken": order.taken,
                "function": order.function,
                "context": order.context,
            })
        })
        .collect();
    json!({ "locks": locks, "chains": chains, "order": order })
}

fn context(context: &ContextState) -> Value {
    let (doing, on) = match &context.doing {
        Doing::Next => ("next", None),
        Doing::Ready => ("ready", None),
        Doing::Barred { by } => ("barred", Some(by.to_string())),
        Doing::Waits { object, spinning: false, .. } => ("waits", Some(object.to_string())),
        Doing::Waits { object, spinning: true, .. } => ("spins", Some(object.to_string())),
        Doing::Sleeps { until } => ("sleeps", Some(until.to_string())),
        Doing::Spins { on } => ("spins for ever", Some((*on).to_owned())),
    };
    let held: Vec<String> = context.held.iter().map(|held| held.lock.to_string()).collect();
    let next = context.next.as_ref().map(|(kind, object)| format!("{} {object}", kind.word()));
    json!({
        "name": context.name.to_string(),
        "cpu": context.cpu,
        "steps": context.steps,
        "doing": doing,
        "on": on,
        "next": next,
        "held": held,
        "stack": context.frames,
        "irqs_off": context.off.irqs,
        "softirqs_off": context.off.softirqs,
        "preemption_off": context.off.preemption,
        "rcu": context.off.rcu,
        "deadlocked": context.deadlocked,
    })
}
