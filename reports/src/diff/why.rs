//! One or two sentences on why one of them fails and the other does not. They say nothing that the facts do not.

use models::run::{DeviceFacts, Facts};

use super::Side;
use crate::layout::instant;

/// How the models call a pool that is gone.
const FREED: &str = "freed pool";
/// At most so many devices are named.
const NAMED: usize = 3;

pub(super) fn sentences(a: Side<'_>, b: Side<'_>) -> Vec<String> {
    let (fails_a, fails_b) = (a.summary.failed > 0, b.summary.failed > 0);
    match (fails_a, fails_b) {
        (true, false) => one_fails(("A", a.facts), ("B", b.facts)),
        (false, true) => one_fails(("B", b.facts), ("A", a.facts)),
        (true, true) => {
            let mut text = vec!["Both have findings.".to_owned()];
            text.extend([("A", a.facts), ("B", b.facts)].iter().filter_map(|side| dangling(*side)));
            text.extend(identity((("A", a.facts), ("B", b.facts))));
            text
        }
        (false, false) => {
            let mut text = vec!["Neither has a finding.".to_owned()];
            text.extend([("A", a.facts), ("B", b.facts)].map(|(name, facts)| no_teardown(name, facts)));
            text
        }
    }
}

fn one_fails(bad: (&str, &Facts), good: (&str, &Facts)) -> Vec<String> {
    match dangling(bad) {
        Some(text) => vec![text, no_teardown(good.0, good.1)],
        None => vec![format!(
            "{} has findings and {} has none; what is recorded about their pools is no reason for it: see the reports \
             of `dmasim run`.",
            bad.0, good.0
        )],
    }
}

/// The pool is gone and somebody still points at it.
fn dangling((name, facts): (&str, &Facts)) -> Option<String> {
    let end = facts.torn_down.as_ref()?;
    let mut stale: Vec<&DeviceFacts> = facts.devices.iter().filter(|device| device.pool == FREED).collect();
    // Those that map come first: they are the ones that follow the pointer.
    stale.sort_by_key(|device| (device.path.is_empty(), device.path != "dma-direct", &device.bdf));
    if stale.is_empty() {
        return None;
    }
    let by = end.frames.first().copied().unwrap_or("somebody");
    let direct: Vec<&DeviceFacts> =
        stale.iter().copied().filter(|device| device.path == "dma-direct").collect();
    let mut text = format!(
        "In {name} the pool was torn down at {} by {by}{}, while {} still pointed at it.",
        instant(end.at),
        because(&end.why),
        devices(&stale)
    );
    if !direct.is_empty() {
        let verb = if direct.len() == 1 { "maps" } else { "map" };
        text.push_str(&format!(" Of these, {} {verb} through dma-direct.", devices(&direct)));
    }
    Some(text)
}

/// Why nobody holds a pointer to a pool that is gone.
fn no_teardown(name: &str, facts: &Facts) -> String {
    let stale = facts.devices.iter().any(|device| device.pool == FREED);
    match (&facts.pool, &facts.torn_down) {
        (None, _) => format!("In {name} there was no pool{}.", because(&facts.pool_reason)),
        (Some(_), None) => format!("In {name} nobody tore the pool down."),
        (Some(_), Some(end)) if stale => {
            format!(
                "In {name} the pool was torn down at {} too, and pointers to it were left.",
                instant(end.at)
            )
        }
        (Some(pool), Some(end)) => format!(
            "In {name} the pool was torn down at {} too, but no device was left with a pointer into freed memory (its \
             descriptor is {}).",
            instant(end.at),
            pool.kind
        ),
    }
}

/// Both fail; which of them also maps through dma-direct.
fn identity((a, b): ((&str, &Facts), (&str, &Facts))) -> Option<String> {
    let direct = |facts: &Facts| -> Vec<String> {
        let stale = |device: &&DeviceFacts| device.pool == FREED && device.path == "dma-direct";
        facts.devices.iter().filter(stale).map(|device| device.bdf.clone()).collect()
    };
    let (in_a, in_b) = (direct(a.1), direct(b.1));
    let text = |bad: &str, list: &[String], good: &str| {
        format!(
            "Only in {bad} does a device with such a pointer map through dma-direct ({}); in {good} all of them go \
             through iommu-dma.",
            list.join(", ")
        )
    };
    match (in_a.is_empty(), in_b.is_empty()) {
        (false, true) => Some(text(a.0, &in_a, b.0)),
        (true, false) => Some(text(b.0, &in_b, a.0)),
        _ => None,
    }
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" because {}", why.trim_end_matches('.')) }
}

fn devices(list: &[&DeviceFacts]) -> String {
    let mut names: Vec<String> = list
        .iter()
        .take(NAMED)
        .map(|d| if d.name.is_empty() { d.bdf.clone() } else { format!("{} ({})", d.bdf, d.name) })
        .collect();
    match list.len().checked_sub(NAMED) {
        Some(1) => names.push("1 other device".to_owned()),
        Some(more @ 2..) => names.push(format!("{more} other devices")),
        _ => {}
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
