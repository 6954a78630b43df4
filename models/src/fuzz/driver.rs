//! Drivers that keep the rules of the DMA API.

use super::dice::Dice;
use crate::scenario::{
    Access, Attr, BufferSource, CpuChoice, DeviceArg, Dir, Dist, Driver, JunkClass, MadeBy, MapArgs,
    MapSgArgs, OnError, PartArgs, ProbeType, Queue, Registers, Stmt, SubmitArgs, SyncArgs, UnmapArgs,
    UnmapSgArgs,
};

/// The longest mapping of one piece that is usual.
const LONGEST: u64 = 256 << 10;
/// Where translations may use a large page: the least that has one, and the most that a buffer has room for.
const LARGE: u64 = 2 << 20;
const LARGEST: u64 = 4 << 20;
/// The longest entry of a list.
const LONGEST_ENTRY: u64 = 32 << 10;

pub(super) fn drivers(dice: &mut Dice) -> Vec<Driver> {
    let count = dice.range(1, 2);
    (0..count).map(|nth| driver(dice, nth)).collect()
}

fn driver(dice: &mut Dice, nth: u64) -> Driver {
    let bits = dice.pick(&[30, 31, 32, 32, 32, 36, 40, 48, 64, 64, 64]);
    let mut probe = vec![Stmt::SetMask { bits }];
    if bits < 32 {
        // Without a word it is 32 bits.
        probe.push(Stmt::SetCoherentMask { bits });
    } else if dice.chance(30) {
        probe.push(Stmt::SetCoherentMask { bits: 32 });
    }
    if dice.chance(35) {
        probe.push(Stmt::SetMinAlignMask { mask: dice.pick(&[0x1ff, 0x7ff, 0xfff, 0xfff, 0x3fff]) });
    }
    // An entry of a list is no longer than what the driver says of its device.
    let mut longest_entry = LONGEST_ENTRY;
    if dice.chance(35) {
        let bytes = dice.pick(&[4096, 8192, 16384, 65536, 0x4_0000, 0xffff_f000]);
        longest_entry = longest_entry.min(bytes);
        probe.push(Stmt::SetMaxSegSize { bytes });
    }
    if dice.chance(25) {
        probe.push(Stmt::SetSegBoundary { mask: dice.pick(&[0xffff, 0x1_ffff, 0xf_ffff, 0xffff_ffff]) });
    }
    // Asked after the masks, on which the answer depends.
    if dice.chance(70) {
        probe.push(Stmt::LimitToMaxMapping);
    }
    let mut remove = Vec::new();
    let rings = dice.range(0, 2);
    for ring in 0..rings {
        let name = format!("ring{ring}");
        let size = Dist::Fixed(dice.pick(&[256, 4096, 4096, 8192, 16384]));
        probe.push(Stmt::AllocCoherent { name: name.clone(), size, managed: false });
        remove.insert(0, Stmt::FreeCoherent { name, cpu_offset: 0 });
    }
    let count = dice.range(1, 3);
    let workload = (0..count).map(|queue| self::queue(dice, queue, rings, longest_entry)).collect();
    Driver {
        name: format!("driver{nth}"),
        about: String::new(),
        registers: match dice.range(0, 5) {
            0 => Registers::Late,
            1 => Registers::Module { after_ms: dice.dist(50) },
            _ => Registers::Device,
        },
        probe_type: if dice.chance(50) { ProbeType::Async } else { ProbeType::Sync },
        probe,
        workload,
        remove,
        shutdown: None,
        pm: None,
        sync_state: None,
    }
}

fn queue(dice: &mut Dice, nth: u64, rings: u64, longest_entry: u64) -> Queue {
    let kinds = dice.range(1, 2);
    let mut body = Vec::new();
    for kind in 0..kinds {
        let rounds = Rounds { name: format!("data{kind}"), lock: format!("lock{}", dice.range(0, 1)) };
        let mut once = match dice.range(0, if rings > 0 { 7 } else { 6 }) {
            0 => rounds.device_writes(dice),
            1 => rounds.to_device(dice),
            2 | 3 => rounds.list(dice, longest_entry),
            4 => rounds.kept(dice),
            5 => rounds.polled(dice),
            6 => rounds.descriptors(dice),
            _ => ring(dice, rings),
        };
        if dice.chance(30) {
            once.push(Stmt::Sleep { us: dice.dist(800) });
        }
        if dice.chance(20) {
            once = vec![Stmt::Maybe { percent: dice.small(20, 90), body: once }];
        }
        body.push(Stmt::Repeat { times: Dist::Uniform(1, dice.range(1, 8)), body: once });
    }
    let cpu = if dice.chance(20) { CpuChoice::PerCpu } else { CpuChoice::Any };
    Queue { name: format!("queue{nth}"), cpu, start_ms: dice.dist(100), body }
}

