//! Long sequences on machines with many reserved regions, drawn from a fixed seed.

use super::apply::{apply, new_machine};
use super::{Name, Op, Sequence};

/// How many reserved regions a machine has.
pub(crate) const SIZES: [u64; 4] = [10, 100, 1_000, 10_000];

/// First byte of memory, the distance of two reserved regions, and the part of it that one takes.
const START: u64 = 0x10_0000;
const STRIDE: u64 = 0x4_0000;
const TAKEN: u64 = 0x2000;
const PAGE: u64 = 0x1000;
const ANY_NODE: u64 = u64::MAX;

/// SplitMix64: small, and the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The kinds of work that are timed apart.
pub(crate) const WORK: [&str; 5] = ["reserve-free", "alloc-free", "query", "mark-memory", "mixed"];

struct Recorder {
    mb: models::memblock::Memblock,
    ops: Vec<Op>,
    draw: Draw,
    regions: u64,
}

impl Recorder {
    fn call(&mut self, name: Name, args: &[u64]) -> u64 {
        let Some(op) = name.with(args) else { return 0 };
        let answer = apply(&mut self.mb, &op);
        self.ops.push(Op { answer, ..op });
        answer
    }

    /// Somewhere in the free part behind a reserved region, so that a page there is a region of its own.
    fn hole(&mut self) -> u64 {
        let region = self.draw.below(self.regions);
        START + region * STRIDE + TAKEN + PAGE + self.draw.below(40) * PAGE
    }

    fn reserve_and_free(&mut self) {
        let at = self.hole();
        self.call(Name::Reserve, &[at, PAGE]);
        self.call(Name::Free, &[at, PAGE]);
    }

    /// As boot code does: top-down below a limit, mostly small, given back as often as taken.
    fn alloc_and_free(&mut self) {
        let size = PAGE << self.draw.below(4);
        let limit = if self.draw.below(2) == 0 { 0 } else { self.hole() };
        let at = self.call(Name::AllocTryNid, &[size, PAGE, 0, limit, ANY_NODE]);
        if at != 0 {
            self.call(Name::Free, &[at, size]);
        }
    }

    fn query(&mut self) {
        let at = self.hole();
        let name = [Name::IsReserved, Name::IsMemory, Name::IsMapMemory][self.draw.below(3) as usize];
        self.call(name, &[at]);
        self.call(Name::IsRegionReserved, &[at, STRIDE]);
    }

    /// Splits the memory list and joins it again.
    fn mark_and_clear(&mut self) {
        let at = self.hole();
        self.call(Name::MarkNomap, &[at, PAGE]);
        self.call(Name::ClearNomap, &[at, PAGE]);
    }

    fn work(&mut self, kind: &str) {
        match kind {
            "reserve-free" => self.reserve_and_free(),
            "alloc-free" => self.alloc_and_free(),
            "query" => self.query(),
            "mark-memory" => self.mark_and_clear(),
            _ => match self.draw.below(100) {
                0..35 => self.reserve_and_free(),
                35..65 => self.alloc_and_free(),
                65..90 => self.query(),
                90..98 => self.mark_and_clear(),
                98 => {
                    self.call(Name::FreeRanges, &[ANY_NODE, 0, 0]);
                }
                _ => {
                    self.call(Name::FreeRanges, &[ANY_NODE, 0, 1]);
                }
            },
        }
    }
}

/// One sequence for each size and kind of work, with about `timed` operations to time.
pub(crate) fn generate(timed: usize) -> Vec<Sequence> {
    let works = |regions| WORK.map(|work| generate_one(work, regions, timed));
    SIZES.into_iter().flat_map(works).collect()
}

/// A machine with so many reserved regions, and about `timed` operations of one kind of work.
pub(crate) fn generate_one(work: &str, regions: u64, timed: usize) -> Sequence {
    let mut recorder = Recorder { mb: new_machine(), ops: Vec::new(), draw: Draw(regions), regions };
    recorder.call(Name::Config, &[1, 0, 0, 0, u64::MAX]);
    recorder.call(Name::Add, &[START, (regions + 8) * STRIDE]);
    // In no particular order, as the regions of a firmware come.
    let mut order: Vec<u64> = (0..regions).collect();
    for index in (1..order.len()).rev() {
        let other = recorder.draw.below(index as u64 + 1) as usize;
        order.swap(index, other);
    }
    for region in order {
        recorder.call(Name::Reserve, &[START + region * STRIDE, TAKEN]);
    }
    if work == "mark-memory" {
        for region in 0..regions {
            recorder.call(Name::MarkHotplug, &[START + region * STRIDE, TAKEN]);
        }
    }
    let timed_from = recorder.ops.len();
    while recorder.ops.len() < timed_from + timed {
        recorder.work(work);
    }
    Sequence { name: format!("{work}-{regions}"), ops: recorder.ops, timed_from }
}
