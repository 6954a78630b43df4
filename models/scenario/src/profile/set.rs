//! A profile: the set of behaviours that one modelled kernel has.

use std::fmt;

use super::behaviour::Behaviour;
use super::config::{ConfigLine, KernelConfig};
use super::version::Version;
use crate::nearest;

/// A set of behaviours.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct BehaviourSet(u128);

impl BehaviourSet {
    /// What an unmodified `version` has.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        Behaviour::ALL.iter().filter(|b| b.in_version(version)).copied().collect()
    }

    /// Whether it holds `behaviour`.
    #[must_use]
    #[inline]
    pub const fn has(self, behaviour: Behaviour) -> bool {
        self.0 & behaviour.bit() != 0
    }

    /// Adds `behaviour`; says whether it was new.
    pub const fn insert(&mut self, behaviour: Behaviour) -> bool {
        let new = !self.has(behaviour);
        self.0 |= behaviour.bit();
        new
    }

    /// Takes `behaviour` away; says whether it was there.
    pub const fn remove(&mut self, behaviour: Behaviour) -> bool {
        let there = self.has(behaviour);
        self.0 &= !behaviour.bit();
        there
    }

    /// Its behaviours, in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = Behaviour> {
        Behaviour::ALL.iter().copied().filter(move |b| self.has(*b))
    }
}

impl FromIterator<Behaviour> for BehaviourSet {
    fn from_iter<I: IntoIterator<Item = Behaviour>>(behaviours: I) -> Self {
        let mut set = Self::default();
        for behaviour in behaviours {
            set.insert(behaviour);
        }
        set
    }
}

impl fmt::Debug for BehaviourSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Behaviour::name)).finish()
    }
}

/// Which name of a profile a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The version.
    Version,
    /// The n-th name of `apply`.
    Apply(usize),
    /// The n-th name of `revert`.
    Revert(usize),
    /// The n-th line of `config`.
    Config(usize),
}

/// Why there is no such profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileProblem {
    /// A name that does not exist.
    UnknownName {
        /// Where it stands.
        place: Place,
        /// The name.
        found: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A behaviour that cannot be there together with what else was asked for.
    Conflict {
        /// Where it stands.
        place: Place,
        /// The behaviour.
        behaviour: Behaviour,
        /// With what it does not go together.
        with: Behaviour,
        /// How: `"needs"`, `"excludes"`, `"replaces"` or `"is both applied and reverted"`.
        relation: &'static str,
    },
    /// A line of configuration that no kernel would take.
    MalformedConfig {
        /// Where it stands.
        place: Place,
        /// The line.
        found: String,
    },
}

impl ProfileProblem {
    /// Which name it is about.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::UnknownName { place, .. }
            | Self::Conflict { place, .. }
            | Self::MalformedConfig { place, .. } => *place,
        }
    }
}

impl fmt::Display for ProfileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName { place: Place::Version, found, .. } => {
                write!(f, "no kernel version `{found}`")
            }
            Self::UnknownName { found, .. } => write!(f, "no behaviour `{found}`"),
            Self::Conflict { behaviour, with, relation, .. } if behaviour == with => {
                write!(f, "`{behaviour}` {relation}")
            }
            Self::Conflict { behaviour, with, relation: "needs", .. } => {
                write!(f, "`{behaviour}` needs `{with}`, which is reverted")
            }
            Self::Conflict { behaviour, with, relation, .. } => {
                write!(f, "`{behaviour}` {relation} `{with}`; they cannot both be there")
            }
            Self::MalformedConfig { found, .. } => {
                write!(f, "`{found}` is no line of a kernel configuration")
            }
        }
    }
}

impl std::error::Error for ProfileProblem {}

/// A modelled kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The version that it starts from.
    pub version: Version,
    /// What it has.
    pub set: BehaviourSet,
    /// Its configuration.
    pub config: KernelConfig,
    /// Lines of configuration that decide nothing here, as indices into what was given.
    pub unknown_config: Vec<usize>,
}

impl Profile {
    /// The profile of `version` with `apply` added and `revert` taken away.
    ///
    /// What a behaviour needs comes with it, what needs a reverted behaviour goes with it, and what it replaces makes
    /// room or comes back; only two explicit wishes that cannot both be fulfilled are an error.
    ///
    /// # Errors
    ///
    /// All names that do not exist, or all conflicts.
    pub fn new(
        version: &str,
        apply: &[impl AsRef<str>],
        revert: &[impl AsRef<str>],
        config: &[impl AsRef<str>],
    ) -> Result<Self, Vec<ProfileProblem>> {
        let mut problems = Vec::new();
        let base = Version::from_name(version);
        if base.is_none() {
            problems.push(ProfileProblem::UnknownName {
                place: Place::Version,
                found: version.to_owned(),
                nearest: nearest(version, Version::supported_names()),
            });
        }
        let applied = named(apply, Place::Apply, &mut problems);
        let reverted = named(revert, Place::Revert, &mut problems);
        let mut kernel_config = KernelConfig::default();
        let mut unknown_config = Vec::new();
        for (i, line) in config.iter().enumerate() {
            match kernel_config.set(line.as_ref()) {
                ConfigLine::Taken => {}
                ConfigLine::Unknown => unknown_config.push(i),
                ConfigLine::Malformed => problems.push(ProfileProblem::MalformedConfig {
                    place: Place::Config(i),
                    found: line.as_ref().to_owned(),
                }),
            }
        }
        let Some(version) = base.filter(|_| problems.is_empty()) else {
            return Err(problems);
        };
        let set = combine(BehaviourSet::of_version(version), &applied, &reverted)?;
        Ok(Self { version, set, config: kernel_config, unknown_config })
    }

