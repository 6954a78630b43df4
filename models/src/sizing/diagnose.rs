//! From what happened to what is wrong, and to the pool that would do.

use super::demand::{Demand, PARTS};
use super::sweep::{Outcome, PoolRules, Trial, trial, word};
use super::workload::Workload;
use crate::mem::PhysAddr;
use crate::swiotlb::{IO_TLB_MIN_SLABS, PoolSize};

/// What is wrong with a pool, as far as its size is concerned. Several may be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// Every mapping found a place.
    Holds,
    /// More slots were wanted than there are.
    TooSmall {
        /// Mappings that found fewer free slots than they needed; none if all that failed found enough, in pieces.
        failures: u64,
    },
    /// Enough slots were free, but not side by side.
    Fragmented {
        /// Mappings that found no place for that reason.
        failures: u64,
        /// The longest run of free slots at the first of them.
        longest_run: u32,
    },
    /// Requests that no pool of any size can serve.
    Impossible {
        /// How many.
        requests: u64,
        /// Whose.
        device: String,
        /// Bytes of the largest.
        size: u64,
    },
    /// Boot could not make the pool that was asked for.
    NoRoom {
        /// Slots asked for.
        asked: u64,
        /// Slots that there are; 0: no pool.
        got: u64,
    },
    /// Somebody keeps mapping and does not give back: a larger pool only takes longer to fill up.
    Leak(LeakSign),
    /// The slot search of this version never ends for such a request in a full pool.
    Hangs,
}

/// Why it is said of a device that it leaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakSign {
    /// Which.
    pub device: String,
    /// Mappings it made.
    pub maps: u64,
    /// Mappings it never gave back.
    pub kept: u64,
    /// The fewest slots it had, in each part of the run.
    pub low_water: [u64; PARTS],
}

/// The devices whose mappings only ever grow in number.
///
/// A ring that is filled once and then turned over has a low-water mark that stays; what is in flight at the end of a
/// recording is a peak and no mark. A leak lifts the mark from part to part of the run. All but one of the steps must
/// rise, so that one pause does not hide it. Somebody who only ever maps may be filling a ring as well, unless there is
/// no ring of that size.
#[must_use]
pub fn leaks(demand: &Demand) -> Vec<LeakSign> {
    /// Fewer mappings say nothing.
    const FEW: u64 = 16;
    /// No ring has so many entries.
    const MANY: u64 = 16384;
    let leaks = |device: &&super::DeviceDemand| {
        let marks = &device.low_water;
        let rises = marks.windows(2).filter(|pair| pair[1] > pair[0]).count();
        let falls = marks.windows(2).any(|pair| pair[1] < pair[0]);
        let returns = device.maps - device.kept >= device.kept || device.kept >= MANY;
        device.kept >= FEW && returns && !falls && rises + 2 >= PARTS
    };
    let sign = |device: &super::DeviceDemand| LeakSign {
        device: device.name.clone(),
        maps: device.maps,
        kept: device.kept,
        low_water: device.low_water,
    };
    demand.devices.iter().filter(leaks).map(sign).collect()
}

/// What is wrong with the pool of `slots` slots in which `outcome` came out. `asked` is how many of them boot was asked
/// for, where that is known. With a leak, a full pool is not named as well.
#[must_use]
pub fn diagnose(
    workloads: &[Workload],
    demands: &[Demand],
    outcome: &Outcome,
    slots: u64,
    asked: Option<u64>,
) -> Vec<Diagnosis> {
    /// Less than one failure in so many is not named.
    const RARE: u64 = 10;
    let mut all = Vec::new();
    let mut signs: Vec<LeakSign> = demands.iter().flat_map(leaks).collect();
    signs.sort_by(|a, b| b.kept.cmp(&a.kept).then_with(|| a.device.cmp(&b.device)));
    signs.dedup_by(|a, b| a.device == b.device);
    let leaking = !signs.is_empty();
    all.extend(signs.into_iter().take(3).map(Diagnosis::Leak));
    if outcome.hangs > 0 {
        all.push(Diagnosis::Hangs);
    }
    if outcome.impossible > 0
        && let Some((device, size)) = largest(workloads)
    {
        all.push(Diagnosis::Impossible { requests: outcome.impossible, device, size });
    }
    if let Some(asked) = asked
        && slots < asked
    {
        all.push(Diagnosis::NoRoom { asked, got: slots });
    }
    let plain = outcome.full - outcome.impossible - outcome.fragmented;
    let served = plain + outcome.fragmented;
    // A pool that is nearly full is in pieces as well: what is rare is not what is wrong.
    let matters = |failures: u64| failures > 0 && failures * RARE >= served;
    // Where more is wanted than there is, no order of the slots would help, whatever is free at a failure.
    let beyond = demands.iter().any(|demand| demand.peak > slots);
    let too_small =
        (matters(plain) || beyond && served > 0).then_some(Diagnosis::TooSmall { failures: plain });
    let fragmented = matters(outcome.fragmented).then(|| {
        let longest_run = outcome.first_fragmented.as_ref().map_or(0, |first| first.longest_run);
        Diagnosis::Fragmented { failures: outcome.fragmented, longest_run }
    });
    // A leak fills any pool: how full it is says nothing more.
    if !leaking {
        all.extend([too_small, fragmented].into_iter().flatten());
    }
    if all.is_empty() {
        all.push(Diagnosis::Holds);
    }
    all
}

