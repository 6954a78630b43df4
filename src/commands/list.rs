//! `dmasim list`.

use std::path::Path;

use models::oracle::FINDINGS;
use models::profile::{Behaviour, BehaviourSet, Version};
use models::scenario::load;
use reports::{SCREEN, ascii, wrap};
use sim::schedule::Strategy;

use super::Exit;
use super::test::scenario_files;
use crate::args::{ListArgs, Listed};
use crate::input::Failure;
use crate::output::Out;
use crate::regression::{Regression, is_regression};

const ALL: [Listed; 5] =
    [Listed::Scenarios, Listed::Versions, Listed::Behaviours, Listed::Findings, Listed::Strategies];

pub(super) fn list(args: &ListArgs, out: &mut Out) -> Result<Exit, Failure> {
    match args.what {
        Some(what) => section(what, args, out)?,
        None => {
            for what in ALL {
                out.line(&out.paint.heading(&format!("{what:?}")));
                // Without any folder of scenarios the rest is of use nevertheless.
                if what == Listed::Scenarios && !args.dir.is_dir() {
                    out.line(&format!("  none: there is no folder {}", args.dir.display()));
                } else {
                    section(what, args, out)?;
                }
                out.line("");
            }
        }
    }
    Ok(Exit::Expected)
}

fn section(what: Listed, args: &ListArgs, out: &mut Out) -> Result<(), Failure> {
    match what {
        Listed::Scenarios => scenarios(&args.dir, out)?,
        Listed::Versions => versions(out),
        Listed::Behaviours => behaviours(out),
        Listed::Findings => FINDINGS.iter().for_each(|(name, what)| entry(out, name, what)),
        Listed::Strategies => Strategy::NAMES.iter().for_each(|(name, what)| entry(out, name, what)),
    }
    Ok(())
}

/// A name, and beside it what it is.
fn entry(out: &mut Out, name: &str, what: &str) {
    let column = 28;
    let mut head = format!("  {}", ascii(name));
    for line in wrap(&ascii(what), SCREEN - column) {
        if head.len() >= column {
            out.line(&head);
            head.clear();
        }
        out.line(format!("{head:<column$}{line}").trim_end());
        head.clear();
    }
}

fn scenarios(dir: &Path, out: &mut Out) -> Result<(), Failure> {
    for file in scenario_files(dir)? {
        let name = file.display().to_string();
        if is_regression(&file) {
            let why = Regression::read(&file).map_or_else(
                |_| "an unusable regression".to_owned(),
                |regression| format!("regression: {}", regression.why),
            );
            entry(out, &name, &why);
            continue;
        }
        let Ok(loaded) = load(&file) else {
            out.line(&format!("  {}", ascii(&name)));
            out.line(&format!("      unusable: `dmasim scenario check {name}` says why"));
            continue;
        };
        out.line(&format!("  {}", ascii(&name)));
        let about = |out: &mut Out, first: &str, text: &str| {
            for (n, line) in wrap(&ascii(text), SCREEN - 6 - first.len()).iter().enumerate() {
                let lead = if n == 0 { first.to_owned() } else { " ".repeat(first.len()) };
                out.line(format!("      {lead}{line}").trim_end());
            }
        };
        about(out, "", loaded.about());
        for (variant, text) in loaded.variants() {
            about(out, &format!("#{} ", ascii(variant)), text);
        }
    }
    Ok(())
}

fn versions(out: &mut Out) {
    for version in Version::ALL.iter().filter(|version| version.supported()) {
        let behaviours: Vec<_> = BehaviourSet::of_version(*version).iter().map(Behaviour::name).collect();
        entry(out, version.name(), &behaviours.join(", "));
    }
}

fn behaviours(out: &mut Out) {
    for behaviour in Behaviour::ALL {
        let facts = behaviour.facts();
        let mut text = facts.what.to_owned();
        let range = |(from, to): &(Version, Option<Version>)| match to {
            None => format!("since {from}"),
            Some(to) => format!("{from} until before {to}"),
        };
        let mut versions: Vec<String> = facts.ranges.iter().map(range).collect();
        versions.extend(facts.trees.iter().map(|tree| format!("in {tree}")));
        if !versions.is_empty() {
            text.push_str(&format!(" [{}]", versions.join("; ")));
        }
        if !facts.commits.is_empty() {
            text.push_str(&format!(" (commit {})", facts.commits.join(", ")));
        }
        entry(out, behaviour.name(), &text);
    }
}
