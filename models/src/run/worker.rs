//! The worker: one thread's place to run, with memory that is kept from run to run.

use sim::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use sim::choices::{Choices, Mode, Stream};
use sim::explore::Search;
use sim::inject::Delays;
use sim::schedule::Strategy;
use sim::{RunConfig, Sim, SpawnSpec};

use super::{DeviceFacts, Facts, Request, Run, Simulation, Source};
use crate::boot::boot;
use crate::iommu::core::{IommuGroup, domain_type_of};
use crate::kernel::{Draws, Kernel, Kx, Memory};
use crate::mem::{self, PhysAddr, PhysRange};
use crate::memblock::{Memblock, MemblockRules};
use crate::oracle::end_of_run;
use crate::profile::Behaviour;
use crate::scenario::schema;
use crate::swiotlb::IoTlbMem;
use crate::swiotlb::kernel::swiotlb_debugfs;

/// What memory holds at power-on is the same for all runs of a scenario: which part of it is ever read is decided
/// by choices enough.
const UNTOUCHED: u64 = 0x5eed;

/// Runs a scenario, again and again, reusing memory.
#[derive(Debug)]
pub struct Worker {
    pub(super) simulation: Simulation,
    pub(super) memory: Option<Memory>,
}

impl Source {
    fn mode(&self) -> Mode {
        match self {
            Self::Seed(seed) => Mode::Seed(*seed),
            Self::Replay(list) => Mode::Replay(list.clone()),
            Self::Search(search) => Mode::Search(search.clone()),
        }
    }
}

/// What looks at the machine in the middle of a run.
type Look = Box<dyn FnOnce(&Kx)>;

impl Worker {
    fn fresh_memory(&mut self) -> Memory {
        let machine = &self.simulation.scenario.machine;
        let rules = MemblockRules::of_profile(&self.simulation.scenario.profile);
        if let Some(mut memory) = self.memory.take() {
            memory.ram.reset(UNTOUCHED, 0);
            memory.memblock.reset(rules);
            return memory;
        }
        let end = machine.e820.iter().map(|entry| entry.end.saturating_add(1)).max().unwrap_or(0);
        let node = PhysRange { start: PhysAddr(0), end: PhysAddr(end.next_multiple_of(mem::PAGE_SIZE)) };
        Memory { ram: mem::Memory::new(&[node], machine.cpus, UNTOUCHED, 0), memblock: Memblock::new(rules) }
    }

    /// Whether it runs this very simulation.
    #[must_use]
    pub fn is_of(&self, simulation: &Simulation) -> bool {
        Arc::ptr_eq(&self.simulation.scenario, &simulation.scenario)
    }

    /// One run.
    pub fn run(&mut self, request: &Request) -> Run {
        self.run_in(request, request.source.mode(), None)
    }

    /// One run of a search, which is in what is left of its choices. The source that `request` names does not count.
    pub fn search(&mut self, search: Box<Search>, request: &Request) -> Run {
        self.run_in(request, Mode::Search(search), None)
    }

