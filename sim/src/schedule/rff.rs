//! Reads-from fuzzing: the part that schedules one run. Which runs there are is decided in [`crate::explore`].

use super::guide::MOST;
use super::{Born, Constraint, Estimate, Executed, Guide, Pos, Schedule, View, changes};
use crate::choices::Rng;
use crate::{CtxId, CtxSet, ObjId};

/// RFF: partial-order sampling that is held to a few constraints on which access follows which on the same object, and so
/// on which write a read reads from. Whoever would break one is held back while others can go on.
///
/// D. Wolff, Z. Shi, G. J. Duck, U. Mathur, A. Roychoudhury, "Greybox Fuzzing for Concurrency Testing", ASPLOS 2024. It
/// promises nothing for one run, beyond what POS does without constraints. Over a campaign, runs that showed a new
/// order of accesses are kept, and later ones are made by mutating their constraints: rare combinations are reached in
/// steps, where the other strategies must have all of them at once.
///
/// Without a guide the constraints are drawn by the seed from the orders that the trial run showed.
#[derive(Clone, Debug)]
pub struct Rff {
    pos: Pos,
    estimate: Estimate,
    guide: Option<Guide>,
    active: Vec<Active>,
    /// Hash of the text of each object that was asked for; 0 is not known yet.
    texts: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    constraint: Constraint,
    /// The object on which the first access was the last change.
    armed: ObjId,
    /// How often somebody may still be held back for it.
    patience: u32,
}

/// A constraint that cannot be met must not keep a run from its end.
const PATIENCE: u32 = 300;

impl Rff {
    /// With these constraints, or with those that the seed draws.
    #[must_use]
    pub fn new(guide: Option<&Guide>, estimate: Estimate) -> Self {
        Self { pos: Pos::new(), estimate, guide: guide.cloned(), active: Vec::new(), texts: Vec::new() }
    }

    /// Whether some constraint is about objects of the text that `obj` has. `text` is asked once for each object.
    fn concerned(&mut self, obj: ObjId, text: impl FnOnce() -> u64) -> bool {
        if obj == ObjId::NONE || self.active.is_empty() {
            return false;
        }
        let at = obj.0 as usize;
        if at >= self.texts.len() {
            self.texts.resize(at + 64, 0);
        }
        if self.texts[at] == 0 {
            self.texts[at] = text().max(1);
        }
        let text = self.texts[at];
        self.active.iter().any(|active| active.constraint.object.max(1) == text)
    }

    /// Those of the eligible who would break no constraint.
    fn allowed(&mut self, view: &View<'_>) -> CtxSet {
        let mut allowed = view.eligible.0;
        for id in view.eligible.iter() {
            let label = view.pending[id.index()].get();
            if !self.concerned(label.obj, || view.text_of(label.obj)) {
                continue;
            }
            let access = view.access(id);
            let text = self.texts[label.obj.0 as usize];
            for active in &mut self.active {
                let constraint = active.constraint;
                if constraint.object.max(1) != text || active.patience == 0 {
                    continue;
                }
                let armed = active.armed == label.obj;
                let second = access == constraint.second;
                let breaks = if constraint.wanted {
                    (second && !armed) || (armed && !second && changes(label.kind))
                } else {
                    second && armed
                };
                if breaks {
                    active.patience -= 1;
                    allowed &= !id.bit();
                }
            }
        }
        CtxSet(allowed)
    }
}

impl Schedule for Rff {
    fn begin(&mut self, rng: &mut Rng) {
        let guide = self.guide.clone().unwrap_or_else(|| Guide::drawn(&self.estimate, rng));
        self.active.clear();
        let armed = ObjId::NONE;
        self.active.extend(guide.constraints.iter().take(MOST).map(|&constraint| Active {
            constraint,
            armed,
            patience: PATIENCE,
        }));
        self.texts.clear();
    }

    fn spawned(&mut self, born: &Born, rng: &mut Rng) {
        self.pos.spawned(born, rng);
    }

    fn pick(&mut self, view: &View<'_>, _: &mut Rng) -> CtxId {
        let allowed = if self.active.is_empty() { view.eligible } else { self.allowed(view) };
        self.pos.highest(if allowed.is_empty() { view.eligible } else { allowed })
    }

    fn watches(&self) -> bool {
        true
    }

    fn executed(&mut self, step: &Executed<'_>, rng: &mut Rng) {
        self.pos.executed(step, rng);
        let obj = step.label.obj;
        if !self.concerned(obj, || step.text_of(obj)) {
            return;
        }
        let access = step.access();
        self.active.retain_mut(|active| {
            if active.armed == obj && access == active.constraint.second && active.constraint.wanted {
                return false;
            }
            if access == active.constraint.first {
                active.armed = obj;
            } else if active.armed == obj && changes(step.label.kind) {
                active.armed = ObjId::NONE;
            }
            true
        });
    }
}
