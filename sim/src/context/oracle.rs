//! The engine's own oracles: progress, sleeping in atomic context, and what every context must leave behind.

use super::state::Wait;
use super::{Class, Cx};
use super::{Ended, Sim};
use crate::probe;
use crate::trace::EventKind;
use crate::{CtxId, CtxSet, Finding, Name, Severity};

/// Steps of a run between two looks at whether it gets anywhere.
pub(super) const LOOK_EVERY: u64 = 4_096;
/// Steps of one context with interrupts off that nothing takes which ends: the longest section of the models takes some
/// hundreds. A real machine's watchdog would speak after seconds, which virtual time does not measure.
const IRQS_OFF_STEPS: u64 = 50_000;

/// A finding to be completed by the engine with what it knows of the context.
#[derive(Clone, Debug)]
pub struct Draft {
    /// See [`Finding::kind`].
    pub kind: &'static str,
    /// See [`Finding::title`].
    pub title: String,
    /// See [`Finding::severity`].
    pub severity: Severity,
    /// See [`Finding::object`].
    pub object: &'static str,
    /// See [`Finding::discriminator`].
    pub discriminator: &'static str,
    /// See [`Finding::ending`].
    pub ending: &'static str,
}

impl Draft {
    /// A finding after which the machine goes on.
    #[must_use]
    pub fn warning(kind: &'static str, title: String) -> Self {
        Self { kind, title, severity: Severity::Warning, object: "", discriminator: "", ending: "" }
    }

    /// A finding after which the machine cannot go on.
    #[must_use]
    pub fn fatal(kind: &'static str, title: String) -> Self {
        Self { severity: Severity::Fatal, ..Self::warning(kind, title) }
    }

    /// About an object of this type.
    #[must_use]
    pub fn object(mut self, object: &'static str) -> Self {
        self.object = object;
        self
    }

    /// With a further part of the signature.
    #[must_use]
    pub fn discriminator(mut self, text: &'static str) -> Self {
        self.discriminator = text;
        self
    }

    /// With a row of the summary of endings.
    #[must_use]
    pub fn ending(mut self, text: &'static str) -> Self {
        self.ending = text;
        self
    }
}

impl Cx {
    /// Reports a finding at this point. One signature is reported once a run. `details` are asked for only if the
    /// run is to explain itself.
    pub fn report(&self, draft: Draft, details: impl FnOnce() -> Vec<(String, Vec<String>)>) {
        self.sim.report(self.id, draft, details);
    }

    /// Reports a finding if this context may not sleep (`might_sleep`).
    #[inline]
    pub fn might_sleep(&self) {
        if let Some(reason) = self.atomic_reason() {
            self.sleeps_in_atomic(reason);
        }
    }

    #[cold]
    fn sleeps_in_atomic(&self, reason: &'static str) {
        let name = self.name();
        let title = format!("BUG: sleeping function called from invalid context ({reason}) by {name}");
        self.report(Draft::warning("sleep-in-atomic", title).discriminator(reason), || {
            vec![("locks held".to_owned(), self.sim.held_text(self.id))]
        });
    }
}

impl Sim {
    /// See [`Cx::report`].
    pub(crate) fn report(
        &self,
        id: CtxId,
        draft: Draft,
        details: impl FnOnce() -> Vec<(String, Vec<String>)>,
    ) {
        if self.stopped() {
            return;
        }
        let slot = self.slot(id);
        let mut finding = Finding {
            kind: draft.kind,
            title: draft.title,
            severity: draft.severity,
            frames: slot.frames.borrow().iter().rev().copied().collect(),
            object: draft.object,
            discriminator: draft.discriminator,
            context: slot.name.get(),
            cpu: (slot.class.get() != Class::Device).then(|| slot.cpu.get()),
            time: self.now.get(),
            step: self.steps.get(),
            ending: draft.ending,
            details: Vec::new(),
        };
        let signature = finding.signature_hash();
        if self.findings.borrow().iter().any(|known| known.signature_hash() == signature) {
            return;
        }
        self.mix(signature);
        if self.config.details {
            finding.details = details();
        }
        if self.config.record {
            self.event_of(id, EventKind::Found(finding.title.clone()));
        }
        let stop = finding.severity == Severity::Fatal || self.config.stop_on_finding;
        self.findings.borrow_mut().push(finding);
        if stop {
            probe::read_clock();
            self.stop(Ended::Stopped);
        }
    }

    pub(crate) fn held_text(&self, id: CtxId) -> Vec<String> {
        let held = self.slot(id).held.borrow();
        held.iter()
            .map(|held| format!("{}{}", held.class.name, if held.read { " (read)" } else { "" }))
            .collect()
    }

    pub(super) fn too_many_contexts(&self, name: &'static str) {
        let who = super::state::ctx(self.current.get()).unwrap_or(CtxId(0));
        let title =
            format!("more than {} contexts at one time; the last to start was {name}", crate::MAX_CONTEXTS);
        self.report(who, Draft::fatal("too-many-contexts", title), Vec::new);
    }

    /// Looked at now and then: whether the run may go on. It may not when its budget is used up, nor when the context
    /// that has just stepped keeps interrupts off for more steps than anything that ends does.
    #[cold]
    pub(super) fn makes_progress(&self, id: CtxId, steps: u64) -> bool {
        if steps > self.look_step.get() {
            self.look_now(id);
            return false;
        }
        if steps >= self.config.max_steps {
            self.out_of_steps();
            return false;
        }
        if !self.may_settle() {
            return false;
        }
        let masked = self.slot(id).steps_with_irqs_off();
        if masked >= IRQS_OFF_STEPS {
            self.spins_with_irqs_off(id, masked);
            return false;
        }
        let look = self.look_step.get().saturating_add(1);
        self.next_look.set(self.config.max_steps.min(steps + LOOK_EVERY).min(look));
        true
    }

