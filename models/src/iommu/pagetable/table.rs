//! The table itself: what all formats share, and the hardware's walk.

use crate::mem::{DmaAddr, PhysAddr};

use super::entries::Entries;
use super::entry::{Access, Entry, Format, Prot, level_bytes, level_shift, slot};
use super::outcome::{Fault, FaultKind, FreedPage, MapError, Mapped, Unmapped};
use super::split::{AMD_IOMMU_PGSIZES, VTD_PGSIZES};
use super::tables::{TableId, Tables};

/// Levels of a new AMD table. Source: `drivers/iommu/amd/io_pgtable.c: v1_alloc_pgtable()`, v6.12.
const AMD_INITIAL_LEVELS: u32 = 3;

/// A leaf as it covers an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First bus address it maps.
    pub iova: DmaAddr,
    /// First byte of the memory it maps to.
    pub phys: PhysAddr,
    /// Bytes it maps.
    pub size: u64,
    /// What may be done.
    pub prot: Prot,
    /// The level of its entry.
    pub level: u32,
}

/// One domain's page table.
///
/// [`Self::map`] and [`Self::unmap`] are the core's entry points; [`Self::map_pages`] and [`Self::unmap_pages`]
/// the driver's.
#[derive(Clone, Debug)]
pub struct PageTable {
    format: Format,
    pub(super) levels: u32,
    /// Bits of bus addresses, where that are fewer than the levels lead to.
    ias: u32,
    pgsize_bitmap: u64,
    /// Whether VT-d's driver makes room for large pages only where it will put some.
    pub(super) rounds_switch: bool,
    pub(super) root: Option<TableId>,
    pub(super) tables: Tables,
}

impl PageTable {
    /// An empty AMD table of three levels, which grows up to six.
    ///
    /// Source: `drivers/iommu/amd/io_pgtable.c: v1_alloc_pgtable()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError::NoMemory`] if `source` has no page for the root.
    pub fn amd_v1(source: &mut impl FnMut() -> Option<PhysAddr>) -> Result<Self, MapError> {
        Self::new(Format::AmdV1, AMD_INITIAL_LEVELS, AMD_IOMMU_PGSIZES, source)
    }

    /// An empty VT-d second-level table of `levels` (3, 4 or 5: 39, 48 or 57 bits).
    ///
    /// Source: `drivers/iommu/intel/iommu.c: paging_domain_alloc()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError::NoMemory`] if `source` has no page for the root; [`MapError::Invalid`] for other levels.
    pub fn vtd_second_level(
        levels: u32,
        source: &mut impl FnMut() -> Option<PhysAddr>,
    ) -> Result<Self, MapError> {
        if !(3..=5).contains(&levels) {
            return Err(MapError::Invalid);
        }
        Self::new(Format::VtdSecondLevel, levels, VTD_PGSIZES, source)
    }

    pub(super) fn new(
        format: Format,
        levels: u32,
        pgsize_bitmap: u64,
        source: &mut impl FnMut() -> Option<PhysAddr>,
    ) -> Result<Self, MapError> {
        let mut tables = Tables::default();
        let root = tables.add(source().ok_or(MapError::NoMemory)?, levels)?;
        Ok(Self {
            format,
            levels,
            ias: u64::BITS,
            pgsize_bitmap,
            rounds_switch: true,
            root: Some(root),
            tables,
        })
    }

    /// Leaves bus addresses of more than `ias` bits out.
    #[must_use]
    pub(super) const fn with_ias(mut self, ias: u32) -> Self {
        self.ias = ias;
        self
    }

    /// Restricts the page sizes to those in `pgsize_bitmap` (bit n: pages of 2^n bytes) that the format knows.
    /// 4 KiB pages always stay.
    #[must_use]
    pub const fn with_pgsizes(mut self, pgsize_bitmap: u64) -> Self {
        self.pgsize_bitmap &= pgsize_bitmap | crate::mem::PAGE_SIZE;
        self
    }

    /// Without rounding, VT-d's driver also takes the entry away that the rest of a range lies under, and what is mapped
    /// there beyond the range's end (v5.13 to v6.16).
    ///
    /// Source: `drivers/iommu/intel/iommu.c: __domain_mapping()`, `switch_to_super_page()`.
    #[must_use]
    pub const fn with_rounded_switch(mut self, rounds: bool) -> Self {
        self.rounds_switch = rounds;
        self
    }

    /// The page sizes in use: bit n stands for pages of 2^n bytes.
    #[must_use]
    pub const fn pgsize_bitmap(&self) -> u64 {
        self.pgsize_bitmap
    }

