//! One pool, one workload: what would have happened.

use sim::Nanos;

use super::workload::{What, Workload};
use crate::mem::PhysAddr;
use crate::swiotlb::{
    BounceRules, IO_TLB_SEGSIZE, MapError, Pool, PoolDefaults, PoolSize, SearchRules, SizingRules,
};

/// The rules of a version, as far as a pool's size matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRules {
    /// How slots are searched for.
    pub search: SearchRules,
    /// How the size is rounded and areas are made.
    pub sizing: SizingRules,
    /// Copying does not matter for the size; a pool needs to be told.
    pub bounce: BounceRules,
}

impl PoolRules {
    /// The pool that boot would make for `swiotlb=nslabs,nareas` with `cpus` possible CPUs; 0 areas: not said.
    #[must_use]
    pub fn boot_pool(&self, nslabs: u64, nareas: u32, cpus: u32) -> PoolSize {
        let mut defaults = PoolDefaults::new(self.sizing);
        defaults.parse(&word(nslabs, nareas));
        let nslabs = defaults.boot_nslabs(cpus);
        defaults.boot_pool(nslabs)
    }
}

/// The value of `swiotlb=`; 0 areas: not said.
pub(super) fn word(nslabs: u64, nareas: u32) -> String {
    if nareas == 0 { nslabs.to_string() } else { format!("{nslabs},{nareas}") }
}

/// A pool to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its first byte. Where it lies matters to devices with a segment boundary.
    pub start: PhysAddr,
    /// Slots and areas.
    pub size: PoolSize,
}

/// The first mapping that found no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFull {
    /// When.
    pub time: Nanos,
    /// For whom: place in [`Workload::devices`].
    pub device: u32,
    /// Bytes wanted.
    pub size: u64,
    /// Slots in use then.
    pub used: u64,
    /// The longest run of free slots in one segment then.
    pub longest_run: u32,
}

/// What became of a workload in a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Mappings asked for.
    pub maps: u64,
    /// Those that found no place.
    pub full: u64,
    /// Those among them that found none although enough slots were free.
    pub fragmented: u64,
    /// Those among them that would not have found a place in an empty pool of this size either.
    pub impossible: u64,
    /// Searches that would never have ended; the replay stops at the first.
    pub hangs: u64,
    /// The first mapping that found no place.
    pub first: Option<FirstFull>,
    /// The first of those that enough free slots did not help.
    pub first_fragmented: Option<FirstFull>,
    /// The most slots in use at once.
    pub hiwater: u64,
    /// Slots that the longest search passed by.
    pub longest_search: u64,
    /// Mappings that found their own area full and took slots of another one.
    pub stolen: u64,
    /// Times at which one CPU wanted an area's lock less than a microsecond after another one.
    pub contended: u64,
}

impl Outcome {
    /// Whether every mapping found a place.
    #[must_use]
    pub const fn held(&self) -> bool {
        self.full == 0 && self.hangs == 0
    }

    /// Adds what became of another run.
    pub fn add(&mut self, other: &Self) {
        self.maps += other.maps;
        self.full += other.full;
        self.fragmented += other.fragmented;
        self.impossible += other.impossible;
        self.hangs += other.hangs;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
        if self.first_fragmented.is_none() {
            self.first_fragmented.clone_from(&other.first_fragmented);
        }
        self.hiwater = self.hiwater.max(other.hiwater);
        self.longest_search = self.longest_search.max(other.longest_search);
        self.stolen += other.stolen;
        self.contended += other.contended;
    }
}

/// Two CPUs that want one lock within this time are taken to meet there.
const MEETING: Nanos = 1000;

