//! What is known of a run before it begins, from one trial run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Constraint;
use crate::{Name, RunEnd};

/// What one context did in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextWork {
    /// Its name.
    pub name: Name,
    /// Serial number of the context that started it; none for what the clock starts.
    pub parent: Option<u32>,
    /// Steps that it took.
    pub steps: u64,
}

/// What a run of a program is expected to be. It comes from a trial run and from nothing else, so that a seed means the
/// same run whatever else was run before, and by how many workers.
#[derive(Clone, Debug, Default)]
pub struct Estimate {
    /// Steps of a run.
    pub steps: u64,
    /// Decisions of a run at which there was more than one to choose from.
    pub decisions: u64,
    shared: Option<Arc<Shared>>,
}

#[derive(Clone, Debug, Default)]
struct Shared {
    /// Steps of each context, and of it together with all that it started.
    work: BTreeMap<Name, (u64, u64)>,
    /// Steps of a context on average.
    mean: u64,
    /// Orders of accesses that were seen.
    pairs: Vec<Constraint>,
}

impl Estimate {
    /// What a finished run shows.
    #[must_use]
    pub fn of(end: &RunEnd) -> Self {
        let mut whole: Vec<u64> = end.contexts.iter().map(|context| context.steps).collect();
        // Whoever was started has a higher serial number than who started it.
        for n in (0..whole.len()).rev() {
            if let Some(parent) = end.contexts[n].parent {
                let own = whole[n];
                if let Some(of_parent) = whole.get_mut(parent as usize).filter(|_| (parent as usize) < n) {
                    *of_parent += own;
                }
            }
        }
        let work: BTreeMap<_, _> = end
            .contexts
            .iter()
            .zip(&whole)
            .map(|(context, whole)| (context.name, (context.steps, *whole)))
            .collect();
        let mean = end.steps / (end.contexts.len() as u64).max(1);
        let pairs = end.coverage.as_ref().map_or_else(Vec::new, |coverage| coverage.constraints());
        Self {
            steps: end.steps,
            decisions: end.decisions,
            shared: Some(Arc::new(Shared { work, mean: mean.max(1), pairs })),
        }
    }

    /// Steps of the context of this name together with all that it starts; the mean of all contexts if it is unknown.
    pub(super) fn work_of(&self, name: Name) -> u64 {
        match &self.shared {
            Some(shared) => shared.work.get(&name).map_or(shared.mean, |(_, whole)| *whole),
            None => self.steps.max(1),
        }
    }

    /// Orders of accesses that the trial run showed.
    pub(super) fn pairs(&self) -> &[Constraint] {
        self.shared.as_ref().map_or(&[], |shared| &shared.pairs)
    }
}

/// Only the length of a run is known.
impl From<u64> for Estimate {
    fn from(steps: u64) -> Self {
        Self { steps: steps.max(1), decisions: steps.max(1), shared: None }
    }
}

impl From<&Self> for Estimate {
    fn from(other: &Self) -> Self {
        other.clone()
    }
}
