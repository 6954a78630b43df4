//! Tests F and G: coherent memory, and pools of small blocks of it.

use std::collections::BTreeMap;

use models::dma::pool::DmaPool;
use models::dma::rules::{dma_bit_mask, dma_reaches};
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr};

use super::flushes::{Told, What};
use super::line::{Line, hex, index};
use super::session::{Check, Session, shown};

const COHERENT: &str = "F coherent memory";
const POOL: &str = "G dma_pool";
/// The driver keeps 24 blocks.
const MOST_BLOCKS: usize = 1 << 12;
/// A made-up place for memory whose place is not printed.
const SOMEWHERE: u64 = 1 << 40;

/// The pool under test.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pool: Option<DmaPool>,
    /// Blocks that the driver holds, by its numbers.
    held: BTreeMap<usize, DmaAddr>,
    /// Test F: coherent memory that the driver holds, with its size.
    coherent: Vec<(DmaAddr, u64)>,
    /// Mask and flags of that memory.
    round: String,
}

impl Session<'_> {
    /// `F alloc mask=32 gfp=KERNEL size=8 -> ok dma=f000 vmalloc=1 phys=103e9f000`: what has the same mask
    /// and flags is held together, and freed in the order in which it was allocated.
    pub(super) fn coherent(&mut self, line: &Line) -> Option<()> {
        let mask = dma_bit_mask(u32::try_from(line.dec("mask")?).ok()?);
        let size = line.size()?;
        let blocking = line.value("gfp")? == "KERNEL";
        let ok = match line.result()?.split(' ').next()? {
            "ok" => true,
            "FAIL" => false,
            _ => return None,
        };
        let (dma, remapped, phys) = (line.hex("dma")?, line.value("vmalloc")? == "1", line.hex("phys")?);
        let round = format!("{mask:x} {blocking}");
        if round != self.blocks.round {
            self.free_coherent_before();
            self.blocks.round = round;
        }
        self.params.mask = mask;
        self.params.coherent_mask = mask;
        if !self.paths.translated() {
            if !ok {
                self.tally(line, "coherent memory that the page allocator did not have");
                return Some(());
            }
            // The place is the page allocator's; dma-direct hands it on, if the device reaches it.
            let reaches = dma_reaches(mask, self.params.bus_limit, DmaAddr(phys), size);
            let modelled = if reaches { format!("dma={phys:x} vmalloc=0") } else { "FAIL".to_owned() };
            let recorded = format!("dma={dma:x} vmalloc={}", u8::from(remapped));
            self.check(Check { row: COHERENT, line, recorded, modelled, why: None });
            return Some(());
        }
        // Memory for a caller that may sleep is scattered, and remapped for the CPU.
        let what = What::Page { phys: PhysAddr(SOMEWHERE), size, coherent: true };
        let told = Told::of(ok.then_some(DmaAddr(dma)));
        let mapped = self.paths.map_what(&self.params, what, told);
        let show = |dma: Option<u64>, remapped: bool| match dma {
            Some(dma) => format!("ok dma={dma:x} vmalloc={}", u8::from(remapped)),
            None => "FAIL".to_owned(),
        };
        let recorded = show(ok.then_some(dma), remapped);
        let modelled = show(mapped.modelled.ok().map(|addr| addr.0), blocking);
        self.check(Check { row: COHERENT, line, recorded, modelled, why: mapped.why });
        if ok && self.blocks.coherent.len() < MOST_BLOCKS {
            self.blocks.coherent.push((DmaAddr(dma), size));
        }
        Some(())
    }

    fn free_coherent_before(&mut self) {
        let held = std::mem::take(&mut self.blocks.coherent);
        let params = self.params;
        self.paths.before_line(|paths| {
            for (dma, size) in held {
                paths.unmap(&params, dma, size);
            }
        });
    }

    pub(super) fn free_coherent(&mut self) {
        for (dma, size) in std::mem::take(&mut self.blocks.coherent) {
            self.paths.unmap(&self.params, dma, size);
        }
    }

    /// `G pool size=…`, `G alloc[I] -> X`, `G free[I] X`, `G realloc[I] -> X`.
    pub(super) fn blocks(&mut self, line: &Line) -> Option<()> {
        let word = line.words().nth(1)?;
        if word == "pool" {
            let times = (self.paths.now, self.paths.later);
            (self.paths.now, self.paths.later) = (self.paths.earlier, self.paths.now);
            self.destroy_blocks();
            (self.paths.now, self.paths.later) = times;
            let (size, align, boundary) = (line.size()?, line.dec("align")?, line.dec("boundary")?);
            let pool = DmaPool::create(self.machine.rules.pool_order, size, align, boundary);
            let recorded = if line.result()? == "ok" { "ok" } else { "none" }.to_owned();
            let modelled = if pool.is_ok() { "ok" } else { "none" }.to_owned();
            self.check(Check { row: POOL, line, recorded, modelled, why: None });
            self.blocks.pool = pool.ok();
            return Some(());
        }
        let number = index(word)?;
        if word.starts_with("free[") {
            let block = DmaAddr(hex(line.words().nth(2)?)?);
            self.blocks.pool.as_mut()?.free(block);
            self.blocks.held.remove(&number);
            self.tally(line, "input: blocks given back");
            return Some(());
        }
        if !word.starts_with("alloc[") && !word.starts_with("realloc[") || number >= MOST_BLOCKS {
            return None;
        }
        let recorded = hex(line.result()?)?;
        let (modelled, why) = self.block(recorded)?;
        self.check(Check { row: POOL, line, recorded: shown(Some(recorded)), modelled, why });
        self.blocks.held.insert(number, DmaAddr(recorded));
        Some(())
    }

    /// Takes a block; new memory is the page allocator's, or has a bus address of the domain.
    fn block(&mut self, recorded: u64) -> Option<(String, Option<String>)> {
        let mut why = None;
        let mut modelled = self.blocks.pool.as_mut()?.alloc();
        if modelled.is_none() {
            let size = self.blocks.pool.as_ref()?.allocation();
            // A fresh page's first block is its first byte.
            let place = DmaAddr(recorded & !(PAGE_SIZE - 1));
            let page = if self.paths.translated() {
                let what = What::Page { phys: PhysAddr(SOMEWHERE), size, coherent: true };
                let mapped = self.paths.map_what(&self.params, what, Told::Addr(place));
                why = mapped.why;
                mapped.modelled.ok()?
            } else {
                place
            };
            let pool = self.blocks.pool.as_mut()?;
            pool.add_page(page);
            modelled = pool.alloc();
            if page != place {
                // The state follows the log.
                let rest: Vec<DmaAddr> = std::iter::from_fn(|| pool.alloc()).collect();
                let _ = rest;
                pool.add_page(place);
                pool.alloc();
            }
        }
        Some((shown(modelled.map(|block| block.0)), why))
    }

    /// The driver gives everything back and destroys the pool.
    pub(super) fn destroy_blocks(&mut self) {
        let Some(mut pool) = self.blocks.pool.take() else { return };
        for block in std::mem::take(&mut self.blocks.held).into_values() {
            pool.free(block);
        }
        let size = pool.allocation();
        for page in pool.destroy() {
            if self.paths.translated() {
                self.paths.unmap(&self.params, page, size);
            }
        }
    }
}
