//! Which rules a kernel follows.

use models::dma::pool::PoolOrder;
use models::iommu::dma::DmaIommuRules;
use models::iommu::iova::IovaRules;
use models::profile::Version;
use models::swiotlb::{BounceRules, SearchRules, SizingRules};

/// The models' rules for one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRules {
    /// The release.
    pub version: Version,
    /// How slots are searched.
    pub search: SearchRules,
    /// What is copied.
    pub bounce: BounceRules,
    /// How large a pool is, and of how many areas.
    pub sizing: SizingRules,
    /// How bus addresses are allocated.
    pub iova: IovaRules,
    /// What dma-iommu decides.
    pub dma_iommu: DmaIommuRules,
    /// In which order a `dma_pool` hands out blocks.
    pub pool_order: PoolOrder,
}

impl KernelRules {
    /// Those of a release; a long-term branch is taken with its repairs. `None` for releases older than v5.13.
    #[must_use]
    pub fn of_version(version: Version) -> Option<Self> {
        let release = version.base();
        if release < Version::V5_13 {
            return None;
        }
        let since = |first: Version| release >= first;
        let search = match release {
            release if release < Version::V5_15 => SearchRules::v5_13(),
            Version::V5_15 => SearchRules::v5_15(),
            Version::V6_1 => SearchRules::v6_1_192(),
            release if release < Version::V6_0 => SearchRules::v5_16(),
            release if release < Version::V6_3 => SearchRules::v6_0(),
            release if release < Version::V6_7 => SearchRules::v6_3(),
            release if release < Version::V6_9 => SearchRules::v6_7(),
            Version::V6_9 => SearchRules::v6_9_rc4(),
            _ => SearchRules::v6_12(),
        };
        let bounce = match release {
            release if release < Version::V5_17 => BounceRules::v5_13(),
            Version::V5_17 => BounceRules::v5_17(),
            release if release < Version::V6_9 => BounceRules::v5_18(),
            _ => BounceRules::v6_9_rc4(),
        };
        let sizing = match release {
            release if release < Version::V6_0 => SizingRules::v5_10(),
            Version::V6_1 => SizingRules::v6_1_192(),
            Version::V6_0 => SizingRules::v6_0(),
            release if release < Version::V6_5 => SizingRules::v6_2(),
            _ => SizingRules::v6_5(),
        };
        let iova = match () {
            () if since(Version::V6_7) => IovaRules::v6_12(),
            () if since(Version::V6_1) => IovaRules::v6_1(),
            () => IovaRules::v5_13(),
        };
        let pool_order = if since(Version::V6_4) { PoolOrder::OneChain } else { PoolOrder::NewestPage };
        let dma_iommu = DmaIommuRules::of_version(version);
        Some(Self { version, search, bounce, sizing, iova, dma_iommu, pool_order })
    }

    /// The release that a banner such as `Linux version 6.1.0-56-amd64` names.
    #[must_use]
    pub fn version_in(banner: &str) -> Option<Version> {
        let release = banner.split_once("Linux version ")?.1;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let (major, minor) = (numbers.next()?, numbers.next()?);
        Version::from_name(&format!("{major}.{minor}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_names_the_release() {
        let banner = "[    0.000000] Linux version 6.12.117+deb12-amd64 (a compiler) #1 SMP";
        assert_eq!(KernelRules::version_in(banner), Some(Version::V6_12));
        assert_eq!(KernelRules::version_in("Linux version 6.1.0-56-amd64"), Some(Version::V6_1));
        assert_eq!(KernelRules::version_in("Linux version 7.99.0"), None);
        assert_eq!(KernelRules::version_in("Windows version 6.1"), None);
    }

    #[test]
    fn every_release_from_5_13_on_has_rules() {
        for version in Version::ALL {
            let rules = KernelRules::of_version(*version);
            assert_eq!(rules.is_some(), version.base() >= Version::V5_13, "{version}");
        }
        let rules = KernelRules::of_version(Version::V6_12).expect("rules");
        assert_eq!(rules.search, SearchRules::v6_12());
    }
}
