//! Mapping statements.

use std::rc::Rc;

use sim::Draft;
use smallvec::{SmallVec, smallvec};

use super::instance::Env;
use super::io::{free_memory, is_vmalloc, new_buffer};
use super::items::{Buffer, Item, MapItem, SgItem, draw};
use super::program::{MapOp, MapSgOp, Part, SyncOp, Target, UnmapOp, UnmapSgOp};
use crate::device::Device;
use crate::dma::{self, Attrs, DMA_MAPPING_ERROR, SgEntry};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::oracle::reject_vmalloc;
use crate::scenario::schema::{BufferSource, Dist, OnError};
use crate::swiotlb::Direction;

/// `-ENOMEM`.
const ENOMEM: u32 = 12;

/// The pointer that is passed down as the device.
fn device_arg(kx: &Kx, env: &Env, target: &Target) -> Ptr<Device> {
    match target {
        Target::Own => env.instance.ptr,
        Target::Sibling(index) => kx.k.node(*index).map_or(Ptr::NULL, |node| node.ptr.get()),
        Target::Object(name) => match env.get(*name) {
            Some(Item::Object(object)) => Ptr::new(object.phys.virt(), object.id),
            _ => Ptr::NULL,
        },
    }
}

/// Whether the driver has said that a failure is nothing to speak of, and goes on without the mapping.
const fn provided_for(attrs: dma::Attrs, on_error: OnError) -> bool {
    attrs.no_warn && matches!(on_error, OnError::Skip)
}

/// A mapping failed although the driver did nothing wrong: users of a pool that is too small see this first.
fn report_failure(kx: &Kx, env: &Env, dev: Ptr<Device>, size: u64) {
    if env.tries.get() > 0 {
        // Whoever asked for the request tries again.
        return;
    }
    let why = kx.k.node_of(dev).map_or("", |node| node.why_failed.replace(""));
    let why = if why.is_empty() { "the mapping function returned an error" } else { why };
    let title = format!("{}: a DMA mapping of {size} bytes failed: {why}", env.instance.bdf);
    kx.report(Draft::warning("mapping-error", title).discriminator(why).ending("mapping failed"), Vec::new);
}

pub(super) async fn map(kx: &Kx, env: &Rc<Env>, args: &MapOp) -> Result<(), u32> {
    env.forget_gone(args.name);
    let dev = device_arg(kx, env, &args.device);
    let most = env.instance.max_mapping.get();
    let (phys, size, own) = match args.buffer {
        Some(name) => {
            let Some(Item::Buffer(buffer)) = env.get(name) else { return Ok(()) };
            if is_vmalloc(kx, &buffer) {
                reject_vmalloc(kx, dev);
                return not_mapped(kx, env, args, dev, buffer.phys, buffer.size);
            }
            let offset = draw(kx, "offset", &args.offset).min(buffer.size.saturating_sub(1));
            let size = args.size.as_ref().map_or(buffer.size, |size| draw(kx, "length", size));
            (buffer.phys.wrapping_add(offset), size.clamp(1, buffer.size - offset).min(most), None)
        }
        None => {
            let size = args.size.as_ref().map_or(4096, |size| draw(kx, "length", size)).clamp(1, most);
            let offset = draw(kx, "offset", &args.offset);
            let whole = size.saturating_add(offset);
            let Some(buffer) = new_buffer(kx, whole, BufferSource::Pages).await else {
                return fail_quietly(args.on_error);
            };
            let phys = buffer.phys.wrapping_add(offset);
            if args.dir.reaches_device() {
                super::io::write_data(kx, phys, size);
            }
            (phys, size, Some(buffer))
        }
    };
    let mut tries = tries(args.on_error);
    loop {
        if let Some(dma) = dma::dma_map_page_attrs(kx, dev, phys, size, args.dir, args.attrs).await {
            if args.on_error == OnError::Ignore {
                kx.k.ledger.not_checked(kx, dev, dma);
            }
            put_map(kx, env, args, MapPlace { dev, dma, phys, size, own });
            return Ok(());
        }
        tries -= 1;
        if tries == 0 {
            break;
        }
        if let OnError::Retry { delay_us, .. } = args.on_error {
            pause(kx, delay_us).await;
        }
    }
    if !provided_for(args.attrs, args.on_error) {
        report_failure(kx, env, dev, size);
    }
    if args.on_error != OnError::Ignore
        && let Some(own) = own
    {
        free_memory(kx, &own).await;
    }
    if args.on_error == OnError::Ignore {
        put_map(kx, env, args, MapPlace { dev, dma: DmaAddr(DMA_MAPPING_ERROR), phys, size, own });
    }
    fail_quietly(args.on_error)
}

/// How often a mapping is tried.
const fn tries(on_error: OnError) -> u32 {
    match on_error {
        OnError::Retry { times, .. } => times.saturating_add(1),
        OnError::Fail | OnError::Skip | OnError::Ignore => 1,
    }
}

/// Where a mapping leads, and what it keeps.
#[derive(Clone, Copy)]
struct MapPlace {
    dev: Ptr<Device>,
    dma: DmaAddr,
    phys: PhysAddr,
    size: u64,
    own: Option<Buffer>,
}