/// The largest request of all.
fn largest(workloads: &[Workload]) -> Option<(String, u64)> {
    let requests = workloads.iter().flat_map(|workload| {
        workload.events.iter().filter_map(move |event| match event.what {
            super::What::Map { device, request, .. } => {
                Some((request.mapping_size, &workload.devices[device as usize].name))
            }
            super::What::Unmap { .. } => None,
        })
    });
    requests.max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(a.1))).map(|(size, name)| (name.clone(), size))
}

/// A pool that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Slots on the command line.
    pub nslabs: u64,
    /// Areas on the command line; 0: left to the kernel.
    pub nareas: u32,
    /// The pool that boot makes of it.
    pub size: PoolSize,
    /// The value of `swiotlb=`.
    pub word: String,
    /// What became of the workloads in it.
    pub outcome: Outcome,
}

/// Finds the smallest pool in which all that can be served is served, and still is when `margin` percent of its slots
/// are not there.
///
/// Sizes are tried from `most` downwards in steps of a quarter of a power of two, and in powers of two in versions that
/// round to them; the search ends at the first size that does not hold, since a smaller one that does would be luck.
/// `nareas` is as on the command line, 0 for the kernel's own choice with `cpus` possible CPUs.
#[must_use]
pub fn recommend(
    workloads: &[Workload],
    rules: &PoolRules,
    start: PhysAddr,
    nareas: u32,
    cpus: u32,
    margin: u32,
    most: u64,
) -> Option<Recommendation> {
    let mut best = None;
    let mut sizes: Vec<u64> = (0..=22)
        .flat_map(|shift| (4..8_u64).map(move |quarters| quarters << shift << 7 >> 2))
        .filter(|slots| (IO_TLB_MIN_SLABS..=most).contains(slots) && slots.is_multiple_of(128))
        .collect();
    sizes.push(most);
    sizes.sort_unstable();
    sizes.dedup();
    for nslabs in sizes.into_iter().rev() {
        let size = rules.boot_pool(nslabs, nareas, cpus);
        if u64::from(size.nslabs) != nslabs {
            // Rounded: the number on the command line shall be what one gets.
            continue;
        }
        let mut outcome = Outcome::default();
        for workload in workloads {
            outcome.add(&trial(workload, rules, Trial { start, size }));
        }
        let room = u64::from(size.nslabs) * 100 >= outcome.hiwater * (100 + u64::from(margin));
        if outcome.full > outcome.impossible || outcome.hangs > 0 || !room {
            break;
        }
        best = Some(Recommendation { nslabs, nareas, size, word: word(nslabs, nareas), outcome });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::demand;
    use crate::swiotlb::{BounceRules, DmaLimits, MapRequest, SearchRules, SizingRules};

    const START: PhysAddr = PhysAddr(0x7000_0000);

    fn rules() -> PoolRules {
        PoolRules {
            search: SearchRules::v6_12(),
            sizing: SizingRules::v6_5(),
            bounce: BounceRules::v6_9_rc4(),
        }
    }

    /// Mappings of 4 KiB: `depth` alive at a time, and one in `leak` never given back.
    fn turning(maps: u64, depth: u64, leak: Option<u64>) -> Workload {
        let mut workload = Workload::default();
        let card = workload.device("card", DmaLimits::default());
        for nth in 0..maps {
            let id = workload.map(nth * 10, 0, card, MapRequest::plain(PhysAddr(nth << 12), 4096)).unwrap();
            workload.given(id, nth);
            if let Some(old) = nth.checked_sub(depth)
                && leak.is_none_or(|leak| !old.is_multiple_of(leak))
            {
                workload.unmap(nth * 10 + 5, 0, old);
            }
        }
        workload
    }

    fn looked_at(workload: Workload, nslabs: u32) -> Vec<Diagnosis> {
        let size = PoolSize { nslabs, nareas: 1 };
        let outcome = trial(&workload, &rules(), Trial { start: START, size });
        let demands = [demand(&workload, SearchRules::v6_12())];
        diagnose(&[workload], &demands, &outcome, u64::from(nslabs), None)
    }

    #[test]
    fn each_ailment_has_its_name() {
        assert_eq!(looked_at(turning(4000, 100, None), 1024), [Diagnosis::Holds]);
        assert!(matches!(looked_at(turning(4000, 900, None), 1024)[..], [Diagnosis::TooSmall { .. }]));
        assert!(matches!(looked_at(turning(4000, 100, Some(3)), 1024)[..], [Diagnosis::Leak(_)]));
        // Also before the pool is full.
        assert!(matches!(looked_at(turning(4000, 100, Some(3)), 65536)[..], [Diagnosis::Leak(_)]));
        let mut large = turning(100, 10, None);
        let request = MapRequest::plain(PhysAddr(0), 1 << 20);
        large.map(0, 0, 0, request).unwrap();
        assert!(matches!(
            looked_at(large, 1024)[..],
            [Diagnosis::Impossible { requests: 1, size: 0x10_0000, .. }]
        ));
    }

    #[test]
    fn what_no_pool_serves_is_not_leaked() {
        let mut workload = turning(10, 2, None);
        for nth in 0..400 {
            let request = MapRequest::plain(PhysAddr(nth << 21), if nth % 8 == 7 { 2 << 20 } else { 4096 });
            let id = workload.map(1000 + nth, 0, 0, request).unwrap();
            if nth % 8 != 7 {
                workload.given(id, 1 << 40);
                workload.unmap(1000 + nth, 0, 1 << 40);
            }
        }
        assert!(matches!(looked_at(workload, 1024)[..], [Diagnosis::Impossible { requests: 50, .. }]));
    }

    #[test]
    fn pieces_and_want_of_slots_are_told_apart() {
        let workload = |large: u64| {
            let mut workload = Workload::default();
            let disk = workload.device("disk", DmaLimits::default());
            for nth in 0..8 + large {
                // One slot in each of the eight segments, and a filler from the next page on for the rest of it.
                let size = if nth < 8 { 2048 } else { 256 << 10 };
                let id = workload.map(nth, 0, disk, MapRequest::plain(PhysAddr(nth << 20), size)).unwrap();
                workload.given(id, nth);
                if nth < 8 {
                    let filler = MapRequest::plain(PhysAddr(nth << 20), 126 << 11);
                    let id = workload.map(nth, 0, disk, filler).unwrap();
                    workload.given(id, 100 + nth);
                }
            }
            // The fillers go before the large requests come.
            let (first, last) = workload.events.split_at(16);
            let (first, last) = (first.to_vec(), last.to_vec());
            workload.events = first;
            (0..8).for_each(|nth| workload.unmap(50, 0, 100 + nth));
            workload.events.extend(last);
            workload
        };
        let names = looked_at(workload(2), 1024);
        assert!(matches!(names[..], [Diagnosis::Fragmented { failures: 2, longest_run: 127 }]), "{names:?}");
        let names = looked_at(workload(8), 1024);
        let both =
            [Diagnosis::TooSmall { failures: 0 }, Diagnosis::Fragmented { failures: 8, longest_run: 127 }];
        assert_eq!(names, both);
    }

    #[test]
    fn a_ring_that_is_filled_and_kept_is_no_leak() {
        assert_eq!(looked_at(turning(512, 512, None), 4096), [Diagnosis::Holds]);
        assert_eq!(looked_at(turning(5000, 512, None), 4096), [Diagnosis::Holds]);
    }

    #[test]
    fn the_smallest_pool_with_a_margin_is_found() {
        // 400 mappings of two slots each, and one more before the first return.
        let workload = [turning(4000, 400, None)];
        let with = |margin| recommend(&workload, &rules(), START, 1, 1, margin, 1 << 20).unwrap();
        assert_eq!((with(0).size.nslabs, with(25).size.nslabs, with(30).size.nslabs), (1024, 1024, 2048));
        assert_eq!(with(0).word, "513,1".replace("513", &with(0).nslabs.to_string()));
        let old = PoolRules { sizing: SizingRules::v5_10(), ..rules() };
        assert_eq!(recommend(&workload, &old, START, 0, 1, 0, 1 << 20).unwrap().size.nslabs, 896);
        assert_eq!(recommend(&workload, &rules(), START, 1, 1, 0, 512), None, "no pool of at most 512 slots");
    }
}
