//! A naive memblock: every list is walked from its start, every region is inserted and deleted on its own, the
//! dummy entry of an empty list is really there, free ranges come from all pairs of region and gap. Slow and
//! plain, so that a difference is the model's fault.

use models::memblock::{MemblockFlags, MemblockRules, Owner};

pub(crate) const TOP: u64 = u64::MAX;
pub(crate) const NO_NODE: i32 = -1;
pub(crate) const MAX_NUMNODES: i32 = 1024;
pub(crate) const MEMORY: usize = 0;
pub(crate) const RESERVED: usize = 1;

/// Why an operation did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    NoMemory,
    Bug,
    Panic,
}

/// Lets an ordinary failure pass, as callers do that look at no result.
pub(crate) fn ignore(result: Result<(), Stop>) -> Result<(), Stop> {
    match result {
        Ok(()) | Err(Stop::NoMemory) => Ok(()),
        Err(stop) => Err(stop),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg {
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) flags: u32,
    pub(crate) nid: i32,
}

impl Reg {
    pub(crate) fn end(&self) -> u64 {
        self.base.wrapping_add(self.size)
    }
}

const DUMMY: Reg = Reg { base: 0, size: 0, flags: 0, nid: MAX_NUMNODES };

#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) regs: Vec<Reg>,
    pub(crate) max: u64,
    pub(crate) total: u64,
    array: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Twin {
    pub(crate) rules: MemblockRules,
    pub(crate) lists: [List; 2],
    pub(crate) owners: Vec<(u64, u64, Owner)>,
    pub(crate) limit: u64,
    bottom_up: bool,
    pub(crate) mirror: bool,
    pub(crate) slab: bool,
}

impl Twin {
    pub(crate) fn new(rules: MemblockRules) -> Self {
        let list = |max: u32| List {
            regs: if rules.empty_dummy_region { vec![DUMMY] } else { vec![] },
            max: u64::from(max),
            total: 0,
            array: None,
        };
        let lists = [list(rules.init_memory_regions), list(rules.init_reserved_regions)];
        Self { rules, lists, owners: vec![], limit: TOP, bottom_up: false, mirror: false, slab: false }
    }

    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub(crate) fn set_bottom_up(&mut self, enable: bool) {
        self.bottom_up = enable;
    }

    fn cnt(&self, which: usize) -> u64 {
        self.lists[which].regs.len() as u64
    }

    fn insert(&mut self, which: usize, index: usize, reg: Reg) -> Result<(), Stop> {
        if self.cnt(which) >= self.lists[which].max {
            return Err(Stop::Bug);
        }
        self.lists[which].regs.insert(index, reg);
        self.lists[which].total = self.lists[which].total.wrapping_add(reg.size);
        Ok(())
    }

    pub(crate) fn delete(&mut self, which: usize, index: usize) {
        let reg = self.lists[which].regs.remove(index);
        self.lists[which].total = self.lists[which].total.wrapping_sub(reg.size);
        if self.lists[which].regs.is_empty() && self.rules.empty_dummy_region {
            self.lists[which].regs.push(DUMMY);
        }
    }

    fn merge(&mut self, which: usize, start: usize, end: usize) -> Result<(), Stop> {
        let regs = &mut self.lists[which].regs;
        let last = regs.len().saturating_sub(1);
        let whole = self.rules.merge_whole_list;
        let (mut i, mut end) = if whole { (0, last) } else { (start.saturating_sub(1), end.min(last)) };
        while i < end {
            let (this, next) = (regs[i], regs[i + 1]);
            if this.end() == next.base && this.nid == next.nid && this.flags == next.flags {
                regs[i].size += next.size;
                regs.remove(i + 1);
                end -= 1;
            } else if this.end() > next.base {
                return Err(Stop::Bug);
            } else {
                i += 1;
            }
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, which: usize, wanted: Reg, owner: Owner) -> Result<(), Stop> {
        let base = wanted.base;
        let size = wanted.size.min(TOP - base);
        if size == 0 {
            return Ok(());
        }
        let end = base + size;
        if self.lists[which].regs.first().is_none_or(|reg| reg.size == 0) {
            self.lists[which].regs = vec![Reg { size, ..wanted }];
            self.lists[which].total = size;
            self.claim(which, base, end, owner);
            return Ok(());
        }
        let mut insert = 2 * self.cnt(which) + 1 < self.lists[which].max;
        loop {
            let mut inserted = Vec::new();
            let mut pieces = 0;
            let (mut at, mut i) = (base, 0);
            while i < self.lists[which].regs.len() {
                let old = self.lists[which].regs[i];
                if old.base >= end {
                    break;
                }
                if old.end() > at {
                    if old.base > at {
                        pieces += 1;
                        if insert {
                            self.insert(which, i, Reg { base: at, size: old.base - at, ..wanted })?;
                            inserted.push(i);
                            i += 1;
                        }
                    }
                    at = old.end().min(end);
                }
                i += 1;
            }
            if at < end {
                pieces += 1;
                if insert {
                    self.insert(which, i, Reg { base: at, size: end - at, ..wanted })?;
                    inserted.push(i);
                }
            }
            if pieces == 0 {
                return Ok(());
            }
            if let (Some(first), Some(last)) = (inserted.first(), inserted.last()) {
                self.merge(which, *first, last + 1)?;
                self.claim(which, base, end, owner);
                return Ok(());
            }
            while self.cnt(which) + pieces > self.lists[which].max {
                self.double(which, base, size, owner.at_ns)?;
            }
            insert = true;
        }
    }

    fn double(&mut self, which: usize, busy: u64, busy_size: u64, now: u64) -> Result<(), Stop> {
        if !self.rules.can_resize {
            return Err(if self.rules.resize_panics { Stop::Panic } else { Stop::NoMemory });
        }
        let pages = |entries: u64| (entries * 24).div_ceil(4096) * 4096;
        let max = self.lists[which].max;
        if self.slab {
            self.lists[which].max = 2 * max;
            return match self.lists[which].array.take() {
                Some(old) => ignore(self.remove(RESERVED, old, pages(max), now)),
                None => Ok(()),
            };
        }
        let (busy, busy_size) = if which == RESERVED { (busy, busy_size) } else { (0, 0) };
        let mut addr = self.find_any(pages(2 * max), busy + busy_size, self.limit);
        if addr == 0 && busy_size != 0 {
            addr = self.find_any(pages(2 * max), 0, busy.min(self.limit));
        }
        if addr == 0 {
            return Err(Stop::NoMemory);
        }
        self.lists[which].max = 2 * max;
        let old = self.lists[which].array.replace(addr);
        if let Some(old) = old {
            ignore(self.remove(RESERVED, old, pages(max), now))?;
        }
        let array = Reg { base: addr, size: pages(2 * max), flags: 0, nid: MAX_NUMNODES };
        let owner = Owner { site: "memblock_double_array", tag: u32::try_from(2 * max).unwrap(), at_ns: now };
        self.add(RESERVED, array, owner).map_err(|stop| if stop == Stop::NoMemory { Stop::Bug } else { stop })
    }

    fn find_any(&self, size: u64, low: u64, high: u64) -> u64 {
        let mirror = MemblockFlags::MIRROR.0;
        let found = if self.mirror { self.find(size, 4096, low, high, NO_NODE, mirror) } else { 0 };
        if found == 0 { self.find(size, 4096, low, high, NO_NODE, 0) } else { found }
    }

    pub(crate) fn find(&self, size: u64, align: u64, low: u64, high: u64, nid: i32, flags: u32) -> u64 {
        let high = if high <= 1 { self.limit } else { high };
        let low = low.max(4096);
        let high = high.max(low);
        for (start, end, _) in self.free_ranges(nid, flags, !self.bottom_up) {
            let (start, end) = (start.clamp(low, high), end.clamp(low, high));
            if self.bottom_up {
                let up = start.wrapping_add(align - 1) / align * align;
                if up < end && end - up >= size {
                    return up;
                }
            } else if end >= size {
                let down = (end - size) / align * align;
                if down >= start {
                    return down;
                }
            }
        }
        0
    }

    fn passes(&self, reg: &Reg, nid: i32, flags: u32) -> bool {
        let any = match self.rules.invalid_nid_is_any {
            true => !(0..MAX_NUMNODES).contains(&nid),
            false => nid == NO_NODE || nid == MAX_NUMNODES,
        };
        let is = |flag: MemblockFlags| reg.flags & flag.0 != 0;
        let asked = |flag: MemblockFlags| flags & flag.0 != 0;
        (any || nid == reg.nid)
            && (!self.rules.movable_node || !is(MemblockFlags::HOTPLUG) || asked(MemblockFlags::HOTPLUG))
            && (is(MemblockFlags::MIRROR) || !asked(MemblockFlags::MIRROR))
            && (!is(MemblockFlags::NOMAP) || asked(MemblockFlags::NOMAP))
            && (!is(MemblockFlags::DRIVER_MANAGED) || asked(MemblockFlags::DRIVER_MANAGED))
    }

    /// Start, end and node of each free range.
    pub(crate) fn free_ranges(&self, nid: i32, flags: u32, reverse: bool) -> Vec<(u64, u64, i32)> {
        let mut borders = vec![0];
        for reg in &self.lists[RESERVED].regs {
            borders.extend([reg.base, reg.end()]);
        }
        borders.push(TOP);
        let gaps: Vec<_> = borders.chunks(2).map(|gap| (gap[0], gap[1])).collect();
        let memory: Vec<_> =
            self.lists[MEMORY].regs.iter().filter(|reg| self.passes(reg, nid, flags)).collect();
        let common = |reg: &Reg, gap: (u64, u64)| (reg.base.max(gap.0), reg.end().min(gap.1), reg.nid);
        let touch = |reg: &Reg, gap: (u64, u64)| gap.1 > reg.base && gap.0 < reg.end();
        let mut ranges = Vec::new();
        if self.lists[MEMORY].regs.is_sorted_by(|a, b| a.end() <= b.base) {
            for reg in memory {
                ranges.extend(gaps.iter().filter(|gap| touch(reg, **gap)).map(|gap| common(reg, *gap)));
            }
            if reverse {
                ranges.reverse();
            }
        } else if reverse {
            let mut g = gaps.len();
            for reg in memory.into_iter().rev() {
                while g > 0 && gaps[g - 1].1 > reg.base {
                    let gap = gaps[g - 1];
                    if touch(reg, gap) {
                        ranges.push(common(reg, gap));
                        if reg.base >= gap.0 {
                            break;
                        }
                    }
                    g -= 1;
                }
            }
        } else {
            let mut g = 0;
            for reg in memory {
                while g < gaps.len() && gaps[g].0 < reg.end() {
                    if touch(reg, gaps[g]) {
                        ranges.push(common(reg, gaps[g]));
                        if reg.end() <= gaps[g].1 {
                            break;
                        }
                    }
                    g += 1;
                }
            }
        }
        ranges
    }

    /// Bisects, which decides the answer on a list that is out of order.
    pub(crate) fn holds(&self, which: usize, addr: u64) -> bool {
        let mut part = &self.lists[which].regs[..];
        while !part.is_empty() {
            let middle = part.len() / 2;
            if addr < part[middle].base {
                part = &part[..middle];
            } else if addr >= part[middle].end() {
                part = &part[middle + 1..];
            } else {
                return true;
            }
        }
        false
    }

    pub(crate) fn isolate(
        &mut self,
        which: usize,
        base: u64,
        size: u64,
        now: u64,
    ) -> Result<(usize, usize), Stop> {
        let size = size.min(TOP - base);
        if size == 0 {
            return Ok((0, 0));
        }
        while self.cnt(which) + 2 > self.lists[which].max {
            self.double(which, base, size, now)?;
        }
        let end = base + size;
        let (mut start_rgn, mut end_rgn) = (0, 0);
        let mut i = 0;
        while i < self.lists[which].regs.len() {
            let reg = self.lists[which].regs[i];
            if reg.base >= end {
                break;
            }
            if reg.end() <= base {
                i += 1;
                continue;
            }
            let cut = if reg.base < base { base } else { end };
            if reg.base < cut && cut < reg.end() {
                let upper = Reg { base: cut, size: reg.end() - cut, ..reg };
                let lower = Reg { size: cut - reg.base, ..reg };
                self.lists[which].regs[i] = upper;
                self.lists[which].total = self.lists[which].total.wrapping_sub(lower.size);
                self.insert(which, i, lower)?;
                i += usize::from(cut == base);
            } else {
                if end_rgn == 0 {
                    start_rgn = i;
                }
                i += 1;
                end_rgn = i;
            }
        }
        Ok((start_rgn, end_rgn))
    }

    pub(crate) fn remove(&mut self, which: usize, base: u64, size: u64, now: u64) -> Result<(), Stop> {
        let (start, end) = self.isolate(which, base, size, now)?;
        for i in (start..end).rev() {
            self.delete(which, i);
        }
        let end = base + size.min(TOP - base);
        if which == RESERVED && base < end {
            let whole = std::mem::take(&mut self.owners);
            for (from, to, owner) in whole {
                self.owners.extend([(from, to.min(base), owner), (from.max(end), to, owner)]);
            }
            self.owners.retain(|(from, to, _)| from < to);
        }
        Ok(())
    }

    pub(crate) fn change(
        &mut self,
        which: usize,
        (base, size): (u64, u64),
        now: u64,
        change: impl Fn(&mut Reg),
    ) -> Result<(), Stop> {
        let (start, end) = self.isolate(which, base, size, now)?;
        self.lists[which].regs[start..end].iter_mut().for_each(change);
        self.merge(which, start, end)
    }

    pub(crate) fn mark_mirror(&mut self, range: (u64, u64), now: u64) -> Result<(), Stop> {
        if !self.rules.mirrored_kernelcore {
            return Ok(());
        }
        self.mirror = true;
        self.change(MEMORY, range, now, |reg| reg.flags |= MemblockFlags::MIRROR.0)
    }

    /// What is reserved has an owner already, and keeps it: so only bytes without one are added.
    fn claim(&mut self, which: usize, base: u64, end: u64, owner: Owner) {
        if which == RESERVED {
            let mut at = base;
            let mut added = Vec::new();
            self.owners.sort_by_key(|(from, _, _)| *from);
            for (from, to, _) in &self.owners {
                added.push((at, end.min(*from), owner));
                at = at.max(*to);
            }
            added.push((at, end, owner));
            self.owners.extend(added.into_iter().filter(|(from, to, _)| from < to));
        }
    }

    pub(crate) fn owner_of(&self, addr: u64) -> Option<Owner> {
        self.owners.iter().find(|(from, to, _)| (*from..*to).contains(&addr)).map(|(_, _, owner)| *owner)
    }
}
