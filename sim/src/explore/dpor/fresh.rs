//! A decision that was not met before: who is tried first, who sleeps, and where a search is split.

use super::node::{Node, Offer, Sleeper};
use super::search::Search;
use crate::CtxSet;

impl Search {
    pub(super) fn new_node(&mut self, offer: &Offer) -> Option<Node> {
        let at = self.nodes.len();
        let frozen = at < self.prefix.len();
        let parent = self.nodes.iter().rposition(|node| node.of == 0);
        let mut preemptions = 0;
        if let Some(parent) = parent.map(|at| &self.nodes[at]) {
            let preempted = parent.staying.is_some_and(|staying| u32::from(staying) != parent.choice);
            preemptions = parent.preemptions + u32::from(preempted);
        }
        let bounded = self.limits.preemptions.is_some();
        let sleepers = match parent {
            _ if frozen || bounded => Vec::new(),
            _ if at == self.prefix.len() && !self.prefix.is_empty() => self.prefix_sleepers.clone(),
            None => Vec::new(),
            Some(parent) => self.still_asleep(parent),
        };
        let mut node = Node {
            event: self.trace.events.len(),
            choice: 0,
            of: 0,
            eligible: offer.eligible,
            barred: offer.barred,
            backtrack: 0,
            done: 0,
            sleepers,
            partial: Vec::new(),
            partial_flags: (false, false),
            preemptions,
            staying: offer.staying.map(|id| id.0),
        };
        if frozen {
            node.choice = self.prefix[at];
            return Some(node);
        }
        let awake = CtxSet(offer.eligible & !node.asleep());
        let Some(first) = offer.staying.filter(|id| awake.contains(*id)).or_else(|| awake.first()) else {
            self.leaf = false;
            return None;
        };
        let spent = self.limits.preemptions.is_some_and(|most| preemptions >= most);
        let all = match offer.staying {
            Some(staying) if spent => staying.bit(),
            _ => awake.0,
        };
        if self.depth.is_some() && all & all.wrapping_sub(1) != 0 && self.at_depth() {
            self.leaf = true;
            self.prefix_sleepers = node.sleepers;
            return None;
        }
        node.choice = u32::from(first.0);
        node.backtrack = if self.enumerates() || self.depth.is_some() { all } else { first.bit() };
        Some(node)
    }

    /// Whether every order is tried that the bound allows.
    pub(super) const fn enumerates(&self) -> bool {
        self.limits.opaque && self.limits.preemptions.is_some()
    }

    fn at_depth(&self) -> bool {
        let branching = |node: &&Node| {
            if node.of > 0 { node.of > 1 } else { node.backtrack & node.backtrack.wrapping_sub(1) != 0 }
        };
        let levels = self.nodes.iter().filter(branching).count();
        self.depth.is_some_and(|depth| levels >= depth as usize)
    }

    /// Whether the last run was broken off to be split.
    pub(super) const fn at_leaf(&self) -> bool {
        self.leaf
    }

    /// Those who sleep at `parent` and are not woken by the transition that was taken there.
    fn still_asleep(&self, parent: usize) -> Vec<Sleeper> {
        let node = &self.nodes[parent];
        if node.sleepers.is_empty() {
            return Vec::new();
        }
        let Some(event) = self.trace.events.get(node.event) else { return Vec::new() };
        let sleeps_on = |sleeper: &&Sleeper| {
            u32::from(sleeper.ctx) != node.choice
                && (self.limits.planted.deep_sleep || !sleeper.disturbed_by(event))
        };
        node.sleepers.iter().filter(sleeps_on).cloned().collect()
    }
}
