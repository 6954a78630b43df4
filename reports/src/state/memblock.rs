//! memblock's lists, as `/sys/kernel/debug/memblock` prints them.

use models::memblock::{ListDump, MemblockFlags, Stage};
use models::run::state::MemblockState;

use crate::layout::instant;

/// Names of the flags. Source: `mm/memblock.c: flagname[]`, v6.12.
const FLAGS: [(MemblockFlags, &str); 5] = [
    (MemblockFlags::HOTPLUG, "HOTPLUG"),
    (MemblockFlags::MIRROR, "MIRROR"),
    (MemblockFlags::NOMAP, "NOMAP"),
    (MemblockFlags::DRIVER_MANAGED, "DRV_MNG"),
    (MemblockFlags::RSRV_NOINIT, "RSV_NIT"),
];

pub(super) fn lines(state: &MemblockState) -> Vec<String> {
    let mut lines = Vec::new();
    match state.stage {
        Stage::Early => lines.push("memblock is the allocator".to_owned()),
        Stage::HandedOver => {
            lines.push("the page allocator has what was free; the lists still exist".to_owned());
        }
        Stage::Discarded => {
            lines.push("memblock_discard() has given the lists up: what was reserved at the end".to_owned());
        }
    }
    for (name, list) in [("memory", &state.dump.memory), ("reserved", &state.dump.reserved)] {
        lines.push(String::new());
        lines.push(format!("/sys/kernel/debug/memblock/{name}"));
        regions(list, state.nodes_shown, &mut lines);
    }
    lines.push(String::new());
    lines.push("who reserved what".to_owned());
    for owned in &state.owners {
        let owner = &owned.owner;
        let how = if owned.allocated { "allocated" } else { "reserved" };
        lines.push(format!(
            "  {:#018x}..{:#018x} {how} by {} at {}",
            owned.range.start.0,
            owned.range.end.0.wrapping_sub(1),
            owner.site,
            instant(owner.at_ns)
        ));
    }
    lines
}

/// Source: `mm/memblock.c: memblock_debug_show()`, v6.1, v6.12.
fn regions(list: &ListDump, nodes_shown: bool, lines: &mut Vec<String>) {
    for (n, region) in list.regions.iter().enumerate() {
        let last = region.end().0.wrapping_sub(1);
        let mut line = format!("{n:4}: {:#018x}..{last:#018x}", region.base.0);
        if nodes_shown {
            let node = if region.nid.is_valid() { format!("{:4}", region.nid.0) } else { "   x".to_owned() };
            let set: Vec<&str> = FLAGS
                .iter()
                .filter(|(flag, _)| region.flags.intersects(*flag))
                .map(|(_, name)| *name)
                .collect();
            let flags = if set.is_empty() { "NONE".to_owned() } else { set.join("|") };
            line.push_str(&format!(" {node} {flags}"));
        }
        lines.push(line);
    }
}
