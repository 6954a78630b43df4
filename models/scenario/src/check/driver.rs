//! Drivers: names that must have been made, and how much they do.

use std::collections::BTreeSet;

use super::super::index::Seg;
use super::super::limits;
use super::super::nearest::nearest;
use super::{Checker, World, did_you_mean, multiplied};
use crate::LinkFlags;
use crate::profile::Behaviour;
use mem::PAGE_SIZE;
use schema::{
    DeviceArg, Dist, Driver, MadeBy, MapArgs, MapSgArgs, OnError, PartArgs, Registers, Stmt, SubmitArgs,
    SyncArgs, UnmapArgs, UnmapSgArgs,
};

/// Statements inside a statement, and the field that holds them.
type Body<'a> = (&'static str, &'a [Stmt]);

pub(super) fn check(checker: &mut Checker<'_>, driver: &Driver, world: &World<'_>) {
    checker.name("name", &driver.name);
    if let Registers::Module { after_ms } = &driver.registers {
        checker.field("registers", |c| c.dist("after_ms", after_ms, 0, limits::DELAY_US / 1_000));
    }
    if !checker.count("workload", driver.workload.len(), limits::QUEUES) {
        return;
    }
    let mut names = Names::default();
    let bodies = driver.workload.iter().map(|q| &q.body);
    for list in [&driver.probe, &driver.remove].into_iter().chain(bodies) {
        names.collect(list, 0);
    }
    let mut walk = Walk { names, world, left: limits::STATEMENTS };
    walk.context(checker, "probe", &driver.probe);
    walk.context(checker, "remove", &driver.remove);
    for (i, queue) in driver.workload.iter().enumerate() {
        checker.field("workload", |c| {
            c.at(Seg::Index(i), |c| {
                c.name("name", &queue.name);
                c.cpu(queue.cpu, world);
                c.dist("start_ms", &queue.start_ms, 0, limits::DELAY_US / 1_000);
                walk.context(c, "body", &queue.body);
            });
        });
    }
    if walk.left == 0 {
        checker.error(&[], format!("more than {} statements", limits::STATEMENTS));
    }
}

/// What each name of a driver stands for. One name may stand for several things in different places.
#[derive(Default)]
struct Names<'a> {
    buffers: BTreeSet<&'a str>,
    coherent: BTreeSet<&'a str>,
    maps: BTreeSet<&'a str>,
    sg_maps: BTreeSet<&'a str>,
    objects: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn collect(&mut self, list: &'a [Stmt], depth: usize) {
        if depth > limits::BODY_DEPTH {
            return;
        }
        for stmt in list.iter().take(limits::STATEMENTS) {
            let (names, name) = match stmt {
                Stmt::AllocBuffer { name, .. } => (&mut self.buffers, name),
                Stmt::AllocCoherent { name, .. } => (&mut self.coherent, name),
                Stmt::Map(MapArgs { name, .. }) => (&mut self.maps, name),
                Stmt::MapSg(MapSgArgs { name, .. }) => (&mut self.sg_maps, name),
                Stmt::AllocObject { name, .. } => (&mut self.objects, name),
                _ => {
                    for (_, inner) in inner(stmt) {
                        self.collect(inner, depth + 1);
                    }
                    continue;
                }
            };
            names.insert(name);
        }
    }
}

