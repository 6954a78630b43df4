//! Which kernel wrote the log, and which rules are nearest to it.

use models::bootmem::NumaRules;
use models::memblock::MemblockRules;
use models::profile::Version;
use models::swiotlb::SizingRules;

/// The rules of one kernel, as far as boot's memory goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) version: Version,
    pub(crate) memblock: MemblockRules,
    pub(crate) numa: NumaRules,
    pub(crate) swiotlb: SizingRules,
    /// The line `Memory:` is printed before the other CPUs run and before deferred pages are set up (v6.1).
    pub(crate) counts_early: bool,
}

const V6_1: Rules = Rules {
    version: Version::V6_1,
    memblock: MemblockRules::v6_1().with_resize(),
    numa: NumaRules::v6_1(),
    swiotlb: SizingRules::v6_1_192(),
    counts_early: true,
};

const V6_12: Rules = Rules {
    version: Version::V6_12,
    memblock: MemblockRules::v6_12().with_resize(),
    numa: NumaRules::v6_12(),
    swiotlb: SizingRules::v6_5(),
    counts_early: false,
};

/// The kernel's own version and the rules for it.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// As the log names it, such as `6.1.0-56-amd64`.
    pub(crate) release: String,
    pub(crate) rules: Rules,
    /// The rules are those of the log's own version.
    pub(crate) exact: bool,
}

/// Major and minor number at the front of a release.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Kernel {
    /// From what follows `Linux version `; `None` if that is no version.
    pub(crate) fn from_banner(banner: &str) -> Option<Self> {
        let release = banner.split_whitespace().next()?;
        let (major, minor) = numbers(release)?;
        let rules = match (major, minor) {
            (..=5, _) | (6, ..=6) => V6_1,
            _ => V6_12,
        };
        let exact = matches!((major, minor), (6, 1 | 12));
        Some(Self { release: release.chars().take(60).collect(), rules, exact })
    }

    /// The report's words for it.
    pub(crate) fn describe(&self) -> String {
        let rules = self.rules.version;
        if self.exact {
            format!("{rules} (the log: {})", self.release)
        } else {
            format!("{rules}, the nearest that there is to {}", self.release)
        }
    }
}
