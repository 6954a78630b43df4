//! Lock order, interrupt safety, and the wait-for graph.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::context::{LockOrder, Sim, Wait};
use crate::probe::{self, Op};
use crate::{Class, CtxId, CtxSet, Draft, ObjId};

/// At most this many classes of locks.
const MAX_CLASSES: usize = 128;

/// A class of locks: all locks that are created at one place in the kernel and obey the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockClass {
    id: u8,
    /// Its name, as lockdep prints it.
    pub name: &'static str,
}

impl LockClass {
    /// A class.
    ///
    /// # Panics
    /// If `id` is not below 128. Ids are constants of the models, so that this is found when they are compiled.
    #[must_use]
    pub const fn new(id: u8, name: &'static str) -> Self {
        assert!((id as usize) < MAX_CLASSES, "a lock class id is below 128");
        Self { id, name }
    }

    const fn bit(self) -> u128 {
        1 << self.id
    }

    const fn index(self) -> usize {
        // As `LockClass::new` has made sure of.
        self.id as usize % MAX_CLASSES
    }
}

/// Taken in a hard interrupt.
const IN_HARDIRQ: u64 = 1;
/// Taken with interrupts on.
const IRQS_ON: u64 = 2;

/// In which states of the CPU locks were taken in this run: two bits for each class.
#[derive(Debug, Default)]
pub(crate) struct LockUsage([Cell<u64>; MAX_CLASSES / 32]);

impl LockUsage {
    /// Notes a use. Whether it is the first of its kind and the class has been used in the other way before.
    #[inline]
    fn is_new(&self, class: LockClass, usage: u64) -> bool {
        let word = &self.0[class.index() / 32];
        let at = class.index() % 32 * 2;
        let (before, used) = (word.get() >> at, word.get() | usage << at);
        word.set(used);
        before & usage == 0 && used >> at & (IN_HARDIRQ | IRQS_ON) == IN_HARDIRQ | IRQS_ON
    }
}

#[derive(Clone, Debug)]
struct Edge {
    from: LockClass,
    to: LockClass,
    context: String,
    function: &'static str,
}

/// The order in which classes were taken so far in this run.
#[derive(Debug, Default)]
pub(crate) struct LockDep {
    /// By class, as far as any was taken in an order.
    after: Vec<u128>,
    edges: Vec<Edge>,
}

impl LockDep {
    /// The orders of classes that were seen.
    pub(crate) fn edges(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.edges.iter().map(|edge| (edge.from.name, edge.to.name)).collect()
    }

    /// The same with who saw them first, in the order in which they came up.
    pub(crate) fn order(&self) -> Vec<LockOrder> {
        let order = |edge: &Edge| LockOrder {
            held: edge.from.name,
            taken: edge.to.name,
            function: edge.function,
            context: edge.context.clone(),
        };
        self.edges.iter().map(order).collect()
    }

    /// Whether `next` was taken while `held` was held.
    fn has(&self, held: LockClass, next: LockClass) -> bool {
        self.after_of(held.index()) & next.bit() != 0
    }

    /// What was taken while `class` was held.
    fn after_of(&self, class: usize) -> u128 {
        self.after.get(class).copied().unwrap_or(0)
    }

    fn note_after(&mut self, class: usize, next: LockClass) {
        if self.after.len() <= class {
            self.after.resize(class + 1, 0);
        }
        self.after[class] |= next.bit();
    }

    /// Whether `to` can be reached from `from`.
    fn reaches(&self, from: LockClass, to: LockClass) -> bool {
        let mut seen = from.bit();
        let mut front = from.bit();
        while front != 0 {
            let class = front.trailing_zeros() as usize;
            front &= front - 1;
            let after = self.after_of(class);
            if after & to.bit() != 0 {
                return true;
            }
            front |= after & !seen;
            seen |= after;
        }
        false
    }
}

impl Sim {
    /// Checks and notes that `id` is about to take a lock of `class`.
    #[inline]
    pub(super) fn check_lock_order(&self, id: CtxId, class: LockClass, obj: ObjId, nested: bool) {
        self.check_lock_usage(id, class);
        if !self.slot(id).held.borrow().is_empty() {
            self.check_held(id, class, obj, nested);
        }
    }

    /// Checks and notes in which state of the CPU a lock of `class` is taken, also by a mere try.
    #[inline]
    pub(super) fn check_lock_usage(&self, id: CtxId, class: LockClass) {
        let slot = self.slot(id);
        let usage = match slot.class.get() {
            Class::Hardirq => IN_HARDIRQ,
            Class::Task | Class::Softirq if slot.irq_off.get() == 0 => IRQS_ON,
            Class::Task | Class::Softirq | Class::Device => return,
        };
        // The same use again changes nothing; the other use of a class makes the finding.
        probe::touch(probe::lock_usage(class.id), Op::Same(u32::from(usage == IN_HARDIRQ)));
        if self.lock_usage.is_new(class, usage) {
            self.irq_unsafe(id, class);
        }
    }

    /// Checks the order of a lock of `class` after each that `id` holds.
    #[inline(never)]
    fn check_held(&self, id: CtxId, class: LockClass, obj: ObjId, nested: bool) {
        for held in self.slot(id).held.borrow().iter() {
            if held.obj == obj || held.class == class {
                if held.obj == obj || !nested {
                    self.recursive(id, class, held.obj == obj);
                }
                continue;
            }
            probe::touch(probe::LOCK_ORDER, Op::Same(u32::from(held.class.id) << 8 | u32::from(class.id)));
            let known = self.lockdep.borrow().as_ref().is_some_and(|known| known.has(held.class, class));
            if !known {
                self.new_order(id, held.class, class);
            }
        }
    }

