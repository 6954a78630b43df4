//! Long sequences on pools of several fills, drawn from a fixed seed.

use super::apply::{BUFFERS, Machine};
use super::{FULL, Op, Sequence};

/// 64 MiB, the default.
const NSLABS: u32 = 32_768;
const START: u64 = 0x400_0000;
const SLOT: u64 = 2048;
/// Parts of the pool in use, in percent.
pub(crate) const FILLS: [u32; 4] = [10, 50, 90, 99];
/// Slots of a mapping.
pub(crate) const SLOTS: [u32; 2] = [1, 64];

/// SplitMix64: small, and the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Runs what it writes down, to learn the answers.
pub(crate) struct Recorder {
    machine: Machine,
    sequence: Sequence,
    /// Numbers that are not in use.
    spare: Vec<u32>,
    draw: Draw,
}

impl Recorder {
    /// An unused pool in which at most `ids` mappings live at a time.
    pub(crate) fn new(name: &str, nslabs: u32, nareas: u32, ids: u32) -> Self {
        let empty = Sequence {
            name: name.to_owned(),
            start: START,
            nslabs,
            nareas,
            threads: 1,
            ops: Vec::new(),
            timed_from: 0,
        };
        let mut sized = empty.clone();
        sized.ops.push(Op::Unmap { cpu: 0, id: ids });
        let machine = Machine::new(&sized, false);
        Self { machine, sequence: empty, spare: (0..ids).rev().collect(), draw: Draw(u64::from(ids)) }
    }

    /// Maps; the number of the mapping, if there was a place.
    pub(crate) fn map_with(&mut self, mut op: Op) -> Option<u32> {
        let id = self.spare.pop()?;
        if let Op::Map { id: number, .. } = &mut op {
            *number = id;
        }
        let got = self.machine.apply(&op);
        if let Op::Map { answer, .. } = &mut op {
            *answer = got;
        }
        self.sequence.ops.push(op);
        if got == FULL {
            self.spare.push(id);
            return None;
        }
        Some(id)
    }

    /// A plain mapping of `slots` slots on `cpu`.
    fn map(&mut self, cpu: u32, slots: u32) -> Option<u32> {
        let addr = BUFFERS + (self.draw.below(64) as u64) * 0x1000;
        self.map_with(Op::Map {
            cpu,
            id: 0,
            addr,
            size: u64::from(slots) * SLOT,
            align_mask: 0,
            min_align_mask: 0,
            boundary_mask: 0xffff_ffff,
            answer: 0,
        })
    }

    /// Unmaps.
    pub(crate) fn unmap(&mut self, cpu: u32, id: u32) {
        let op = Op::Unmap { cpu, id };
        self.machine.apply(&op);
        self.sequence.ops.push(op);
        self.spare.push(id);
    }

    /// From here on, operations are timed.
    fn timed(&mut self) {
        self.sequence.timed_from = self.sequence.ops.len();
    }

    /// What was written down.
    pub(crate) fn finish(self) -> Sequence {
        self.sequence
    }
}

/// One mapping at a time in an otherwise unused pool.
pub(crate) fn empty(slots: u32, pairs: usize) -> Sequence {
    let mut recorder = Recorder::new(&format!("empty-{slots}"), NSLABS, 1, 4);
    for _ in 0..pairs {
        if let Some(id) = recorder.map(0, slots) {
            recorder.unmap(0, id);
        }
    }
    recorder.finish()
}

/// What is in use lies together: the oldest mapping goes, a new one comes.
pub(crate) fn ring(fill: u32, slots: u32, pairs: usize) -> Sequence {
    let mut recorder = Recorder::new(&format!("fill-{fill}-{slots}"), NSLABS, 1, NSLABS);
    let mut live = std::collections::VecDeque::new();
    for _ in 0..NSLABS * fill / 100 / slots {
        live.extend(recorder.map(0, slots));
    }
    recorder.timed();
    for _ in 0..pairs {
        if let Some(id) = live.pop_front() {
            recorder.unmap(0, id);
        }
        live.extend(recorder.map(0, slots));
    }
    recorder.finish()
}

/// What is free lies scattered: any mapping goes, and a new one comes of one of these sizes.
pub(crate) fn fragmented(name: &str, fill: u32, sizes: &[u32], pairs: usize) -> Sequence {
    let mut recorder = Recorder::new(&format!("{name}-{fill}"), NSLABS, 1, NSLABS);
    let mut live = Vec::new();
    while let Some(id) = recorder.map(0, sizes[live.len() % sizes.len()]) {
        live.push(id);
    }
    for _ in 0..live.len() * (100 - fill as usize) / 100 {
        let id = live.swap_remove(recorder.draw.below(live.len()));
        recorder.unmap(0, id);
    }
    recorder.timed();
    for _ in 0..pairs {
        let size = sizes[recorder.draw.below(sizes.len())];
        live.extend(recorder.map(0, size));
        let id = live.swap_remove(recorder.draw.below(live.len()));
        recorder.unmap(0, id);
    }
    recorder.finish()
}

/// Small holes, and requests that fit in none.
pub(crate) fn refused(fill: u32, slots: u32, pairs: usize) -> Sequence {
    let mut recorder = Recorder::new(&format!("refused-{fill}-{slots}"), NSLABS, 1, NSLABS);
    let mut live: Vec<u32> = (0..NSLABS).filter_map(|_| recorder.map(0, 1)).collect();
    for _ in 0..NSLABS * (100 - fill) / 100 {
        let id = live.swap_remove(recorder.draw.below(live.len()));
        recorder.unmap(0, id);
    }
    recorder.timed();
    for _ in 0..pairs {
        if let Some(id) = recorder.map(0, slots) {
            recorder.unmap(0, id);
        }
    }
    recorder.finish()
}

/// Each CPU maps and unmaps in its own area, with a few mappings alive.
pub(crate) fn threads(threads: u32, slots: u32, pairs: usize) -> Sequence {
    let mut recorder = Recorder::new(&format!("threads-{threads}-{slots}"), NSLABS, 2, 64);
    let mut live = vec![std::collections::VecDeque::new(); threads as usize];
    for step in 0..pairs * threads as usize {
        let cpu = step % threads as usize;
        live[cpu].extend(recorder.map(cpu as u32, slots));
        if live[cpu].len() > 8
            && let Some(id) = live[cpu].pop_front()
        {
            recorder.unmap(cpu as u32, id);
        }
    }
    for (cpu, live) in (0..).zip(live) {
        live.into_iter().for_each(|id| recorder.unmap(cpu, id));
    }
    let mut sequence = recorder.finish();
    sequence.threads = threads;
    sequence
}

/// All sequences, with about so many pairs each.
pub(crate) fn generate(pairs: usize) -> Vec<Sequence> {
    let mut all = Vec::new();
    for slots in SLOTS {
        all.push(empty(slots, pairs));
        all.extend(FILLS.map(|fill| ring(fill, slots, pairs)));
        all.extend(FILLS.map(|fill| fragmented(&format!("fragmented-{slots}"), fill, &[slots], pairs)));
    }
    all.extend(FILLS.map(|fill| fragmented("fragmented-mixed", fill, &[1, 2, 4, 8, 16], pairs)));
    all.push(refused(99, 64, pairs.min(500)));
    for slots in SLOTS {
        all.extend([1, 2].map(|count| threads(count, slots, pairs)));
    }
    all
}
