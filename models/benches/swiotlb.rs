//! Mapping and unmapping in pools of several fills. Run with `cargo bench -p dmasim-models --bench swiotlb`; the time is
//! that of all timed pairs of a sequence. `peers/swiotlb/compare.sh` runs the same beside the kernel's own code.

#![expect(clippy::cast_possible_truncation, reason = "small counts")]

#[path = "swiotlb_ops/mod.rs"]
#[expect(dead_code, reason = "files of operations are the example's")]
mod swiotlb_ops;

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicU32, Ordering};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use models::mem::PhysAddr;
use models::swiotlb::{BounceRules, DmaLimits, MapRequest, Pool, PoolSize, SearchRules};
use swiotlb_ops::Sequence;
use swiotlb_ops::apply::{Machine, Threads};
use swiotlb_ops::generate::{self, FILLS};
use swiotlb_ops::vectors::convert;

/// Pairs that are timed in one pass.
const PAIRS: usize = 2_000;

fn main() {
    divan::main();
}

fn pass(bencher: Bencher<'_, '_>, sequence: &Sequence, copies: bool) {
    let (setup, timed) = sequence.ops.split_at(sequence.timed_from);
    let mut machine = Machine::new(sequence, copies);
    bencher.counter(ItemsCount::new(sequence.pairs())).bench_local(|| {
        // A reset and the setup are part of the time only where there is no setup, and cost nothing there.
        if setup.is_empty() {
            machine.reset();
        }
        for op in timed {
            black_box(machine.apply(op));
        }
    });
}

/// The timed part of a sequence with a setup is only right after it, so each pass does it anew, untimed.
fn pass_after_setup(bencher: Bencher<'_, '_>, sequence: &Sequence, copies: bool) {
    let (setup, timed) = sequence.ops.split_at(sequence.timed_from);
    bencher
        .counter(ItemsCount::new(sequence.pairs()))
        .with_inputs(|| {
            let mut machine = Machine::new(sequence, copies);
            for op in setup {
                machine.apply(op);
            }
            machine
        })
        .bench_local_refs(|machine| {
            for op in timed {
                black_box(machine.apply(op));
            }
        });
}

#[divan::bench(args = [1, 64])]
fn empty(bencher: Bencher<'_, '_>, slots: u32) {
    pass(bencher, &generate::empty(slots, PAIRS), false);
}

#[divan::bench(args = [1, 64])]
fn empty_copying(bencher: Bencher<'_, '_>, slots: u32) {
    pass(bencher, &generate::empty(slots, PAIRS), true);
}

#[divan::bench(args = FILLS, sample_count = 20)]
fn filled_1(bencher: Bencher<'_, '_>, fill: u32) {
    pass_after_setup(bencher, &generate::ring(fill, 1, PAIRS), false);
}

#[divan::bench(args = FILLS, sample_count = 20)]
fn filled_64(bencher: Bencher<'_, '_>, fill: u32) {
    pass_after_setup(bencher, &generate::ring(fill, 64, PAIRS), false);
}

#[divan::bench(args = FILLS, sample_count = 20)]
fn fragmented_1(bencher: Bencher<'_, '_>, fill: u32) {
    pass_after_setup(bencher, &generate::fragmented("fragmented", fill, &[1], PAIRS), false);
}

#[divan::bench(args = FILLS, sample_count = 20)]
fn fragmented_64(bencher: Bencher<'_, '_>, fill: u32) {
    pass_after_setup(bencher, &generate::fragmented("fragmented", fill, &[64], PAIRS), false);
}

#[divan::bench(args = FILLS, sample_count = 20)]
fn fragmented_mixed(bencher: Bencher<'_, '_>, fill: u32) {
    pass_after_setup(bencher, &generate::fragmented("fragmented", fill, &[1, 2, 4, 8, 16], PAIRS), false);
}

#[divan::bench(sample_count = 20)]
fn refused_99_64(bencher: Bencher<'_, '_>) {
    pass_after_setup(bencher, &generate::refused(99, 64, PAIRS), false);
}

#[divan::bench]
fn recorded(bencher: Bencher<'_, '_>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/swiotlb-6.12-sample.jsonl.gz");
    let file = std::fs::File::open(path).expect("the recordings of the tests");
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    let sequences: Vec<Sequence> =
        lines.filter_map(|line| convert(&line.expect("a line")).expect("a sequence")).collect();
    let mut machines: Vec<Machine> = sequences.iter().map(|one| Machine::new(one, false)).collect();
    let pairs: usize = sequences.iter().map(Sequence::pairs).sum();
    bencher.counter(ItemsCount::new(pairs)).bench_local(|| {
        for (machine, sequence) in machines.iter_mut().zip(&sequences) {
            machine.reset();
            for op in &sequence.ops {
                black_box(machine.apply(op));
            }
        }
    });
}

/// What a run pays for a pool of so many slots: making it, ten mappings, and the check at its end.
#[divan::bench(args = [32_768, 524_288])]
fn pool_of_a_run(bencher: Bencher<'_, '_>, nslabs: u32) {
    let size = PoolSize { nslabs, nareas: 1 };
    let mut pool = Pool::new(SearchRules::v6_12(), BounceRules::v6_9_rc4(), PhysAddr(0x400_0000), size);
    bencher.bench_local(|| {
        pool.reset(pool.start(), size);
        for _ in 0..10 {
            let request = MapRequest::plain(PhysAddr(0x1_0000_0000), 4096);
            black_box(pool.map(0, DmaLimits::default(), &request).is_ok());
        }
        assert_eq!(pool.violation(), None);
    });
}

/// Behind locks, each thread in its own area of one pool. The time is that of one thread's pairs.
#[divan::bench(args = [1, 64], threads = [1, 2])]
fn threads(bencher: Bencher<'_, '_>, slots: u32) {
    static THREADS: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static CPU: u32 = THREADS.fetch_add(1, Ordering::Relaxed) % 2;
    }
    let sequence = generate::threads(2, slots, PAIRS);
    let pool = Threads::new(&sequence);
    bencher.counter(ItemsCount::new(PAIRS)).with_inputs(|| vec![None; sequence.ids()]).bench_refs(|mapped| {
        pool.run(CPU.with(|&cpu| cpu), mapped, |answer| {
            black_box(answer);
        });
    });
}
