//! Where things are in a recorded run.

use std::collections::{BTreeMap, BTreeSet};

use models::run::state::ObjectState;
use models::scenario::nearest;
use sim::trace::{Event, EventKind, Trace};
use sim::{Name, ObjId};

/// The number of an unnamed part of an object stands in the low bits of its name's.
const PARTS: u32 = 5;

/// The objects that somebody means, by the labels that steps name them with.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// In words.
    pub(super) what: String,
    labels: BTreeSet<ObjId>,
    /// For an object with an address: from its first label up to here.
    range: Option<(ObjId, ObjId)>,
    /// How many objects that are.
    objects: usize,
}

impl Found {
    /// An object that was found by its address.
    pub(super) fn of(state: &ObjectState) -> Self {
        let what = format!("{} at {:016x}", state.type_name, state.at);
        Self { what, labels: BTreeSet::new(), range: Some(state.labels), objects: 1 }
    }

    pub(super) const fn objects(&self) -> usize {
        self.objects
    }

    fn has(&self, label: ObjId) -> bool {
        self.labels.contains(&label) || self.range.is_some_and(|(from, to)| from <= label && label < to)
    }
}

/// An address as people write one: `0x...`, or 16 hexadecimal digits.
pub(super) fn address(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.len() == 16 => u64::from_str_radix(text, 16).ok(),
        None => None,
    }
}

/// The steps of a trace.
pub(super) struct Index {
    /// Where the events of each step begin, by its number; those before the first step are of step 0.
    starts: Vec<usize>,
    /// By number of a step from 1: who took it, and what it names.
    steps: Vec<(u32, ObjId)>,
    /// What steps name.
    names: BTreeMap<Name, BTreeSet<ObjId>>,
}

impl Index {
    pub(super) fn new(trace: &Trace) -> Self {
        let mut index = Self { starts: vec![0], steps: Vec::new(), names: BTreeMap::new() };
        for (at, event) in trace.events.iter().enumerate() {
            if let EventKind::Step { label, object, .. } = &event.kind {
                index.starts.push(at);
                index.steps.push((event.ctx, label.obj));
                if !object.text.is_empty() {
                    index.names.entry(*object).or_default().insert(label.obj);
                }
            }
        }
        index
    }

    /// The last step that is recorded.
    pub(super) fn last(&self) -> u64 {
        self.steps.len() as u64
    }

