//! Memory, the device's engine, and its interrupts.

use std::rc::Rc;

use sim::choices::Stream;
use sim::{Draft, Kind, SpawnSpec};

use super::exec::run_block;
use super::instance::Env;
use super::items::{Buffer, Home, Item, MapItem, draw, fill};
use super::maps::{bus_ranges, cpu_range, part_of, unmap_item, unmap_sg_item};
use super::program::{Block, NameId, Part};
use crate::dma;
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{PhysAddr, Source};
use crate::oracle::device_dma;
use crate::scenario::schema::{BufferSource, Dist, JunkClass};

/// `-ENOMEM`.
const ENOMEM: u32 = 12;

/// A tag for bytes that somebody writes now: no two writes carry the same.
fn fresh_tag(kx: &Kx) -> u32 {
    kx.k.next_tag()
}

/// The CPU writes data of its own.
pub(super) fn write_data(kx: &Kx, phys: PhysAddr, size: u64) {
    let source = Source::Data { tag: fresh_tag(kx) };
    let _ = kx.k.mem.borrow_mut().heap.write_at(phys, size, source, 0);
}

/// Where the machine has no RAM, but the registers of the interrupt controllers.
const REGISTERS: PhysAddr = PhysAddr(0xfec0_0000);
/// log2 of the pages of a stack (`THREAD_SIZE_ORDER`).
const STACK_ORDER: u8 = 2;
/// How far behind the start of the kernel's image its constants lie.
const RODATA: u64 = 0x100_0000;

pub(super) async fn new_buffer(kx: &Kx, size: u64, from: BufferSource) -> Option<Buffer> {
    let atomic = kx.atomic_reason().is_some();
    let flags = GfpFlags { atomic, ..GfpFlags::KERNEL };
    let order = u8::try_from(size.div_ceil(4096).max(1).next_power_of_two().ilog2()).ok()?;
    let (what, home) = match from {
        BufferSource::Slab => {
            let (phys, id) = kx.kmalloc("driver buffer", size, flags).await.ok()?;
            return Some(Buffer { phys, size, id, home: Home::Slab });
        }
        BufferSource::Rodata | BufferSource::NoRam => {
            let image = kx.k.image.range();
            let constant = image.start.wrapping_add(RODATA.min(image.size() / 2));
            let phys = if from == BufferSource::Rodata { constant } else { REGISTERS };
            return Some(Buffer { phys, size, id: 0, home: Home::Nobody });
        }
        BufferSource::Pages => ("driver buffer", Home::Pages(order)),
        BufferSource::Stack => ("kernel stack", Home::Stack(order.max(STACK_ORDER))),
        BufferSource::Vmalloc => ("vmalloc memory", Home::Vmalloc(order)),
    };
    let (Home::Pages(order) | Home::Stack(order) | Home::Vmalloc(order)) = home else { return None };
    let (phys, id) = kx.alloc_pages(what, order, flags).await.ok()?;
    Some(Buffer { phys, size, id, home })
}

pub(super) async fn free_memory(kx: &Kx, buffer: &Buffer) {
    match buffer.home {
        Home::Pages(order) | Home::Stack(order) | Home::Vmalloc(order) => {
            kx.free_pages(buffer.phys, order, buffer.id).await;
        }
        Home::Slab => kx.kfree(buffer.phys, buffer.id).await,
        Home::Nobody => {}
    }
}

/// Whether `dma_map_single` refuses this memory: it is `vmalloc` memory, as stacks are on most kernels.
pub(super) fn is_vmalloc(kx: &Kx, buffer: &Buffer) -> bool {
    match buffer.home {
        Home::Vmalloc(_) => true,
        Home::Stack(_) => kx.k.profile().config.vmap_stack,
        Home::Pages(_) | Home::Slab | Home::Nobody => false,
    }
}

