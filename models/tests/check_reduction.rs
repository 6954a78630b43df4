//! An exhaustive search that leaves out what commutes comes to the same as one that leaves out nothing: the same findings,
//! and the same states at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use models::run::{Request, Simulation};
use models::scenario::{Overrides, ReadFile, load_from};
use sim::explore::Search;
use sim::explore::dpor::{Counts, Focus, Limits};

struct OneFile(String);

impl ReadFile for OneFile {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }

    fn neighbours(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }
}

const MACHINE: &str = r#"name: "small", cpu_vendor: Amd, cpus: 2, nr_cpus: 2,
    e820: [(start: 0x0, end: 0x9fbff, kind: Usable), (start: 0x100000, end: 0x3fffffff, kind: Usable)],"#;

/// A scenario whose contexts "tiny a", "tiny b", ... do these things in `tiny_request`.
fn scenario(kernel: &str, cmdline: &str, device: &str, bodies: &[&str]) -> Simulation {
    let workload: Vec<_> = bodies
        .iter()
        .zip(["a", "b", "c"])
        .enumerate()
        .map(|(cpu, (body, name))| {
            format!(
                r#"(name: "tiny {name}", cpu: Cpu({}), start_ms: Fixed(50), body: [Call(function: "tiny_request", body: [{body}])])"#,
                cpu % 2
            )
        })
        .collect();
    let text = format!(
        r#"(
            kernel: ({kernel}, config: ["CONFIG_DMA_RESTRICTED_POOL=y"]),
            cmdline: "quiet {cmdline}",
            machine: Inline({MACHINE} {device}),
            drivers: [Inline(name: "tiny", probe: [SetMask(bits: 64)], workload: [{}])],
        )"#,
        workload.join(", ")
    );
    let loaded =
        load_from(&PathBuf::from("small.ron"), &OneFile(text)).unwrap_or_else(|error| panic!("{error}"));
    Simulation::new(loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}")))
}

fn limits(from: &str, preemptions: Option<u32>) -> Limits {
    let focus =
        Focus { from_function: Some(from.to_owned()), contexts: vec!["tiny".to_owned()], ..Focus::default() };
    Limits { answers: 1, focus: focus.into(), preemptions, ..Limits::default() }
}

/// What the runs of a search came to.
#[derive(Debug, Default)]
struct Seen {
    counts: Counts,
    /// State and findings, and how many runs came to them.
    ends: BTreeMap<String, u64>,
}

fn explore(simulation: &Simulation, limits: &Limits, most: u64) -> Option<Seen> {
    let mut worker = simulation.worker();
    let mut request = Request::quick(0);
    request.record_state = true;
    let mut search = Box::new(Search::new(limits.clone()));
    let mut ends = BTreeMap::new();
    for _ in 0..most {
        let run = worker.search(search, &request);
        let abandoned = run.end.abandoned;
        if !abandoned {
            let mut found: Vec<_> = run.end.findings.iter().map(sim::Finding::signature).collect();
            found.sort();
            let text = format!(
                "{:?} {found:?}\n{}",
                run.end.ended,
                canonical(&run.state.expect("it was asked for"))
            );
            *ends.entry(text).or_default() += 1;
        }
        search = run.end.choices.into_search().expect("a search chose");
        assert!(!search.astray(), "the same choices led elsewhere");
        if !search.advance(abandoned) {
            return Some(Seen { counts: search.counts(), ends });
        }
    }
    None
}

const RESTRICTED: &str = r#"devices: [(bdf: "0000:01:00.0", name: "c", class: "storage", driver: "tiny",
    restricted_pool: (start: 0x20000000, size: 0x100000))]"#;
const BEHIND_IOMMU: &str =
    r#"iommu: AmdVi(), devices: [(bdf: "0000:01:00.0", name: "c", class: "storage", driver: "tiny")]"#;
/// Its command queue takes time.
const BUSY_IOMMU: &str = r#"iommu: AmdVi(command_ns: 1000),
    devices: [(bdf: "0000:01:00.0", name: "c", class: "storage", driver: "tiny")]"#;
const OLD: &str = r#"version: "5.15""#;
const NEW: &str = r#"version: "6.12""#;
const NO_WAIT: &str = r#"version: "6.12", revert: ["completion-wait-covers"]"#;

const MAP: &str = r#"Map(name: "page", size: Fixed(4096), dir: ToDevice)"#;
const UNMAP: &str = r#"Map(name: "page", size: Fixed(4096), dir: ToDevice), Unmap(name: "page")"#;
const WRITTEN: &str = r#"Map(name: "page", size: Fixed(4096), dir: FromDevice), DeviceWrite(name: "page"), Unmap(name: "page")"#;

