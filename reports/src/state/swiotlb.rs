//! Bounce buffers, as `/sys/kernel/debug/swiotlb` counts them, and who has which slots.

use models::run::state::{AllocatorState, PoolState, SlotRun, State};

use super::{made, resource, stack};
use crate::layout::{counted, instant};

pub(super) fn lines(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for (n, allocator) in state.swiotlb.iter().enumerate() {
        if n > 0 {
            lines.push(String::new());
        }
        one(state, allocator, &mut lines);
    }
    lines
}

fn one(state: &State, allocator: &AllocatorState, lines: &mut Vec<String>) {
    let folder = match allocator.restricted {
        None => "/sys/kernel/debug/swiotlb".to_owned(),
        Some(start) => format!("/sys/kernel/debug/swiotlb/restricted-dma-pool@{:x}", start.0),
    };
    match (&allocator.files, allocator.freed) {
        (Some(files), _) => {
            lines.extend(files.files().map(|(file, value)| format!("{folder}/{file}: {value}")));
        }
        (None, Some((by, at))) => lines.push(format!(
            "{folder}: the descriptor at {:016x} was freed by {by} at {}",
            allocator.at,
            instant(at)
        )),
        (None, None) => lines.push(format!("{folder}: there is no allocator")),
    }
    for pool in &allocator.pools {
        lines.push(String::new());
        pool_lines(state, pool, lines);
    }
}

fn pool_lines(state: &State, pool: &PoolState, lines: &mut Vec<String>) {
    let what = match pool.transient_of {
        None => "pool".to_owned(),
        Some(device) => format!("pool for one mapping of {device}"),
    };
    lines.push(format!(
        "{what} {}, {} slots, {} used",
        resource(pool.range.start.0, pool.range.size()),
        pool.nslabs,
        pool.used
    ));
    for (n, area) in pool.areas.iter().enumerate() {
        // Areas that nobody has come to say nothing.
        if pool.areas.len() > 1 && area.used == 0 && area.index == 0 {
            continue;
        }
        lines.push(format!(
            "  area {n}: slots {}..{}, used {}, index {}",
            area.first,
            (area.first + area.nslabs).saturating_sub(1),
            area.used,
            area.index
        ));
    }
    for run in &pool.runs {
        run_lines(state, run, lines);
    }
}

fn run_lines(state: &State, run: &SlotRun, lines: &mut Vec<String>) {
    let last = run.first + run.count - 1;
    let buffer = run.orig.map_or_else(|| "no buffer".to_owned(), |orig| format!("buffer {:#x}", orig.0));
    let slots = format!(
        "  slots {}..{last} ({}, {} bytes): {buffer}",
        run.first,
        counted(u64::from(run.count), "slot"),
        run.alloc_size
    );
    lines.push(slots);
    let Some(by) = run.mapping.and_then(|at| state.mappings.get(at)) else {
        lines.push("      no mapping leads there: it is on its way, or its slots are lost".to_owned());
        return;
    };
    let mapping = &by.mapping;
    lines.push(format!(
        "      {} {} {} bytes at {:#x}, {}",
        by.device, mapping.dir, mapping.size, mapping.dma.0, mapping.kind
    ));
    lines.push(format!("      {}", made(by)));
    lines.extend(stack(by, "      "));
}
