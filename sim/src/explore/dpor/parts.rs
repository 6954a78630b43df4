//! A search split into parts that workers take, and that can be written down and taken up again. What comes out does
//! not depend on the number of workers, nor on interruptions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::node::{Counts, Sleeper};
use super::options::Limits;
use super::search::Search;
use super::state::{Lines, StateError, numbers, read_sleepers, write_sleepers};
use crate::trace::Digest;
use crate::{Ended, RunEnd, explore::catching};

/// So many parts are wanted at least.
const PARTS: usize = 48;
/// No deeper than so many branching decisions, and no more than so many parts.
const DEEPEST: u32 = 8;
const MOST_PARTS: usize = 512;
/// Runs of each part before all others have had theirs.
const ROUND: u64 = 32;
/// A search that ends within so many runs is not split: parts know nothing of one another, and so leave less out.
const TRIED_WHOLE: u64 = 128;
/// First line of the text.
const HEAD: &str = "dmasim-check";
const VERSION: u64 = 1;

/// What is known of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Runs that showed it.
    pub count: u64,
    /// The choices of the first of them; see [`Search::repeat`].
    pub path: Vec<u32>,
}

/// One subtree.
#[derive(Clone, Debug)]
struct Part {
    search: Search,
    /// Runs after which it waits for the others.
    target: u64,
    found: BTreeMap<u64, Found>,
    failed: u64,
    limited: u64,
    panic: Option<String>,
}

impl Part {
    fn new(limits: &Limits, prefix: &[u32], sleepers: Vec<Sleeper>) -> Self {
        let mut search = Search::repeat(limits.clone(), prefix);
        search.prefix_sleepers = sleepers;
        Self { search, target: 0, found: BTreeMap::new(), failed: 0, limited: 0, panic: None }
    }

    const fn over(&self) -> bool {
        self.search.finished() || self.panic.is_some() || self.search.astray()
    }

    fn note(&mut self, end: &RunEnd) {
        self.failed += u64::from(!end.findings.is_empty());
        self.limited += u64::from(end.ended == Ended::StepLimit);
    }
}

/// What a search came to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Runs, and choices that were not varied.
    pub counts: Counts,
    /// Runs with findings.
    pub failed: u64,
    /// Runs that reached the limit of steps: what comes after that was not seen.
    pub limited: u64,
    /// By hash of the signature.
    pub found: BTreeMap<u64, Found>,
    /// Branches into which the search was split, and how many of them are done.
    pub branches: (usize, usize),
    /// Messages of branches that were given up: a panic, or a run that was not the same when it was repeated.
    pub given_up: Vec<String>,
    /// Whether everything was seen.
    pub complete: bool,
}

/// A search in progress.
#[derive(Clone, Debug)]
pub struct Check {
    limits: Limits,
    parts: Vec<Part>,
}

/// Who is told how it goes, and when there is something worth writing down.
pub trait Watch: Sync {
    /// So many runs more, so many branches more are done, of so many.
    fn advanced(&self, runs: u64, done: usize, of: usize);
}

impl Watch for () {
    fn advanced(&self, _: u64, _: usize, _: usize) {}
}

impl Check {
    /// Makes a short search whole, at most `most` runs of it, and splits a longer one. `run` runs the program once.
    pub fn new(limits: &Limits, most: u64, mut run: impl FnMut(Box<Search>) -> RunEnd) -> Self {
        let mut whole = Part::new(limits, &[], Vec::new());
        while !whole.over() && whole.search.counts().runs() < most.min(TRIED_WHOLE) {
            one(&mut whole, &mut run);
        }
        if whole.search.finished() {
            return Self { limits: limits.clone(), parts: vec![whole] };
        }
        let mut parts = Vec::new();
        let mut former = 0;
        for depth in 0..=DEEPEST {
            let next = split(limits, depth, &mut run);
            if next.len() > MOST_PARTS && !parts.is_empty() {
                break;
            }
            parts = next;
            if parts.len() >= PARTS || (depth > 2 && parts.len() == former) {
                break;
            }
            former = parts.len();
        }
        Self { limits: limits.clone(), parts }
    }