    /// Nobody else gets this CPU, and interrupts do not either.
    #[cold]
    fn spins_with_irqs_off(&self, id: CtxId, masked: u64) {
        let slot = self.slot(id);
        let last = slot.last.get();
        let title = format!(
            "no end after {masked} steps with interrupts off: {} on cpu {} is at \"{} {}\"",
            slot.name.get(),
            slot.cpu.get(),
            last.kind.word(),
            self.object_name(last.obj)
        );
        let draft = Draft::fatal("livelock", title).discriminator("interrupts off");
        self.report(id, draft.ending("spins for ever, interrupts off"), || {
            vec![("locks held".to_owned(), self.held_text(id))]
        });
    }

    #[cold]
    pub(super) fn out_of_steps(&self) {
        // The context that used up the budget is the one to name.
        let busiest = self
            .alive()
            .iter()
            .max_by_key(|id| (self.slot(*id).steps.get(), std::cmp::Reverse(id.0)))
            .unwrap_or(CtxId(0));
        let slot = self.slot(busiest);
        let last = slot.last.get();
        let title = format!(
            "no end after {} steps: {} took {} of them and is at \"{} {}\"",
            self.steps.get(),
            slot.name.get(),
            slot.steps.get(),
            last.kind.word(),
            self.object_name(last.obj)
        );
        self.report(busiest, Draft::fatal("livelock", title).ending("no end (livelock)"), Vec::new);
        self.stop(Ended::StepLimit);
        self.ended.set(Ended::StepLimit);
    }

    /// Nothing can run and no timer is pending: whoever is left waits in vain.
    pub(super) fn nothing_can_run(&self, live: CtxSet) {
        let mut stuck = false;
        for spinning in [true, false] {
            for id in live.iter() {
                let slot = self.slot(id);
                if self.deadlocked.get() & id.bit() != 0 {
                    stuck = true;
                    continue;
                }
                match self.wait_of(id) {
                    Wait::Forever { why } if spinning => self.lockup(id, why),
                    Wait::Object { obj, spinning: true } if spinning => {
                        if self.lock_owner(obj).is_some() {
                            self.lockup(id, "waiting for a lock whose owner cannot go on");
                        } else {
                            self.lockup(id, "waiting for a lock that was never released");
                        }
                    }
                    Wait::Object { obj, spinning: false } if !spinning && !stuck => {
                        let title = format!(
                            "INFO: task {} blocked for ever on {}",
                            slot.name.get(),
                            self.object_name(obj)
                        );
                        self.report(id, Draft::warning("hung-task", title).ending("task hung"), Vec::new);
                    }
                    // Ready, but its CPU is kept by a context that will not give it back.
                    Wait::None if !spinning && !stuck => {
                        let by = self.barred_by(id).map_or(Name::new("nobody"), |by| self.name_of(by));
                        let title = format!(
                            "INFO: task {} waits for ever for its CPU, kept by {by}",
                            slot.name.get()
                        );
                        self.report(id, Draft::warning("hung-task", title).ending("task hung"), Vec::new);
                    }
                    Wait::None | Wait::Clock(_) | Wait::Forever { .. } | Wait::Object { .. } => continue,
                }
                stuck = true;
            }
        }
        if stuck {
            self.stop(Ended::Stuck);
        }
    }

    fn lockup(&self, id: CtxId, why: &str) {
        let slot = self.slot(id);
        let hard = slot.irq_off.get() > 0 || slot.class.get() == Class::Hardirq;
        let cpu = slot.cpu.get();
        let (kind, title, ending) = if hard {
            (
                "hard-lockup",
                format!("watchdog: hard LOCKUP on cpu {cpu}: {why}"),
                "spins for ever, interrupts off",
            )
        } else {
            ("soft-lockup", format!("watchdog: BUG: soft lockup - CPU#{cpu} stuck: {why}"), "spins for ever")
        };
        self.report(id, Draft::warning(kind, title).ending(ending), Vec::new);
    }

    /// A context ends: it must hold nothing.
    pub(super) fn check_ended_clean(&self, id: CtxId) {
        let slot = self.slot(id);
        let depths = [&slot.irq_off, &slot.preempt_off, &slot.bh_off, &slot.rcu_nesting];
        if !slot.held.borrow().is_empty() || depths.iter().any(|depth| depth.get() > 0) {
            self.ended_unclean(id);
        }
    }

    #[cold]
    fn ended_unclean(&self, id: CtxId) {
        let slot = self.slot(id);
        let held = self.held_text(id);
        if !held.is_empty() {
            let title = format!(
                "BUG: {} ends with {} lock(s) held: {}",
                slot.name.get(),
                held.len(),
                held.join(", ")
            );
            self.report(id, Draft::warning("lock-held-at-end", title), Vec::new);
        } else if slot.irq_off.get() + slot.preempt_off.get() + slot.bh_off.get() > 0 {
            let title = format!("BUG: {} ends with preemption or interrupts off", slot.name.get());
            self.report(id, Draft::warning("atomic-at-end", title), Vec::new);
        } else if slot.rcu_nesting.get() > 0 {
            let title = format!("BUG: {} ends inside an RCU read-side critical section", slot.name.get());
            self.report(id, Draft::warning("rcu-reader-at-end", title), Vec::new);
        }
    }
}
