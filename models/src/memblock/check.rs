//! What must hold of the state at all times.

use super::list::RegionList;
use super::state::Memblock;
use super::types::{MemblockType, PHYS_ADDR_MAX};
use crate::mem::PhysAddr;

/// A property that the state must have and has not: a fault of the model, never of the modelled kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokenInvariant {
    /// A list holds an empty region, or one that passes the end of the address space.
    BadRegion(MemblockType, usize),
    /// Regions overlap or descend in a list that is known as sorted; the index is the first of the two.
    Unsorted(MemblockType, usize),
    /// Neighbours could be merged in a list that is known as merged.
    Unmerged(MemblockType, usize),
    /// More regions than the kernel's array holds.
    OverCapacity(MemblockType),
    /// The total is not the sum of the sizes, and no trim accounts for it.
    WrongTotal(MemblockType),
    /// The reserved list is not sorted: nothing can break its order.
    ReservedOutOfOrder,
    /// Reserved memory without an owner, or an owner of memory that is not reserved, near this address.
    OwnersDisagree(PhysAddr),
}

impl Memblock {
    /// Checks every invariant; takes time in proportion to the number of regions.
    pub fn check(&self) -> Result<(), BrokenInvariant> {
        self.check_list(&self.memory)?;
        self.check_list(&self.reserved)?;
        if !self.reserved.sorted {
            return Err(BrokenInvariant::ReservedOutOfOrder);
        }
        self.check_owners()
    }

    fn check_list(&self, list: &RegionList) -> Result<(), BrokenInvariant> {
        let kind = list.kind;
        if list.regions.len() as u64 > list.max {
            return Err(BrokenInvariant::OverCapacity(kind));
        }
        let mut sum = 0_u64;
        for (index, region) in list.regions.iter().enumerate() {
            if region.size == 0 || region.size > PHYS_ADDR_MAX - region.base.0 {
                return Err(BrokenInvariant::BadRegion(kind, index));
            }
            sum = sum.wrapping_add(region.size);
        }
        for (index, pair) in list.regions.windows(2).enumerate() {
            let [low, high] = [pair[0], pair[1]];
            if list.sorted && low.end() > high.base {
                return Err(BrokenInvariant::Unsorted(kind, index));
            }
            let alike = low.end() == high.base && low.nid == high.nid && low.flags == high.flags;
            if self.rules.merge_whole_list && list.merged && alike {
                return Err(BrokenInvariant::Unmerged(kind, index));
            }
        }
        if !list.total_stale && sum != list.total_size {
            return Err(BrokenInvariant::WrongTotal(kind));
        }
        Ok(())
    }

