//! Which rules of the pure models the behaviours of this kernel amount to.

use crate::profile::{Behaviour as B, Profile};
use crate::sizing::PoolRules;
use crate::swiotlb::{
    AlignTest, AreaLimit, BounceRules, LoopEnd, OffsetRule, Prefill, SearchRules, SizeRule, SizingRules,
};

/// All that a pool's size depends on.
#[must_use]
pub fn pool_rules(profile: &Profile) -> PoolRules {
    PoolRules { search: search_rules(profile), sizing: sizing_rules(profile), bounce: bounce_rules(profile) }
}

/// How slots are searched for.
#[must_use]
pub(super) fn search_rules(profile: &Profile) -> SearchRules {
    let has = |behaviour| profile.has(behaviour);
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
        large_page_aligned: has(B::LargeMapsPageAligned),
        wide_slot_addr: has(B::WideSlotAddress),
    }
}

/// What a bounce copies.
#[must_use]
pub(super) fn bounce_rules(profile: &Profile) -> BounceRules {
    BounceRules {
        prefill: if profile.has(B::PrefillFromDevice) { Prefill::Always } else { Prefill::Outgoing },
        sync_for_device_always: profile.has(B::SyncForDeviceAlways),
        offset: if !profile.has(B::BounceOffsetKept) {
            OffsetRule::Dropped
        } else if profile.has(B::SyncInLead) {
            OffsetRule::Signed
        } else {
            OffsetRule::Bounded
        },
    }
}

/// How the size of the pool is chosen.
#[must_use]
pub(super) fn sizing_rules(profile: &Profile) -> SizingRules {
    SizingRules {
        areas: profile.has(B::SwiotlbAreas),
        area_limit: if profile.has(B::AreasLimited) { AreaLimit::Always } else { AreaLimit::Late },
        halves: profile.has(B::PoolSizeHalved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Version as V;

    const NONE: &[&str] = &[];

    fn of(version: V) -> Profile {
        Profile::of_version(version)
    }

    /// The profile of `version` without one of its behaviours.
    fn without(version: V, behaviour: B) -> Profile {
        assert!(of(version).has(behaviour), "{version} has {behaviour}");
        Profile::new(version.name(), NONE, &[behaviour.name()], NONE).expect("a profile")
    }

    #[test]
    fn each_version_has_its_rules() {
        let search = |version| search_rules(&of(version));
        assert_eq!(search(V::V5_13), SearchRules::v5_13());
        assert_eq!(search(V::Next2021_06), SearchRules::v5_13());
        assert_eq!(search(V::V5_15), SearchRules::v5_15());
        assert_eq!(search(V::V5_16), SearchRules::v5_16());
        assert_eq!(search(V::V6_1), SearchRules::v6_1_192());
        assert_eq!(search(V::V6_2), SearchRules::v6_0());
        assert_eq!(search(V::V6_3), SearchRules::v6_3());
        assert_eq!(search(V::V6_7), SearchRules::v6_7());
        assert_eq!(search(V::V6_9), SearchRules::v6_9_rc4());
        assert_eq!(search(V::V6_12), SearchRules::v6_12());
        let bounce = |version| bounce_rules(&of(version));
        assert_eq!(bounce(V::V5_15), BounceRules::v5_13());
        assert_eq!(bounce(V::V6_1), BounceRules::v5_18());
        assert_eq!(bounce(V::V6_12), BounceRules::v6_9_rc4());
        let sizing = |version| sizing_rules(&of(version));
        assert_eq!(sizing(V::V6_1), SizingRules::v6_1_192());
        assert_eq!(sizing(V::V6_12), SizingRules::v6_5());
    }

    #[test]
    fn each_behaviour_flips_its_rule() {
        let new = SearchRules::v6_12();
        let search = |behaviour| search_rules(&without(V::V6_12, behaviour));
        assert_eq!(search(B::CountedSlotSearch), SearchRules { loop_end: LoopEnd::Wrap, ..new });
        assert_eq!(search(B::FreeCountersClamped), SearchRules { list_clamped: false, ..new });
        assert_eq!(search(B::PaddingSlots), SearchRules { pad_slots: false, ..new });
        assert_eq!(search(B::PoolAllocPageAligned), SearchRules { alloc_page_aligned: false, ..new });
        assert_eq!(search(B::OneMappingSize), SearchRules { size_rule: SizeRule::Caller, ..new });
        assert_eq!(search(B::LargeMapsPageAligned), SearchRules { large_page_aligned: false, ..new });
        assert_eq!(search(B::WideSlotAddress), SearchRules { wide_slot_addr: false, ..new });
        // With the separate masks goes what builds on them, and the combined mask comes back.
        let older = SearchRules {
            align_test: AlignTest::Combined,
            pad_slots: false,
            alloc_page_aligned: false,
            large_page_aligned: false,
            ..new
        };
        assert_eq!(search(B::SeparateAlignMasks), older);
        let stable = search_rules(&without(V::V6_1, B::AlignOutsideAlloc));
        assert_eq!(stable, SearchRules::v6_0());

        let bounce = |behaviour| bounce_rules(&without(V::V6_12, behaviour));
        let rules = BounceRules::v6_9_rc4();
        assert_eq!(bounce(B::SyncInLead), BounceRules { offset: OffsetRule::Bounded, ..rules });
        let older = without(V::V5_15, B::BounceOffsetKept);
        assert_eq!(bounce_rules(&older), BounceRules::v5_12());
        let bad = Profile::new("5.15", &["prefill-from-device", "sync-for-device-always"], NONE, NONE);
        assert_eq!(bounce_rules(&bad.expect("a profile")), BounceRules::v5_17());
        assert_eq!(bounce(B::PrefillFromDevice), BounceRules { prefill: Prefill::Outgoing, ..rules });

        let sizing = |behaviour| sizing_rules(&without(V::V6_12, behaviour));
        assert_eq!(sizing(B::AreasLimited).area_limit, AreaLimit::Late);
        assert!(!sizing(B::PoolSizeHalved).halves && !sizing(B::SwiotlbAreas).areas);
    }
}
