//! Test I: a domain of the driver's own, mapped, looked up and unmapped through the IOMMU core.

use models::iommu::pagetable::{MapError, PageTable, Prot};
use models::iommu::rules::{iommu_attach_device_allowed, vtd_second_level_of};
use models::iommu::viommu::ViommuDomain;
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr};

use super::line::{Line, hex};
use super::machine::IommuKind;
use super::session::{Check, Session};

const ROW: &str = "I iommu_domain";
/// No map of the test driver is larger than 1 GiB; more would only cost time.
const LARGEST: u64 = 1 << 33;
/// The driver's maps come to little more than 1 GiB in all.
const LARGEST_SUM: u64 = 1 << 36;

/// What translates.
#[derive(Debug)]
enum Translation {
    Table(Box<PageTable>),
    Viommu(ViommuDomain),
}

/// The domain under test.
#[derive(Debug, Default)]
pub(super) struct RawDomain {
    table: Option<Translation>,
    mapped: u64,
    pgsizes: u64,
    last: u64,
    next_page: u64,
}

/// Levels of a VT-d table for addresses up to `last`. Source: `drivers/iommu/intel/iommu.h: width_to_agaw()`.
fn levels(last: u64) -> u32 {
    match u64::BITS - last.leading_zeros() {
        0..=39 => 3,
        40..=48 => 4,
        _ => 5,
    }
}

/// The kernel's error number.
const fn errno(error: MapError) -> i64 {
    match error {
        MapError::NoMemory | MapError::NullRoot => -12,
        MapError::BeyondWidth => -14,
        MapError::Exists(_) => -17,
        MapError::Invalid | MapError::DataAsTable { .. } | MapError::PageInUse(_) => -22,
    }
}

impl RawDomain {
    fn fresh(next: &mut u64) -> Option<PhysAddr> {
        *next += PAGE_SIZE;
        Some(PhysAddr((1 << 51) + *next))
    }

    fn remake(&mut self, kind: IommuKind) {
        let next = &mut self.next_page;
        let mut source = || Self::fresh(next);
        let table = match kind {
            IommuKind::Vtd => PageTable::vtd_second_level(levels(self.last), &mut source),
            IommuKind::Amd => PageTable::amd_v1(&mut source),
            IommuKind::Virtio => {
                self.table = Some(Translation::Viommu(ViommuDomain::new(self.pgsizes)));
                return;
            }
        };
        let sized = |table: PageTable| Translation::Table(Box::new(table.with_pgsizes(self.pgsizes)));
        self.table = table.ok().map(sized);
    }

    /// The kernel's answer: 0, or an error number.
    fn map(&mut self, iova: DmaAddr, phys: PhysAddr, size: u64) -> Option<i64> {
        let next = &mut self.next_page;
        let error = match self.table.as_mut()? {
            Translation::Table(table) => {
                let mapped = table.map(iova, phys, size, Prot::READ_WRITE, &mut || Self::fresh(next));
                mapped.err().map(|failure| failure.error)
            }
            Translation::Viommu(domain) => domain.map(iova, phys, size).err(),
        };
        Some(error.map_or(0, errno))
    }

    fn unmap(&mut self, iova: DmaAddr, size: u64) -> Option<u64> {
        Some(match self.table.as_mut()? {
            Translation::Table(table) => table.unmap(iova, size).bytes,
            Translation::Viommu(domain) => domain.unmap(iova, size),
        })
    }

    fn lookup(&self, iova: DmaAddr) -> Option<u64> {
        Some(match self.table.as_ref()? {
            Translation::Table(table) => {
                table.lookup(iova).map_or(0, |leaf| leaf.phys.0.wrapping_add(iova.0 - leaf.iova.0))
            }
            Translation::Viommu(domain) => domain.iova_to_phys(iova).map_or(0, |phys| phys.0),
        })
    }
}