    /// The profile of an unmodified version.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        Self {
            version,
            set: BehaviourSet::of_version(version),
            config: KernelConfig::default(),
            unknown_config: Vec::new(),
        }
    }

    /// Whether this kernel does `behaviour`.
    #[must_use]
    #[inline]
    pub const fn has(&self, behaviour: Behaviour) -> bool {
        self.set.has(behaviour)
    }
}

fn named(
    names: &[impl AsRef<str>],
    place: impl Fn(usize) -> Place,
    problems: &mut Vec<ProfileProblem>,
) -> Vec<(Behaviour, Place)> {
    let mut known = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let name = name.as_ref();
        match Behaviour::from_name(name) {
            Some(behaviour) => known.push((behaviour, place(i))),
            None => problems.push(ProfileProblem::UnknownName {
                place: place(i),
                found: name.to_owned(),
                nearest: nearest(name, Behaviour::ALL.iter().map(|b| b.name())),
            }),
        }
    }
    known
}

fn combine(
    base: BehaviourSet,
    applied: &[(Behaviour, Place)],
    reverted: &[(Behaviour, Place)],
) -> Result<BehaviourSet, Vec<ProfileProblem>> {
    let wanted: BehaviourSet = applied.iter().map(|a| a.0).collect();
    let unwanted: BehaviourSet = reverted.iter().map(|r| r.0).collect();
    let mut problems = Vec::new();
    let mut conflict = |place, behaviour, with, relation| {
        problems.push(ProfileProblem::Conflict { place, behaviour, with, relation });
    };
    for &(behaviour, place) in applied {
        if unwanted.has(behaviour) {
            conflict(place, behaviour, behaviour, "is both applied and reverted");
        }
        for need in all_needs(behaviour).iter().filter(|n| unwanted.has(*n)) {
            conflict(place, behaviour, need, "needs");
        }
        for other in ancestors(behaviour).filter(|r| wanted.has(*r)) {
            conflict(place, behaviour, other, "replaces");
        }
        for &other in behaviour.facts().excludes.iter().filter(|e| wanted.has(**e)) {
            conflict(place, behaviour, other, "excludes");
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }

    let mut set = base;
    for &(behaviour, _) in reverted {
        if set.remove(behaviour) {
            // What it stood in place of comes back, unless that is reverted too.
            if let Some(older) = ancestors(behaviour).find(|b| !unwanted.has(*b)) {
                set.insert(older);
            }
        }
    }
    let mut missing: Vec<Behaviour> = applied.iter().map(|a| a.0).collect();
    while let Some(behaviour) = missing.pop() {
        for &other in Behaviour::ALL {
            if ancestors(behaviour).any(|b| b == other) || ancestors(other).any(|b| b == behaviour) {
                set.remove(other);
            }
        }
        if set.insert(behaviour) {
            missing.extend(behaviour.facts().needs);
        }
    }
    drop_unsupported(&mut set, wanted, applied)?;
    Ok(set)
}

/// Takes away whatever lacks something that it needs, or meets something that it excludes, until nothing does.
fn drop_unsupported(
    set: &mut BehaviourSet,
    wanted: BehaviourSet,
    applied: &[(Behaviour, Place)],
) -> Result<(), Vec<ProfileProblem>> {
    loop {
        let lame = set.iter().find_map(|b| {
            let facts = b.facts();
            let need = facts.needs.iter().find(|n| !set.has(**n)).map(|n| (b, *n, "needs"));
            need.or_else(|| facts.excludes.iter().find(|e| set.has(**e)).map(|e| (b, *e, "excludes")))
        });
        let Some((behaviour, with, relation)) = lame else { return Ok(()) };
        if wanted.has(behaviour) {
            let place = applied.iter().find(|a| a.0 == behaviour).map_or(Place::Version, |a| a.1);
            return Err(vec![ProfileProblem::Conflict { place, behaviour, with, relation }]);
        }
        set.remove(behaviour);
    }
}

/// What `behaviour` stands in place of, nearest first.
fn ancestors(behaviour: Behaviour) -> impl Iterator<Item = Behaviour> {
    std::iter::successors(behaviour.facts().replaces, |b| b.facts().replaces)
}

fn all_needs(behaviour: Behaviour) -> BehaviourSet {
    let mut needs = BehaviourSet::default();
    let mut open = behaviour.facts().needs.to_vec();
    while let Some(need) = open.pop() {
        if needs.insert(need) {
            open.extend(need.facts().needs);
        }
    }
    needs
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
