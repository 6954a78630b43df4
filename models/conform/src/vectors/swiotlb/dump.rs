//! The recorded notation of a pool's state.

use models::swiotlb::Pool;
use serde_json::{Value, json};

/// Runs of falling free counters.
fn list_runs(pool: &Pool) -> Vec<Value> {
    let mut runs: Vec<(u32, u32, u32)> = Vec::new();
    for slot in 0..pool.size().nslabs {
        let list = pool.slots().list(slot);
        match runs.last_mut() {
            _ if list == 0 => {}
            Some((first, value, count)) if *first + *count == slot && *value - *count == list => *count += 1,
            _ => runs.push((slot, list, 1)),
        }
    }
    runs.into_iter().map(|(first, value, count)| json!([first, value, count])).collect()
}

/// Runs of slots whose records continue each other.
fn slot_runs(pool: &Pool) -> Vec<Value> {
    struct Run {
        first: u32,
        count: u32,
        orig: Option<u64>,
        size: u64,
        pad: u16,
    }
    let mut runs: Vec<Run> = Vec::new();
    for slot in 0..pool.size().nslabs {
        let orig = pool.slots().orig_addr(slot).map(|addr| addr.0);
        let size = pool.slots().alloc_size(slot);
        let pad = pool.slots().pad_slots(slot);
        if let Some(run) = runs.last_mut() {
            let far = 2048 * u64::from(run.count);
            if run.first + run.count == slot
                && orig == run.orig.map(|orig| orig.wrapping_add(far))
                && size == run.size.wrapping_sub(far)
                && pad == 0
            {
                run.count += 1;
                continue;
            }
        }
        if pool.slots().list(slot) == 0 {
            runs.push(Run { first: slot, count: 1, orig, size, pad });
        }
    }
    let shown = |run: Run| {
        let orig = run.orig.map_or(json!(-1), |orig| json!(orig));
        json!([run.first, run.count, orig, run.size, run.pad])
    };
    runs.into_iter().map(shown).collect()
}

/// `used`, `areas` and, on request, `list` and `slots`.
pub(super) fn state(pool: &Pool, full: bool) -> Value {
    let areas: Vec<Value> = pool.areas().iter().map(|area| json!([area.used(), area.index()])).collect();
    let mut state = json!({ "used": pool.used(), "areas": areas });
    if full {
        state["list"] = json!(list_runs(pool));
        state["slots"] = json!(slot_runs(pool));
    }
    state
}
