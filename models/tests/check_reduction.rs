//! An exhaustive search that leaves out what commutes comes to the same as one that leaves out nothing: the same findings,
//! and the same states at the end.

use std::collections::BTreeMap;
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
fn scenario(kernel: &str, cmdline: &str, device: &str, bodies: &[&str], rest: &str) -> Simulation {
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
            kernel: (version: "{kernel}", config: ["CONFIG_DMA_RESTRICTED_POOL=y"]),
            cmdline: "quiet {cmdline}",
            machine: Inline({MACHINE} {device}),
            drivers: [Inline(name: "tiny", probe: [SetMask(bits: 64)], workload: [{}])],
            {rest}
        )"#,
        workload.join(", ")
    );
    let loaded = load_from(&PathBuf::from("small.ron"), &OneFile(text)).unwrap_or_else(|error| panic!("{error}"));
    Simulation::new(loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}")))
}

fn limits() -> Limits {
    let focus = Focus {
        from_function: Some("tiny_request".to_owned()),
        contexts: vec!["tiny".to_owned(), "unplug".to_owned()],
        ..Focus::default()
    };
    Limits { answers: 1, focus: focus.into(), ..Limits::default() }
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
            let text = format!("{:?} {found:?}\n{}", run.end.ended, canonical(&run.state.expect("it was asked for")));
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

/// The first lines that differ.
fn difference(one: &str, other: &str) -> String {
    let lines = one.lines().zip(other.lines()).filter(|(a, b)| a != b).take(6);
    let around = |text: &str, at: usize| {
        let chars: Vec<_> = text.chars().collect();
        chars[at.saturating_sub(120)..(at + 60).min(chars.len())].iter().collect::<String>()
    };
    let differ = |(a, b): (&str, &str)| {
        let at = a.chars().zip(b.chars()).position(|(a, b)| a != b).unwrap_or(0);
        format!("- {}\n+ {}\n", around(a, at), around(b, at))
    };
    lines.map(differ).collect()
}

const RESTRICTED: &str =
    r#"devices: [(bdf: "0000:01:00.0", name: "c", class: "storage", driver: "tiny", restricted_pool: (start: 0x20000000, size: 0x100000))]"#;
const BEHIND_IOMMU: &str =
    r#"iommu: AmdVi(), devices: [(bdf: "0000:01:00.0", name: "c", class: "storage", driver: "tiny")]"#;

/// Without what counts the runs that the memory was used in.
fn canonical(text: &str) -> String {
    let mut out = text.to_owned();
    for word in ["stamp: ", "born: "] {
        let mut parts = out.split(word);
        let mut next = parts.next().unwrap_or("").to_owned();
        for part in parts {
            next.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        out = next;
    }
    out
}

#[test]
fn figures() {
    let map = r#"Map(name: "page", size: Fixed(4096), dir: ToDevice)"#;
    let simulation = scenario("5.15", "", RESTRICTED, &[map, ""], "");
    let seen = explore(&simulation, &limits(), 2_000).expect("ends");
    let plain = explore(&simulation, &Limits { opaque: true, ..limits() }, 2_000).expect("ends");
    let ends: Vec<_> = plain.ends.iter().collect();
    println!("{:?}", ends.iter().map(|(end, count)| (seen.ends.contains_key(*end), **count)).collect::<Vec<_>>());
    println!("{}", difference(ends[0].0, ends[1].0));
}
