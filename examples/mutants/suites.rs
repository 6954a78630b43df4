//! What is to notice a fault: the scenarios and the generator; and beside them the recordings.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

/// Seeds of the first rounds: most faults need few.
const FEW_GENERATED: u64 = 120;
const FEW_OF_EACH: u64 = 3;
/// Folders of scenarios with expectations. Regressions repeat one run to the last step and would notice any change.
const SCENARIOS: [&str; 5] = ["bugs", "lkml-2021-07", "debian", "check", "sizing"];
/// Kernels for which machines are generated, the newest first.
const KERNELS: [&str; 3] = ["6.12", "6.1", "5.15"];
/// A command that takes longer is taken for one that does not end.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most memory of a command, in KiB.
const MEMORY: u64 = 4 << 20;

/// Most seeds that are run for a fault.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Generated machines, for each kernel.
    pub(crate) generated: u64,
    /// Of each scenario.
    pub(crate) scenarios: u64,
}

/// The program with all faults.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
}

/// How a command ended.
enum Ended {
    Said(String),
    /// It did not end, or the operating system ended it.
    Lost(&'static str),
}

impl Program {
    fn run(&self, fault: u32, arguments: &[String]) -> Ended {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\""))
            .arg(&self.path)
            .args(arguments)
            .env("DMASIM_PLANTED", fault.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return Ended::Lost("cannot be started") };
        let mut output = child.stdout.take();
        // Read beside the wait: a pipe that is full would stop the command.
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(output) = output.as_mut() {
                let _ = output.read_to_string(&mut text);
            }
            text
        });
        let tick = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if waited < PATIENCE => {
                    std::thread::sleep(tick);
                    waited += tick;
                }
                Ok(None) | Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
            }
        };
        let text = reader.join().unwrap_or_default();
        match status {
            None => Ended::Lost("the simulator does not end"),
            Some(status) if status.code().is_none() => Ended::Lost("the simulator is killed"),
            Some(_) => Ended::Said(text),
        }
    }

    fn json(&self, fault: u32, arguments: &[String]) -> Result<Value, &'static str> {
        match self.run(fault, arguments) {
            Ended::Said(text) => serde_json::from_str(&text).map_err(|_| "the simulator says nothing"),
            Ended::Lost(why) => Err(why),
        }
    }

    /// Scenarios that do not meet their expectation, each with what was said first.
    fn scenarios(&self, fault: u32, seeds: u64) -> Result<BTreeMap<String, String>, &'static str> {
        let mut arguments: Vec<String> = SCENARIOS.iter().map(|name| format!("scenarios/{name}")).collect();
        arguments.splice(0..0, words(&["test", "--quiet", "--format", "json", "--jobs", "1"]));
        arguments.extend(["--seeds".to_owned(), seeds.to_string()]);
        let all = self.json(fault, &arguments)?;
        let tested = all["scenarios"].as_array().cloned().unwrap_or_default();
        let failed = tested.iter().filter(|one| one["result"] != "passed");
        let said = |one: &Value| one["remarks"][0].as_str().unwrap_or("cannot be run").to_owned();
        let name = |one: &Value| one["scenario"].as_str().unwrap_or_default().to_owned();
        Ok(failed.map(|one| (name(one), said(one))).collect())
    }

    /// What is found on generated machines: the kinds, each with its first seed.
    fn generated(
        &self,
        fault: u32,
        kernel: &str,
        (from, to): (u64, u64),
    ) -> Result<BTreeMap<String, u64>, &'static str> {
        let mut arguments =
            words(&["fuzz", "--quiet", "--format", "json", "--jobs", "1", "--version", kernel]);
        arguments.extend(["--seeds".to_owned(), format!("{from}..{to}")]);
        let all = self.json(fault, &arguments)?;
        let findings = all["findings"].as_array().cloned().unwrap_or_default();
        let mut kinds = BTreeMap::new();
        for finding in &findings {
            let kind = finding["kind"].as_str().unwrap_or_default().to_owned();
            let seed = finding["first_seed"].as_u64().unwrap_or(0);
            kinds.entry(kind).and_modify(|first: &mut u64| *first = seed.min(*first)).or_insert(seed);
        }
        Ok(kinds)
    }

    /// What the comparison with recordings says, without what differs from run to run.
    fn recordings(&self, fault: u32) -> String {
        let mut said = String::new();
        for arguments in conform() {
            said += &match self.run(fault, &arguments) {
                Ended::Said(text) => text,
                Ended::Lost(why) => why.to_owned(),
            };
        }
        // How long it took is in the same words as what came out.
        said.lines().filter(|line| !line.contains(" s")).collect::<Vec<_>>().join("\n")
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

/// The comparisons with recordings, shortest first.
fn conform() -> Vec<Vec<String>> {
    let data = "models/conform/tests/data";
    let mut all = Vec::new();
    let files = |folder: &str, ends: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<String> = entries.map(|entry| entry.path().display().to_string()).collect();
        paths.retain(|path| path.ends_with(ends));
        paths.sort();
        paths
    };
    let boots = files(&format!("{data}/boots"), "");
    if !boots.is_empty() {
        let mut arguments = words(&["conform", "--format", "json", "--jobs", "1", "--boot"]);
        arguments.extend(boots);
        all.push(arguments);
    }
    let mut vectors = files(data, ".jsonl.gz");
    // Of the slot search the recording of one kernel will do: it is the longest of all.
    vectors.retain(|path| !path.contains("swiotlb") || path.contains("swiotlb-6.12"));
    if !vectors.is_empty() {
        let mut arguments = words(&["conform", "--format", "json", "--jobs", "1"]);
        arguments.extend(vectors);
        all.push(arguments);
    }
    all
}