/// The statements inside a statement, by the field that they stand in.
fn inner(stmt: &Stmt) -> impl Iterator<Item = (&'static str, &[Stmt])> {
    let (first, second): (Option<Body<'_>>, Option<Body<'_>>) = match stmt {
        Stmt::Repeat { body, .. }
        | Stmt::Requeue { body, .. }
        | Stmt::Call { body, .. }
        | Stmt::Lock { body, .. }
        | Stmt::Maybe { body, .. } => (Some(("body", body)), None),
        Stmt::IfKernel { body, otherwise, .. } => (Some(("body", body)), Some(("otherwise", otherwise))),
        Stmt::Submit(SubmitArgs { irq, .. }) => (Some(("irq", irq)), None),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

struct Walk<'a> {
    names: Names<'a>,
    world: &'a World<'a>,
    /// Statements that the driver may still have.
    left: usize,
}

impl Walk<'_> {
    fn context(&mut self, checker: &mut Checker<'_>, field: &'static str, list: &[Stmt]) {
        let mut executed = 0;
        checker.field(field, |c| self.body(c, list, 1, 0, &mut executed));
        if executed > limits::EXECUTED {
            let message = format!("it may execute more than {} statements", limits::EXECUTED);
            checker.error_help(&[Seg::Field(field)], message, "nested repetitions multiply");
        }
    }

    fn body(
        &mut self,
        checker: &mut Checker<'_>,
        list: &[Stmt],
        times: u64,
        depth: usize,
        executed: &mut u64,
    ) {
        if depth > limits::BODY_DEPTH {
            checker.error(&[], format!("statements nest deeper than {} levels", limits::BODY_DEPTH));
            return;
        }
        for (i, stmt) in list.iter().enumerate() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            *executed = executed.saturating_add(times);
            checker.at(Seg::Index(i), |c| {
                self.one(c, stmt);
                for (field, inner) in inner(stmt) {
                    let times = match stmt {
                        Stmt::Repeat { times: more, .. } => multiplied(times, more),
                        _ => times,
                    };
                    c.field(field, |c| self.body(c, inner, times, depth + 1, executed));
                }
            });
        }
    }

    /// Checks what stands in a statement itself, not the statements inside it.
    fn one(&self, checker: &mut Checker<'_>, stmt: &Stmt) {
        let names = &self.names;
        match stmt {
            Stmt::SetMask { bits } | Stmt::SetCoherentMask { bits } => {
                checker.range("bits", (*bits).into(), 1, 64);
            }
            Stmt::SetMinAlignMask { mask } => low_bits(checker, *mask, (1 << 18) - 1),
            Stmt::SetSegBoundary { mask } => low_bits(checker, *mask, u64::MAX),
            Stmt::SetMaxSegSize { bytes } => checker.range("bytes", *bytes, 1, u32::MAX.into()),
            Stmt::AllocCoherent { name, size, .. } | Stmt::AllocBuffer { name, size, .. } => {
                checker.name("name", name);
                checker.dist("size", size, 1, limits::BYTES);
            }
            Stmt::AllocObject { name, type_name, size } => {
                checker.name("name", name);
                checker.name("type_name", type_name);
                checker.range("size", *size, 1, limits::BYTES);
            }
            Stmt::Map(args) => self.map(checker, args),
            Stmt::MapSg(args) => {
                checker.name("name", &args.name);
                checker.dist("entries", &args.entries, 1, limits::SG_ENTRIES);
                checker.dist("size", &args.size, 1, limits::BYTES);
                checker.dist("offset", &args.offset, 0, limits::BYTES);
                self.map_common(checker, args.on_error, &args.device);
            }
            Stmt::FreeCoherent { name, .. } => defined(checker, name, "coherent memory", &[&names.coherent]),
            Stmt::FreeBuffer { name } => defined(checker, name, "buffer", &[&names.buffers]),
            Stmt::FreeObject { name } => defined(checker, name, "object", &[&names.objects]),
            Stmt::Unmap(UnmapArgs { name, size, made_by, .. }) => {
                match made_by {
                    MadeBy::Map => defined(checker, name, "mapping of `Map`", &[&names.maps]),
                    MadeBy::MapSg => defined(checker, name, "mapping of `MapSg`", &[&names.sg_maps]),
                    MadeBy::AllocCoherent => defined(checker, name, "coherent memory", &[&names.coherent]),
                }
                optional(checker, "size", size.as_ref(), 1, limits::BYTES);
            }
            Stmt::UnmapSg(UnmapSgArgs { name, entries, .. }) => {
                defined(checker, name, "mapping of `MapSg`", &[&names.sg_maps]);
                optional(checker, "entries", entries.as_ref(), 1, limits::SG_ENTRIES);
            }
            Stmt::SyncForCpu(args) | Stmt::SyncForDevice(args) => {
                let SyncArgs { name, offset, size, entries, .. } = args;
                defined(checker, name, "mapping", &[&names.maps, &names.sg_maps]);
                in_part(checker, offset, size.as_ref());
                optional(checker, "entries", entries.as_ref(), 1, limits::SG_ENTRIES);
            }
            Stmt::CpuWrite { name } | Stmt::CpuRead { name } => {
                let all = [&names.buffers, &names.coherent, &names.maps, &names.sg_maps];
                defined(checker, name, "buffer, coherent memory or mapping", &all);
            }
            Stmt::DeviceRead(PartArgs { name, offset, size })
            | Stmt::DeviceWrite(PartArgs { name, offset, size }) => {
                self.dma_target(checker, name);
                in_part(checker, offset, size.as_ref());
            }
            Stmt::Submit(args) => {
                self.dma_target(checker, &args.name);
                in_part(checker, &args.offset, args.size.as_ref());
                checker.dist("latency_us", &args.latency_us, 0, limits::DELAY_US);
            }
            Stmt::AddLink { supplier, flags } => {
                checker.device(&[Seg::Field("supplier")], supplier, self.world);
                if !LinkFlags::of(flags).are_valid() {
                    let help = "`Stateless` goes with `PmRuntime` alone, `SyncStateOnly` with none, and \
                                `AutoprobeConsumer` not with those that remove the link";
                    checker.error_help(
                        &[Seg::Field("flags")],
                        "device_link_add refuses these together",
                        help,
                    );
                }
            }
            Stmt::RemoveLink { supplier } => {
                checker.device(&[Seg::Field("supplier")], supplier, self.world);
            }
            Stmt::DeclareCoherent { region } => checker.field("region", |c| {
                if region.size % PAGE_SIZE != 0 || region.start % PAGE_SIZE != 0 {
                    c.error(&[], "it does not consist of whole pages");
                }
                c.range("start", region.start, 0, limits::PHYS_MAX);
                c.range("size", region.size, PAGE_SIZE, limits::BYTES);
            }),
            Stmt::WaitAll | Stmt::EnablePasid | Stmt::ReleaseCoherent | Stmt::LimitToMaxMapping => {}
            Stmt::Repeat { times, .. } => checker.dist("times", times, 0, limits::EXECUTED),
            Stmt::Requeue { times, delay_us, .. } => {
                checker.range("times", (*times).into(), 1, limits::RETRIES.into());
                checker.dist("delay_us", delay_us, 0, limits::DELAY_US);
            }
            Stmt::Call { function, .. } => {
                let mut chars = function.chars();
                let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
                if !first || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
                    checker
                        .error(&[Seg::Field("function")], format!("`{function}` is no name of a function"));
                }
            }
            Stmt::Lock { name, .. } => checker.name("name", name),
            Stmt::Share { name } => self.shareable(checker, name),
            Stmt::Take { name, within_us } => {
                self.shareable(checker, name);
                checker.range("within_us", *within_us, 1, limits::POLL_US);
            }
            Stmt::Sleep { us } => checker.dist("us", us, 0, limits::DELAY_US),
            Stmt::Maybe { percent, .. } => checker.percent(*percent),
            Stmt::IfKernel { has, .. } => {
                if Behaviour::from_name(has).is_none() {
                    let near = nearest(has, Behaviour::ALL.iter().map(|known| known.name()));
                    let help = near.map_or_else(String::new, |near| format!("did you mean `{near}`?"));
                    checker.error_help(&[Seg::Field("has")], format!("no behaviour `{has}`"), help);
                }
            }
            Stmt::ReturnError { errno } => checker.range("errno", (*errno).into(), 1, limits::ERRNO.into()),
        }
    }

    fn map(&self, checker: &mut Checker<'_>, args: &MapArgs) {
        checker.name("name", &args.name);
        checker.dist("offset", &args.offset, 0, limits::BYTES);
        if let Some(size) = &args.size {
            checker.dist("size", size, 1, limits::BYTES);
        }
        match &args.buffer {
            Some(buffer) if !self.names.buffers.contains(buffer.as_str()) => {
                let help = did_you_mean(buffer, self.names.buffers.iter().copied());
                let message = format!("no `AllocBuffer` makes a buffer `{buffer}`");
                checker.error_help(&[Seg::Field("buffer")], message, help);
            }
            None if args.size.is_none() => {
                let help = "give `size` for a fresh buffer, or `buffer`";
                checker.error_help(&[], format!("mapping `{}` has no size", args.name), help);
            }
            Some(_) | None => {}
        }
        self.map_common(checker, args.on_error, &args.device);
    }

    fn map_common(&self, checker: &mut Checker<'_>, on_error: OnError, device: &DeviceArg) {
        if let OnError::Retry { times, delay_us } = on_error {
            checker.field("on_error", |c| {
                c.range("times", times.into(), 1, limits::RETRIES.into());
                c.range("delay_us", delay_us, 0, limits::DELAY_US);
            });
        }
        let at = [Seg::Field("device")];
        match device {
            DeviceArg::OwnDevice => {}
            DeviceArg::Sibling(bdf) => checker.device(&at, bdf, self.world),
            DeviceArg::Object(name) => {
                if !self.names.objects.contains(name.as_str()) {
                    let help = did_you_mean(name, self.names.objects.iter().copied());
                    checker.error_help(&at, format!("no `AllocObject` makes an object `{name}`"), help);
                }
            }
        }
    }

    fn shareable(&self, checker: &mut Checker<'_>, name: &str) {
        let all = [&self.names.maps, &self.names.sg_maps, &self.names.buffers];
        defined(checker, name, "mapping or buffer", &all);
    }

    fn dma_target(&self, checker: &mut Checker<'_>, name: &str) {
        let all = [&self.names.maps, &self.names.sg_maps, &self.names.coherent];
        defined(checker, name, "mapping or coherent memory", &all);
    }
}

