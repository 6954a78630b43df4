//! The naive memblock's allocations and limits, on top of its lists.

use models::memblock::{Bounds, MemblockFlags, Owner};

use crate::twin::{MAX_NUMNODES, MEMORY, NO_NODE, RESERVED, Reg, Stop, TOP, Twin, ignore};

pub(crate) struct Request {
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) bounds: Bounds,
    pub(crate) nid: i32,
    pub(crate) exact: bool,
}

impl Twin {
    fn reserve_found(&mut self, found: u64, size: u64, owner: Owner) -> Result<Option<u64>, Stop> {
        if found == 0 {
            return Ok(None);
        }
        match self.add(RESERVED, Reg { base: found, size, flags: 0, nid: MAX_NUMNODES }, owner) {
            Ok(()) => Ok(Some(found)),
            Err(Stop::NoMemory) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    pub(crate) fn alloc(&mut self, request: &Request, owner: Owner) -> Result<u64, Stop> {
        let Request { size, bounds: Bounds { min, max }, exact, .. } = *request;
        let align = if request.align == 0 { 64 } else { request.align };
        let unknown = if self.rules.invalid_nid_is_any {
            !(0..MAX_NUMNODES).contains(&request.nid)
        } else {
            request.nid == MAX_NUMNODES
        };
        let nid = if unknown { NO_NODE } else { request.nid };
        let wishes = if self.mirror { vec![MemblockFlags::MIRROR.0, 0] } else { vec![0] };
        for flags in wishes {
            let found = self.find(size, align, min.0, max.0, nid, flags);
            if let Some(found) = self.reserve_found(found, size, owner)? {
                return Ok(found);
            }
            if nid != NO_NODE && !exact {
                let found = self.find(size, align, min.0, max.0, NO_NODE, flags);
                if let Some(found) = self.reserve_found(found, size, owner)? {
                    return Ok(found);
                }
            }
        }
        Err(Stop::NoMemory)
    }

    pub(crate) fn alloc_internal(&mut self, request: &Request, owner: Owner) -> Result<u64, Stop> {
        let max = request.bounds.max.0.min(self.limit);
        let mut capped = Request { ..*request };
        capped.bounds.max.0 = max;
        match self.alloc(&capped, owner) {
            Err(Stop::NoMemory) if request.bounds.min.0 != 0 => {
                capped.bounds.min.0 = 0;
                self.alloc(&capped, owner)
            }
            result => result,
        }
    }

    pub(crate) fn cap(&mut self, base: u64, size: u64, now: u64) -> Result<(), Stop> {
        if size == 0 || self.lists[MEMORY].total == 0 {
            return Ok(());
        }
        let (start, end) = match self.isolate(MEMORY, base, size, now) {
            Ok(span) => span,
            Err(stop) => return ignore(Err(stop)),
        };
        for i in (0..self.lists[MEMORY].regs.len()).rev() {
            let outside = i >= end || i < start;
            if outside && self.lists[MEMORY].regs[i].flags & MemblockFlags::NOMAP.0 == 0 {
                self.delete(MEMORY, i);
            }
        }
        ignore(self.remove(RESERVED, 0, base, now))?;
        ignore(self.remove(RESERVED, base.wrapping_add(size), TOP, now))
    }

    fn cut(&self, mut limit: u64) -> Option<u64> {
        if limit == 0 {
            return None;
        }
        for reg in &self.lists[MEMORY].regs {
            if limit <= reg.size {
                return Some(reg.base + limit).filter(|cut| *cut != TOP);
            }
            limit -= reg.size;
        }
        None
    }

    pub(crate) fn enforce(&mut self, limit: u64, now: u64) -> Result<(), Stop> {
        let Some(cut) = self.cut(limit) else { return Ok(()) };
        ignore(self.remove(MEMORY, cut, TOP, now))?;
        ignore(self.remove(RESERVED, cut, TOP, now))
    }

    pub(crate) fn remove_map(&mut self, limit: u64, now: u64) -> Result<(), Stop> {
        self.cut(limit).map_or(Ok(()), |cut| self.cap(0, cut, now))
    }

    pub(crate) fn trim(&mut self, align: u64) {
        let mut i = 0;
        while i < self.lists[MEMORY].regs.len() {
            let reg = self.lists[MEMORY].regs[i];
            let base = reg.base.wrapping_add(align - 1) / align * align;
            let end = reg.end() / align * align;
            if (base, end) == (reg.base, reg.end()) {
                i += 1;
            } else if base < end {
                self.lists[MEMORY].regs[i] = Reg { base, size: end - base, ..reg };
                i += 1;
            } else {
                self.delete(MEMORY, i);
            }
        }
    }

    /// Page runs given to the page allocator.
    pub(crate) fn free_all(&mut self, max_low_pfn: u64, now: u64) -> Result<Vec<(u64, u64)>, Stop> {
        ignore(self.change(MEMORY, (0, TOP), now, |reg| reg.flags &= !MemblockFlags::HOTPLUG.0))?;
        while self.rules.handover_sets_reserved_nodes {
            let before = self.lists[RESERVED].max;
            for reg in self.lists[MEMORY].regs.clone() {
                ignore(self.change(RESERVED, (reg.base, reg.size), now, |taken| taken.nid = reg.nid))?;
            }
            if before == self.lists[RESERVED].max || !self.rules.handover_repeats_after_growth {
                break;
            }
        }
        let pages = self.free_ranges(NO_NODE, 0, false).into_iter().map(|(start, end, _)| {
            let first = start.wrapping_add(4095) / 4096;
            (first, (end / 4096).min(max_low_pfn))
        });
        Ok(pages.filter(|(start, end)| start < end).collect())
    }
}
