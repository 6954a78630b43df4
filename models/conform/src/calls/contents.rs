//! Test D: what lies in the bounce buffer, and in the original, at each step.

use models::mem::{DmaAddr, PhysAddr};
use models::swiotlb::{BounceRules, Copy, Direction, Way};

use super::flushes::{Told, What};
use super::line::{Line, hex};
use super::session::{Check, Session};

const ROW: &str = "D contents";
/// Bytes mapped.
const SIZE: u64 = 4096;
/// What the driver fills its buffer with.
const ORIGINAL: u8 = b'O';
/// What it lets the device write.
const DEVICE: u8 = b'D';
/// A made-up place that every mask reaches, for a buffer whose place is not printed; it begins within a page.
const LOW: u64 = 0x1_0100;
/// One that no mask below 64 bits reaches.
const HIGH: u64 = (1 << 60) + 0x100;

/// The mapping under test.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    orig: u64,
    /// Where the device sees it; `None` if the map failed.
    buffer: Option<DmaAddr>,
    /// The address is that of a slot.
    bounced: bool,
    direction: Direction,
    /// 1: nothing is copied on request; 2: not on unmap.
    variant: u64,
}

impl Session<'_> {
    pub(super) fn contents(&mut self, line: &Line) -> Option<()> {
        if line.value("dir").is_some() {
            self.unmap_probe();
            return self.map_probe(line);
        }
        let step = line.words().nth(1)?;
        let probe = self.probe.clone()?;
        let buffer = probe.buffer?;
        match step.split(['(', ':']).next()? {
            "dev_wrote" => self.bytes.fill(buffer.0, SIZE, DEVICE),
            "sync_for_cpu" => {
                if BounceRules::copies_for_cpu(probe.direction) == Some(true) {
                    self.bounce(&probe, 0, SIZE, Way::ToOriginal);
                }
            }
            "sync_range_for_cpu" => {
                let (offset, size) = step.split_once('(')?.1.split_once(')')?.0.split_once(',')?;
                let (offset, size): (u64, u64) = (offset.parse().ok()?, size.parse().ok()?);
                if offset > SIZE || size > SIZE {
                    return None;
                }
                if BounceRules::copies_for_cpu(probe.direction) == Some(true) {
                    self.bounce(&probe, offset, size, Way::ToOriginal);
                }
            }
            "cpu_wrote+sync_for_device" => {
                self.bytes.fill(probe.orig, 1, b'X');
                self.bytes.fill(probe.orig + 2000, 1, b'Y');
                if self.machine.rules.bounce.copies_for_device(probe.direction) == Some(true) {
                    self.bounce(&probe, 0, SIZE, Way::ToSlots);
                }
            }
            "unmapped" => self.unmap_probe(),
            _ => return None,
        }
        self.compare_bytes(line, &probe, &line.text, None)
    }

    fn map_probe(&mut self, line: &Line) -> Option<()> {
        let direction = match line.value("dir")? {
            "BIDIRECTIONAL" => Direction::Bidirectional,
            "TO_DEVICE" => Direction::ToDevice,
            "FROM_DEVICE" => Direction::FromDevice,
            _ => return None,
        };
        let variant = line.dec("variant")?;
        let recorded_bounced = line.value("bounced")? == "1";
        // Whether a device that need not bounce does, depends on the buffer's place, which is not printed.
        let determined = self.paths.translated() || self.paths.direct.forced() || !self.paths.direct.active();
        let high = !determined && recorded_bounced;
        let orig = if high { HIGH } else { LOW };
        self.bytes.fill(orig - 256, SIZE + 512, ORIGINAL);
        let what = What::Page { phys: PhysAddr(orig), size: SIZE, coherent: false };
        let translated = self.paths.translated();
        let addr = if translated {
            let params = self.params;
            self.paths.with_domain(false, |domain, call| domain.map_unseen(call, &params, what)).ok()
        } else {
            self.paths.map_what(&self.params, what, Told::Nothing).modelled.ok()
        };
        let bounced = !translated && addr.is_some_and(|addr| self.paths.direct.bounced(addr));
        // What the device sees is the original itself, unless it bounced.
        let buffer = if bounced { addr } else { addr.map(|_| DmaAddr(orig)) };
        let probe = Probe { orig, buffer, bounced, direction, variant };
        if bounced && self.machine.rules.bounce.copies_on_map(direction, false) {
            self.bounce(&probe, 0, SIZE, Way::ToSlots);
        }
        let text = line.text.split_once("at_map:")?.1;
        self.compare_bytes(line, &probe, text, Some((recorded_bounced, bounced)))?;
        self.probe = Some(probe);
        Some(())
    }

    /// Copies as the pool says, if the mapping bounced.
    fn bounce(&mut self, probe: &Probe, offset: u64, size: u64, way: Way) {
        let (true, Some(buffer)) = (probe.bounced, probe.buffer) else { return };
        let bounce = self.paths.direct.bounce(&self.params, buffer.wrapping_add(offset), size, way);
        let Some(Copy { orig, slot_off, len, way }) = bounce.copy else { return };
        let start = self.paths.direct.pool().map_or(0, |pool| pool.start().0);
        match way {
            Way::ToSlots => self.bytes.copy(orig.0, start + slot_off, len),
            Way::ToOriginal => self.bytes.copy(start + slot_off, orig.0, len),
        }
    }

    pub(super) fn unmap_probe(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        let Some(buffer) = probe.buffer else { return };
        let skips = matches!(probe.variant, 1 | 2);
        if BounceRules::copies_on_unmap(probe.direction, skips) {
            self.bounce(&probe, 0, SIZE, Way::ToOriginal);
        }
        if self.paths.translated() {
            let now = self.paths.now;
            self.paths.now = self.paths.earlier;
            self.paths.then(|paths| paths.with_domain(false, |domain, call| domain.unmap_unseen(call, SIZE)));
            self.paths.now = now;
        } else {
            self.paths.unmap(&self.params, buffer, SIZE);
        }
    }

    /// Compares each `NAME[OFFSET]=VALUE`; a name left out is that of the one before.
    fn compare_bytes(
        &mut self,
        line: &Line,
        probe: &Probe,
        text: &str,
        bounced: Option<(bool, bool)>,
    ) -> Option<()> {
        let mut recorded = Vec::new();
        let mut modelled = Vec::new();
        if let Some((seen, expected)) = bounced {
            recorded.push(format!("bounced={}", u8::from(seen)));
            modelled.push(format!("bounced={}", u8::from(expected)));
        }
        let mut name = "orig";
        let mut unknown = false;
        for word in text.split_ascii_whitespace().filter(|word| word.contains('[')) {
            let (place, value) = word.split_once('=')?;
            let (before, offset) = place.trim_end_matches(']').split_once('[')?;
            if !before.is_empty() {
                name = before;
            }
            let offset: i64 = offset.parse().ok()?;
            let value = u8::try_from(hex(value)?).ok()?;
            let base = if name == "buf" { probe.buffer?.0 } else { probe.orig };
            match self.bytes.at(base.checked_add_signed(offset)?) {
                Some(known) => {
                    recorded.push(format!("{name}[{offset}]={value:02x}"));
                    modelled.push(format!("{name}[{offset}]={known:02x}"));
                }
                None => unknown = true,
            }
        }
        if recorded.is_empty() {
            return None;
        }
        if unknown {
            self.tally(line, "bytes that others left in the pool before (the rest of the line is compared)");
        }
        let (recorded, modelled) = (recorded.join(" "), modelled.join(" "));
        self.check(Check { row: ROW, line, recorded, modelled, why: None });
        Some(())
    }
}
