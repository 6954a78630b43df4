//! The flush queue itself: which ranges wait, and when they are given back.

use crate::iommu::iova::IovaPfn;
use crate::kernel::{msecs_to_jiffies, wheel_ticks};

/// Entries of a ring; one stays free.
///
/// Source: `drivers/iommu/dma-iommu.c: IOVA_DEFAULT_FQ_SIZE`, v6.12; `drivers/iommu/iova.c: IOVA_FQ_SIZE`, v5.13.
pub const IOVA_FQ_SIZE: usize = 256;
/// Milliseconds until the timer flushes. Source: `IOVA_DEFAULT_FQ_TIMEOUT`, v6.12; `IOVA_FQ_TIMEOUT`, v5.13.
pub const IOVA_FQ_TIMEOUT: u64 = 10;

/// Ticks from the one in which the timer is armed to the one in which it fires, at `hz` ticks a second.
#[must_use]
pub const fn fq_timer_ticks(hz: u32) -> u64 {
    wheel_ticks(0, msecs_to_jiffies(IOVA_FQ_TIMEOUT, hz))
}

/// A range that waits for the flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FqEntry {
    /// First page frame.
    pub pfn: IovaPfn,
    /// Pages.
    pub pages: u64,
    /// Flushes that had begun when it was queued.
    counter: u64,
}

/// The rings of one domain, one for each CPU.
///
/// Source: `drivers/iommu/dma-iommu.c: struct iova_fq, struct iommu_dma_cookie`, v6.12.
#[derive(Clone, Debug)]
pub struct FqRings {
    rings: Vec<Vec<FqEntry>>,
    started: u64,
    finished: u64,
    armed: bool,
}

impl PartialEq for FqRings {
    /// Whether the same ranges wait in the same order for the same flush; how many flushes there were is no matter.
    fn eq(&self, other: &Self) -> bool {
        let waits = |rings: &Self, entry: &FqEntry| (entry.pfn, entry.pages, rings.started - entry.counter);
        let alike = |(mine, theirs): (&Vec<FqEntry>, &Vec<FqEntry>)| {
            mine.iter().map(|entry| waits(self, entry)).eq(theirs.iter().map(|entry| waits(other, entry)))
        };
        self.armed == other.armed
            && self.started - self.finished == other.started - other.finished
            && self.rings.len() == other.rings.len()
            && self.rings.iter().zip(&other.rings).all(alike)
    }
}

impl FqRings {
    /// Empty rings for so many CPUs.
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        Self { rings: vec![Vec::new(); cpus], started: 0, finished: 0, armed: false }
    }

    /// Entries that wait on all CPUs.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.rings.iter().map(Vec::len).sum()
    }

    /// First page frames of the ranges that wait on all CPUs.
    #[must_use]
    pub fn waiting(&self) -> Vec<u64> {
        self.rings.iter().flatten().map(|entry| entry.pfn.0).collect()
    }

    /// What waits in the ring of `cpu`, oldest first, and whether a flush has covered it.
    pub fn entries(&self, cpu: usize) -> impl Iterator<Item = (FqEntry, bool)> {
        let ring = self.rings.get(cpu).into_iter().flatten();
        ring.map(|entry| (*entry, entry.counter < self.finished))
    }

    /// Whether the ring of `cpu` takes no further entry (`fq_full`).
    #[must_use]
    pub fn is_full(&self, cpu: usize) -> bool {
        self.rings.get(cpu).is_some_and(|ring| ring.len() >= IOVA_FQ_SIZE - 1)
    }

    /// Puts a range into the ring of `cpu`. Says whether the timer is to be armed; `None` without such a CPU.
    ///
    /// Source: the end of `drivers/iommu/dma-iommu.c: queue_iova()`, v6.12.
    pub fn add(&mut self, cpu: usize, pfn: IovaPfn, pages: u64) -> Option<bool> {
        let counter = self.started;
        self.rings.get_mut(cpu)?.push(FqEntry { pfn, pages, counter });
        Some(!std::mem::replace(&mut self.armed, true))
    }

    /// A flush of the IOTLB begins (`fq_flush_start_cnt`).
    pub const fn start_flush(&mut self) {
        self.started += 1;
    }

    /// It has ended (`fq_flush_finish_cnt`).
    pub const fn finish_flush(&mut self) {
        self.finished += 1;
    }

    /// The timer fires: the next entry arms it anew.
    pub const fn disarm(&mut self) {
        self.armed = false;
    }

    /// Takes out of the ring of `cpu` what a flush has covered, oldest first (`fq_ring_free`).
    pub fn take_flushed(&mut self, cpu: usize) -> Vec<FqEntry> {
        let finished = self.finished;
        let Some(ring) = self.rings.get_mut(cpu) else { return Vec::new() };
        let ready = ring.iter().take_while(|entry| entry.counter < finished).count();
        ring.drain(..ready).collect()
    }

    /// Takes the oldest `count` entries out of the ring of `cpu`: what a flush covers that came before the others were
    /// queued.
    pub fn take_oldest(&mut self, cpu: usize, count: usize) -> Vec<FqEntry> {
        let Some(ring) = self.rings.get_mut(cpu) else { return Vec::new() };
        let count = count.min(ring.len());
        ring.drain(..count).collect()
    }

    /// How many rings there are.
    #[must_use]
    pub const fn cpus(&self) -> usize {
        self.rings.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_queued_before_a_flush_is_given_back() {
        let mut rings = FqRings::new(1);
        assert_eq!(rings.add(0, IovaPfn(1), 1), Some(true));
        rings.start_flush();
        assert_eq!(rings.add(0, IovaPfn(2), 1), Some(false));
        assert!(rings.take_flushed(0).is_empty());
        rings.finish_flush();
        let given: Vec<_> = rings.take_flushed(0).iter().map(|entry| entry.pfn.0).collect();
        assert_eq!(given, [1]);
        assert_eq!(rings.pending(), 1);
        rings.disarm();
        assert_eq!(rings.add(0, IovaPfn(3), 1), Some(true));
        assert_eq!(rings.add(1, IovaPfn(3), 1), None);
    }

    #[test]
    fn a_ring_is_full_with_255() {
        let mut rings = FqRings::new(1);
        for pfn in 0..255 {
            assert!(!rings.is_full(0));
            rings.add(0, IovaPfn(pfn), 1);
        }
        assert!(rings.is_full(0));
    }

    #[test]
    fn ten_milliseconds_are_four_ticks_of_four() {
        assert_eq!(fq_timer_ticks(250), 4);
        assert_eq!(fq_timer_ticks(1000), 11);
    }
}