/// Replays `workload` in the pool that `trial` says. A mapping that fails is not tried again, and its return is left out.
#[must_use]
pub fn trial(workload: &Workload, rules: &PoolRules, trial: Trial) -> Outcome {
    let mut pool = Pool::new(rules.search, rules.bounce, trial.start, trial.size);
    let mut empty = pool.clone();
    let mut outcome = Outcome::default();
    // Per mapping: where it lies and for whom.
    let mut placed: Vec<Option<(PhysAddr, u32)>> = vec![None; workload.maps() as usize];
    let mut last_use: Vec<Option<(Nanos, u32)>> = vec![None; trial.size.nareas.max(1) as usize];
    let mut meet = |area: u32, time: Nanos, cpu: u32, outcome: &mut Outcome| {
        let Some(last) = last_use.get_mut(area as usize) else { return };
        let near = |&(then, other): &(Nanos, u32)| other != cpu && time.saturating_sub(then) < MEETING;
        outcome.contended += u64::from(last.as_ref().is_some_and(near));
        *last = Some((time, cpu));
    };
    let area_of = |slot: u32| slot.checked_div(trial.size.area_nslabs()).unwrap_or(0);
    for event in &workload.events {
        match event.what {
            What::Map { id, device, request } => {
                outcome.maps += 1;
                let limits = workload.devices[device as usize].limits;
                let home = pool.area_order(event.cpu).next().unwrap_or(0);
                let from = pool.areas().get(home as usize).map_or(0, |area| area.first() + area.index());
                meet(home, event.time, event.cpu, &mut outcome);
                match pool.map(event.cpu, limits, &request) {
                    Ok(mapping) => {
                        placed[id.index()] = Some((mapping.tlb_addr, device));
                        outcome.hiwater = outcome.hiwater.max(pool.used());
                        let area = area_of(mapping.slot);
                        let per_area = u64::from(trial.size.area_nslabs().max(1));
                        let passed = if area == home {
                            (u64::from(mapping.slot) + per_area - u64::from(from)) % per_area
                        } else {
                            // Every area before that one was searched from end to end.
                            outcome.stolen += 1;
                            let before =
                                u64::from((area + trial.size.nareas - home) % trial.size.nareas.max(1));
                            before * per_area + u64::from(mapping.slot) % per_area
                        };
                        outcome.longest_search = outcome.longest_search.max(passed);
                    }
                    Err(MapError::Hang) => {
                        outcome.hangs += 1;
                        return outcome;
                    }
                    Err(_) => {
                        outcome.full += 1;
                        outcome.longest_search = outcome.longest_search.max(u64::from(trial.size.nslabs));
                        let first = || FirstFull {
                            time: event.time,
                            device,
                            size: request.mapping_size,
                            used: pool.used(),
                            longest_run: longest_run(&pool),
                        };
                        empty.reset(trial.start, trial.size);
                        if empty.map(event.cpu, limits, &request).is_err() {
                            outcome.impossible += 1;
                        } else if pool.used() + empty.used() <= u64::from(trial.size.nslabs) {
                            outcome.fragmented += 1;
                            outcome.first_fragmented.get_or_insert_with(first);
                        }
                        outcome.first.get_or_insert_with(first);
                    }
                }
            }
            What::Unmap { id } => {
                if let Some((tlb_addr, device)) = placed[id.index()].take() {
                    let limits = workload.devices[device as usize].limits;
                    let slot = tlb_addr.0.saturating_sub(trial.start.0) >> crate::swiotlb::IO_TLB_SHIFT;
                    meet(area_of(u32::try_from(slot).unwrap_or(0)), event.time, event.cpu, &mut outcome);
                    pool.release_slots(limits, tlb_addr);
                }
            }
        }
    }
    outcome
}

