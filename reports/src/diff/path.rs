//! What two boots decided.

use std::collections::BTreeSet;

use models::run::{DeviceFacts, Facts};

use super::Row;
use crate::layout::{counted, instant};

pub(super) fn rows(a: &Facts, b: &Facts) -> Vec<Row> {
    let mut rows = vec![
        Row::new("IOMMU", &a.iommu, &b.iommu),
        Row::new("pool", pool(a), pool(b)),
        Row::new("because", &a.pool_reason, &b.pool_reason),
        Row::new("torn down", torn_down(a), torn_down(b)),
    ];
    let addresses: BTreeSet<&str> =
        a.devices.iter().chain(&b.devices).map(|device| device.bdf.as_str()).collect();
    for bdf in addresses {
        let of = |facts: &Facts| {
            facts.devices.iter().find(|device| device.bdf == bdf).map(device).unwrap_or_default()
        };
        rows.push(Row::new(bdf, of(a), of(b)));
    }
    rows
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
        Some(end) => format!("at {} by {}: {}", instant(end.at), end.frames.join(" <- "), end.why),
    }
}

fn device(device: &DeviceFacts) -> String {
    let mut parts = Vec::new();
    if !device.name.is_empty() {
        parts.push(device.name.clone());
    }
    parts.push(device.driver.as_ref().map_or("no driver".to_owned(), |driver| format!("driver {driver}")));
    if !device.path.is_empty() {
        parts.push(device.path.to_owned());
    }
    match (device.group, device.domain) {
        (Some(group), "") => parts.push(format!("group {group}")),
        (Some(group), domain) => parts.push(format!("{domain} domain of group {group}")),
        (None, "") => {}
        (None, domain) => parts.push(format!("{domain} domain")),
    }
    match device.pool {
        "" | "no pointer" => {}
        "NULL" => parts.push("pool pointer NULL".to_owned()),
        pool => parts.push(format!("points at the {pool} since {}", instant(device.pool_since))),
    }
    let mut maps = counted(device.maps, "map");
    for (n, word) in [(device.bounced, "bounced"), (device.failed, "failed")] {
        if n > 0 {
            maps.push_str(&format!(", {n} {word}"));
        }
    }
    parts.push(maps);
    parts.join("; ")
}