fn put_map(kx: &Kx, env: &Env, args: &MapOp, place: MapPlace) {
    let MapPlace { dev, dma, phys, size, own } = place;
    let (dir, attrs) = (args.dir, args.attrs);
    let serial = kx.k.next_tag();
    env.put(args.name, Item::Map(MapItem { serial, dev, dma, size, dir, attrs, phys, own }));
}

/// The mapping was refused before anything was tried, and that was told.
fn not_mapped(
    kx: &Kx,
    env: &Env,
    args: &MapOp,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
) -> Result<(), u32> {
    if args.on_error == OnError::Ignore {
        put_map(kx, env, args, MapPlace { dev, dma: DmaAddr(DMA_MAPPING_ERROR), phys, size, own: None });
    }
    fail_quietly(args.on_error)
}

/// The next try comes later, whether or not this context may sleep.
pub(super) async fn pause(kx: &Kx, us: u64) {
    if kx.atomic_reason().is_some() {
        kx.delay(us * 1000).await;
    } else {
        kx.sleep(us * 1000).await;
    }
}

const fn fail_quietly(on_error: OnError) -> Result<(), u32> {
    match on_error {
        OnError::Fail => Err(ENOMEM),
        OnError::Skip | OnError::Ignore | OnError::Retry { .. } => Ok(()),
    }
}

pub(super) async fn map_sg(kx: &Kx, env: &Rc<Env>, args: &MapSgOp) -> Result<(), u32> {
    env.forget_gone(args.name);
    let count = draw(kx, "entries", &args.entries).clamp(1, 256);
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut list: Vec<SgEntry> = Vec::new();
    let mut offset = draw(kx, "offset of the first entry", &args.offset);
    let mut most = env.instance.max_mapping.get();
    for _ in 0..count {
        let size = draw(kx, "length of an entry", &args.size).max(1).min(most);
        if size == 0 {
            break;
        }
        most -= size;
        let Some(buffer) = new_buffer(kx, size, BufferSource::Pages).await else { break };
        if args.dir.reaches_device() {
            super::io::write_data(kx, buffer.phys, size);
        }
        buffers.push(buffer);
        let skipped = std::mem::take(&mut offset).min(size - 1);
        let phys = buffer.phys.wrapping_add(skipped);
        list.push(SgEntry { phys, length: size - skipped, ..SgEntry::default() });
    }
    if list.is_empty() {
        return fail_quietly(args.on_error);
    }
    let dev = device_arg(kx, env, &args.device);
    let mut tries = tries(args.on_error);
    while tries > 0 {
        let segments = dma::dma_map_sg_attrs(kx, dev, &mut list, args.dir, args.attrs).await;
        if segments > 0 {
            let (dir, attrs) = (args.dir, args.attrs);
            let serial = kx.k.next_tag();
            env.put(
                args.name,
                Item::Sg(Rc::new(SgItem { serial, dev, list, segments, dir, attrs, buffers })),
            );
            return Ok(());
        }
        tries -= 1;
        if let OnError::Retry { delay_us, .. } = args.on_error
            && tries > 0
        {
            pause(kx, delay_us).await;
        }
    }
    let total = list.iter().map(|entry| entry.length).sum();
    if !provided_for(args.attrs, args.on_error) {
        report_failure(kx, env, dev, total);
    }
    for buffer in &buffers {
        free_memory(kx, buffer).await;
    }
    fail_quietly(args.on_error)
}

pub(super) async fn unmap(kx: &Kx, env: &Rc<Env>, args: &UnmapOp) -> Result<(), u32> {
    let Some(item) = env.take(args.name) else { return Ok(()) };
    let (dev, dma, mapped, dir, attrs, own) = match item.thing() {
        // Once more, as a driver that has lost count does; the buffer stays freed once.
        Item::Map(map) => {
            let own = if item.is_gone() { None } else { map.own };
            (map.dev, map.dma, map.size, map.dir, map.attrs, own)
        }
        // By the wrong function: what belongs to the list or the coherent memory is not given back.
        Item::Sg(sg) => {
            let Some(first) = sg.list.first() else { return Ok(()) };
            (sg.dev, first.dma, first.dma_length, sg.dir, sg.attrs, None)
        }
        Item::Coherent(coherent, dev) => {
            (*dev, coherent.dma, coherent.size, Direction::Bidirectional, Attrs::default(), None)
        }
        Item::Buffer(_) | Item::Object(_) | Item::Gone(_) => return Ok(()),
    };
    let size = args.size.as_ref().map_or(mapped, |size| draw(kx, "length", size));
    dma::dma_unmap_page_attrs(kx, dev, dma, size, args.dir.unwrap_or(dir), attrs).await;
    if let Some(own) = own {
        free_memory(kx, &own).await;
    }
    Ok(())
}

pub(super) async fn unmap_item(kx: &Kx, item: &MapItem) {
    dma::dma_unmap_page_attrs(kx, item.dev, item.dma, item.size, item.dir, item.attrs).await;
    if let Some(own) = item.own {
        free_memory(kx, &own).await;
    }
}