    /// The owners' stretches, joined where they meet, must be the reserved regions, joined where they meet.
    fn check_owners(&self) -> Result<(), BrokenInvariant> {
        let mut regions = self.reserved.regions.iter();
        let mut covered_to = PhysAddr(0);
        let mut region_end = PhysAddr(0);
        for owned in self.owners.all() {
            let mut at = owned.range.start;
            if at < covered_to || at >= owned.range.end {
                return Err(BrokenInvariant::OwnersDisagree(at));
            }
            while at < owned.range.end {
                if at >= region_end {
                    let Some(region) = regions.next() else {
                        return Err(BrokenInvariant::OwnersDisagree(at));
                    };
                    // The region before must have been owned to its end, and this one from its start.
                    if covered_to != region_end || region.base != at {
                        return Err(BrokenInvariant::OwnersDisagree(covered_to));
                    }
                    region_end = region.end();
                } else if at > covered_to {
                    return Err(BrokenInvariant::OwnersDisagree(covered_to));
                }
                at = region_end.min(owned.range.end);
                covered_to = at;
            }
        }
        match regions.next() {
            Some(region) => Err(BrokenInvariant::OwnersDisagree(region.base)),
            None if covered_to != region_end => Err(BrokenInvariant::OwnersDisagree(covered_to)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::PhysRange;
    use crate::memblock::{MemblockRules, NodeId, OwnedRange, Owner, Region};

    const OWNER: Owner = Owner::new("test", 0);
    const MEMORY: MemblockType = MemblockType::Memory;

    /// Two regions in each list.
    fn sample() -> Memblock {
        let mut mb = Memblock::new(MemblockRules::v6_1());
        for base in [0x10_0000, 0x40_0000] {
            assert_eq!(mb.add(PhysAddr(base), 0x10_0000), Ok(()));
            assert_eq!(mb.reserve(PhysAddr(base), 0x1000, OWNER), Ok(()));
        }
        assert_eq!(mb.check(), Ok(()));
        mb
    }

    /// What `check` says after `harm` has been done.
    fn after(harm: impl FnOnce(&mut Memblock)) -> Result<(), BrokenInvariant> {
        let mut mb = sample();
        harm(&mut mb);
        mb.check()
    }

    #[test]
    fn empty_region_is_found() {
        let harm = |mb: &mut Memblock| mb.memory.regions[1].size = 0;
        assert_eq!(after(harm), Err(BrokenInvariant::BadRegion(MEMORY, 1)));
        let harm = |mb: &mut Memblock| mb.memory.regions[1].size = u64::MAX;
        assert_eq!(after(harm), Err(BrokenInvariant::BadRegion(MEMORY, 1)));
    }

    #[test]
    fn wrong_order_is_found() {
        let harm = |mb: &mut Memblock| mb.memory.regions.swap(0, 1);
        assert_eq!(after(harm), Err(BrokenInvariant::Unsorted(MEMORY, 0)));
        let harm = |mb: &mut Memblock| mb.reserved.sorted = false;
        assert_eq!(after(harm), Err(BrokenInvariant::ReservedOutOfOrder));
    }

    #[test]
    fn neighbours_left_unmerged_are_found() {
        let harm = |mb: &mut Memblock| {
            let region = mb.memory.regions[1];
            mb.memory.regions.push(Region { base: region.end(), ..region });
        };
        assert_eq!(after(harm), Err(BrokenInvariant::Unmerged(MEMORY, 1)));
    }

    #[test]
    fn too_many_regions_are_found() {
        assert_eq!(after(|mb| mb.memory.max = 1), Err(BrokenInvariant::OverCapacity(MEMORY)));
    }

    #[test]
    fn wrong_total_is_found() {
        assert_eq!(after(|mb| mb.memory.total_size += 1), Err(BrokenInvariant::WrongTotal(MEMORY)));
    }

    #[test]
    fn a_trim_excuses_the_total() {
        let mut mb = sample();
        assert_eq!(mb.add(PhysAddr(0x80_0001), 0x1_0000), Ok(()));
        mb.trim_memory(0x1000);
        assert_eq!((mb.phys_mem_size(), mb.check()), (0x21_0000, Ok(())));
    }

    #[test]
    fn owners_that_disagree_are_found() {
        let disagree = |addr| Err(BrokenInvariant::OwnersDisagree(PhysAddr(addr)));
        let owned = |start, end| {
            let range = PhysRange { start: PhysAddr(start), end: PhysAddr(end) };
            OwnedRange { range, owner: OWNER, allocated: false }
        };
        let gone = |mb: &mut Memblock| mb.owners.ranges_mut().truncate(1);
        assert_eq!(after(gone), disagree(0x40_0000));
        let short = |mb: &mut Memblock| mb.owners.ranges_mut()[1] = owned(0x40_0000, 0x40_0800);
        assert_eq!(after(short), disagree(0x40_0800));
        let late = |mb: &mut Memblock| mb.owners.ranges_mut()[1] = owned(0x40_0800, 0x40_1000);
        assert_eq!(after(late), disagree(0x10_1000));
        let surplus = |mb: &mut Memblock| mb.owners.ranges_mut().push(owned(0x80_0000, 0x80_1000));
        assert_eq!(after(surplus), disagree(0x80_0000));
        let twice = |mb: &mut Memblock| mb.owners.ranges_mut().push(owned(0x40_0000, 0x40_1000));
        assert_eq!(after(twice), disagree(0x40_0000));
    }

    #[test]
    fn node_changes_keep_all_invariants() {
        let mut mb = sample();
        assert_eq!(mb.set_node(PhysAddr(0x40_0800), 0x800, MemblockType::Reserved, NodeId(1)), Ok(()));
        assert_eq!((mb.regions(MemblockType::Reserved).len(), mb.check()), (3, Ok(())));
    }
}
