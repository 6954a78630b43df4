//! The pages that make up a table.

use std::collections::BTreeMap;

use crate::mem::PhysAddr;

use super::entries::Entries;
use super::entry::level_shift;
use super::outcome::{FreedPage, MapError};

/// One page of entries; an index into [`Tables`], never reused while the page is part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableId(u32);

#[derive(Clone, Debug)]
struct TablePage {
    page: PhysAddr,
    level: u32,
    /// Taken out when the page is freed.
    entries: Option<Entries>,
    /// Who the entries refer to, by slot, so that a walk need not search for an address. Empty at level 1. Only
    /// meaningful where the entry refers to a table.
    children: Vec<(usize, TableId)>,
}

/// All table pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pages: Vec<TablePage>,
    vacant: Vec<TableId>,
    by_page: BTreeMap<PhysAddr, TableId>,
    /// The level 1 table that was found last, and the 2 MiB region it serves: most operations follow one at a
    /// neighbouring address, and so need not walk. Forgotten when that table is freed; what a table serves never
    /// changes before.
    last_leaf_table: Option<(u64, TableId)>,
}

/// The 2 MiB region of an address.
const fn region(addr: u64) -> u64 {
    addr >> level_shift(2)
}

impl Tables {
    /// Adds an empty table.
    pub(super) fn add(&mut self, page: PhysAddr, level: u32) -> Result<TableId, MapError> {
        if self.by_page.contains_key(&page) {
            return Err(MapError::PageInUse(page));
        }
        let table = TablePage { page, level, entries: Some(Entries::default()), children: Vec::new() };
        let id = if let Some(id) = self.vacant.pop() {
            self.pages[id.0 as usize] = table;
            id
        } else {
            // An index that does not fit would need 16 TiB of tables.
            let id = TableId(u32::try_from(self.pages.len()).unwrap_or(u32::MAX));
            self.pages.push(table);
            id
        };
        self.by_page.insert(page, id);
        Ok(id)
    }

    /// Takes a table out; `None` if it is out already.
    pub(super) fn free(&mut self, id: TableId) -> Option<FreedPage> {
        let table = self.pages.get_mut(id.0 as usize)?;
        let entries = table.entries.take()?;
        table.children = Vec::new();
        self.by_page.remove(&table.page);
        self.vacant.push(id);
        if self.last_leaf_table.is_some_and(|(_, last)| last == id) {
            self.last_leaf_table = None;
        }
        Some(FreedPage { page: table.page, level: table.level, entries })
    }

    /// The level 1 table for `addr`, if it was the last one found.
    pub(super) fn leaf_table(&self, addr: u64) -> Option<TableId> {
        self.last_leaf_table.filter(|&(last, _)| last == region(addr)).map(|(_, id)| id)
    }

    /// Remembers the level 1 table for `addr`.
    pub(super) fn found_leaf_table(&mut self, addr: u64, id: TableId) {
        debug_assert_eq!(self.pages[id.0 as usize].level, 1, "only level 1 is remembered");
        self.last_leaf_table = Some((region(addr), id));
    }

    /// Forgets it: the way there from the root may have changed.
    pub(super) const fn forget_leaf_table(&mut self) {
        self.last_leaf_table = None;
    }

    #[inline]
    pub(super) fn entry(&self, id: TableId, slot: usize) -> u64 {
        self.pages[id.0 as usize].entries.as_ref().map_or(0, |entries| entries[slot])
    }

    /// All entries of a table; `None` if it was freed.
    pub(super) fn entries(&self, id: TableId) -> Option<&Entries> {
        self.pages[id.0 as usize].entries.as_ref()
    }

    #[inline]
    pub(super) fn set(&mut self, id: TableId, slot: usize, raw: u64) {
        if let Some(entries) = self.pages[id.0 as usize].entries.as_mut() {
            entries.set(slot, raw);
        }
    }

    /// Makes an entry refer to `child`.
    pub(super) fn link(&mut self, id: TableId, slot: usize, raw: u64, child: TableId) {
        self.set(id, slot, raw);
        let children = &mut self.pages[id.0 as usize].children;
        match children.binary_search_by_key(&slot, |&(slot, _)| slot) {
            Ok(at) => children[at].1 = child,
            Err(at) => children.insert(at, (slot, child)),
        }
    }

    /// The table that an entry refers to, given that it does.
    pub(super) fn child(&self, id: TableId, slot: usize) -> TableId {
        let children = &self.pages[id.0 as usize].children;
        let found = children.binary_search_by_key(&slot, |&(slot, _)| slot);
        found.map_or(id, |at| children[at].1)
    }

    pub(super) fn page(&self, id: TableId) -> PhysAddr {
        self.pages[id.0 as usize].page
    }

    pub(super) fn at(&self, page: PhysAddr) -> Option<(u32, &Entries)> {
        let id = self.by_page.get(&page)?;
        let table = &self.pages[id.0 as usize];
        table.entries.as_ref().map(|entries| (table.level, entries))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PhysAddr, u32)> + '_ {
        self.by_page.iter().map(|(&page, id)| (page, self.pages[id.0 as usize].level))
    }

    pub(super) fn len(&self) -> usize {
        self.by_page.len()
    }
}
