//! A bug of the collection: two scenarios that differ in one behaviour of the kernel.

use std::path::{Path, PathBuf};

use models::profile::{Behaviour, Version};
use models::scenario::{Expect, FindingPattern, Kernel, Resolved};

use crate::input::{Failure, Wanted, variant};

/// A bug of the collection.
#[derive(Debug)]
pub(super) struct Pair {
    /// Name of its folder.
    pub(super) slug: String,
    /// What is wrong, in a line.
    pub(super) about: String,
    /// The one behaviour in which the two kernels differ.
    pub(super) behaviour: Behaviour,
    /// Whether the kernel with the bug is the one that has it.
    brings_bug: bool,
    /// The scenario with the bug.
    pub(super) buggy: Resolved,
    /// The kernel without it.
    pub(super) fixed_kernel: Kernel,
}

/// The folders of a collection, sorted.
pub(super) fn slugs(dir: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |error: std::io::Error| Failure::text(format!("cannot read {}: {error}", dir.display()));
    let mut slugs = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            slugs.push(name);
        }
    }
    if slugs.is_empty() {
        return Err(Failure::text(format!(
            "no folder in {}: a bug is a folder of buggy.ron and fixed.ron",
            dir.display()
        )));
    }
    slugs.sort();
    Ok(slugs)
}

impl Pair {
    /// Reads both scenarios, and sees to it that they are a pair.
    pub(super) fn load(dir: &Path, slug: &str) -> Result<Self, Failure> {
        let folder = dir.join(slug);
        let (buggy, fixed) = (read(folder.join("buggy.ron"))?, read(folder.join("fixed.ron"))?);
        let wrong = |why: String| Failure::text(format!("{}: {why}", folder.display()));
        for (what, differs) in differences(&buggy, &fixed) {
            if differs {
                return Err(wrong(format!(
                    "the two scenarios differ in `{what}`, and may in one behaviour only"
                )));
            }
        }
        if expected(&buggy).is_empty() {
            return Err(wrong("buggy.ron expects no finding".to_owned()));
        }
        let behaviour = one_behaviour(&buggy, &fixed).map_err(wrong)?;
        let brings_bug = buggy.profile.has(behaviour);
        let about = buggy.about.clone();
        Ok(Self { slug: slug.to_owned(), about, behaviour, brings_bug, buggy, fixed_kernel: fixed.kernel })
    }

    /// What is expected of the scenario with the bug.
    pub(super) fn expected(&self) -> &[FindingPattern] {
        expected(&self.buggy)
    }

    /// Which of the releases that are known have the bug.
    pub(super) fn versions(&self) -> String {
        let releases: Vec<Version> = Version::ALL.iter().copied().filter(|v| v.base() == *v).collect();
        let bad: Vec<bool> =
            releases.iter().map(|version| self.behaviour.in_version(*version) == self.brings_bug).collect();
        if bad.iter().all(|bad| *bad) {
            return format!("all up to {}", releases.last().map_or("", |version| version.name()));
        }
        let mut words = Vec::new();
        let mut at = 0;
        while at < bad.len() {
            let run = bad[at..].iter().take_while(|same| **same).count();
            if run == 0 {
                at += 1;
                continue;
            }
            let (first, last) = (releases[at].name(), releases[at + run - 1].name());
            words.push(match (at, run) {
                (0, _) => format!("up to {last}"),
                (_, 1) => first.to_owned(),
                _ => format!("{first} to {last}"),
            });
            at += run;
        }
        if words.is_empty() { "before 5.10, or in no release".to_owned() } else { words.join(", ") }
    }

    /// What makes the difference.
    pub(super) fn change(&self) -> String {
        let way = if self.brings_bug { "with" } else { "without" };
        let commits = self.behaviour.facts().commits.join(", ");
        let commits = if commits.is_empty() { String::new() } else { format!(" ({commits})") };
        format!("{way} `{}`{commits}", self.behaviour)
    }
}

fn read(file: PathBuf) -> Result<Resolved, Failure> {
    Ok(variant(&Wanted { file, variant: None }.load()?, None)?)
}

fn expected(scenario: &Resolved) -> &[FindingPattern] {
    match &scenario.expect {
        Expect::Findings { all, .. } => all,
        Expect::Clean { .. } => &[],
    }
}

/// What must be the same in both, and whether it is not.
fn differences(a: &Resolved, b: &Resolved) -> [(&'static str, bool); 8] {
    [
        ("kernel.version", a.kernel.version != b.kernel.version),
        ("kernel.config", a.kernel.config != b.kernel.config),
        ("cmdline", a.cmdline != b.cmdline),
        ("machine", a.machine != b.machine),
        ("drivers", a.drivers != b.drivers),
        ("processes", a.processes != b.processes),
        ("inject", a.inject != b.inject),
        (
            "explore",
            (a.explore.strategy, a.explore.max_steps, a.explore.on_finding)
                != (b.explore.strategy, b.explore.max_steps, b.explore.on_finding),
        ),
    ]
}

/// The one name that one of the two applies or reverts, and the other does not.
fn one_behaviour(buggy: &Resolved, fixed: &Resolved) -> Result<Behaviour, String> {
    let names = |scenario: &Resolved| -> Vec<(bool, String)> {
        let kernel = &scenario.kernel;
        let applied = kernel.apply.iter().map(|name| (true, name.clone()));
        applied.chain(kernel.revert.iter().map(|name| (false, name.clone()))).collect()
    };
    let (with, without) = (names(buggy), names(fixed));
    let only_with = with.iter().filter(|name| !without.contains(name));
    let only_without = without.iter().filter(|name| !with.contains(name));
    let mut different: Vec<&str> = only_with.chain(only_without).map(|(_, name)| name.as_str()).collect();
    different.sort_unstable();
    different.dedup();
    match different.as_slice() {
        [name] => Behaviour::from_name(name)
            .filter(|behaviour| buggy.profile.has(*behaviour) != fixed.profile.has(*behaviour))
            .ok_or_else(|| format!("`{name}` is the same in both kernels")),
        [] => Err("the two kernels are the same".to_owned()),
        several => Err(format!("the two kernels differ in more than one behaviour: {}", several.join(", "))),
    }
}
