//! What a sequence is replayed on.

use serde_json::Value;

use super::iova::{self, Iovas};
use super::memblock::{self, Memblocks};
use super::swiotlb::{self, Growing, OnePool};
use super::table::{Args, Spec};

/// A recording asks for something that no recorder can have seen; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misuse(pub(super) String);

/// A model, and what a test bed keeps beside it.
pub(super) trait Subject {
    /// Carries out one operation, whose arguments were checked, and returns its result as a recording would hold it.
    fn apply(&mut self, op: &str, args: &Args) -> Result<Value, Misuse>;

    /// What `dump` would print; null if there is nothing to show.
    fn state(&self) -> Value;

    /// Whether the model still keeps its own rules.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Memblock,
    Swiotlb,
    SwiotlbDynamic,
    Iova,
}

/// The kernel that it was recorded on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V6_1,
    V6_12,
}

impl Version {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// Its name in recordings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Memblock, Self::Swiotlb, Self::SwiotlbDynamic, Self::Iova];

    /// Its name in recordings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memblock => "memblock",
            Self::Swiotlb => "swiotlb",
            Self::SwiotlbDynamic => "swiotlb-dynamic",
            Self::Iova => "iova",
        }
    }

    /// Its operations, in the order in which they are shown.
    pub(super) const fn table(self) -> &'static [Spec] {
        match self {
            Self::Memblock => memblock::TABLE,
            Self::Swiotlb => swiotlb::ONE_POOL,
            Self::SwiotlbDynamic => swiotlb::GROWING,
            Self::Iova => iova::TABLE,
        }
    }

    /// The kernels that there is a model of.
    pub(super) const fn versions(self) -> &'static [Version] {
        match self {
            Self::SwiotlbDynamic => &[Version::V6_12],
            Self::Memblock | Self::Swiotlb | Self::Iova => &Version::ALL,
        }
    }

    /// A fresh subject.
    pub(super) fn subject(self, version: Version) -> Box<dyn Subject> {
        match self {
            Self::Memblock => Box::new(Memblocks::new(version)),
            Self::Swiotlb => Box::new(OnePool::new(version)),
            Self::SwiotlbDynamic => Box::new(Growing::new()),
            Self::Iova => Box::new(Iovas::new(version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of the page about vectors that describes a kind.
    fn section(kind: Kind) -> &'static str {
        let page = include_str!("../../../../docs/conform.md");
        let (_, rest) =
            page.split_once(&format!("\n### {}\n", kind.name())).expect("each kind has a section");
        rest.split("\n### ").next().unwrap_or_default()
    }

    #[test]
    fn every_operation_is_described() {
        for kind in Kind::ALL {
            // Growing pools have the operations of one pool, too.
            let more = if kind == Kind::SwiotlbDynamic { section(Kind::Swiotlb) } else { "" };
            for spec in kind.table() {
                let name = format!("`{}`", spec.name);
                assert!(section(kind).contains(&name) || more.contains(&name), "{}: {name}", kind.name());
            }
        }
    }

    #[test]
    fn no_operation_stands_in_a_table_twice() {
        for kind in Kind::ALL {
            for (n, spec) in kind.table().iter().enumerate() {
                assert!(kind.table()[..n].iter().all(|other| other.name != spec.name), "{}", spec.name);
            }
        }
    }
}