/// Offset and length of a part of a mapping.
fn in_part(checker: &mut Checker<'_>, offset: &Dist, size: Option<&Dist>) {
    checker.dist("offset", offset, 0, limits::BYTES);
    optional(checker, "size", size, 1, limits::BYTES);
}

/// The mask is of the form 2^n - 1.
fn low_bits(checker: &mut Checker<'_>, mask: u64, max: u64) {
    if mask > max || mask & mask.wrapping_add(1) != 0 {
        let message = format!("{mask:#x} is no mask of low bits");
        checker.error_help(
            &[Seg::Field("mask")],
            message,
            format!("allowed: 2^n - 1 up to {max:#x}, as in `0xfff`"),
        );
    }
}

/// A number that need not be given.
fn optional(checker: &mut Checker<'_>, field: &'static str, value: Option<&Dist>, min: u64, max: u64) {
    if let Some(value) = value {
        checker.dist(field, value, min, max);
    }
}

fn defined(checker: &mut Checker<'_>, name: &str, what: &str, lists: &[&BTreeSet<&str>]) {
    if !lists.iter().any(|l| l.contains(name)) {
        let help = did_you_mean(name, lists.iter().flat_map(|l| l.iter().copied()));
        checker.error_help(
            &[Seg::Field("name")],
            format!("no {what} is ever called `{name}` in this driver"),
            help,
        );
    }
}