/// The longest run of free slots. A slot's counter says how many are free from it to the end of its segment.
fn longest_run(pool: &Pool) -> u32 {
    (0..pool.size().nslabs).map(|slot| pool.slots().list(slot)).max().unwrap_or(0).min(IO_TLB_SEGSIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swiotlb::{DmaLimits, MapRequest};

    fn rules() -> PoolRules {
        PoolRules {
            search: SearchRules::v6_12(),
            sizing: SizingRules::v6_5(),
            bounce: BounceRules::v6_9_rc4(),
        }
    }

    fn one_area(nslabs: u32) -> Trial {
        Trial { start: PhysAddr(0x7000_0000), size: PoolSize { nslabs, nareas: 1 } }
    }

    impl Workload {
        fn unmap_every_second(&mut self, time: Nanos) {
            let mapped = self.events.clone();
            for event in mapped.iter().step_by(2) {
                let What::Map { id, .. } = event.what else { continue };
                self.events.push(crate::sizing::Event { time, cpu: 0, what: What::Unmap { id } });
            }
        }
    }

    /// `count` mappings of `size` bytes, all alive at once.
    fn burst(count: u64, size: u64) -> Workload {
        let mut workload = Workload::default();
        let disk = workload.device("disk", DmaLimits::default());
        for nth in 0..count {
            let request = MapRequest::plain(PhysAddr(nth << 20), size);
            let id = workload.map(nth, 0, disk, request).unwrap();
            workload.given(id, nth);
        }
        (0..count).for_each(|nth| workload.unmap(count + nth, 0, nth));
        workload
    }

    #[test]
    fn a_pool_holds_what_it_has_slots_for() {
        let held = trial(&burst(128, 4096), &rules(), one_area(256));
        assert!(held.held() && held.hiwater == 256, "{held:?}");
        let full = trial(&burst(129, 4096), &rules(), one_area(256));
        assert_eq!((full.full, full.fragmented, full.impossible), (1, 0, 0));
        assert_eq!(full.first.map(|first| (first.used, first.longest_run)), Some((256, 0)));
    }

    #[test]
    fn free_slots_that_do_not_lie_together_are_told_from_none() {
        let mut workload = Workload::default();
        let disk = workload.device("disk", DmaLimits::default());
        for nth in 0..256 {
            let id = workload.map(nth, 0, disk, MapRequest::plain(PhysAddr(nth << 20), 2048)).unwrap();
            workload.given(id, nth);
        }
        (0..256).step_by(2).for_each(|nth| workload.unmap(300, 0, nth));
        workload.map(301, 0, disk, MapRequest::plain(PhysAddr(0), 4096)).unwrap();
        let outcome = trial(&workload, &rules(), one_area(256));
        assert_eq!((outcome.full, outcome.fragmented), (1, 1));
        assert_eq!(outcome.first.map(|first| (first.used, first.longest_run)), Some((128, 1)));
    }

    #[test]
    fn what_no_segment_holds_is_impossible() {
        let outcome = trial(&burst(1, (256 << 10) + 1), &rules(), one_area(1024));
        assert_eq!((outcome.full, outcome.impossible, outcome.fragmented), (1, 1, 0));
    }

    #[test]
    fn a_full_area_sends_its_cpu_to_the_next() {
        let two = Trial { size: PoolSize { nslabs: 256, nareas: 2 }, ..one_area(256) };
        let outcome = trial(&burst(100, 4096), &rules(), two);
        assert!(outcome.held() && outcome.stolen == 36, "{outcome:?}");
    }

    #[test]
    fn the_hang_of_6_1_is_seen() {
        // Every second slot is taken, and the next search begins at slot 1: it never comes by its start again.
        let mut workload = burst(256, 2048);
        workload.events.truncate(256);
        workload.unmap_every_second(300);
        workload.map(301, 0, 0, MapRequest::plain(PhysAddr(0), 2048)).unwrap();
        let limits = DmaLimits { min_align_mask: 0xfff, ..DmaLimits::default() };
        let nvme = workload.device("nvme", limits);
        workload.map(500, 0, nvme, MapRequest::plain(PhysAddr(0x2_0800), 4096)).unwrap();
        let old = PoolRules { search: SearchRules::v6_1_192(), ..rules() };
        assert_eq!(trial(&workload, &old, one_area(256)).hangs, 1);
        assert_eq!(trial(&workload, &rules(), one_area(256)).hangs, 0);
    }
}
