//! Which rules of the pure models the behaviours of this kernel amount to.

use crate::kernel::Kx;
use crate::profile::{Behaviour as B, BehaviourSet};
use crate::sizing::PoolRules;
use crate::swiotlb::{
    AlignTest, AreaLimit, BounceRules, LoopEnd, OffsetRule, Prefill, SearchRules, SizeRule, SizingRules,
};

/// All that a pool's size depends on, for a kernel that is not running.
#[must_use]
pub fn pool_rules(set: BehaviourSet) -> PoolRules {
    PoolRules { search: search_of(set), sizing: sizing_of(set), bounce: bounce_of(set) }
}

/// How slots are searched for.
#[must_use]
pub(super) fn search_rules(kx: &Kx) -> SearchRules {
    search_of(kx.k.profile().set)
}

fn search_of(set: BehaviourSet) -> SearchRules {
    let has = |behaviour| set.has(behaviour);
    SearchRules {
        loop_end: if has(B::CountedSlotSearch) { LoopEnd::Counted } else { LoopEnd::Wrap },
        align_test: if has(B::SeparateAlignMasks) {
            AlignTest::Separate
        } else if has(B::CombinedAlignMask) {
            AlignTest::Combined
        } else if has(B::AlignOutsideAlloc) {
            AlignTest::MinAlignOutsideAlloc
        } else {
            AlignTest::MinAlign
        },
        zero_orig_matches: has(B::StaticDefaultPool) || has(B::AllocAlignMask),
        list_clamped: has(B::FreeCountersClamped),
        pad_slots: has(B::PaddingSlots),
        size_rule: if has(B::OneMappingSize) { SizeRule::Inside } else { SizeRule::Caller },
        alloc_page_aligned: has(B::PoolAllocPageAligned),
    }
}

/// What a bounce copies.
#[must_use]
pub(super) fn bounce_rules(kx: &Kx) -> BounceRules {
    bounce_of(kx.k.profile().set)
}

fn bounce_of(set: BehaviourSet) -> BounceRules {
    BounceRules {
        prefill: if set.has(B::PrefillFromDevice) { Prefill::Always } else { Prefill::Outgoing },
        sync_for_device_always: false,
        offset: if set.has(B::SyncInLead) { OffsetRule::Signed } else { OffsetRule::Bounded },
    }
}

/// How the size of the pool is chosen.
#[must_use]
pub(super) fn sizing_rules(kx: &Kx) -> SizingRules {
    sizing_of(kx.k.profile().set)
}

fn sizing_of(set: BehaviourSet) -> SizingRules {
    SizingRules {
        areas: set.has(B::SwiotlbAreas),
        area_limit: if set.has(B::AreasLimited) { AreaLimit::Always } else { AreaLimit::Late },
        halves: set.has(B::PoolSizeHalved),
    }
}
