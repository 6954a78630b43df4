//! What two boots decided.

use std::collections::{BTreeMap, BTreeSet};

use models::run::{DeviceFacts, Facts};

use super::Row;
use crate::layout::{counted, instant};

/// So many functions of a call stack are enough here.
const FRAMES: usize = 2;

pub(super) fn rows(a: &Facts, b: &Facts) -> Vec<Row> {
    let mut rows = vec![
        Row::new("IOMMU", &a.iommu, &b.iommu),
        Row::new("pool", pool(a), pool(b)),
        Row::new("because", &a.pool_reason, &b.pool_reason),
        Row::new("torn down", torn_down(a), torn_down(b)),
    ];
    // Devices that map are shown one by one, the others by what they point at.
    let busy = |device: &&DeviceFacts| device.maps + device.failed > 0 || !device.path.is_empty();
    let addresses: BTreeSet<&str> =
        a.devices.iter().chain(&b.devices).filter(busy).map(|device| device.bdf.as_str()).collect();
    for bdf in &addresses {
        let of = |facts: &Facts| {
            facts.devices.iter().find(|device| device.bdf == *bdf).map(device).unwrap_or_default()
        };
        rows.push(Row::new(bdf, of(a), of(b)));
    }
    rows.push(Row::new("other devices", idle(a, &addresses), idle(b, &addresses)));
    rows
}

/// The devices without a row of their own, counted by what they point at.
fn idle(facts: &Facts, shown: &BTreeSet<&str>) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for device in facts.devices.iter().filter(|device| !shown.contains(device.bdf.as_str())) {
        *counts.entry(device.pool).or_default() += 1;
    }
    let text = |(pool, count): (&&str, &u64)| format!("{count} {}", pointing(pool));
    counts.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn pointing(pool: &str) -> String {
    match pool {
        "" | "no pointer" => "with no pool pointer".to_owned(),
        "NULL" => "with a pool pointer that is NULL".to_owned(),
        pool => format!("pointing at the {pool}"),
    }
}

fn pool(facts: &Facts) -> String {
    match &facts.pool {
        None => "none".to_owned(),
        Some(pool) => format!(
            "{} KiB at {:#x}, descriptor at {:#x} ({}){}, set up at {}",
            pool.bytes >> 10,
            pool.start,
            pool.descriptor,
            pool.kind,
            if pool.force { ", everything bounces" } else { "" },
            instant(pool.at)
        ),
    }
}

fn torn_down(facts: &Facts) -> String {
    match &facts.torn_down {
        None => "never".to_owned(),
        Some(end) => {
            let frames: Vec<&str> = end.frames.iter().take(FRAMES).copied().collect();
            format!("at {} by {}: {}", instant(end.at), frames.join(" <- "), end.why)
        }
    }
}

fn device(device: &DeviceFacts) -> String {
    let mut parts = Vec::new();
    if !device.path.is_empty() {
        parts.push(device.path.to_owned());
    }
    match (device.group, device.domain) {
        (Some(group), "") => parts.push(format!("group {group}")),
        (Some(group), domain) => parts.push(format!("{domain} domain of group {group}")),
        (None, "") => {}
        (None, domain) => parts.push(format!("{domain} domain")),
    }
    parts.push(pointing(device.pool));
    let mut maps = counted(device.maps, "map");
    for (n, word) in [(device.bounced, "bounced"), (device.failed, "failed")] {
        if n > 0 {
            maps.push_str(&format!(", {n} {word}"));
        }
    }
    parts.push(maps);
    let name = if device.name.is_empty() { String::new() } else { format!("{}: ", device.name) };
    format!("{name}{}", parts.join("; "))
}