/// The device's accesses to memory that both may always look at.
fn ring(dice: &mut Dice, rings: u64) -> Vec<Stmt> {
    let name = format!("ring{}", dice.range(0, rings - 1));
    let dma = if dice.chance(50) { Access::Read } else { Access::Write };
    let latency_us = dice.dist(300);
    vec![
        Stmt::CpuWrite { name: name.clone() },
        submit(&name, dma, latency_us, vec![Stmt::CpuRead { name: name.clone() }]),
        Stmt::WaitAll,
    ]
}

fn submit(name: &str, dma: Access, latency_us: Dist, irq: Vec<Stmt>) -> Stmt {
    let name = name.to_owned();
    Stmt::Submit(SubmitArgs { name, dma, offset: Dist::zero(), size: None, latency_us, irq })
}

/// One round of a request that is mapped, used and unmapped. Names are the queue's own.
struct Rounds {
    name: String,
    lock: String,
}

impl Rounds {
    fn whole(&self) -> PartArgs {
        PartArgs { name: self.name.clone(), offset: Dist::zero(), size: None }
    }

    fn part(&self, dice: &mut Dice) -> PartArgs {
        if dice.chance(60) {
            return self.whole();
        }
        PartArgs { name: self.name.clone(), offset: dice.dist(8192), size: Some(dice.lengths(16384)) }
    }

    /// A part that lies in each mapping of so many bytes: a sync is not cut to what is mapped.
    fn part_within(&self, dice: &mut Dice, size: u64) -> PartArgs {
        if size < 2 || dice.chance(60) {
            return self.whole();
        }
        let offset = dice.range(0, size - 1);
        let bytes = dice.range(1, size - offset);
        PartArgs { name: self.name.clone(), offset: Dist::Fixed(offset), size: Some(Dist::Fixed(bytes)) }
    }

    fn unmap(&self) -> Stmt {
        Stmt::Unmap(UnmapArgs { name: self.name.clone(), size: None, dir: None, made_by: MadeBy::Map })
    }

    fn cpu_read(&self) -> Stmt {
        Stmt::CpuRead { name: self.name.clone() }
    }

    fn map(&self, dice: &mut Dice, dir: Dir, more: &[Attr]) -> Stmt {
        let mut attrs = vec![Attr::NoWarn];
        attrs.extend_from_slice(more);
        let (size, offset) = if dice.chance(6) {
            // Whole pages of a buffer of its own, which begin where a large page does or not.
            let offset = dice.pick(&[0, 0x1000, 0x5000, 0x10_0000]);
            (Dist::Fixed(dice.range(LARGE, LARGEST - offset)), Dist::Fixed(offset))
        } else {
            let offset = if dice.chance(30) { dice.dist(4095) } else { Dist::zero() };
            (dice.lengths(LONGEST), offset)
        };
        Stmt::Map(MapArgs {
            name: self.name.clone(),
            buffer: None,
            size: Some(size),
            offset,
            dir,
            attrs,
            on_error: OnError::Skip,
            device: DeviceArg::OwnDevice,
        })
    }

    /// Maybe inside a function, maybe under a lock with interrupts off: nothing in it sleeps.
    fn wrapped(&self, dice: &mut Dice, body: Vec<Stmt>) -> Vec<Stmt> {
        match dice.range(0, 4) {
            0 => vec![Stmt::Lock { name: self.lock.clone(), irqsave: true, body }],
            1 => vec![Stmt::Call { function: "queue_rq".to_owned(), body }],
            _ => body,
        }
    }

    /// The device writes, its interrupt handler reads and unmaps.
    fn device_writes(&self, dice: &mut Dice) -> Vec<Stmt> {
        let dir = if dice.chance(80) { Dir::FromDevice } else { Dir::Bidirectional };
        let mut irq = Vec::new();
        let latency = dice.dist(300);
        let mapped = self.map(dice, dir, &[]);
        if dice.chance(50) {
            let part = self.part_within(dice, smallest(&mapped));
            irq.push(Stmt::SyncForCpu(synced(part)));
        }
        irq.push(self.unmap());
        let irq = self.wrapped(dice, irq);
        let mut body = self.wrapped(dice, vec![mapped]);
        body.extend([submit(&self.name, Access::Write, latency, irq), Stmt::WaitAll]);
        body
    }

    /// Data of a buffer of its own, which the device reads; the task unmaps and frees.
    fn to_device(&self, dice: &mut Dice) -> Vec<Stmt> {
        let buffer = format!("{}_buffer", self.name);
        let slab = dice.chance(40);
        let size = if slab { dice.range(8, 8192) } else { dice.pick(&[512, 4096, 16384, 65536]) };
        let from = if slab { BufferSource::Slab } else { BufferSource::Pages };
        let fill = dice.pick(&[JunkClass::Text, JunkClass::Zero, JunkClass::Random]);
        let map = Stmt::Map(MapArgs {
            name: self.name.clone(),
            buffer: Some(buffer.clone()),
            size: dice.maybe(40, |dice| dice.lengths(size.max(4096))),
            offset: if dice.chance(30) { dice.dist(size - 1) } else { Dist::zero() },
            dir: if dice.chance(80) { Dir::ToDevice } else { Dir::Bidirectional },
            attrs: vec![Attr::NoWarn],
            on_error: OnError::Skip,
            device: DeviceArg::OwnDevice,
        });
        let latency = dice.dist(300);
        let mut body = vec![
            Stmt::AllocBuffer { name: buffer.clone(), size: Dist::Fixed(size), from, fill },
            Stmt::CpuWrite { name: buffer.clone() },
        ];
        let mapped = self.wrapped(dice, vec![map]);
        body.extend(mapped);
        body.extend([submit(&self.name, Access::Read, latency, Vec::new()), Stmt::WaitAll, self.unmap()]);
        body.push(Stmt::FreeBuffer { name: buffer });
        body
    }