/// What comes up without any fault, and so says nothing of one.
pub(crate) struct Baseline {
    scenarios: BTreeSet<String>,
    generated: BTreeMap<&'static str, BTreeSet<String>>,
    recordings: String,
}

impl Baseline {
    pub(crate) fn of(
        program: &Program,
        budget: Budget,
        jobs: usize,
        recordings: bool,
    ) -> Result<Self, String> {
        let mut scenarios = BTreeSet::new();
        let mut generated: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        let mut tasks: Vec<(Option<&'static str>, u64)> =
            [FEW_OF_EACH, budget.scenarios].into_iter().map(|seeds| (None, seeds)).collect();
        tasks.dedup();
        tasks.extend(KERNELS.into_iter().map(|kernel| (Some(kernel), budget.generated)));
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut found: Vec<(Option<&'static str>, Vec<String>)> = Vec::new();
            while let Some(&(kernel, seeds)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                found.push((
                    kernel,
                    match kernel {
                        None => program.scenarios(0, seeds)?.into_keys().collect(),
                        Some(kernel) => program.generated(0, kernel, (0, seeds))?.into_keys().collect(),
                    },
                ));
            }
            Ok::<_, &'static str>(found)
        };
        let all = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap_or(Err("a worker panicked")))
                .collect::<Vec<_>>()
        });
        for found in all {
            for (kernel, names) in found.map_err(|why| format!("without a fault: {why}"))? {
                match kernel {
                    None => scenarios.extend(names),
                    Some(kernel) => generated.entry(kernel).or_default().extend(names),
                }
            }
        }
        let recordings = if recordings { program.recordings(0) } else { String::new() };
        Ok(Self { scenarios, generated, recordings })
    }

    pub(crate) fn in_words(&self) -> String {
        let generated: usize = self.generated.values().map(BTreeSet::len).sum();
        format!(
            "without a fault: {} scenarios fail, {generated} kinds on generated machines; they count for nothing",
            self.scenarios.len()
        )
    }
}

/// What noticed a fault first.
pub(crate) enum Noticed {
    /// A scenario whose expectation is not met, and what was said.
    Scenario(String, String),
    /// The generator: kernel, kind of the finding, seed.
    Generator(String, String, u64),
    /// The program itself broke.
    Broken(&'static str),
    /// Nothing.
    Nothing,
}

impl Noticed {
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Scenario(name, said) => format!("scenario {name}: {said}"),
            Self::Generator(kernel, kind, seed) => format!("generator, {kernel}, seed {seed}: {kind}"),
            Self::Broken(why) => format!("broken: {why}"),
            Self::Nothing => "escaped".to_owned(),
        }
    }
}

/// Looks for something that notices the fault, cheapest first.
pub(crate) fn noticed(program: &Program, baseline: &Baseline, fault: u32, budget: Budget) -> Noticed {
    let Budget { generated: seeds, scenarios: of_each } = budget;
    let few = seeds.min(FEW_GENERATED);
    generated(program, baseline, fault, KERNELS[0], (0, few))
        .or_else(|| scenarios(program, baseline, fault, FEW_OF_EACH.min(of_each)))
        .or_else(|| (of_each > FEW_OF_EACH).then(|| scenarios(program, baseline, fault, of_each)).flatten())
        .or_else(|| {
            let rest = |kernel: &&'static str| {
                generated(
                    program,
                    baseline,
                    fault,
                    kernel,
                    (if *kernel == KERNELS[0] { few } else { 0 }, seeds),
                )
            };
            KERNELS.iter().find_map(rest)
        })
        .unwrap_or(Noticed::Nothing)
}

fn scenarios(program: &Program, baseline: &Baseline, fault: u32, seeds: u64) -> Option<Noticed> {
    match program.scenarios(fault, seeds) {
        Ok(failed) => failed
            .into_iter()
            .find(|(name, _)| !baseline.scenarios.contains(name))
            .map(|(name, said)| Noticed::Scenario(name, said)),
        Err(why) => Some(Noticed::Broken(why)),
    }
}

fn generated(
    program: &Program,
    baseline: &Baseline,
    fault: u32,
    kernel: &str,
    range: (u64, u64),
) -> Option<Noticed> {
    if range.0 >= range.1 {
        return None;
    }
    match program.generated(fault, kernel, range) {
        Ok(found) => {
            let known = baseline.generated.get(kernel);
            // Older kernels have bugs of their own, and a fault may show them by other stacks: kinds are compared.
            let new = found.into_iter().filter(|(kind, _)| known.is_none_or(|known| !known.contains(kind)));
            let first = new.min_by_key(|(_, seed)| *seed);
            first.map(|(kind, seed)| Noticed::Generator(kernel.to_owned(), kind, seed))
        }
        Err(why) => Some(Noticed::Broken(why)),
    }
}

/// Whether the comparison with recordings comes out otherwise than without a fault.
pub(crate) fn recordings_differ(program: &Program, baseline: &Baseline, fault: u32) -> bool {
    program.recordings(fault) != baseline.recordings
}
