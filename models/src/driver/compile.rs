//! From the schema to programs.

use std::sync::Arc;

use super::program::{
    Block, DriverProgram, MapOp, MapSgOp, NameId, Op, Part, ProcOp, ProcProgram, QueueProgram, SyncOp,
    Target, UnmapOp, UnmapSgOp,
};
use crate::device::links::LinkFlags;
use crate::dma::Attrs;
use crate::mem::{PhysAddr, PhysRange};
use crate::profile::{Behaviour, Profile};
use crate::scenario::schema::{DeviceArg, Dir, Dist, Driver, PartArgs, ProcStmt, Process, Stmt, SyncArgs};
use crate::scenario::{Resolved, intern};
use crate::swiotlb::Direction;

/// All programs of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The drivers, in the scenario's order.
    pub drivers: Vec<DriverProgram>,
    /// Whether one of them makes device links, or asks for what they say.
    pub make_links: bool,
    pub(super) processes: Vec<ProcProgram>,
}

/// A text that lives for ever. The loader has bounded how many there can be.
fn text(text: &str) -> &'static str {
    intern(text).unwrap_or("?")
}

impl Programs {
    /// Compiles the drivers and processes of a scenario that was checked.
    #[must_use]
    pub fn new(scenario: &Resolved) -> Self {
        let device = |bdf: &str| scenario.machine.devices.iter().position(|device| device.bdf == bdf);
        let mut make_links = false;
        let compile = |driver| {
            let (program, links) = Compiler::driver(driver, &device, &scenario.profile);
            make_links |= links;
            program
        };
        let drivers = scenario.drivers.iter().map(compile).collect();
        let driver = |name: &str| scenario.drivers.iter().position(|driver| driver.name == name);
        let processes =
            scenario.processes.iter().map(|process| compile_process(process, &device, &driver)).collect();
        Self { drivers, make_links, processes }
    }
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<usize>;

struct Compiler<'a> {
    names: Vec<&'a str>,
    locks: Vec<&'static str>,
    make_links: bool,
    device: Lookup<'a>,
    profile: &'a Profile,
}

impl<'a> Compiler<'a> {
    fn driver(driver: &'a Driver, device: Lookup<'a>, profile: &'a Profile) -> (DriverProgram, bool) {
        let mut compiler = Self { names: Vec::new(), locks: Vec::new(), make_links: false, device, profile };
        let probe = compiler.block(&driver.probe);
        let queues = driver
            .workload
            .iter()
            .map(|queue| QueueProgram {
                name: text(&format!("{}: {}", driver.name, queue.name)),
                cpu: queue.cpu,
                start_ms: queue.start_ms.clone(),
                body: compiler.block(&queue.body),
            })
            .collect();
        let remove = compiler.block(&driver.remove);
        let shutdown = driver.shutdown.as_ref().map(|body| compiler.block(body));
        let pm = driver.pm.as_ref().map(|pm| pm.phases().map(|(_, body)| compiler.block(body)));
        let sync_state = driver.sync_state.as_ref().map(|body| compiler.block(body));
        // Who is to be told asks for what links say.
        compiler.make_links |= sync_state.is_some();
        let program = DriverProgram {
            name: text(&driver.name),
            registers: driver.registers.clone(),
            probe_type: driver.probe_type,
            probe,
            queues,
            remove,
            shutdown,
            pm,
            sync_state,
            locks: compiler.locks,
        };
        (program, compiler.make_links)
    }

    fn name(&mut self, name: &'a str) -> NameId {
        let at = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        NameId::try_from(at).unwrap_or(NameId::MAX)
    }

    fn block(&mut self, body: &'a [Stmt]) -> Block {
        let mut ops = Vec::with_capacity(body.len());
        self.append(body, &mut ops);
        ops.into()
    }

    /// Compiles statements, of those that depend on the kernel the ones that count.
    fn append(&mut self, body: &'a [Stmt], ops: &mut Vec<Op>) {
        for stmt in body {
            if let Stmt::IfKernel { has, body, otherwise } = stmt {
                let there = Behaviour::from_name(has).is_some_and(|has| self.profile.has(has));
                self.append(if there { body } else { otherwise }, ops);
            } else {
                ops.push(self.stmt(stmt));
            }
        }
    }

    fn sync(&mut self, args: &'a SyncArgs, for_cpu: bool) -> Op {
        Op::Sync(Box::new(SyncOp {
            part: self.part_of(&args.name, &args.offset, args.size.as_ref()),
            dir: args.dir.map(direction),
            entries: args.entries.clone(),
            for_cpu,
        }))
    }