    /// A scatterlist, one way or the other.
    fn list(&self, dice: &mut Dice, longest_entry: u64) -> Vec<Stmt> {
        let (dir, dma) =
            if dice.chance(50) { (Dir::FromDevice, Access::Write) } else { (Dir::ToDevice, Access::Read) };
        let map = Stmt::MapSg(MapSgArgs {
            name: self.name.clone(),
            entries: Dist::Uniform(1, if dice.chance(15) { dice.range(10, 40) } else { dice.range(1, 10) }),
            size: dice.lengths(longest_entry),
            offset: if dice.chance(25) { dice.dist(2048) } else { Dist::zero() },
            dir,
            attrs: vec![Attr::NoWarn],
            on_error: OnError::Skip,
            device: DeviceArg::OwnDevice,
        });
        let unmap = Stmt::UnmapSg(UnmapSgArgs { name: self.name.clone(), entries: None, dir: None });
        let latency = dice.dist(300);
        let in_irq = dice.chance(60);
        let irq = if in_irq { vec![unmap.clone()] } else { Vec::new() };
        let irq = self.wrapped(dice, irq);
        let mut body = self.wrapped(dice, vec![map]);
        body.extend([submit(&self.name, dma, latency, irq), Stmt::WaitAll]);
        if !in_irq {
            body.push(unmap);
        }
        body
    }

    /// A mapping that is used several times, as the buffers of network cards are: synced to and fro.
    fn kept(&self, dice: &mut Dice) -> Vec<Stmt> {
        let both = dice.chance(40);
        let dir = if both { Dir::Bidirectional } else { Dir::FromDevice };
        let skip = dice.chance(30);
        let attrs: &[Attr] = if skip { &[Attr::SkipCpuSync] } else { &[] };
        let mut body = vec![self.map(dice, dir, attrs)];
        if skip {
            body.push(Stmt::SyncForDevice(synced(self.whole())));
        }
        let mut once = vec![submit(&self.name, Access::Write, dice.dist(200), Vec::new()), Stmt::WaitAll];
        once.extend([Stmt::SyncForCpu(synced(self.whole())), self.cpu_read()]);
        if both {
            once.push(Stmt::CpuWrite { name: self.name.clone() });
        }
        once.push(Stmt::SyncForDevice(synced(self.whole())));
        if both {
            once.extend([submit(&self.name, Access::Read, dice.dist(200), Vec::new()), Stmt::WaitAll]);
        }
        body.push(Stmt::Repeat { times: Dist::Uniform(1, dice.range(1, 3)), body: once });
        body.push(self.unmap());
        body
    }

    /// Coherent memory for one request, taken where nobody may sleep.
    fn descriptors(&self, dice: &mut Dice) -> Vec<Stmt> {
        let name = format!("{}_descriptors", self.name);
        let size = Dist::Fixed(dice.pick(&[64, 4096, 8192]));
        let taken = vec![Stmt::AllocCoherent { name: name.clone(), size, managed: false }];
        let dma = if dice.chance(50) { Access::Read } else { Access::Write };
        let latency = dice.dist(300);
        vec![
            Stmt::Lock { name: self.lock.clone(), irqsave: true, body: taken },
            Stmt::CpuWrite { name: name.clone() },
            submit(&name, dma, latency, Vec::new()),
            Stmt::WaitAll,
            Stmt::FreeCoherent { name, cpu_offset: 0 },
        ]
    }

    /// The task itself waits for the device, as drivers without an interrupt do.
    fn polled(&self, dice: &mut Dice) -> Vec<Stmt> {
        let read = dice.chance(50);
        let dir = if read { Dir::ToDevice } else { Dir::FromDevice };
        let mut body = vec![self.map(dice, dir, &[])];
        let part = self.part(dice);
        body.push(if read { Stmt::DeviceRead(part) } else { Stmt::DeviceWrite(part) });
        body.push(self.unmap());
        body
    }
}

/// The fewest bytes that a mapping may have. What a device's largest mapping cuts it to is more than that.
fn smallest(map: &Stmt) -> u64 {
    let Stmt::Map(MapArgs { size: Some(size), .. }) = map else { return 0 };
    size.min().unwrap_or(0).min(64 << 10)
}

/// A sync of a part of a mapping.
fn synced(part: PartArgs) -> SyncArgs {
    SyncArgs { name: part.name, offset: part.offset, size: part.size, dir: None, entries: None }
}
