//! The ordered ranges of a domain, its sentinel, and the two remembered nodes.

use std::collections::BTreeMap;

use super::types::IovaRange;

/// Page frame of the untouched sentinel. Source: `drivers/iommu/iova.c: IOVA_ANCHOR`.
pub(super) const IOVA_ANCHOR: u64 = u64::MAX;

/// A node of the order, by value. Its end never changes while it is linked, and its start is unique, so a copy
/// with the right start stands for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) lo: u64,
    pub(super) hi: u64,
}

impl Node {
    pub(super) const fn range(self) -> IovaRange {
        IovaRange::new(self.lo, self.hi)
    }
}

/// All ranges in order of their starts. The sentinel is kept apart so that an empty set owns no memory.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    /// First page frame to last page frame.
    nodes: BTreeMap<u64, u64>,
    /// The sentinel; `None` once it was freed like a range.
    anchor: Option<Node>,
}

impl Ranges {
    pub(super) const fn new() -> Self {
        let anchor = Node { lo: IOVA_ANCHOR, hi: IOVA_ANCHOR };
        Self { nodes: BTreeMap::new(), anchor: Some(anchor) }
    }

    pub(super) const fn anchor(&self) -> Option<Node> {
        self.anchor
    }

    pub(super) fn is_anchor(&self, node: Node) -> bool {
        self.anchor.is_some_and(|anchor| anchor.lo == node.lo)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All ranges, lowest first, without the sentinel.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Node> + '_ {
        self.nodes.iter().map(|(&lo, &hi)| Node { lo, hi })
    }

    /// The ranges that begin below `lo`, highest first.
    pub(super) fn below(&self, lo: u64) -> impl Iterator<Item = Node> + '_ {
        self.nodes.range(..lo).rev().map(|(&lo, &hi)| Node { lo, hi })
    }

    /// The node after the one at `lo`; `None` above the sentinel.
    pub(super) fn next_above(&self, lo: u64) -> Option<Node> {
        let from = lo.checked_add(1)?;
        let above = self.nodes.range(from..).next().map(|(&lo, &hi)| Node { lo, hi });
        above.or(self.anchor.filter(|anchor| anchor.lo > lo))
    }

    /// The lowest node that begins at `pfn` or above.
    ///
    /// The kernel's `iova_find_limit()` may instead stop at a node that straddles `pfn`. The search that follows
    /// cannot tell: it would step over that node anyway, and fails in the same cases.
    pub(super) fn first_from(&self, pfn: u64) -> Option<Node> {
        let above = self.nodes.range(pfn..).next().map(|(&lo, &hi)| Node { lo, hi });
        above.or(self.anchor)
    }

    /// The node that contains `pfn`. Source: `drivers/iommu/iova.c: private_find_iova()`, v6.12.
    pub(super) fn find(&self, pfn: u64) -> Option<Node> {
        if let Some((&lo, &hi)) = self.nodes.range(..=pfn).next_back()
            && pfn <= hi
        {
            return Some(Node { lo, hi });
        }
        self.anchor.filter(|anchor| anchor.lo <= pfn)
    }

    /// Links a new range, unless another begins at the same page frame.
    pub(super) fn insert(&mut self, node: Node) -> bool {
        if self.is_anchor(node) {
            return false;
        }
        match self.nodes.entry(node.lo) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(node.hi);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Unlinks the node that begins at `node.lo`, the sentinel included.
    pub(super) fn remove(&mut self, node: Node) {
        if self.is_anchor(node) {
            self.anchor = None;
        } else {
            let removed = self.nodes.remove(&node.lo);
            debug_assert_eq!(removed, Some(node.hi), "only linked nodes are removed");
        }
    }

    /// Moves a node's start down to `lo`, keeping its place in the order.
    pub(super) fn extend_down(&mut self, node: Node, lo: u64) -> Node {
        debug_assert!(lo < node.lo, "a range is only ever extended");
        let extended = Node { lo, hi: node.hi };
        if self.is_anchor(node) {
            self.anchor = Some(extended);
        } else {
            self.nodes.remove(&node.lo);
            self.nodes.insert(lo, node.hi);
        }
        extended
    }

    /// The first node, in order, that shares a page frame with `lo..=hi`, given that ranges are disjoint.
    pub(super) fn first_overlap(&self, lo: u64, hi: u64) -> Option<Node> {
        let straddling = self.nodes.range(..=lo).next_back().map(|(&lo, &hi)| Node { lo, hi });
        if let Some(node) = straddling.filter(|node| lo <= node.hi && hi >= node.lo) {
            return Some(node);
        }
        let node = match lo.checked_add(1) {
            Some(from) => self.nodes.range(from..).next().map(|(&lo, &hi)| Node { lo, hi }),
            None => None,
        };
        node.or(self.anchor).filter(|node| lo <= node.hi && hi >= node.lo)
    }
}
