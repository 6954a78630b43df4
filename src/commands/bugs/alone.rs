//! Whether a bug is found without a scenario that was written for it: by generated machines alone.

use std::sync::atomic::{AtomicBool, Ordering};

use models::fuzz;
use models::scenario::Kernel;
use sim::explore::catching;

use super::pair::Pair;

/// What generated machines showed.
#[derive(Debug)]
pub(super) struct Alone {
    /// How many were run.
    pub(super) ran: u64,
    /// The first of them that showed something on the kernel with the bug, and not on the other one: its seed, and the kind
    /// of the finding.
    pub(super) found: Option<(u64, &'static str)>,
}

impl Alone {
    /// For a table.
    pub(super) fn words(&self) -> String {
        self.found.map_or_else(|| "-".to_owned(), |(seed, kind)| format!("{kind}, {seed}"))
    }
}

/// Runs `count` generated machines on both kernels of the pair, until they differ in a finding.
pub(super) fn alone(pair: &Pair, count: u64, stop: &AtomicBool) -> Alone {
    // Configurations are the generator's to draw.
    let kernel = |of: &Kernel| Kernel { config: Vec::new(), ..of.clone() };
    let (buggy, fixed) = (kernel(&pair.buggy.kernel), kernel(&pair.fixed_kernel));
    for seed in 0..count {
        if stop.load(Ordering::Relaxed) {
            return Alone { ran: seed, found: None };
        }
        // A panic of the simulator is not what is looked for.
        let Ok(with) = catching(|| fuzz::run(seed, &buggy)) else { continue };
        if with.findings.is_empty() {
            continue;
        }
        let Ok(without) = catching(|| fuzz::run(seed, &fixed)) else { continue };
        let known: Vec<u64> = without.findings.iter().map(sim::Finding::signature_hash).collect();
        let new = with.findings.iter().find(|finding| !known.contains(&finding.signature_hash()));
        if let Some(finding) = new {
            return Alone { ran: seed + 1, found: Some((seed, finding.kind)) };
        }
    }
    Alone { ran: count, found: None }
}