    /// The layout of the entries.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Levels, counted from the root's down to 1.
    #[must_use]
    pub const fn levels(&self) -> u32 {
        self.levels
    }

    /// The root table's page; `None` once VT-d's driver freed it by unmapping the whole address space.
    #[must_use]
    pub fn root(&self) -> Option<PhysAddr> {
        self.root.map(|root| self.tables.page(root))
    }

    /// The level and the entries of the table in `page`, if it is part of this one.
    #[must_use]
    pub fn table_at(&self, page: PhysAddr) -> Option<(u32, &Entries)> {
        self.tables.at(page)
    }

    /// All table pages with their levels, by address.
    pub fn table_pages(&self) -> impl Iterator<Item = (PhysAddr, u32)> + '_ {
        self.tables.iter()
    }

    /// Number of table pages.
    #[must_use]
    pub fn table_count(&self) -> usize {
        self.tables.len()
    }

    /// Maps `pgcount` pages of `pgsize` bytes, and adds to `done` what it did, also where it fails.
    ///
    /// Arm's driver maps what has its entries in one table, and leaves it to the core to call it again.
    ///
    /// Sources: `drivers/iommu/amd/io_pgtable.c: iommu_v1_map_pages()`,
    /// `drivers/iommu/intel/iommu.c: intel_iommu_map_pages()`, `drivers/iommu/io-pgtable-arm.c: arm_lpae_map_pages()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError`]. Nothing is rolled back.
    #[expect(clippy::too_many_arguments, reason = "the kernel's operation has these arguments")]
    pub fn map_pages(
        &mut self,
        iova: DmaAddr,
        phys: PhysAddr,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        done: &mut Mapped,
    ) -> Result<(), MapError> {
        let misaligned = !pgsize.is_power_of_two() || (iova.0 | phys.0) & (pgsize.wrapping_sub(1)) != 0;
        if misaligned || self.pgsize_bitmap & pgsize == 0 || prot == Prot::NONE {
            return Err(MapError::Invalid);
        }
        match self.format {
            Format::AmdV1 => self.amd_map_pages(iova, phys, pgsize, pgcount, prot, source, done),
            Format::VtdSecondLevel => self.vtd_map_pages(iova, phys, pgsize, pgcount, prot, source, done),
            Format::ArmLpaeS1 => self.arm_map_pages(iova, phys, pgsize, pgcount, prot, source, done),
        }
    }

    /// Unmaps `pgcount` pages of `pgsize` bytes (a power of two), as the driver does it.
    ///
    /// AMD stops at a hole, but an empty entry of a level 1 table counts as 4 KiB; table pages stay. VT-d counts
    /// what was asked, or the larger leaf or hole at `iova`; table pages that the range covers are freed. Arm stops at a hole
    /// and at the end of a table; a part of a large page is not unmapped, as there is no page for a table.
    ///
    /// Sources: `drivers/iommu/amd/io_pgtable.c: iommu_v1_unmap_pages()`,
    /// `drivers/iommu/intel/iommu.c: intel_iommu_unmap_pages()`, `drivers/iommu/io-pgtable-arm.c: arm_lpae_unmap_pages()`,
    /// v6.12.
    pub fn unmap_pages(&mut self, iova: DmaAddr, pgsize: u64, pgcount: u64) -> Unmapped {
        let mut unmapped = Unmapped::default();
        self.unmap_into(iova, (pgsize, pgcount), &mut || None, &mut unmapped);
        unmapped
    }

    /// One call of the driver's unmap, added to what was unmapped before; returns the bytes it counts.
    pub(super) fn unmap_into(
        &mut self,
        iova: DmaAddr,
        (pgsize, pgcount): (u64, u64),
        source: &mut impl FnMut() -> Option<PhysAddr>,
        unmapped: &mut Unmapped,
    ) -> u64 {
        let size = pgcount << pgsize.trailing_zeros();
        let bytes = match self.format {
            Format::AmdV1 => self.amd_unmap(iova, size),
            Format::VtdSecondLevel => self.vtd_unmap(iova, size, unmapped),
            Format::ArmLpaeS1 => self.arm_unmap(iova, (pgsize, pgcount), source, unmapped),
        };
        unmapped.bytes += bytes;
        bytes
    }

    /// Destroys the table; all its pages, in the driver's order.
    ///
    /// Sources: `drivers/iommu/amd/io_pgtable.c: v1_free_pgtable()`,
    /// `drivers/iommu/intel/iommu.c: domain_exit()`, `drivers/iommu/io-pgtable-arm.c: arm_lpae_free_pgtable()`, v6.12.
    #[must_use]
    pub fn free_pgtable(mut self) -> Vec<FreedPage> {
        let mut freed = Vec::new();
        if let Some(root) = self.root {
            match self.format {
                Format::AmdV1 | Format::ArmLpaeS1 => self.free_tree(root, self.levels, &mut freed),
                Format::VtdSecondLevel => self.vtd_free_all(&mut freed),
            }
        }
        freed
    }

    /// Where a device's access goes, walking the table as the hardware does.
    ///
    /// # Errors
    ///
    /// [`Fault`], with the level of the entry that stopped the walk.
    pub fn translate(&self, iova: DmaAddr, access: Access) -> Result<PhysAddr, Fault> {
        let leaf = self.walk(iova, Some(access))?;
        Ok(leaf.phys.wrapping_add(iova.0.wrapping_sub(leaf.iova.0)))
    }

    /// The leaf that maps `iova`, whatever it allows.
    ///
    /// Sources: `drivers/iommu/amd/io_pgtable.c: iommu_v1_iova_to_phys()`,
    /// `drivers/iommu/intel/iommu.c: intel_iommu_iova_to_phys()`, `drivers/iommu/io-pgtable-arm.c: arm_lpae_iova_to_phys()`,
    /// v6.12.
    #[must_use]
    pub fn lookup(&self, iova: DmaAddr) -> Option<Leaf> {
        self.walk(iova, None).ok()
    }

    /// The page of the table of the lowest level on the way to `iova`, if the way leads through one.
    #[must_use]
    pub fn lowest_table(&self, iova: DmaAddr) -> Option<PhysAddr> {
        let (mut table, mut level) = (self.root?, self.levels);
        while level > 1 {
            let index = slot(iova.0, level);
            let raw = self.tables.entry(table, index);
            let Entry::Table { .. } = Entry::decode(self.format, level, raw) else { return None };
            table = self.tables.child(table, index);
            level -= 1;
        }
        Some(self.tables.page(table))
    }

    /// All that is mapped, lowest first.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves: Vec<Leaf> = Vec::new();
        if let Some(root) = self.root {
            self.leaves_below(root, self.levels, 0, &mut leaves);
        }
        // A leaf of several entries was met at each of them.
        leaves.dedup_by_key(|leaf| leaf.iova);
        leaves
    }

    fn leaves_below(&self, table: TableId, level: u32, base: u64, leaves: &mut Vec<Leaf>) {
        for (index, raw) in self.tables.entries(table).into_iter().flat_map(Entries::present) {
            let at = base | (index as u64) << level_shift(level);
            match Entry::decode(self.format, level, raw) {
                Entry::Table { .. } if level > 1 => {
                    self.leaves_below(self.tables.child(table, index), level - 1, at, leaves);
                }
                Entry::Leaf { phys, size, prot } => {
                    leaves.push(Leaf { iova: DmaAddr(at & !(size - 1)), phys, size, prot, level });
                }
                Entry::Table { .. } | Entry::Empty | Entry::Reserved => {}
            }
        }
    }

    /// Whether no table of this many levels has an entry for `iova`.
    pub(super) const fn beyond_width(&self, iova: DmaAddr) -> bool {
        let bits = super::entry::level_shift(self.levels + 1);
        let bits = if self.ias < bits { self.ias } else { bits };
        bits < u64::BITS && iova.0 >> bits != 0
    }

    fn walk(&self, iova: DmaAddr, access: Option<Access>) -> Result<Leaf, Fault> {
        let mut level = self.levels;
        if self.beyond_width(iova) {
            return Err(Fault { kind: FaultKind::BeyondWidth, level });
        }
        let Some(mut table) = self.root else {
            return Err(Fault { kind: FaultKind::NotPresent, level });
        };
        // Entries for tables allow everything, so that skipping them skips no check.
        if let Some(leaf_table) = self.tables.leaf_table(iova.0) {
            (table, level) = (leaf_table, 1);
        }
        loop {
            let index = slot(iova.0, level);
            let entry = Entry::decode(self.format, level, self.tables.entry(table, index));
            let fault = |kind| Err(Fault { kind, level });
            let (Entry::Table { prot, .. } | Entry::Leaf { prot, .. }) = entry else {
                return fault(if entry == Entry::Empty {
                    FaultKind::NotPresent
                } else {
                    FaultKind::Reserved
                });
            };
            if access.is_some_and(|access| !prot.allows(access)) {
                return fault(FaultKind::Permission);
            }
            if let Entry::Leaf { phys, size, prot } = entry {
                return Ok(Leaf { iova: DmaAddr(iova.0 & !(size - 1)), phys, size, prot, level });
            }
            debug_assert!(level > 1 && level_bytes(level) > 0, "level 1 holds no tables");
            table = self.tables.child(table, index);
            level -= 1;
        }
    }
}