/// Gives back whatever a name stood for.
pub(super) async fn free_item(kx: &Kx, item: Item) {
    match item {
        Item::Buffer(buffer) | Item::Object(buffer) => free_memory(kx, &buffer).await,
        Item::Map(map) => unmap_item(kx, &map).await,
        Item::Sg(sg) => unmap_sg_item(kx, &sg).await,
        Item::Coherent(coherent, dev) => dma::dma_free_attrs(kx, dev, &coherent).await,
        Item::Gone(_) => {}
    }
}

/// `dma_alloc_coherent`; `managed` in probe is `dmam_alloc_coherent`.
pub(super) async fn alloc_coherent(
    kx: &Kx,
    env: &Rc<Env>,
    name: NameId,
    size: &Dist,
    managed: bool,
) -> Result<(), u32> {
    let size = draw(kx, "size", size).max(1);
    let dev = env.instance.ptr;
    let coherent = dma::dma_alloc_attrs(kx, dev, size).await.ok_or(ENOMEM)?;
    env.put(name, Item::Coherent(coherent, dev));
    if managed && env.is_probe {
        env.instance.managed.borrow_mut().push(name);
    }
    Ok(())
}

pub(super) async fn free_coherent(kx: &Kx, env: &Rc<Env>, name: NameId, cpu_offset: u64) -> Result<(), u32> {
    if let Some(Item::Coherent(coherent, dev)) = env.take(name).as_ref().map(Item::thing) {
        dma::dma_free_attrs(kx, *dev, &coherent.with_cpu_offset(cpu_offset)).await;
    }
    Ok(())
}

pub(super) async fn alloc_buffer(
    kx: &Kx,
    env: &Rc<Env>,
    name: NameId,
    size: &Dist,
    from: BufferSource,
    content: JunkClass,
) -> Result<(), u32> {
    let size = draw(kx, "size", size).max(1);
    let buffer = new_buffer(kx, size, from).await.ok_or(ENOMEM)?;
    if buffer.home != Home::Nobody {
        fill(kx, buffer.phys, size, content, buffer.id);
    }
    env.put(name, Item::Buffer(buffer));
    Ok(())
}

pub(super) async fn free_buffer(kx: &Kx, env: &Rc<Env>, name: NameId) -> Result<(), u32> {
    if let Some(Item::Buffer(buffer)) = env.take(name).as_ref().map(Item::thing) {
        free_memory(kx, buffer).await;
    }
    Ok(())
}

pub(super) async fn alloc_object(
    kx: &Kx,
    env: &Rc<Env>,
    name: NameId,
    type_name: &'static str,
    size: u64,
) -> Result<(), u32> {
    let (phys, id) = kx.kmalloc(type_name, size, GfpFlags::KERNEL).await.map_err(|_| ENOMEM)?;
    // A private structure is full of pointers, counters and names.
    fill(kx, phys, size, JunkClass::Pointers, id);
    env.put(name, Item::Object(Buffer { phys, size, id, home: Home::Slab }));
    Ok(())
}

pub(super) async fn free_object(kx: &Kx, env: &Rc<Env>, name: NameId) -> Result<(), u32> {
    if let Some(Item::Object(buffer)) = env.take(name).as_ref().map(Item::thing) {
        free_memory(kx, buffer).await;
    }
    Ok(())
}

pub(super) async fn cpu_write(kx: &Kx, env: &Rc<Env>, name: NameId) -> Result<(), u32> {
    let Some(item) = env.get(name) else { return Ok(()) };
    if let Some((phys, size)) = cpu_range(&item) {
        kx.step(Kind::Write, kx.memory_label()).await;
        check_alive(kx, &item, "Write");
        write_data(kx, phys, size);
        kx.k.ledger.cpu_wrote(phys, size);
    }
    Ok(())
}

pub(super) async fn cpu_read(kx: &Kx, env: &Rc<Env>, name: NameId) -> Result<(), u32> {
    let Some(item) = env.get(name) else { return Ok(()) };
    if cpu_range(&item).is_some() {
        kx.step(Kind::Read, kx.memory_label()).await;
        check_alive(kx, &item, "Read");
    }
    Ok(())
}

