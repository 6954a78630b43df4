//! Small machines and drivers for one purpose each, and a way to run a code path on a booted machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use models::boot::boot;
use models::driver::Programs;
use models::kernel::{Draws, Kernel, Kx, Memory};
use models::mem::{self, PhysAddr, PhysRange};
use models::memblock::{Memblock, MemblockRules};
use models::oracle::end_of_run;
use models::run::{Facts, Request, Simulation};
use models::scenario::{Overrides, ReadFile, Resolved, load, load_from};
use sim::choices::{Choices, Mode};
use sim::schedule::Strategy;
use sim::{Finding, RunConfig, Sim, SpawnSpec};

/// A machine with one disk behind an AMD IOMMU and one driver for it. What differs between two tests is a field.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) version: &'static str,
    /// `apply: [...], revert: [...],`
    pub(crate) flips: &'static str,
    pub(crate) config: &'static str,
    pub(crate) cmdline: &'static str,
    pub(crate) iommu: &'static str,
    pub(crate) machine: &'static str,
    pub(crate) device: &'static str,
    /// What is said of the device that has no driver.
    pub(crate) spare: &'static str,
    pub(crate) registers: &'static str,
    pub(crate) probe: &'static str,
    pub(crate) body: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) processes: &'static str,
    pub(crate) inject: &'static str,
}

/// The scenario with this text.
pub(crate) fn resolved(text: &str) -> Resolved {
    let loaded = load_from(Path::new("world.ron"), &OneFile(text.to_owned()))
        .unwrap_or_else(|error| panic!("{text}\n{error}"));
    loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// 3 GiB below 4 GiB and 5 GiB above, behind an IOMMU, kernel 5.15.
pub(crate) const WORLD: World = World {
    version: "5.15",
    flips: "",
    config: "",
    cmdline: "quiet",
    iommu: "AmdVi(ppr: true, gt: true)",
    machine: "",
    device: "",
    spare: "isolation: 2",
    registers: "Device",
    probe: "SetMask(bits: 64)",
    body: "",
    remove: "",
    processes: "",
    inject: "",
};

/// The same without an IOMMU.
pub(crate) const DIRECT: World = World { cmdline: "amd_iommu=off", ..WORLD };
/// The same, and everything bounces.
pub(crate) const BOUNCING: World = World { cmdline: "swiotlb=force", ..WORLD };

struct OneFile(String);

impl ReadFile for OneFile {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }

    fn neighbours(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }
}

impl World {
    fn text(&self) -> String {
        let Self { version, flips, config, cmdline, iommu, machine, device, spare, registers, .. } = *self;
        let Self { probe, body, remove, processes, inject, .. } = *self;
        format!(
            r#"(
    about: "one thing",
    kernel: (version: "{version}", {flips} config: [{config}]),
    cmdline: "{cmdline}",
    machine: Inline(
        name: "small", cpu_vendor: Amd, cpus: 4, nr_cpus: 320, iommu: {iommu}, {machine}
        e820: [
            (start: 0x0, end: 0x9ffff, kind: Usable),
            (start: 0x100000, end: 0xbfffffff, kind: Usable),
            (start: 0x100000000, end: 0x23fffffff, kind: Usable),
        ],
        kernel_image: (start: 0x1000000, size: 0x2c00000),
        devices: [
            (bdf: "0000:01:00.0", name: "disk", driver: "disk", isolation: 1, {device}),
            (bdf: "0000:02:00.0", name: "spare", {spare}),
        ],
    ),
    drivers: [Inline(
        name: "disk",
        registers: {registers},
        probe: [{probe}],
        workload: [(name: "io", start_ms: Fixed(1), body: [{body}])],
        remove: [{remove}],
    )],
    processes: [{processes}],
    inject: ({inject} settle_ms: 20000),
)"#
        )
    }

    pub(crate) fn resolve(&self) -> Resolved {
        resolved(&self.text())
    }

    /// Runs some seeds; how many had each kind of finding, and one title of it.
    pub(crate) fn kinds(&self, seeds: u64) -> BTreeMap<&'static str, (u64, String)> {
        campaign(self.resolve(), seeds)
    }

    pub(crate) fn facts(&self) -> Facts {
        facts(self.resolve())
    }

    /// One run with everything recorded.
    pub(crate) fn recorded(&self) -> models::run::Run {
        Simulation::new(self.resolve()).worker().run(&Request::full(models::run::Source::Seed(0)))
    }

    /// Whether one run logs this.
    pub(crate) fn logs(&self, text: &str) -> bool {
        self.recorded().log().iter().any(|line| line.text.contains(text))
    }

    /// Whether one run enters this function.
    pub(crate) fn enters(&self, function: &str) -> bool {
        let trace = self.recorded().end.trace;
        trace
            .events
            .iter()
            .any(|event| matches!(event.kind, sim::trace::EventKind::Enter(name) if name == function))
    }

    /// In this world `kind` is found in each of some seeds.
    #[track_caller]
    pub(crate) fn fires(&self, kind: &str) -> String {
        const SEEDS: u64 = 6;
        let found = self.kinds(SEEDS);
        match found.get(kind) {
            Some((SEEDS, title)) => title.clone(),
            _ => panic!("{kind} is not found in every seed, but: {found:#?}"),
        }
    }

    /// In this world nothing at all is found.
    #[track_caller]
    pub(crate) fn is_silent(&self) {
        let found = self.kinds(12);
        assert!(found.is_empty(), "{found:#?}");
    }
}

