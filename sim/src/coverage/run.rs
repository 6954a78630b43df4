//! What one run exercised.

use std::collections::{BTreeMap, BTreeSet};

use crate::schedule::{Constraint, changes};
use crate::trace::Digest;
use crate::{Kind, Label, Name};

/// An access as a reader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessName {
    /// The function in which it stands.
    pub function: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Text of the object's name.
    pub object: &'static str,
}

impl AccessName {
    /// A hash of the content, the same in every run.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut digest = Digest::new();
        digest.mix_str(self.function);
        digest.mix_str(self.object);
        digest.mix(self.kind as u64);
        low(digest)
    }
}

/// How often a function was in action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionCount {
    /// Times it was entered.
    pub entered: u64,
    /// Steps taken in it itself.
    pub steps: u64,
}

/// How often an injection could have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InjectionCount {
    /// Times it was asked whether it happens.
    pub asked: u64,
    /// Times it happened.
    pub fired: u64,
}

/// The accesses of one object so far.
#[derive(Clone, Debug, Default)]
struct Object {
    text: u64,
    /// Digest of all changes and of what was read between them.
    chain: u64,
    /// Reads since the last change; their order does not matter.
    reads: u64,
    changed: Option<(u32, u64)>,
    /// Who read since; the first few.
    readers: Vec<(u32, u64)>,
}

/// So many readers between two changes are told apart.
const READERS: usize = 8;

/// What one run exercised.
#[derive(Clone, Debug, Default)]
pub struct RunCoverage {
    objects: Vec<Object>,
    contexts: Vec<u64>,
    /// Accesses of one object that followed each other, by different contexts, one of them a change; all wanted.
    pub orders: BTreeSet<Constraint>,
    /// What the hashes in `orders` stand for.
    pub names: BTreeMap<u64, AccessName>,
    /// By name of the function; steps outside of any stand under the empty name.
    pub functions: BTreeMap<&'static str, FunctionCount>,
    /// Classes of locks: the first was held when the second was taken.
    pub locks: BTreeSet<(&'static str, &'static str)>,
    /// By what was decided.
    pub injections: BTreeMap<&'static str, InjectionCount>,
}

impl RunCoverage {
    pub(crate) fn born(&mut self, name: Name) {
        let mut digest = Digest::new();
        digest.mix_str(name.text);
        digest.mix(u64::from(name.nth));
        self.contexts.push(low(digest));
    }

    /// Notes a step of the context with this serial number. `text` is asked once for each object.
    pub(crate) fn step(
        &mut self,
        serial: u32,
        label: Label,
        function: &'static str,
        text: impl FnOnce() -> &'static str,
    ) {
        self.functions.entry(function).or_default().steps += 1;
        let at = label.obj.0 as usize;
        if at == 0 {
            return;
        }
        if at >= self.objects.len() {
            self.objects.resize_with(at + 64, Object::default);
        }
        let name = AccessName { function, kind: label.kind, object: text() };
        let access = name.hash();
        let context = self.contexts.get(serial as usize).copied().unwrap_or(0);
        let object = &mut self.objects[at];
        if object.text == 0 {
            object.text = text_hash(name.object);
        }
        let me = (serial, access);
        let order = |first: u64| Constraint { object: object.text, first, second: access, wanted: true };
        let mut new = false;
        let mut mix = Digest::new();
        mix.mix(context);
        mix.mix(label.kind as u64);
        if changes(label.kind) {
            let before = object.changed.into_iter().chain(object.readers.iter().copied());
            for (other, first) in before {
                if other != serial {
                    new |= self.orders.insert(order(first));
                }
            }
            mix.mix(object.chain);
            mix.mix(object.reads);
            object.chain = low(mix);
            object.reads = 0;
            object.changed = Some(me);
            object.readers.clear();
        } else {
            if let Some((other, first)) = object.changed
                && other != serial
            {
                new |= self.orders.insert(order(first));
            }
            object.reads = object.reads.wrapping_add(low(mix));
            if object.readers.len() < READERS && !object.readers.contains(&me) {
                object.readers.push(me);
            }
        }
        if new || !self.names.contains_key(&access) {
            self.names.insert(access, name);
        }
    }

    pub(crate) fn entered(&mut self, function: &'static str) {
        self.functions.entry(function).or_default().entered += 1;
    }

    pub(crate) fn injection(&mut self, what: &'static str, fired: bool) {
        let count = self.injections.entry(what).or_default();
        count.asked += 1;
        count.fired += u64::from(fired);
    }

    /// A digest of who accessed each object in which order, as far as the order matters: two runs that differ only in
    /// the order of independent steps have the same one.
    #[must_use]
    pub fn state(&self) -> u64 {
        let mut sum = 0_u64;
        for object in &self.objects {
            if object.chain != 0 || object.reads != 0 {
                let mut digest = Digest::new();
                digest.mix(object.text);
                digest.mix(object.chain);
                digest.mix(object.reads);
                sum = sum.wrapping_add(low(digest));
            }
        }
        sum
    }

    /// A digest of the set of orders, whatever happened between.
    #[must_use]
    pub fn signature(&self) -> u64 {
        let mut digest = Digest::new();
        for order in &self.orders {
            digest.mix(order.first);
            digest.mix(order.second);
        }
        low(digest)
    }

    /// The orders, sorted.
    #[must_use]
    pub fn constraints(&self) -> Vec<Constraint> {
        self.orders.iter().copied().collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of a digest is a hash as good as the whole")]
pub(crate) const fn low(digest: Digest) -> u64 {
    digest.value() as u64
}

/// A hash of the text of an object's name, never 0.
pub(crate) fn text_hash(text: &str) -> u64 {
    crate::trace::stable_hash(text).max(1)
}