    /// Goes on until all is seen, `most` runs were made, or `stop` becomes true. `make` gives each worker its runner.
    /// `save` is called on the calling thread now and then, with the parts as they stand.
    pub fn run<R: FnMut(Box<Search>) -> RunEnd>(
        &mut self,
        most: u64,
        jobs: usize,
        make: impl Fn() -> R + Sync,
        watch: &dyn Watch,
        stop: &AtomicBool,
        mut save: impl FnMut(&Self),
    ) -> Report {
        loop {
            let open: Vec<usize> = (0..self.parts.len()).filter(|at| !self.parts[*at].over()).collect();
            let behind = |part: &Part| part.search.counts().runs() < part.target;
            if !open.iter().any(|at| behind(&self.parts[*at])) && !self.next_round(&open, most) {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let work: Vec<usize> = open.into_iter().filter(|at| behind(&self.parts[*at])).collect();
            self.round(&work, jobs, &make, watch, stop);
            save(self);
        }
        self.report()
    }

    /// How far each part is to go next. `false` if nothing is left, or no more runs are allowed.
    fn next_round(&mut self, open: &[usize], most: u64) -> bool {
        let runs: u64 = self.parts.iter().map(|part| part.search.counts().runs()).sum();
        let left = most.saturating_sub(runs);
        if open.is_empty() || left == 0 {
            return false;
        }
        let share = left / open.len() as u64;
        let mut extra = left % open.len() as u64;
        for &at in open {
            let part = &mut self.parts[at];
            let mut mine = share;
            if extra > 0 {
                extra -= 1;
                mine += 1;
            }
            part.target = part.search.counts().runs() + mine.min(ROUND);
        }
        true
    }

    fn round<R: FnMut(Box<Search>) -> RunEnd>(
        &mut self,
        work: &[usize],
        jobs: usize,
        make: &(impl Fn() -> R + Sync),
        watch: &dyn Watch,
        stop: &AtomicBool,
    ) {
        let all = self.parts.len();
        let over = AtomicUsize::new(self.parts.iter().filter(|part| part.over()).count());
        let mut slots: Vec<Option<&mut Part>> = self.parts.iter_mut().map(Some).collect();
        let queue: Vec<Mutex<Option<&mut Part>>> =
            work.iter().map(|at| Mutex::new(slots[*at].take())).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, queue.len().max(1)) {
                scope.spawn(|| {
                    let mut runner = make();
                    loop {
                        // Only who takes which part depends on this counter, never what comes out.
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(slot) = queue.get(at) else { return };
                        let part = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                        let Some(part) = part else { continue };
                        while part.search.counts().runs() < part.target
                            && !part.over()
                            && !stop.load(Ordering::Relaxed)
                        {
                            if !one(part, &mut runner) {
                                runner = make();
                            }
                            watch.advanced(1, over.load(Ordering::Relaxed), all);
                        }
                        if part.over() {
                            over.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report { branches: (self.parts.len(), 0), ..Report::default() };
        for (number, part) in self.parts.iter().enumerate() {
            report.counts.add(&part.search.counts());
            report.failed += part.failed;
            report.limited += part.limited;
            report.branches.1 += usize::from(part.search.finished());
            for (hash, found) in &part.found {
                // The branches are in a fixed order: the first one that shows it gives the run that is told.
                match report.found.get_mut(hash) {
                    Some(known) => known.count += found.count,
                    None => _ = report.found.insert(*hash, found.clone()),
                }
            }
            if let Some(message) = &part.panic {
                report.given_up.push(format!("branch {number}: the simulator itself panicked: {message}"));
            } else if part.search.astray() {
                report.given_up.push(format!("branch {number}: the same choices gave two different runs"));
            }
        }
        report.complete = report.branches.0 == report.branches.1;
        report
    }

    /// The search as text. `key` names the program and the limits.
    #[must_use]
    pub fn write(&self, key: u128) -> String {
        let mut out = format!("{HEAD} {VERSION}\nkey {key:032x}\nparts {}\n", self.parts.len());
        for part in &self.parts {
            numbers("part", [part.target, part.failed, part.limited], &mut out);
            numbers("prefix", &part.search.prefix, &mut out);
            write_sleepers(&part.search.prefix_sleepers, &mut out);
            let _ = writeln!(out, "findings {}", part.found.len());
            for (hash, found) in &part.found {
                let _ = write!(out, "finding {hash} {}", found.count);
                numbers("", &found.path, &mut out);
            }
            part.search.write(&mut out);
        }
        let sum = check_sum(&out);
        let _ = writeln!(out, "sum {sum:032x}");
        out
    }

    /// Reads what [`Check::write`] wrote.
    ///
    /// # Errors
    /// When the text is damaged, or belongs to another program or other limits.
    pub fn read(text: &str, limits: &Limits, key: u128) -> Result<Self, StateError> {
        let mut lines = Lines::new(text);
        let [version] = lines.exactly(HEAD)?;
        if version != VERSION {
            return Err(lines.error(format!("version {version} is found, and {VERSION} is expected")));
        }
        let found = lines.expect("key")?;
        if found != format!("{key:032x}") {
            return Err(lines.error("it belongs to another scenario, or to a check with other options"));
        }
        let body = text.trim_end().rfind('\n').map_or("", |at| &text[..=at]);
        if text[body.len()..].trim() != format!("sum {:032x}", check_sum(body)) {
            return Err(lines.error("the file is damaged: its check sum, the last line, does not fit"));
        }
        let [count] = lines.exactly("parts")?;
        let mut parts = Vec::new();
        for _ in 0..count {
            let [target, failed, limited] = lines.exactly("part")?;
            let prefix = path_of(&mut lines, "prefix")?;
            let sleepers = read_sleepers(&mut lines)?;
            let [findings] = lines.exactly("findings")?;
            let mut found = BTreeMap::new();
            for _ in 0..findings {
                let list = lines.numbers("finding")?;
                let [hash, count, path @ ..] = list.as_slice() else {
                    return Err(lines.error("2 numbers at least are expected"));
                };
                let path = path.iter().map(|one| lines.small(*one)).collect::<Result<_, _>>()?;
                found.insert(*hash, Found { count: *count, path });
            }
            let search = Search::read(&mut lines, limits.clone(), prefix, sleepers)?;
            parts.push(Part { search, target, found, failed, limited, panic: None });
        }
        Ok(Self { limits: limits.clone(), parts })
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

fn path_of(lines: &mut Lines<'_>, word: &str) -> Result<Vec<u32>, StateError> {
    let list = lines.numbers(word)?;
    list.iter().map(|one| lines.small(*one)).collect()
}

fn check_sum(text: &str) -> u128 {
    let mut digest = Digest::new();
    digest.mix_str(text);
    digest.value()
}

/// One run of a part. `false` if the runner panicked and is to be made anew.
fn one<R: FnMut(Box<Search>) -> RunEnd>(part: &mut Part, runner: &mut R) -> bool {
    let limits = part.search.limits.clone();
    let kept = (part.search.prefix.clone(), part.search.counts());
    let search = std::mem::replace(&mut part.search, Search::new(limits));
    let end = match catching(|| runner(Box::new(search))) {
        Ok(end) => end,
        Err(message) => {
            part.search.prefix = kept.0;
            part.search.counts = kept.1;
            part.panic = Some(message);
            return false;
        }
    };
    let abandoned = end.abandoned;
    let mut hashes = Vec::new();
    if !abandoned {
        part.note(&end);
        hashes.extend(end.findings.iter().map(crate::Finding::signature_hash));
    }
    if let Some(search) = end.choices.into_search() {
        part.search = *search;
    }
    for hash in hashes {
        let search = &part.search;
        part.found.entry(hash).or_insert_with(|| Found { count: 0, path: search.path() }).count += 1;
    }
    if !part.search.astray() {
        part.search.advance(abandoned);
    }
    true
}

/// The subtrees below the first `depth` branching decisions.
fn split(limits: &Limits, depth: u32, run: &mut impl FnMut(Box<Search>) -> RunEnd) -> Vec<Part> {
    if depth == 0 {
        return vec![Part::new(limits, &[], Vec::new())];
    }
    let mut search = Box::new(Search::new(limits.clone()));
    search.depth = Some(depth);
    let mut parts = Vec::new();
    loop {
        let Ok(end) = catching(|| run(search)) else {
            // The search of the one part will say so.
            return vec![Part::new(limits, &[], Vec::new())];
        };
        let abandoned = end.abandoned;
        let Some(back) = end.choices.into_search() else { return parts };
        search = back;
        if search.at_leaf() {
            parts.push(Part::new(limits, &search.path(), std::mem::take(&mut search.prefix_sleepers)));
        } else if !abandoned {
            parts.push(Part::new(limits, &search.path(), Vec::new()));
        }
        if search.astray() || parts.len() > MOST_PARTS || !search.advance(abandoned) {
            return parts;
        }
    }
}
