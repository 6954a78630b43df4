//! The register of kernel objects: every one that ever lived in this run, the dead included.

use super::addr::{PhysAddr, PhysRange};

/// Where in the modelled kernel something was done, by whom and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The kernel function.
    pub func: &'static str,
    /// The context's name, as an id of the caller's name table.
    pub ctx: u32,
    /// Virtual time in nanoseconds.
    pub time_ns: u64,
    /// Engine step.
    pub step: u64,
}

/// What is known of one object, alive or freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// The type as the kernel spells it: "struct device".
    pub type_name: &'static str,
    /// Its bytes.
    pub range: PhysRange,
    /// Whether it has not been freed yet.
    pub alive: bool,
    /// Who allocated it.
    pub alloc: Site,
    /// Who freed it.
    pub free: Option<Site>,
}

/// All objects of a run, by id. Ids count from 1, in the order of allocation, and are never used again: an id 0 is
/// "no object".
#[derive(Debug, Default)]
pub struct ObjectTable {
    records: Vec<ObjectRecord>,
}

impl ObjectTable {
    /// Enters a new object and returns its id, or `None` after 2^30 objects in one run.
    pub(crate) fn insert(&mut self, type_name: &'static str, range: PhysRange, alloc: Site) -> Option<u32> {
        let id = u32::try_from(self.records.len() + 1).ok().filter(|&id| id < 1 << 30)?;
        self.records.push(ObjectRecord { type_name, range, alive: true, alloc, free: None });
        Some(id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut ObjectRecord> {
        self.records.get_mut((id as usize).checked_sub(1)?)
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
    }

    /// The object's record, alive or not; `None` for 0 and for an id that was never given out.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&ObjectRecord> {
        self.records.get((id as usize).checked_sub(1)?)
    }

    /// Number of objects that ever lived in this run.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was ever allocated.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All objects with their ids, in the order of allocation.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &ObjectRecord)> {
        let id = |index: usize| u32::try_from(index + 1).unwrap_or(0);
        self.records.iter().enumerate().map(move |(index, record)| (id(index), record))
    }

    /// Objects that are still alive: at the end of a run, what leaked.
    pub fn live(&self) -> impl Iterator<Item = (u32, &ObjectRecord)> {
        self.iter().filter(|(_, record)| record.alive)
    }

    /// The dead that once lay at `addr`, the last allocated first. Searches them all: for reports.
    pub fn former_at(&self, addr: PhysAddr) -> impl Iterator<Item = (u32, &ObjectRecord)> {
        self.iter().rev().filter(move |(_, record)| !record.alive && record.range.contains(addr))
    }
}
