//! Whole boots, and one mapping by each path. Run with `cargo bench -p dmasim-models --bench boot`.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use divan::{Bencher, black_box};
use models::boot::boot;
use models::dma::{Attrs, dma_map_page_attrs, dma_unmap_page_attrs};
use models::driver::Programs;
use models::kernel::{Draws, GfpFlags, Kernel, Kx, Memory};
use models::mem::{self, PhysAddr, PhysRange};
use models::memblock::{Memblock, MemblockRules};
use models::run::{Request, Simulation, Source};
use models::scenario::{Overrides, Resolved, load};
use models::swiotlb::Direction;
use sim::choices::{Choices, Mode};
use sim::schedule::Strategy;
use sim::{RunConfig, Sim, SpawnSpec};

fn main() {
    divan::main();
}

fn resolved(name: &str, append: &str) -> Resolved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/lkml-2021-07").join(name);
    let overrides = Overrides { append: Some(append.to_owned()), ..Overrides::default() };
    load(path).and_then(|loaded| loaded.resolve(&overrides)).unwrap_or_else(|error| panic!("{error}"))
}

fn boots(bencher: Bencher<'_, '_>, name: &str, append: &str, request: impl Fn(u64) -> Request) {
    let simulation = Simulation::new(resolved(name, append));
    let mut worker = simulation.worker();
    let mut seed = 0;
    bencher.bench_local(|| {
        seed += 1;
        black_box(worker.run(&request(seed % 64)))
    });
}

#[divan::bench]
fn boot_report(bencher: Bencher<'_, '_>) {
    boots(bencher, "hp-4300g.ron", "", Request::quick);
}

#[divan::bench]
fn boot_fixed(bencher: Bencher<'_, '_>) {
    boots(bencher, "hp-4300g-fixed.ron", "", Request::quick);
}

#[divan::bench]
fn boot_bouncing(bencher: Bencher<'_, '_>) {
    boots(bencher, "hp-4300g.ron", "swiotlb=force", Request::quick);
}

#[divan::bench]
fn boot_recorded(bencher: Bencher<'_, '_>) {
    boots(bencher, "hp-4300g.ron", "", |seed| Request::full(Source::Seed(seed)));
}

/// Mappings in one run: their time is the time of a run with them less that of one without.
const PAIRS: u32 = 1000;

/// Boots a machine on which nothing goes on, and then maps and unmaps a page so often.
fn pairs(scenario: &Arc<Resolved>, programs: &Arc<Programs>, times: u32) {
    let machine = &scenario.machine;
    let end = machine.e820.iter().map(|entry| entry.end + 1).max().unwrap_or(0);
    let node = PhysRange { start: PhysAddr(0), end: PhysAddr(end.next_multiple_of(mem::PAGE_SIZE)) };
    let memory = Memory {
        ram: mem::Memory::new(&[node], machine.cpus, 1, 0),
        memblock: Memblock::new(MemblockRules::v6_1()),
    };
    let config = RunConfig { cpus: 8, max_steps: u64::MAX, ..RunConfig::default() };
    let sim = Sim::new(config, Choices::new(Mode::Seed(0), false), Strategy::RoundRobin.build(1, |_| 0));
    let (scenario, programs) = (Arc::clone(scenario), Arc::clone(programs));
    let kernel = Rc::new(Kernel::new(scenario, programs, Draws::default(), memory, &sim, false));
    sim.spawn(SpawnSpec::task("swapper/0", 0), move |cx| async move {
        let kx = Kx::new(cx, kernel);
        boot(&kx).await;
        let Some(node) = kx.k.node(11) else { return };
        let Ok((page, _)) = kx.alloc_pages("bench", 0, GfpFlags::KERNEL).await else { return };
        let (dev, dir, attrs) = (node.ptr.get(), Direction::Bidirectional, Attrs::default());
        for _ in 0..times {
            if let Some(dma) = dma_map_page_attrs(&kx, dev, page, 4096, dir, attrs).await {
                dma_unmap_page_attrs(&kx, dev, dma, 4096, dir, attrs).await;
            }
        }
    });
    black_box(sim.run().digest);
}

#[divan::bench(args = ["dma-direct", "bounce", "iommu-dma", "iommu-dma strict"], consts = [0, PAIRS])]
fn map_and_unmap<const TIMES: u32>(bencher: Bencher<'_, '_>, path: &str) {
    let append = match path {
        "dma-direct" => "amd_iommu=off",
        "bounce" => "swiotlb=force",
        "iommu-dma strict" => "iommu.strict=1",
        _ => "",
    };
    let mut scenario = resolved("hp-4300g-fixed.ron", append);
    for device in &mut scenario.machine.devices {
        device.driver = None;
    }
    scenario.drivers.clear();
    scenario.processes.clear();
    let programs = Arc::new(Programs::new(&scenario));
    let scenario = Arc::new(scenario);
    bencher.bench_local(|| pairs(&scenario, &programs, TIMES));
}
