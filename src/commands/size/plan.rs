//! What to try, and doing it on several threads without the order of the results depending on them.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use models::mem::PhysAddr;
use models::run::{Simulation, Worker};
use models::scenario::Resolved;
use models::sizing::{PoolRules, Workload};
use models::swiotlb::{IO_TLB_MIN_SLABS, PoolSize};

/// The largest pool that is tried: 4 GiB, all that lies below the addresses of 32-bit devices.
pub(super) const MOST: u64 = 1 << 21;
/// The smallest: 1 MiB.
pub(super) const LEAST: u64 = IO_TLB_MIN_SLABS;
/// More runs than this say nothing new about a size, and all their bounces are held at once.
pub(super) const MAX_SEEDS: u64 = 1000;
/// So many events of all runs together are kept.
const MAX_EVENTS_OF_ALL: usize = 16_000_000;

/// The events that one of `runs` runs may keep.
pub(super) fn events_of_one(runs: usize) -> usize {
    MAX_EVENTS_OF_ALL / runs.max(1)
}

/// Where the workloads come from, and in what kernel they are replayed.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) about: String,
    pub(super) workloads: Vec<Workload>,
    pub(super) rules: PoolRules,
    pub(super) start: PhysAddr,
    /// Possible CPUs: what the kernel makes areas for.
    pub(super) cpus: u32,
    /// The pool that there is.
    pub(super) current: Option<PoolSize>,
    /// Slots that were asked for.
    pub(super) asked: Option<u64>,
    pub(super) force: bool,
    /// Slots of the largest pool for which there is room.
    pub(super) most: u64,
    /// The scenario and its seeds, to try a recommendation in.
    pub(super) scenario: Option<(Resolved, Vec<u64>)>,
}

/// The values of all `swiotlb=` words.
pub(super) fn swiotlb_words(cmdline: &str) -> Vec<String> {
    cmdline.split_whitespace().filter_map(|word| word.strip_prefix("swiotlb=")).map(str::to_owned).collect()
}

/// The command line with another size; `force` is kept.
pub(super) fn with_swiotlb(cmdline: &str, value: &str, force: bool) -> String {
    let others = cmdline.split_whitespace().filter(|word| !word.starts_with("swiotlb="));
    let mut words: Vec<String> = others.map(str::to_owned).collect();
    words.push(format!("swiotlb={value}{}", if force { ",force" } else { "" }));
    words.join(" ")
}

/// Sizes for the table: those that were asked for, or all powers of two up to `most`.
pub(super) fn sizes_to_try(asked: &[u64], most: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> = if asked.is_empty() {
        (0..).map(|shift| LEAST << shift).take_while(|&size| size <= most.max(LEAST)).collect()
    } else {
        asked.to_vec()
    };
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Numbers of areas for the table.
pub(super) fn areas_to_try(asked: &[u32], cpus: u32) -> Vec<u32> {
    let most = cpus.max(1).checked_next_power_of_two().unwrap_or(1);
    let mut areas: Vec<u32> = if asked.is_empty() {
        (0..32).map(|shift| 1 << shift).take_while(|&areas| areas <= most).collect()
    } else {
        asked.to_vec()
    };
    areas.sort_unstable();
    areas.dedup();
    areas
}

fn threads(jobs: Option<usize>, work: usize) -> usize {
    jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)).clamp(1, work.max(1))
}

/// Does `work` on each item; the results are in the order of the items.
pub(super) fn in_parallel<T: Sync, R: Send>(
    jobs: Option<usize>,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    collect(jobs, items, || (), |(), item| work(item))
}

/// The same, with a worker of the simulation for each thread.
pub(super) fn with_workers<R: Send>(
    jobs: Option<usize>,
    seeds: &[u64],
    simulation: &Simulation,
    work: impl Fn(&mut Worker, u64) -> R + Sync,
) -> Vec<R> {
    collect(jobs, seeds, || simulation.worker(), |worker, &seed| work(worker, seed))
}

fn collect<T: Sync, S, R: Send>(
    jobs: Option<usize>,
    items: &[T],
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..threads(jobs, items.len()) {
            scope.spawn(|| {
                let mut state = start();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(&mut state, item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_replaced_and_force_kept() {
        assert_eq!(with_swiotlb("quiet swiotlb=force ro", "1024,2", true), "quiet ro swiotlb=1024,2,force");
        assert_eq!(swiotlb_words("swiotlb=1 a swiotlb=2,force"), ["1", "2,force"]);
    }

    #[test]
    fn results_keep_their_order() {
        let items: Vec<u64> = (0..100).collect();
        assert_eq!(
            in_parallel(Some(3), &items, |item| item * 2),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
    }
}
