//! memblock with few and with thousands of regions. Run with `cargo bench -p dmasim-models --bench memblock`; the time
//! is that of all timed operations of a sequence. `peers/memblock/compare.sh` runs the same beside the kernel's own code.

#![expect(clippy::cast_possible_truncation, reason = "small counts")]

#[path = "memblock_ops/mod.rs"]
#[expect(dead_code, reason = "files of operations are the example's")]
mod memblock_ops;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use memblock_ops::Sequence;
use memblock_ops::apply::{apply, new_machine};
use memblock_ops::generate::{SIZES, generate_one};

/// Operations that are timed in one pass.
const TIMED: usize = 2_000;

fn main() {
    divan::main();
}

fn pass(bencher: Bencher<'_, '_>, work: &str, regions: u64) {
    let Sequence { ops, timed_from, .. } = generate_one(work, regions, TIMED);
    let (setup, timed) = ops.split_at(timed_from);
    let mut machine = new_machine();
    for op in setup {
        apply(&mut machine, op);
    }
    bencher.counter(ItemsCount::new(timed.len())).with_inputs(|| machine.clone()).bench_local_refs(|mb| {
        for op in timed {
            black_box(apply(mb, op));
        }
    });
}

#[divan::bench(args = SIZES)]
fn reserve_and_free(bencher: Bencher<'_, '_>, regions: u64) {
    pass(bencher, "reserve-free", regions);
}

#[divan::bench(args = SIZES)]
fn alloc_and_free(bencher: Bencher<'_, '_>, regions: u64) {
    pass(bencher, "alloc-free", regions);
}

#[divan::bench(args = SIZES)]
fn query(bencher: Bencher<'_, '_>, regions: u64) {
    pass(bencher, "query", regions);
}

#[divan::bench(args = SIZES)]
fn mark_memory(bencher: Bencher<'_, '_>, regions: u64) {
    pass(bencher, "mark-memory", regions);
}

#[divan::bench(args = SIZES)]
fn mixed(bencher: Bencher<'_, '_>, regions: u64) {
    pass(bencher, "mixed", regions);
}