impl Session<'_> {
    pub(super) fn raw_domain(&mut self, line: &Line) -> Option<()> {
        let word = line.words().nth(1)?;
        if word == "no" {
            let modelled = if self.paths.translated() { "a domain" } else { "no iommu domain" }.to_owned();
            let recorded = line.text.split_once(' ')?.1.trim_end().to_owned();
            self.check(Check { row: ROW, line, recorded, modelled, why: None });
            return Some(());
        }
        let Some(kind) = self.machine.iommu else {
            self.tally(line, "a domain of an IOMMU that there is no model of");
            return Some(());
        };
        match word {
            "domain" => {
                self.raw.pgsizes = line.hex("pgsize_bitmap")?;
                self.raw.last = hex(line.value("aperture")?.split_once('-')?.1)?;
                self.raw.remake(kind);
                self.tally(line, "input: a domain's page sizes and aperture are the hardware's");
                Some(())
            }
            "attach" => self.attach(line, kind),
            "detached" => {
                self.raw.table = None;
                self.tally(line, "lines about the driver itself");
                Some(())
            }
            _ if self.raw.table.is_none() => {
                self.tally(line, "calls on a domain whose beginning is not in the log");
                Some(())
            }
            "map" => self.raw_map(line),
            "unmap" => self.raw_unmap(line),
            "iova_to_phys" | "after:" => self.raw_lookup(line, word),
            _ => None,
        }
    }

    /// An attached domain has what the device's IOMMU can do; VT-d knows only then.
    fn attach(&mut self, line: &Line, kind: IommuKind) -> Option<()> {
        let recorded = line.result()?.to_owned();
        let allowed = match self.paths.group_size() {
            Some(devices) => iommu_attach_device_allowed(devices),
            None => recorded == "0",
        };
        let modelled = if allowed { "0" } else { "-22" }.to_owned();
        self.check(Check { row: ROW, line, recorded, modelled, why: None });
        if allowed && kind == IommuKind::Vtd {
            let unit = self.machine.vtd_cap.map(vtd_second_level_of);
            let unit = unit.filter(|(_, width)| *width != 0).map(|(sizes, width)| (sizes, (1 << width) - 1));
            let own = || self.paths.shape().filter(|shape| shape.pgsizes != 0);
            if let Some((sizes, last)) =
                unit.or_else(|| own().map(|shape| (shape.pgsizes, shape.aperture_end)))
            {
                (self.raw.pgsizes, self.raw.last) = (sizes, last);
                self.raw.remake(kind);
            }
        }
        Some(())
    }

    fn raw_map(&mut self, line: &Line) -> Option<()> {
        let (iova, phys, size) = (DmaAddr(line.hex("iova")?), PhysAddr(line.hex("phys")?), line.hex("size")?);
        self.raw.mapped = self.raw.mapped.saturating_add(size);
        if size > LARGEST || self.raw.mapped > LARGEST_SUM {
            return None;
        }
        let recorded = line.result()?.to_owned();
        let modelled = self.raw.map(iova, phys, size)?;
        self.check(Check { row: ROW, line, recorded, modelled: modelled.to_string(), why: None });
        Some(())
    }

    fn raw_unmap(&mut self, line: &Line) -> Option<()> {
        let (iova, size) = (DmaAddr(line.hex("iova")?), line.hex("size")?);
        if size > LARGEST {
            return None;
        }
        let recorded = line.result()?.to_owned();
        let bytes = self.raw.unmap(iova, size)?;
        self.check(Check { row: ROW, line, recorded, modelled: format!("{bytes:x}"), why: None });
        Some(())
    }

    fn raw_lookup(&mut self, line: &Line, word: &str) -> Option<()> {
        let place = if word == "after:" { 3 } else { 2 };
        let iova = DmaAddr(hex(line.words().nth(place)?)?);
        let recorded = line.result()?.to_owned();
        let phys = self.raw.lookup(iova)?;
        self.check(Check { row: ROW, line, recorded, modelled: format!("{phys:x}"), why: None });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_width() {
        let width = |bits: u32| (1_u64 << bits) - 1;
        assert_eq!([39, 40, 48, 57].map(|bits| levels(width(bits))), [3, 4, 4, 5]);
    }
}