/// Without what depends on the runs before in the same memory, and on the engine's history of this one.
fn canonical(text: &str) -> String {
    let mut out = text.to_owned();
    for word in ["stamp: ", "born: ", "SyncClock(Cell { value: "] {
        let mut parts = out.split(word);
        let mut next = parts.next().unwrap_or("").to_owned();
        for part in parts {
            next.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        out = next;
    }
    out
}

/// Runs of a search of these cases are many, and no more than this.
const MOST: u64 = 6_000;

/// The ends of all runs, and how many runs there were: with reduction, and without.
fn both(simulation: &Simulation, limits: &Limits) -> (Seen, Seen) {
    let reduced = explore(simulation, limits, MOST).expect("the reduced search ends");
    let plain =
        explore(simulation, &Limits { opaque: true, ..limits.clone() }, MOST).expect("the plain one ends");
    (reduced, plain)
}

fn ends(seen: &Seen) -> BTreeSet<&String> {
    seen.ends.keys().collect()
}

/// Small enough for every order.
#[test]
fn what_is_left_out_shows_nothing_new() {
    for (kernel, cmdline, device) in
        [(OLD, "", RESTRICTED), (OLD, "", BEHIND_IOMMU), (NEW, "iommu.strict=1", BEHIND_IOMMU)]
    {
        for bodies in [&[MAP, ""][..], &[UNMAP, ""]] {
            let simulation = scenario(kernel, cmdline, device, bodies);
            let (reduced, plain) = both(&simulation, &limits("tiny_request", None));
            assert_eq!(ends(&reduced), ends(&plain), "{kernel} {cmdline} {bodies:?}");
            assert!(
                reduced.counts.runs() * 2 < plain.counts.runs(),
                "{:?} {:?}",
                reduced.counts,
                plain.counts
            );
        }
    }
}

/// Within a bound of preemptions, where both contexts do something.
#[test]
fn what_is_left_out_within_a_bound_shows_nothing_new() {
    let (mut runs, mut of) = (0, 0);
    for (kernel, cmdline, device, from) in [
        (OLD, "", RESTRICTED, "tiny_request"),
        (OLD, "", RESTRICTED, "dma_unmap_page_attrs"),
        (OLD, "", BEHIND_IOMMU, "dma_unmap_page_attrs"),
        (NO_WAIT, "iommu.strict=1", BUSY_IOMMU, "dma_unmap_page_attrs"),
    ] {
        for bodies in [[MAP, MAP], [WRITTEN, WRITTEN]] {
            let simulation = scenario(kernel, cmdline, device, &bodies);
            for bound in 0..3 {
                let (reduced, plain) = both(&simulation, &limits(from, Some(bound)));
                let same = ends(&reduced) == ends(&plain);
                assert!(same, "{kernel} {cmdline} {from} {bodies:?}, {bound} preemptions");
                runs += reduced.counts.runs();
                of += plain.counts.runs();
            }
        }
    }
    assert!(runs < of, "nothing is left out: {runs} runs of {of}");
}

/// All orders, reduced, show what some orders show that are all run.
#[test]
fn a_search_without_a_bound_shows_what_one_with_a_bound_shows() {
    for (kernel, device, bodies, from) in [
        (OLD, RESTRICTED, [MAP, MAP], "dma_unmap_page_attrs"),
        (OLD, RESTRICTED, [UNMAP, WRITTEN], "dma_unmap_page_attrs"),
        (OLD, BEHIND_IOMMU, [MAP, MAP], "iommu_dma_unmap_page"),
    ] {
        let simulation = scenario(kernel, "", device, &bodies);
        let reduced = explore(&simulation, &limits(from, None), MOST).expect("it ends");
        let bounded = Limits { opaque: true, ..limits(from, Some(1)) };
        let plain = explore(&simulation, &bounded, MOST).expect("it ends");
        assert!(ends(&plain).is_subset(&ends(&reduced)), "{from} {bodies:?}");
    }
}

/// Files in which something else than a telling cell may hold what changes, and why no search need know of it.
const EXCEPTIONS: [(&str, &str); 9] = [
    ("iommu/dma/range.rs", "counts within one step"),
    ("kernel/memory.rs", "is what tells of memory"),
    ("kernel/mod.rs", "labels are written once, call stacks are for the record"),
    ("memblock/owner.rs", "sorts when it is asked, which changes nothing"),
    ("scenario/src/intern.rs", "the same text gives the same name"),
    ("shrink/judge.rs", "belongs to no run"),
    ("swiotlb/alloc/", "is for threads, and no run has it"),
    ("swiotlb/literal.rs", "lives within one call"),
    ("swiotlb/pool.rs", "lives within one call"),
];

/// In safe code contexts share what changes through cells alone, and all cells of the models tell.
#[test]
fn everything_that_contexts_share_tells() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("mem/src"), root.join("scenario/src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let name = path.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/");
            let name = name.strip_prefix("src/").unwrap_or(&name);
            if EXCEPTIONS.iter().any(|(file, _)| name.starts_with(file)) {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            for word in [
                "std::cell",
                "core::cell",
                "thread_local!",
                "sync::atomic",
                "sync::Mutex<",
                "std::sync::Mutex",
                "RwLock",
                "static mut",
                "OnceLock",
                "LazyLock",
                "unsafe ",
            ] {
                let code = |line: &&str| !line.trim_start().starts_with("//");
                let hit = text.lines().filter(code).any(|line| line.contains(word));
                assert!(
                    !hit,
                    "{name} has {word}: what contexts share is in sim::cell, so that `check` knows of it"
                );
            }
        }
    }
    assert!(files > 150, "{files}");
}