    fn part(&mut self, args: &'a PartArgs) -> Part {
        self.part_of(&args.name, &args.offset, args.size.as_ref())
    }

    fn part_of(&mut self, name: &'a str, offset: &Dist, size: Option<&Dist>) -> Part {
        let whole = *offset == Dist::zero() && size.is_none();
        let bounds = (!whole).then(|| Box::new((offset.clone(), size.cloned())));
        Part { name: self.name(name), bounds }
    }

    fn target(&mut self, device: &'a DeviceArg) -> Target {
        match device {
            DeviceArg::OwnDevice => Target::Own,
            DeviceArg::Sibling(bdf) => (self.device)(bdf).map_or(Target::Own, Target::Sibling),
            DeviceArg::Object(name) => Target::Object(self.name(name)),
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> Op {
        let parms = |min_align, max_seg, boundary| Op::SetParms { min_align, max_seg, boundary };
        let low32 = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or(u32::MAX);
        match stmt {
            Stmt::SetMask { bits } => Op::SetMask(*bits),
            Stmt::SetCoherentMask { bits } => Op::SetCoherentMask(*bits),
            Stmt::SetMinAlignMask { mask } => parms(Some(low32(*mask)), None, None),
            Stmt::SetMaxSegSize { bytes } => parms(None, Some(low32(*bytes)), None),
            Stmt::SetSegBoundary { mask } => parms(None, None, Some(*mask)),
            Stmt::DeclareCoherent { region } => {
                Op::DeclareCoherent(PhysRange::new(PhysAddr(region.start), region.size))
            }
            Stmt::ReleaseCoherent => Op::ReleaseCoherent,
            Stmt::LimitToMaxMapping => Op::LimitToMaxMapping,
            Stmt::AddLink { supplier, flags } => {
                self.make_links = true;
                Op::AddLink {
                    supplier: (self.device)(supplier).unwrap_or(usize::MAX),
                    flags: LinkFlags::of(flags),
                }
            }
            Stmt::RemoveLink { supplier } => {
                Op::RemoveLink { supplier: (self.device)(supplier).unwrap_or(usize::MAX) }
            }
            Stmt::AllocCoherent { name, size, managed } => {
                Op::AllocCoherent { name: self.name(name), size: size.clone(), managed: *managed }
            }
            Stmt::FreeCoherent { name, cpu_offset } => {
                Op::FreeCoherent { name: self.name(name), cpu_offset: *cpu_offset }
            }
            Stmt::AllocBuffer { name, size, from, fill } => {
                Op::AllocBuffer { name: self.name(name), size: size.clone(), from: *from, fill: *fill }
            }
            Stmt::FreeBuffer { name } => Op::FreeBuffer(self.name(name)),
            Stmt::Map(args) => Op::Map(Box::new(MapOp {
                name: self.name(&args.name),
                buffer: args.buffer.as_deref().map(|name| self.name(name)),
                size: args.size.clone(),
                offset: args.offset.clone(),
                dir: direction(args.dir),
                attrs: Attrs::new(&args.attrs),
                on_error: args.on_error,
                device: self.target(&args.device),
            })),
            Stmt::MapSg(args) => Op::MapSg(Box::new(MapSgOp {
                name: self.name(&args.name),
                entries: args.entries.clone(),
                size: args.size.clone(),
                offset: args.offset.clone(),
                dir: direction(args.dir),
                attrs: Attrs::new(&args.attrs),
                on_error: args.on_error,
                device: self.target(&args.device),
            })),
            Stmt::Unmap(args) => Op::Unmap(Box::new(UnmapOp {
                name: self.name(&args.name),
                size: args.size.clone(),
                dir: args.dir.map(direction),
            })),
            Stmt::UnmapSg(args) => Op::UnmapSg(Box::new(UnmapSgOp {
                name: self.name(&args.name),
                entries: args.entries.clone(),
                dir: args.dir.map(direction),
            })),
            Stmt::SyncForCpu(args) => self.sync(args, true),
            Stmt::SyncForDevice(args) => self.sync(args, false),
            Stmt::CpuWrite { name } => Op::CpuWrite(self.name(name)),
            Stmt::CpuRead { name } => Op::CpuRead(self.name(name)),
            Stmt::DeviceRead(args) => Op::Device { part: self.part(args), write: false },
            Stmt::DeviceWrite(args) => Op::Device { part: self.part(args), write: true },
            Stmt::Submit(args) => Op::Submit {
                part: self.part_of(&args.name, &args.offset, args.size.as_ref()),
                write: args.dma == crate::scenario::schema::Access::Write,
                latency_us: args.latency_us.clone(),
                irq: self.block(&args.irq),
            },
            Stmt::WaitAll => Op::WaitAll,
            Stmt::EnablePasid => Op::EnablePasid,
            Stmt::Repeat { times, body } => Op::Repeat { times: times.clone(), body: self.block(body) },
            Stmt::Requeue { times, delay_us, body } => {
                Op::Requeue { times: *times, delay_us: delay_us.clone(), body: self.block(body) }
            }
            Stmt::Call { function, body } => Op::Call { function: text(function), body: self.block(body) },
            Stmt::Lock { name, irqsave, body } => {
                let name = text(name);
                let at = self.locks.iter().position(|known| *known == name).unwrap_or_else(|| {
                    self.locks.push(name);
                    self.locks.len() - 1
                });
                Op::Lock { lock: u16::try_from(at).unwrap_or(0), irqsave: *irqsave, body: self.block(body) }
            }
            Stmt::Share { name } => Op::Share(self.name(name)),
            Stmt::Take { name, within_us } => Op::Take { name: self.name(name), within_us: *within_us },
            Stmt::Sleep { us } => Op::Sleep(us.clone()),
            Stmt::Maybe { percent, body } => Op::Maybe { percent: *percent, body: self.block(body) },
            Stmt::AllocObject { name, type_name, size } => {
                Op::AllocObject { name: self.name(name), type_name: text(type_name), size: *size }
            }
            Stmt::FreeObject { name } => Op::FreeObject(self.name(name)),
            Stmt::ReturnError { errno } => Op::ReturnError(*errno),
            Stmt::IfKernel { .. } => unreachable!("append takes the body that counts"),
        }
    }
}

const fn direction(dir: Dir) -> Direction {
    match dir {
        Dir::ToDevice => Direction::ToDevice,
        Dir::FromDevice => Direction::FromDevice,
        Dir::Bidirectional => Direction::Bidirectional,
    }
}

fn compile_process(process: &Process, device: Lookup<'_>, driver: Lookup<'_>) -> ProcProgram {
    ProcProgram {
        name: text(&process.name),
        pages: text(&format!("pages of {}", process.name)),
        cpu: process.cpu,
        start_ms: process.start_ms.clone(),
        body: proc_block(&process.body, device, driver),
    }
}

fn proc_block(body: &[ProcStmt], device: Lookup<'_>, driver: Lookup<'_>) -> Arc<[ProcOp]> {
    let compiled: Vec<ProcOp> = body
        .iter()
        .filter_map(|stmt| {
            Some(match stmt {
                ProcStmt::AllocPages { order, count, fill } => {
                    ProcOp::AllocPages { order: order.clone(), count: count.clone(), fill: fill.clone() }
                }
                ProcStmt::FreePages { percent } => ProcOp::FreePages(*percent),
                ProcStmt::AllocObjects { size, count } => {
                    ProcOp::AllocObjects { size: size.clone(), count: count.clone() }
                }
                ProcStmt::FreeObjects { percent } => ProcOp::FreeObjects(*percent),
                ProcStmt::Sleep { us } => ProcOp::Sleep(us.clone()),
                ProcStmt::Repeat { times, body } => {
                    ProcOp::Repeat { times: times.clone(), body: proc_block(body, device, driver) }
                }
                ProcStmt::Plug { bdf } => ProcOp::Plug(device(bdf)?),
                ProcStmt::Unplug { bdf } => ProcOp::Unplug(device(bdf)?),
                ProcStmt::Bind { bdf, driver: name } => {
                    ProcOp::Bind { device: device(bdf)?, driver: driver(name)? }
                }
                ProcStmt::Unbind { bdf } => ProcOp::Unbind(device(bdf)?),
                ProcStmt::VfioAttach { bdf } => ProcOp::VfioAttach(device(bdf)?),
                ProcStmt::VfioMap { iova, pages } => ProcOp::VfioMap { iova: *iova, pages: *pages },
                ProcStmt::VfioUnmap { iova, pages } => ProcOp::VfioUnmap { iova: *iova, pages: *pages },
                ProcStmt::VfioDma { bdf, iova, pages } => {
                    ProcOp::VfioDma { device: device(bdf)?, iova: *iova, pages: *pages }
                }
                ProcStmt::VfioDetach => ProcOp::VfioDetach,
                ProcStmt::Suspend => ProcOp::Suspend,
                ProcStmt::Reboot { how } => ProcOp::Reboot(*how),
            })
        })
        .collect();
    compiled.into()
}
