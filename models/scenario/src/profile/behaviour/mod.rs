//! Behaviours: single changes to the kernel, each with its commit, its effect and its versions.

#[macro_use]
mod api;
#[macro_use]
mod boot;
#[macro_use]
mod bounce;
#[macro_use]
mod group;
#[macro_use]
mod iommu;
#[macro_use]
mod iova;
#[macro_use]
mod pool;

use std::fmt;

use super::version::Version;

/// In which releases a behaviour is there: from the first to just before the second, if there is one.
pub type Range = (Version, Option<Version>);

/// What is known about a behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its name in a scenario.
    pub name: &'static str,
    /// The commit that brought it, and the one that removed it, as far as known.
    pub commits: &'static [&'static str],
    /// What it does, for the reader of a report.
    pub what: &'static str,
    /// The releases that have it.
    pub ranges: &'static [Range],
    /// Trees that have it although the release they are based on has not: development trees, and long-term releases
    /// that took it later.
    pub trees: &'static [Version],
    /// What must be there too. Applying it applies these; reverting one of these reverts it.
    pub needs: &'static [Behaviour],
    /// What cannot be there too.
    pub excludes: &'static [Behaviour],
    /// What it stands in place of. Applying it removes that; reverting it brings that back.
    pub replaces: Option<Behaviour>,
}

macro_rules! behaviours {
    ($($variant:ident { name: $name:literal, what: $what:literal, $($field:ident: $value:expr),* $(,)? })*) => {
        /// A single change to the kernel. Model code asks for it at the place where the kernel's code differs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Behaviour {
            $(#[doc = concat!("`", $name, "`: ", $what)] $variant,)*
        }

        impl Behaviour {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What is known about it.
            #[must_use]
            pub const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$variant => {
                        const FACTS: Facts = Facts {
                            name: $name,
                            what: $what,
                            $($field: $value,)*
                            ..NO_FACTS
                        };
                        &FACTS
                    })*
                }
            }
        }
    };
}

const NO_FACTS: Facts = Facts {
    name: "",
    commits: &[],
    what: "",
    ranges: &[],
    trees: &[],
    needs: &[],
    excludes: &[],
    replaces: None,
};

use Behaviour as B;
use Version as V;

/// Puts the tables of the subsystems one behind the other, and hands them to `behaviours!`.
macro_rules! tables {
    ([] $($entries:tt)*) => { behaviours! { $($entries)* } };
    ([$table:ident $($more:ident)*] $($entries:tt)*) => { $table! { [$($more)*] $($entries)* } };
}

tables! { [boot pool bounce iommu group iova api] }

impl Behaviour {
    /// Its name in a scenario.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The behaviour of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|b| b.name() == name)
    }

    /// Whether an unmodified `version` has it.
    #[must_use]
    pub fn in_version(self, version: Version) -> bool {
        let facts = self.facts();
        let base = version.base();
        facts.trees.contains(&version)
            || facts.ranges.iter().any(|(from, to)| *from <= base && to.is_none_or(|to| base < to))
    }

    /// The first release or tree that has it.
    #[must_use]
    pub fn since(self) -> Option<Version> {
        Version::ALL.iter().copied().find(|v| self.in_version(*v))
    }

    #[inline]
    pub(crate) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
