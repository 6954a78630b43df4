//! Which rules of the pure models the behaviours of this kernel amount to.

use crate::kernel::Kx;
use crate::profile::Behaviour as B;
use crate::swiotlb::{
    AlignTest, AreaLimit, BounceRules, LoopEnd, OffsetRule, Prefill, SearchRules, SizeRule, SizingRules,
};

/// How slots are searched for.
#[must_use]
pub(super) fn search_rules(kx: &Kx) -> SearchRules {
    let has = |behaviour| kx.k.has(behaviour);
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
    BounceRules {
        prefill: if kx.k.has(B::PrefillFromDevice) { Prefill::Always } else { Prefill::Outgoing },
        sync_for_device_always: false,
        offset: if kx.k.has(B::SyncInLead) { OffsetRule::Signed } else { OffsetRule::Bounded },
    }
}

/// How the size of the pool is chosen.
#[must_use]
pub(super) fn sizing_rules(kx: &Kx) -> SizingRules {
    SizingRules {
        areas: kx.k.has(B::SwiotlbAreas),
        area_limit: if kx.k.has(B::AreasLimited) { AreaLimit::Always } else { AreaLimit::Late },
        halves: kx.k.has(B::PoolSizeHalved),
    }
}
