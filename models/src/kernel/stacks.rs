//! Who allocated and who freed an object, with call stacks: kept only if a report is wanted.

use std::collections::BTreeMap;

/// Call stacks of one object's life, innermost first.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    /// Where it was allocated.
    pub alloc: Vec<&'static str>,
    /// Where it was freed.
    pub free: Vec<&'static str>,
}

/// By heap id.
pub(super) type StackTable = BTreeMap<u32, Stacks>;