/// A driver's own buffer must still be its own.
fn check_alive(kx: &Kx, item: &Item, access: &'static str) {
    let buffer = match item.thing() {
        Item::Buffer(buffer) | Item::Object(buffer) => *buffer,
        Item::Map(MapItem { own: Some(buffer), .. }) => *buffer,
        Item::Map(_) | Item::Sg(_) | Item::Coherent(..) | Item::Gone(_) => return,
    };
    let mem = kx.k.mem.borrow();
    let Some(freed) = mem.heap.record(buffer.id).and_then(|record| record.free) else { return };
    let type_name = mem.heap.record(buffer.id).map_or("", |record| record.type_name);
    drop(mem);
    let title = format!(
        "BUG: KASAN: use-after-free in {}: {access} of size {} at addr {:016x} by task {}",
        kx.function(),
        buffer.size,
        buffer.phys.virt(),
        kx.name()
    );
    kx.report(Draft::warning("use-after-free", title).object(type_name).discriminator(freed.func), || {
        let mut details = Vec::new();
        kx.k.explain_object(buffer.id, kx.sim(), &mut details);
        details
    });
}

/// The device does its DMA while the driver waits.
pub(super) async fn device(kx: &Kx, env: &Rc<Env>, part: &Part, write: bool) -> Result<(), u32> {
    let Some(item) = env.get(part.name) else { return Ok(()) };
    let Some(node) = kx.k.node(env.instance.device) else { return Ok(()) };
    for (dma, size) in part_of(kx, part, bus_ranges(&item)) {
        device_dma(kx, &node, dma, size, write, fresh_tag(kx)).await;
    }
    Ok(())
}

/// The device does its DMA later, and interrupts then.
pub(super) fn submit(kx: &Kx, env: &Rc<Env>, part: &Part, write: bool, latency_us: &Dist, irq: Block) {
    let name = part.name;
    let Some(item) = env.get(name) else { return };
    let ranges = part_of(kx, part, bus_ranges(&item));
    // The store to the device's register comes after all others (`writel`).
    kx.order_stores();
    let latency = draw(kx, "latency", latency_us) * 1000;
    env.outstanding.begin();
    let (k, env, cpu) = (Rc::clone(&kx.k), Rc::clone(env), kx.cpu());
    kx.spawn(SpawnSpec::device(env.instance.bdf), move |cx| async move {
        let kx = Kx::new(cx, k);
        kx.delay(latency.max(1000)).await;
        if let Some(node) = kx.k.node(env.instance.device) {
            for (dma, size) in ranges {
                device_dma(&kx, &node, dma, size, write, fresh_tag(&kx)).await;
            }
        }
        kx.k.power.wait_for_irqs(&kx).await;
        let draws = &kx.k.draws;
        if draws.late_irq > 0 && kx.chance(Stream::Injection, "interrupt late", draws.late_irq) {
            let late = kx.choose(Stream::Injection, "lateness", draws.late_irq_max.max(1));
            kx.injected(|| format!("the interrupt of {} is {late} ns late", env.instance.bdf));
            kx.delay(late).await;
        }
        if draws.spurious_irq > 0 && kx.chance(Stream::Injection, "spurious interrupt", draws.spurious_irq) {
            kx.injected(|| format!("a spurious interrupt of {}", env.instance.bdf));
            // Its handler finds nothing to do.
            raise(&kx, Env::of_irq(&env, None), cpu, Block::from([]), false);
        }
        raise(&kx, Env::of_irq(&env, Some((name, item))), cpu, irq, true);
    });
}

fn raise(kx: &Kx, env: Rc<Env>, cpu: u8, irq: Block, completes: bool) {
    let k = Rc::clone(&kx.k);
    kx.spawn(SpawnSpec::hardirq("irq", cpu), move |cx| async move {
        let kx = Kx::new(cx, k);
        let _frame = kx.enter("handle_irq_event");
        run_block(&kx, &env, &irq).await;
        if completes {
            env.outstanding.complete(&kx);
        }
    });
}