    /// What happened in a step: itself, and all up to the next one.
    pub(super) fn events<'t>(&self, trace: &'t Trace, step: u64) -> &'t [Event] {
        let at = |step: u64| usize::try_from(step).ok().and_then(|step| self.starts.get(step)).copied();
        let Some(from) = at(step) else { return &[] };
        let to = at(step + 1).unwrap_or(trace.events.len());
        trace.events.get(from..to).unwrap_or_default()
    }

    /// What a step names.
    pub(super) fn label(&self, step: u64) -> Option<ObjId> {
        let at = usize::try_from(step).ok()?.checked_sub(1)?;
        self.steps.get(at).map(|(_, label)| *label)
    }

    /// The nearest step after `at`, or with `back` before it, that fits.
    fn nearest_step(&self, at: u64, back: bool, fits: impl Fn(&(u32, ObjId)) -> bool) -> Option<u64> {
        let number = |n: usize| n as u64 + 1;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.steps.len());
        if back {
            let before = at.saturating_sub(1).min(self.steps.len());
            self.steps[..before].iter().rposition(fits).map(number)
        } else {
            self.steps[at..].iter().position(fits).map(|n| number(n + at))
        }
    }

    pub(super) fn step_of_context(&self, serial: u32, at: u64, back: bool) -> Option<u64> {
        self.nearest_step(at, back, |(ctx, _)| *ctx == serial)
    }

    pub(super) fn access(&self, found: &Found, at: u64, back: bool) -> Option<u64> {
        self.nearest_step(at, back, |(_, label)| found.has(*label))
    }

    /// All steps that touch it.
    pub(super) fn accesses(&self, found: &Found) -> Vec<u64> {
        (1..).zip(&self.steps).filter(|(_, (_, label))| found.has(*label)).map(|(step, _)| step).collect()
    }

    /// The names of what was found, as steps show them.
    pub(super) fn names(&self, found: &Found) -> Vec<Name> {
        let named = |labels: &BTreeSet<ObjId>| labels.iter().any(|label| found.has(*label));
        self.names.iter().filter(|(_, labels)| named(labels)).map(|(name, _)| *name).collect()
    }

    /// The context of this name, or the only one whose name begins so.
    pub(super) fn context(&self, trace: &Trace, wanted: &str) -> Result<u32, String> {
        let names: Vec<String> = trace.contexts.iter().map(|context| context.name.to_string()).collect();
        let serial = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(at) = names.iter().position(|name| name == wanted) {
            return Ok(serial(at));
        }
        let begin: Vec<usize> = (0..names.len()).filter(|at| names[*at].starts_with(wanted)).collect();
        match begin.as_slice() {
            [only] => Ok(serial(*only)),
            [] => {
                let near = nearest(wanted, names.iter().map(String::as_str));
                let near = near.map_or_else(
                    || "`show contexts` shows those that are alive".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Err(format!("no context of the run is called `{wanted}`; {near}"))
            }
            several => {
                let mut text = format!("{} contexts are called so:", several.len());
                for at in several.iter().take(8) {
                    text.push_str(&format!(" `{}`", names[*at]));
                }
                if several.len() > 8 {
                    text.push_str(" ...");
                }
                Err(text)
            }
        }
    }

    /// What is called so: a name as the steps show it, a type, or one object of a type. `struct` may be left out.
    pub(super) fn named(&self, wanted: &str) -> Result<Found, String> {
        let full = format!("struct {wanted}");
        for wanted in [wanted, full.as_str()] {
            let exact: Vec<Name> =
                self.names.keys().filter(|name| name.to_string() == wanted).copied().collect();
            let (type_name, nth) = match wanted.rsplit_once('#') {
                Some((text, nth)) => (text, nth.parse::<u32>().ok()),
                None => (wanted, None),
            };
            // Parts with names of their own count objects; others count objects and parts.
            let of_type = |name: &&Name| {
                let field = name.text.strip_prefix(type_name).is_some_and(|rest| rest.starts_with('.'));
                let whole = name.text == type_name;
                let number =
                    if whole && name.text.starts_with("struct ") { name.nth >> PARTS } else { name.nth };
                (field || whole) && nth.is_none_or(|nth| nth == number)
            };
            let of_type: Vec<Name> = self.names.keys().filter(of_type).copied().collect();
            // A name that the steps show is meant as it stands, unless it is that of a type with fields.
            let names = if exact.is_empty() || wanted.starts_with("struct ") && !wanted.contains('.') {
                of_type
            } else {
                exact
            };
            if !names.is_empty() {
                let labels: BTreeSet<ObjId> =
                    names.iter().flat_map(|name| &self.names[name]).copied().collect();
                let numbers: BTreeSet<u32> = names
                    .iter()
                    .map(|name| if name.text.contains('.') { name.nth } else { name.nth >> PARTS })
                    .collect();
                return Ok(Found { what: wanted.to_owned(), labels, range: None, objects: numbers.len() });
            }
        }
        let texts: BTreeSet<String> = self
            .names
            .keys()
            .flat_map(|name| {
                let type_name = name.text.split_once('.').map_or(name.text, |(type_name, _)| type_name);
                [name.text.to_owned(), type_name.to_owned(), name.to_string()]
            })
            .collect();
        let near = nearest(wanted, texts.iter().map(String::as_str))
            .or_else(|| nearest(&full, texts.iter().map(String::as_str)));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Err(format!("no step of the run touches an object called `{wanted}`{near}"))
    }
}
