//! Why a guess was wrong: what the trace does not show, and would give what was recorded.

use models::mem::PhysAddr;
use models::swiotlb::{DmaLimits, MapRequest};

use super::guess::{Answer, Ask, Guess, Why, says_same};
use super::pool::{Freed, Kind, Tracked};

impl Tracked {
    /// Looks for what the trace does not show and would make the model do what was recorded. On success, the model
    /// has done it.
    pub(super) fn explain(
        &mut self,
        guess: &mut Guess,
        recorded: Option<u64>,
        guessed: Option<(u32, u32)>,
    ) -> Option<Why> {
        let began = guess.moved;
        let interleaved = self.is_interleaved(guess);
        // Others first: from where they left the cursor.
        if interleaved {
            self.search_into(guess);
            if says_same(guess.answer, recorded) {
                return Some(Why::Order);
            }
            self.undo(guess);
        }
        if let Some((area, before, after)) = began
            && self.pool.areas()[area as usize].index() == after
        {
            self.pool.resume_at(area, before);
        }
        // What others freed meanwhile was free already.
        if interleaved {
            self.search_into(guess);
            if says_same(guess.answer, recorded) {
                return Some(Why::Order);
            }
            self.undo(guess);
        }
        // Unseen slots that the search must have passed over; what it took in the end was free.
        let taken =
            recorded.and_then(|tlb| self.run_of(guess.ask.limits, tlb, guess.ask.request.mapping_size));
        let taken = taken.map_or(0..0, |(first, nslots)| first..first + nslots);
        let mut supposed = Vec::new();
        let mut run = guessed;
        while let Some((first, nslots)) = run {
            let candidate = |slot: &u32| {
                !self.seen.get(*slot as usize).is_some_and(|seen| *seen) && !taken.contains(slot)
            };
            let Some(slot) = (first..first + nslots).rev().find(candidate) else { break };
            if supposed.len() >= 4096 {
                break;
            }
            self.suppose(slot);
            supposed.push(slot);
            self.search_into(guess);
            if says_same(guess.answer, recorded) {
                return Some(Why::Older);
            }
            run = match guess.answer {
                Answer::At(tlb) => self.run_of(guess.ask.limits, tlb, guess.ask.request.mapping_size),
                _ => None,
            };
            self.undo(guess);
        }
        for slot in supposed {
            self.drop_live(slot);
        }
        guessed.and_then(|(first, nslots)| self.freed_by_another(first, nslots, guess.line))
    }

    /// Takes back what a search took, cursor included.
    pub(super) fn undo(&mut self, guess: &Guess) {
        self.withdraw(guess);
        if let Some((area, before, _)) = guess.moved {
            self.pool.resume_at(area, before);
        }
    }

    pub(super) fn suppose(&mut self, slot: u32) {
        let tlb = self.pool.slot_addr(slot).0;
        let request = MapRequest::plain(PhysAddr(tlb), 1);
        let ask = Ask { dev: u32::MAX, limits: DmaLimits::default(), request, mask: u64::MAX };
        self.adopt(&ask, tlb, Kind::Supposed);
    }

    /// Whether the place was being freed when the search began: its release was announced, and the thread that
    /// announced it did nothing else before.
    pub(super) fn freed_by_another(&self, first: u32, nslots: u32, line: u64) -> Option<Why> {
        let hit = |freed: &&Freed| {
            freed.first < first + nslots
                && first < freed.first + freed.nslots
                && freed.next.is_none_or(|next| next > line)
        };
        self.recent.iter().rev().find(hit).map(|_| Why::FreedLater)
    }

    /// The cursor stands behind a run that a search has taken.
    pub(super) fn set_cursor(&mut self, first: u32, nslots: u32) {
        let Some(area) = self.pool.area_of(first) else { return };
        let index = (first + nslots).saturating_sub(self.pool.areas()[area as usize].first());
        self.pool.resume_at(area, index);
        self.cursor_known[area as usize] = true;
    }
}