pub(crate) fn shipped(name: &str, overrides: &Overrides) -> Resolved {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/lkml-2021-07").join(name);
    let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
    loaded.resolve(overrides).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn campaign(scenario: Resolved, seeds: u64) -> BTreeMap<&'static str, (u64, String)> {
    let simulation = Simulation::new(scenario);
    let mut worker = simulation.worker();
    let mut found: BTreeMap<&'static str, (u64, String)> = BTreeMap::new();
    for seed in 0..seeds {
        let run = worker.run(&Request::quick(seed));
        let kinds: BTreeMap<_, _> = run.end.findings.iter().map(|f| (f.kind, f.title.clone())).collect();
        for (kind, title) in kinds {
            found.entry(kind).or_insert((0, title)).0 += 1;
        }
    }
    found
}

pub(crate) fn facts(scenario: Resolved) -> Facts {
    Simulation::new(scenario).worker().run(&Request::quick(0)).facts
}

/// What one code path on one machine led to.
pub(crate) struct Outcome<R> {
    pub(crate) findings: Vec<Finding>,
    /// `None` if it never came back.
    pub(crate) result: Option<R>,
}

impl<R> Outcome<R> {
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.kind).collect()
    }
}

/// Boots the machine, and then runs `path` on it while nothing else happens.
pub(crate) fn on_booted<R: 'static, F: Future<Output = R> + 'static>(
    world: &World,
    path: impl FnOnce(Kx) -> F + 'static,
) -> Outcome<R> {
    run_path(world.resolve(), true, path)
}

/// Runs `path` on a machine that was just switched on.
pub(crate) fn on_bare<R: 'static, F: Future<Output = R> + 'static>(
    world: &World,
    path: impl FnOnce(Kx) -> F + 'static,
) -> Outcome<R> {
    run_path(world.resolve(), false, path)
}

pub(crate) fn run_path<R: 'static, F: Future<Output = R> + 'static>(
    scenario: Resolved,
    booted: bool,
    path: impl FnOnce(Kx) -> F + 'static,
) -> Outcome<R> {
    let scenario = Arc::new(scenario);
    let machine = &scenario.machine;
    let end = machine.e820.iter().map(|entry| entry.end + 1).max().unwrap_or(0);
    let node = PhysRange { start: PhysAddr(0), end: PhysAddr(end.next_multiple_of(mem::PAGE_SIZE)) };
    let memory = Memory {
        ram: mem::Memory::new(&[node], machine.cpus, 1, 0),
        memblock: Memblock::new(MemblockRules::of_profile(&scenario.profile)),
    };
    let cpus = u8::try_from(machine.cpus).expect("few CPUs");
    let config = RunConfig { cpus, details: true, max_steps: 1_000_000, ..RunConfig::default() };
    let schedule = Strategy::RoundRobin.build(1, |_| 0);
    let sim = Sim::new(config, Choices::new(Mode::Seed(0), false), schedule);
    let programs = Arc::new(Programs::new(&scenario));
    let kernel = Rc::new(Kernel::new(scenario, programs, Draws::default(), memory, &sim, true));
    let result = Rc::new(RefCell::new(None));
    let (k, slot) = (Rc::clone(&kernel), Rc::clone(&result));
    sim.spawn(SpawnSpec::task("swapper/0", 0), move |cx| async move {
        let kx = Kx::new(cx, k);
        if booted {
            boot(&kx).await;
        }
        let value = path(kx).await;
        *slot.borrow_mut() = Some(value);
    });
    let k = Rc::clone(&kernel);
    sim.at_end(move |cx| end_of_run(&Kx::new(cx, k)));
    let findings = sim.run().findings;
    let result = result.take();
    Outcome { findings, result }
}