    /// `id` holds this very lock, or another one of the class.
    #[cold]
    fn recursive(&self, id: CtxId, class: LockClass, same: bool) {
        let what = if same {
            format!("{} is held already", class.name)
        } else {
            format!("two locks of class {}", class.name)
        };
        let title = format!("WARNING: possible recursive locking detected: {what}");
        self.report(id, Draft::warning("recursive-locking", title).discriminator(class.name), Vec::new);
    }

    /// For the first time `class` is wanted while `held` is held.
    #[cold]
    fn new_order(&self, id: CtxId, held: LockClass, class: LockClass) {
        let mut lockdep = self.lockdep.borrow_mut();
        let order = lockdep.get_or_insert_default();
        let inverted = order.reaches(class, held);
        order.note_after(held.index(), class);
        let slot = self.slot(id);
        let function = slot.frames.borrow().last().copied().unwrap_or("");
        order.edges.push(Edge { from: held, to: class, context: slot.name.get().to_string(), function });
        if inverted {
            let edges = order.edges.clone();
            drop(lockdep);
            let title = format!(
                "WARNING: possible circular locking dependency detected: {} is wanted while {} is held",
                class.name, held.name
            );
            let lines = || {
                let line = |edge: &Edge| {
                    let Edge { from, to, context, function } = edge;
                    format!("{} -> {} first in {function} by {context}", from.name, to.name)
                };
                vec![("existing order of locks".to_owned(), edges.iter().map(line).collect())]
            };
            let draft = Draft::warning("lock-inversion", title).object(held.name);
            self.report(id, draft.discriminator(class.name), lines);
        }
    }

    #[cold]
    fn irq_unsafe(&self, id: CtxId, class: LockClass) {
        let title = format!(
            "WARNING: inconsistent lock state: {} is taken in hard interrupts and with interrupts on",
            class.name
        );
        self.report(id, Draft::warning("irq-unsafe-lock", title).discriminator(class.name), Vec::new);
    }

    /// The contexts that hold `obj`.
    pub(crate) fn lock_owners(&self, obj: ObjId) -> CtxSet {
        let holds = |id: &CtxId| self.slot(*id).held.borrow().iter().any(|held| held.obj == obj);
        CtxSet(self.alive().iter().filter(holds).fold(0, |set, id| set | id.bit()))
    }

    /// The context that holds `obj`, if any.
    pub(crate) fn lock_owner(&self, obj: ObjId) -> Option<CtxId> {
        self.lock_owners(obj).first()
    }

    /// Looks for a cycle that `id` closes by waiting for `obj`. Runs on when there is one: what others still do may
    /// matter.
    #[inline(never)]
    pub(super) fn check_deadlock(&self, id: CtxId, obj: ObjId, spinning: bool) {
        self.wait_for(id.bit(), obj, spinning);
        // Who was reached through whom. Nothing is allocated unless a cycle is found.
        let mut through = [id; crate::MAX_CONTEXTS];
        let mut seen = 0;
        let mut front = self.waited_for(id).0;
        while let Some(next) = CtxSet(front).first() {
            probe::touch(probe::wait_of(next), Op::Read);
            if self.slot(next).class.get() != Class::Device {
                probe::touch(probe::cpu(self.slot(next).cpu.get()), Op::Read);
            }
            if next == id {
                let mut chain = Vec::new();
                let mut at = through[id.index()];
                while at != id {
                    chain.push(at);
                    at = through[at.index()];
                }
                chain.push(id);
                chain.reverse();
                self.deadlock(&chain);
                return;
            }
            seen |= next.bit();
            let reached = self.waited_for(next).0 & !seen & !front;
            for after in CtxSet(reached).iter() {
                through[after.index()] = next;
            }
            front = (front | reached) & !next.bit();
        }
    }

    /// Whom `id` has to wait for before it can go on.
    fn waited_for(&self, id: CtxId) -> CtxSet {
        let mut set = self.barred_by(id).map_or(0, CtxId::bit);
        if let Wait::Object { obj, .. } = self.wait_of(id) {
            set |= self.lock_owners(obj).0;
        }
        CtxSet(set)
    }

    #[cold]
    fn deadlock(&self, chain: &[CtxId]) {
        let lines: Vec<String> = chain
            .iter()
            .map(|id| {
                let slot = self.slot(*id);
                let held: Vec<_> = slot.held.borrow().iter().map(|held| held.class.name).collect();
                let wants = match self.wait_of(*id) {
                    Wait::Object { obj, .. } => self.object_name(obj).to_string(),
                    Wait::None | Wait::Clock(_) | Wait::Forever { .. } => match self.barred_by(*id) {
                        Some(other) => format!("its CPU, kept by {}", self.slot(other).name.get()),
                        None => "nothing".to_owned(),
                    },
                };
                format!("{} holds [{}] and wants {wants}", slot.name.get(), held.join(", "))
            })
            .collect();
        let who =
            if chain.len() == 1 { "one context".to_owned() } else { format!("{} contexts", chain.len()) };
        let title = format!("BUG: deadlock of {who}: {}", lines.join("; "));
        let object = chain.first().map_or("", |id| match self.wait_of(*id) {
            Wait::Object { obj, .. } => self.object_name(obj).text,
            Wait::None | Wait::Clock(_) | Wait::Forever { .. } => "",
        });
        let Some(&first) = chain.first() else { return };
        self.report(first, Draft::warning("deadlock", title).object(object).ending("deadlock"), || {
            vec![("wait-for cycle".to_owned(), lines)]
        });
        self.deadlocked.set(chain.iter().fold(self.deadlocked.get(), |set, id| set | id.bit()));
    }
}