    /// Runs until `step` steps were taken, and looks at the machine there: `None` if the run has fewer. The run goes no
    /// further.
    pub fn look<T: 'static>(
        &mut self,
        request: &Request,
        step: u64,
        look: impl FnOnce(&Kx) -> T + 'static,
    ) -> Option<T> {
        let seen = Rc::new(RefCell::new(None));
        let into = Rc::clone(&seen);
        let look: Look = Box::new(move |kx| *into.borrow_mut() = Some(look(kx)));
        let mode = request.source.mode();
        self.run_in(request, mode, Some((step, look)));
        seen.take()
    }

    fn run_in(&mut self, request: &Request, mode: Mode, look: Option<(u64, Look)>) -> Run {
        let scenario = Arc::clone(&self.simulation.scenario);
        let explore = &scenario.explore;
        let searching = matches!(mode, Mode::Search(_));
        let mut choices = Choices::new(mode, request.record_choices);
        if request.record_questions {
            choices.keep_questions();
        }
        // A search decides by itself: which strategy there is must be no choice of its own.
        let wanted = if searching { Some(Strategy::RoundRobin) } else { request.strategy };
        let strategy = wanted.unwrap_or_else(|| explore.strategy.into());
        let mut of_swarm = None;
        let schedule = strategy.build_guided(&self.simulation.estimate, request.guide.as_ref(), |of| {
            *of_swarm.insert(choices.choose_for_run(Stream::Schedule, "strategy", of))
        });
        let config = RunConfig {
            cpus: u8::try_from(scenario.machine.cpus).unwrap_or(u8::MAX),
            max_steps: request.max_steps.unwrap_or(explore.max_steps),
            record: request.record,
            record_choices: request.record_choices,
            coverage: request.coverage,
            details: request.details,
            stop_on_finding: request.on_finding_stop.unwrap_or(explore.on_finding == schema::OnFinding::Stop),
            ..RunConfig::default()
        };
        let sim = Sim::new(config, choices, schedule);
        let draws = Draws::new(&sim, &scenario.inject);
        sim.set_delays(Delays::new(draws.delay_every, draws.delay_max));
        sim.stop_injection_at(scenario.inject.settle_ms.saturating_mul(1_000_000));
        let memory = self.fresh_memory();
        let programs = Arc::clone(&self.simulation.programs);
        let mut kernel = Kernel::new(scenario, programs, draws, memory, &sim, request.details);
        kernel.bounces = request.record_bounces.then(RefCell::default);
        let kernel = Rc::new(kernel);
        let k = Rc::clone(&kernel);
        sim.spawn(SpawnSpec::task("swapper/0", 0), move |cx| async move {
            boot(&Kx::new(cx, k)).await;
        });
        let k = Rc::clone(&kernel);
        if let Some((step, look)) = look {
            let k = Rc::clone(&kernel);
            sim.look_at(step, move |cx| look(&Kx::new(cx, k)));
        }
        // Runs when nothing else can: what it looks at has settled.
        let state = Rc::new(RefCell::default());
        let kept = request.record_state.then(|| Rc::clone(&state));
        sim.at_end(move |cx| {
            let kx = Kx::new(cx, k);
            if let Some(kept) = kept {
                *kept.borrow_mut() = Some(super::end_state::state_of(&kx));
            }
            end_of_run(&kx);
            let facts = facts_of(&kx);
            *kx.k.facts.borrow_mut() = facts;
        });
        let mut end = sim.run();
        if request.record {
            let drawn = kernel.draws.describe().into_iter();
            end.trace.notes.extend(drawn);
            end.trace.notes.push(match of_swarm.map(Strategy::of_swarm) {
                Some(one) => format!("strategy {strategy}: {one}"),
                None => format!("strategy {strategy}"),
            });
        }
        let facts = kernel.facts.take();
        let bounces = kernel.bounces.as_ref().map(RefCell::take);
        if let Ok(kernel) = Rc::try_unwrap(kernel) {
            self.memory = Some(kernel.mem.into_inner());
        }
        Run { end, facts, bounces, state: state.take() }
    }
}

fn facts_of(kx: &Kx) -> Facts {
    let mut facts = kx.k.facts.take();
    facts.iommu = match kx.k.iommu.registered.get() {
        Some(crate::iommu::core::IommuDriver::Amd) => "AMD-Vi".to_owned(),
        Some(crate::iommu::core::IommuDriver::Intel) => "Intel VT-d".to_owned(),
        Some(crate::iommu::core::IommuDriver::Virtio) => "virtio-iommu".to_owned(),
        Some(crate::iommu::core::IommuDriver::Smmu) => "Arm SMMU".to_owned(),
        None => "none".to_owned(),
    };
    if kx.k.iommu.registered.get().is_some() {
        let passthrough = kx.k.globals.default_passthrough.get();
        facts.iommu.push_str(if passthrough {
            ", default domain passthrough"
        } else {
            ", default domain translated"
        });
    }
    facts.debugfs = swiotlb_debugfs(kx);
    let nodes: Vec<_> = kx.k.devices.borrow().iter().cloned().collect();
    for node in nodes {
        let spec = node.spec(&kx.k);
        let (maps, bounced, failed) = node.counts.get();
        let dev = node.ptr.get();
        let pool = kx.peek(dev, crate::device::Device::dma_io_tlb_mem);
        facts.devices.push(DeviceFacts {
            bdf: spec.bdf.clone(),
            name: spec.name.clone(),
            driver: node.bound.get().map(|index| kx.k.scenario.drivers[index].name.clone()),
            group: kx.peek(node.group.get(), IommuGroup::id),
            domain: domain_type_of(kx, &node),
            path: node.path.get(),
            pool: pool.map_or("", |pool| pool_state(kx, pool)),
            pool_since: kx.k.held_since(dev.id, "dma_io_tlb_mem").map_or(0, |site| site.time_ns),
            maps,
            bounced,
            failed,
        });
    }
    facts.devices.sort_by(|a, b| a.bdf.cmp(&b.bdf));
    facts
}

pub(super) fn pool_state(kx: &Kx, pool: mem::Ptr<IoTlbMem>) -> &'static str {
    if !kx.k.has(Behaviour::DevicePoolPointer) {
        return "no pointer";
    }
    if pool.is_null() {
        return "NULL";
    }
    match kx.peek(pool, IoTlbMem::for_alloc) {
        None => "freed pool",
        Some(true) => "restricted pool",
        Some(false) if kx.peek(pool, IoTlbMem::nslabs) == Some(0) => "empty default pool",
        Some(false) => "default pool",
    }
}
