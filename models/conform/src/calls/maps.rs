//! Tests B and C: single maps, and the order in which places are taken, freed and taken again.

use models::dma::rules::dma_bit_mask;
use models::mem::{DmaAddr, PhysAddr};

use super::line::{Line, hex};
use super::session::{Check, Session, shown};

const SINGLE: &str = "B single maps";
const ORDER: &str = "C fill, hole, refill";

impl Session<'_> {
    /// `B mask=64 zone=normal min_align=fff off=4 phys=104200004 size=1522 -> 7c06b004 i2p=7c06b004`: mapped, printed,
    /// unmapped.
    pub(super) fn single(&mut self, line: &Line) -> Option<()> {
        let Some(result) = line.result() else {
            line.hex("block")?;
            self.tally(line, "input: where the test's memory lies");
            return Some(());
        };
        let bits = u32::try_from(line.dec("mask")?).ok()?;
        let min_align = u32::try_from(line.hex("min_align")?).ok()?;
        let (phys, size) = (PhysAddr(line.hex("phys")?), line.size()?);
        let mut words = result.split_ascii_whitespace();
        let recorded = match words.next()? {
            "ERROR" => None,
            addr => Some(DmaAddr(hex(addr)?)),
        };
        let leads_to = match recorded {
            Some(_) => Some(line.hex("i2p")?),
            None => None,
        };
        self.params.mask = dma_bit_mask(bits);
        self.params.min_align_mask = min_align;
        let mapped = self.paths.map(&self.params, phys, size, recorded);
        let modelled = self.paths.shown_map(&mapped, phys, false);
        let recorded_text = match (recorded, leads_to) {
            (Some(addr), Some(leads_to)) => format!("{addr:x} i2p={leads_to:x}"),
            _ => shown(None),
        };
        let check = Check { row: SINGLE, line, recorded: recorded_text, modelled, why: mapped.why };
        self.check(check);
        if let Some(addr) = recorded {
            self.forget_bounced(addr, size);
            self.paths.unmap(&self.params, addr, size);
        }
        Some(())
    }

    /// What a map of unknown bytes leaves in the pool is unknown.
    pub(super) fn forget_bounced(&mut self, addr: DmaAddr, size: u64) {
        if self.paths.direct.bounced(addr) && !self.paths.translated() {
            self.bytes.forget(addr.0, size);
        }
    }

    pub(super) fn order(&mut self, line: &Line) -> Option<()> {
        if line.hex("block").is_some() {
            self.tally(line, "input: where the test's memory lies");
            return Some(());
        }
        let size = line.size()?;
        match line.words().nth(2)? {
            "map" => {
                let phys = PhysAddr(line.hex("phys")?);
                let result = line.result()?;
                let recorded = match line.hex("dma") {
                    Some(addr) => Some(DmaAddr(addr)),
                    None if result.contains("ERROR") => None,
                    None => return None,
                };
                let mapped = self.paths.map(&self.params, phys, size, recorded);
                let modelled = self.paths.shown_map(&mapped, phys, true);
                let recorded_text = if recorded.is_some() { result.to_owned() } else { shown(None) };
                let check = Check { row: ORDER, line, recorded: recorded_text, modelled, why: mapped.why };
                self.check(check);
                if let Some(addr) = recorded {
                    self.forget_bounced(addr, size);
                }
            }
            "unmap" => {
                let addr = DmaAddr(line.hex("dma")?);
                // Printed before or after: only a call later than the line before is certain.
                let (params, now) = (self.params, self.paths.now);
                self.paths.now = self.paths.earlier;
                self.paths.unmap(&params, addr, size);
                self.paths.now = now;
                self.tally(line, "input: unmaps");
            }
            _ => return None,
        }
        Some(())
    }
}
