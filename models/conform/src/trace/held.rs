//! What a pool holds: taken, released, and bound to lists.

use models::mem::PhysAddr;
use models::swiotlb::{DmaLimits, IO_TLB_SHIFT, MapRequest};

use super::guess::Ask;
use super::line::Context;
use super::pool::{Freed, Kind, Live, Tracked};

/// Releases that are remembered to explain a miss.
const RECENT: usize = 64;

/// A release that has been done is reported within so many lines.
const SOON: u64 = 64;

impl Tracked {
    /// Takes the recorded run, freeing what the model believes to be there. The answer: the run, and the address of
    /// a mapping that was in the way.
    pub(super) fn adopt(&mut self, ask: &Ask, tlb: u64, kind: Kind) -> Option<(u32, u32, Option<u64>)> {
        let slot = self.slot_of(tlb)?;
        let (mut prepared, mut nslots) = self.prepare(ask.limits, &ask.request)?;
        let within = tlb & ((1 << IO_TLB_SHIFT) - 1);
        if u64::from(prepared.offset) != within {
            // Limits other than those known: keep to what the address says.
            let request = MapRequest::plain(PhysAddr(tlb), ask.request.mapping_size.saturating_add(within));
            (prepared, nslots) = self.prepare(DmaLimits::default(), &request)?;
        }
        let limits = if u64::from(prepared.offset) == within { ask.limits } else { DmaLimits::default() };
        let first = slot.checked_sub(u32::from(prepared.pad))?;
        let mut early = None;
        while let Some((other, live)) = self.overlapping(first, nslots) {
            if live.kind != Kind::Supposed {
                early = Some(live.tlb);
            }
            self.drop_live(other);
        }
        let mapping = self.pool.adopt(limits, &prepared, first)?;
        let live = Live {
            nslots,
            limits,
            model: mapping.tlb_addr,
            tlb,
            dev: ask.dev,
            orig: ask.request.orig_addr.0,
            group: 0,
            kind,
        };
        self.insert(first, live);
        Some((first, nslots, early))
    }

    pub(super) fn overlapping(&self, first: u32, nslots: u32) -> Option<(u32, Live)> {
        let (at, live) = self.live.range(..first.saturating_add(nslots)).next_back()?;
        (at.saturating_add(live.nslots) > first).then_some((*at, *live))
    }

    pub(super) fn covering(&self, tlb: u64) -> Option<(u32, Live)> {
        self.overlapping(self.slot_of(tlb)?, 1)
    }

    pub(super) fn release_at(&mut self, tlb: u64) -> Option<(u32, Live)> {
        let (first, live) = self.covering(tlb)?;
        self.drop_live(first);
        Some((first, live))
    }

    pub(super) fn drop_live(&mut self, first: u32) {
        let Some(live) = self.live.remove(&first) else { return };
        self.pool.release_slots(live.limits, live.model);
        if let Some(all) = self.by_orig.get_mut(&(live.dev, live.orig)) {
            all.retain(|other| *other != first);
            if all.is_empty() {
                self.by_orig.remove(&(live.dev, live.orig));
            }
        }
        self.note_change(first);
    }

    /// The mapping at `tlb` must have been freed when search `which` was made; the event is expected soon.
    pub(super) fn expect_release(&mut self, tlb: u64, line: u64, which: usize) {
        self.early.retain(|_, (until, _)| *until >= line);
        self.early.insert(tlb, (line + SOON, which));
    }

    /// The kernel freed the mapping at `tlb`. The answer: the search that had shown so before.
    pub(super) fn unmap(
        &mut self,
        limits: DmaLimits,
        tlb: u64,
        size: u64,
        by: Context,
        line: u64,
    ) -> Option<usize> {
        if let Some((until, which)) = self.early.remove(&tlb)
            && line <= until
        {
            return Some(which);
        }
        match self.release_at(tlb) {
            Some((first, live)) if live.kind != Kind::Supposed => {
                self.mark_seen(first, live.nslots);
                self.remember(Freed { first, nslots: live.nslots, by, line, next: None });
            }
            Some(_) | None => {
                if let Some((first, nslots)) = self.run_of(limits, tlb, size) {
                    while let Some((other, live)) = self.overlapping(first, nslots) {
                        if live.kind != Kind::Supposed {
                            break;
                        }
                        self.drop_live(other);
                    }
                    self.mark_seen(first, nslots);
                    self.remember(Freed { first, nslots, by, line, next: None });
                }
            }
        }
        None
    }

    /// A thread has done something.
    pub(super) fn saw(&mut self, thread: Context, line: u64) {
        for freed in self.recent.iter_mut().filter(|freed| freed.by == thread && freed.line < line) {
            freed.next.get_or_insert(line);
        }
    }

    pub(super) fn remember(&mut self, freed: Freed) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(freed);
    }

    /// Binds mappings to one list, so that they are freed together.
    pub(super) fn set_group(&mut self, tlb: u64, group: u64) {
        if let Some((first, _)) = self.covering(tlb)
            && let Some(live) = self.live.get_mut(&first)
        {
            live.group = group;
            self.groups.entry(group).or_default().push(first);
        }
    }

    /// The kernel frees a list whose entries lie at these originals. Returns how many mappings were freed.
    pub(super) fn unmap_list(&mut self, dev: u32, origs: &[u64], by: Context, line: u64) -> usize {
        let Some(group) = self.find_group(dev, origs) else { return 0 };
        let members = self.groups.remove(&group).unwrap_or_default();
        let mut count = 0;
        for first in members {
            if let Some(live) = self.live.get(&first).copied().filter(|live| live.group == group) {
                self.drop_live(first);
                self.remember(Freed { first, nslots: live.nslots, by, line, next: None });
                count += 1;
            }
        }
        count
    }

    /// The list that holds these originals; of several, the oldest.
    pub(super) fn find_group(&self, dev: u32, origs: &[u64]) -> Option<u64> {
        let candidates = origs.iter().find_map(|orig| self.by_orig.get(&(dev, *orig)))?;
        let groups = candidates.iter().filter_map(|first| self.live.get(first)).map(|live| live.group);
        let fits = |group: &u64| {
            let members = self.groups.get(group).into_iter().flatten();
            let mut held = members.filter_map(|first| self.live.get(first)).map(|live| live.orig);
            held.all(|orig| origs.contains(&orig)) || origs.len() >= 128
        };
        groups.filter(|group| *group != 0).find(fits)
    }

    /// Lists that have lost all their mappings are forgotten.
    pub(super) fn tidy(&mut self) {
        let Self { groups, live, .. } = self;
        groups.retain(|group, members| {
            members.iter().any(|first| live.get(first).is_some_and(|live| live.group == *group))
        });
    }
}
