//! Boot memory at the hand-over: what was reserved and kept is reserved still, and what was given back is nobody's.

use sim::Draft;
use sim::cell::RefCell;

use crate::kernel::Kx;
use crate::mem::{PhysAddr, PhysRange};
use crate::memblock::{MemblockType, OwnedRange, Region};

/// What callers asked of memblock, in order, and got: kept beside its lists, to be compared with them.
#[derive(Debug, Default)]
pub struct BootLog(RefCell<Vec<(PhysRange, bool)>>);

impl BootLog {
    /// A range was reserved or allocated.
    pub fn taken(&self, range: PhysRange) {
        self.0.borrow_mut().push((range, true));
    }

    /// A range was given back.
    pub fn freed(&self, range: PhysRange) {
        self.0.borrow_mut().push((range, false));
    }

    /// What is kept, and what was given back and not taken again: each in order, joined.
    fn sorted(&self) -> [Vec<PhysRange>; 2] {
        let [mut kept, mut free] = [Vec::new(), Vec::new()];
        for (range, taken) in self.0.borrow().iter().filter(|(range, _)| range.start < range.end) {
            let (to, from) = if *taken { (&mut kept, &mut free) } else { (&mut free, &mut kept) };
            add(to, *range);
            remove(from, *range);
        }
        [kept, free]
    }
}

/// Adds a range to disjoint ones in order, and joins what meets.
fn add(ranges: &mut Vec<PhysRange>, mut range: PhysRange) {
    let first = ranges.partition_point(|other| other.end < range.start);
    let last = ranges.partition_point(|other| other.start <= range.end);
    if let (Some(low), Some(high)) = (ranges[first..last].first(), ranges[first..last].last()) {
        range = PhysRange { start: low.start.min(range.start), end: high.end.max(range.end) };
    }
    ranges.splice(first..last, [range]);
}

/// Takes a range out of disjoint ones in order.
fn remove(ranges: &mut Vec<PhysRange>, range: PhysRange) {
    let first = ranges.partition_point(|other| other.end <= range.start);
    let last = ranges.partition_point(|other| other.start < range.end);
    let mut rest = Vec::with_capacity(2);
    if let (Some(low), Some(high)) = (ranges[first..last].first(), ranges[first..last].last()) {
        let sides = [(low.start, range.start), (range.end, high.end)];
        rest.extend(
            sides.iter().filter(|(start, end)| start < end).map(|&(start, end)| PhysRange { start, end }),
        );
        ranges.splice(first..last, rest);
    }
}

/// Right before the hand-over: the reserved list must say what callers were told.
pub fn check_reserved(kx: &Kx, log: &BootLog) {
    let [kept, free] = log.sorted();
    let (mut lost, mut stuck): (Option<(PhysAddr, PhysRange)>, Option<OwnedRange>) = (None, None);
    {
        let mem = kx.k.mem.borrow();
        let reserved = mem.memblock.regions(MemblockType::Reserved);
        for range in kept {
            lost = lost.or_else(|| first_gap(reserved, range).map(|at| (at, range)));
        }
        // Where a list has grown into is its own affair.
        let arrays = mem.memblock.grown_arrays();
        let own = |owned: &OwnedRange| {
            arrays.iter().any(|array| {
                array.at.is_some_and(|at| PhysRange::new(at, array.bytes).contains(owned.range.start))
            })
        };
        for range in free {
            let mut there = mem.memblock.owners_in(range).into_iter();
            stuck = stuck.or_else(|| there.find(|owned| !own(owned)));
        }
    }
    if let Some((at, range)) = lost {
        let title = format!(
            "{}..{} was reserved and never given back, and is free from {at} on at the hand-over",
            range.start, range.end
        );
        kx.report(Draft::warning("overlapping-owners", title).discriminator("reserved list"), Vec::new);
    }
    if let Some(owned) = stuck {
        let title = format!(
            "{}..{} was given back, and is reserved for {} at the hand-over",
            owned.range.start, owned.range.end, owned.owner.site
        );
        kx.report(Draft::warning("lost-memory", title).discriminator("reserved list"), Vec::new);
    }
}

/// The first byte of a range that is in none of the regions, which are in order.
fn first_gap(regions: &[Region], range: PhysRange) -> Option<PhysAddr> {
    let mut at = range.start;
    for region in &regions[regions.partition_point(|region| region.end() <= at)..] {
        if region.base > at || at >= range.end {
            break;
        }
        at = region.end();
    }
    (at < range.end).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange { start: PhysAddr(start), end: PhysAddr(end) }
    }

    #[test]
    fn what_is_kept_is_what_was_taken_and_not_given_back() {
        let log = BootLog::default();
        log.taken(range(10, 20));
        log.taken(range(20, 30));
        log.taken(range(40, 50));
        log.freed(range(15, 45));
        log.taken(range(16, 18));
        assert_eq!(
            log.sorted(),
            [vec![range(10, 15), range(16, 18), range(45, 50)], vec![range(15, 16), range(18, 45)],]
        );
    }
}