pub(super) async fn unmap_sg(kx: &Kx, env: &Rc<Env>, args: &UnmapSgOp) -> Result<(), u32> {
    let Some(item) = env.take(args.name) else { return Ok(()) };
    let Item::Sg(sg) = item.thing() else { return Ok(()) };
    let SgItem { dev, list, segments, dir, attrs, buffers, .. } = &**sg;
    let entries = passed_entries(kx, args.entries.as_ref(), list.len());
    dma::dma_unmap_sg_attrs(
        kx,
        *dev,
        &list[..entries],
        (*segments).min(entries),
        args.dir.unwrap_or(*dir),
        *attrs,
    )
    .await;
    if !item.is_gone() {
        for buffer in buffers {
            free_memory(kx, buffer).await;
        }
    }
    Ok(())
}

/// How many entries of a list a driver names: those that it has, unless it says otherwise.
fn passed_entries(kx: &Kx, entries: Option<&Dist>, all: usize) -> usize {
    let Some(entries) = entries else { return all };
    usize::try_from(draw(kx, "entries passed", entries)).unwrap_or(all).min(all)
}

pub(super) async fn unmap_sg_item(kx: &Kx, item: &SgItem) {
    dma::dma_unmap_sg_attrs(kx, item.dev, &item.list, item.segments, item.dir, item.attrs).await;
    for buffer in &item.buffers {
        free_memory(kx, buffer).await;
    }
}

pub(super) async fn sync(kx: &Kx, env: &Rc<Env>, args: &SyncOp) -> Result<(), u32> {
    let Some(found) = env.get(args.part.name) else { return Ok(()) };
    match found.thing() {
        Item::Map(item) => {
            // Not cut to the mapping: who names too much makes a mistake.
            let (offset, size) = match args.part.bounds.as_deref() {
                None => (0, None),
                Some((offset, size)) => (draw(kx, "offset of a part", offset), size.as_ref()),
            };
            let rest = item.size.saturating_sub(offset);
            let size = size.map_or(rest, |size| draw(kx, "length of a part", size));
            let dma = item.dma.wrapping_add(offset);
            dma::dma_sync_single(kx, item.dev, dma, size, args.dir.unwrap_or(item.dir), args.for_cpu).await;
        }
        Item::Sg(item) if args.part.bounds.is_some() => {
            let dir = args.dir.unwrap_or(item.dir);
            for (dma, size) in part_of(kx, &args.part, bus_ranges(&found)) {
                dma::dma_sync_single(kx, item.dev, dma, size, dir, args.for_cpu).await;
            }
        }
        Item::Sg(item) => {
            let entries = passed_entries(kx, args.entries.as_ref(), item.list.len());
            let (dir, segments) = (args.dir.unwrap_or(item.dir), item.segments.min(entries));
            dma::dma_sync_sg(kx, item.dev, &item.list, entries, segments, dir, args.for_cpu).await;
        }
        Item::Buffer(_) | Item::Coherent(..) | Item::Object(_) | Item::Gone(_) => {}
    }
    Ok(())
}

/// The part of some ranges that a statement is about, counted through all of them. There is always at least a byte of it.
pub(super) fn part_of(kx: &Kx, part: &Part, mut ranges: BusRanges) -> BusRanges {
    let Some((offset, size)) = part.bounds.as_deref() else { return ranges };
    let total: u64 = ranges.iter().map(|(_, size)| size).sum();
    let mut skip = draw(kx, "offset of a part", offset).min(total.saturating_sub(1));
    let mut left = size.as_ref().map_or(total, |size| draw(kx, "length of a part", size)).max(1);
    for (dma, size) in &mut ranges {
        let skipped = skip.min(*size);
        skip -= skipped;
        *dma = dma.wrapping_add(skipped);
        *size = (*size - skipped).min(left);
        left -= *size;
    }
    ranges.retain(|(_, size)| *size > 0);
    ranges
}

/// Ranges of bus addresses: one, but for lists.
pub(super) type BusRanges = SmallVec<[(DmaAddr, u64); 1]>;

/// Where the device finds what a name stands for.
pub(super) fn bus_ranges(item: &Item) -> BusRanges {
    match item.thing() {
        Item::Map(map) => smallvec![(map.dma, map.size)],
        Item::Sg(sg) => sg.list.iter().take(sg.segments).map(|entry| (entry.dma, entry.dma_length)).collect(),
        Item::Coherent(coherent, _) => smallvec![(coherent.dma, coherent.size)],
        Item::Buffer(_) | Item::Object(_) | Item::Gone(_) => BusRanges::new(),
    }
}

/// Where the CPU finds it.
pub(super) fn cpu_range(item: &Item) -> Option<(PhysAddr, u64)> {
    match item.thing() {
        Item::Map(map) => Some((map.phys, map.size)),
        Item::Sg(sg) => sg.buffers.first().map(|buffer| (buffer.phys, buffer.size)),
        Item::Coherent(coherent, _) => Some((coherent.phys, coherent.size)),
        Item::Buffer(buffer) | Item::Object(buffer) => Some((buffer.phys, buffer.size)),
        Item::Gone(_) => None,
    }
}
