//! Locks: who has them, who wants them, who waits for whom.

use std::collections::BTreeMap;

use sim::{ContextState, Doing, LockOrder, Name};

/// A lock, or an event that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockState {
    /// Which.
    pub lock: Name,
    /// Its class, if somebody holds it.
    pub class: &'static str,
    /// Who holds it, and whether only to read.
    pub holders: Vec<(Name, bool)>,
    /// Who waits for it, and whether it spins.
    pub waiters: Vec<(Name, bool)>,
}

/// A context that waits, and whoever stands in its way: each waits for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitChain {
    /// The contexts, each with what it waits for; the last one's is empty if it can go on.
    pub links: Vec<(Name, String)>,
    /// Whether the last one waits for one that is in the chain already.
    pub closed: bool,
}

/// All about locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocksState {
    /// Locks that somebody holds or wants, by name.
    pub locks: Vec<LockState>,
    /// Who waits for whom: a chain for each context that waits for a lock which somebody holds.
    pub chains: Vec<WaitChain>,
    /// Which class was taken while which was held, as it came up.
    pub order: Vec<LockOrder>,
}

impl LocksState {
    /// What the contexts say.
    #[must_use]
    pub fn of(contexts: &[ContextState], order: Vec<LockOrder>) -> Self {
        let mut locks: BTreeMap<Name, LockState> = BTreeMap::new();
        let empty = |lock| LockState { lock, class: "", holders: Vec::new(), waiters: Vec::new() };
        for context in contexts {
            for held in &context.held {
                let lock = locks.entry(held.lock).or_insert_with(|| empty(held.lock));
                lock.class = held.class;
                lock.holders.push((context.name, held.read));
            }
            if let Doing::Waits { object, spinning, .. } = context.doing {
                locks.entry(object).or_insert_with(|| empty(object)).waiters.push((context.name, spinning));
            }
        }
        let chains = contexts.iter().filter_map(|context| chain(contexts, context)).collect();
        Self { locks: locks.into_values().collect(), chains, order }
    }
}

/// Whom a context waits for, and for what.
fn waits_for(context: &ContextState) -> Option<(Name, String)> {
    match &context.doing {
        Doing::Waits { object, holders, .. } => Some((*holders.first()?, object.to_string())),
        Doing::Barred { by } => Some((*by, "its CPU".to_owned())),
        Doing::Next | Doing::Ready | Doing::Sleeps { .. } | Doing::Spins { .. } => None,
    }
}

fn chain(contexts: &[ContextState], first: &ContextState) -> Option<WaitChain> {
    if !matches!(&first.doing, Doing::Waits { holders, .. } if !holders.is_empty()) {
        return None;
    }
    let mut links: Vec<(Name, String)> = Vec::new();
    let mut at = first;
    loop {
        let Some((next, what)) = waits_for(at) else {
            links.push((at.name, String::new()));
            return Some(WaitChain { links, closed: false });
        };
        links.push((at.name, what));
        if links.iter().any(|(name, _)| *name == next) {
            links.push((next, String::new()));
            return Some(WaitChain { links, closed: true });
        }
        at = contexts.iter().find(|context| context.name == next)?;
    }
}
