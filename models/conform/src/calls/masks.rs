//! Test A: masks and limits.

use models::dma::rules::{
    DEFAULT_MAX_SEGMENT, DMA_BIT_MASK_32, dma_bit_mask, dma_direct_max_mapping_size,
    dma_direct_required_mask, dma_direct_supported,
};
use models::mem::PAGE_SIZE;
use models::swiotlb::ZONE_DMA_LIMIT;

use super::line::Line;
use super::session::{Check, Session};

const ROW: &str = "A masks and limits";
/// `-EIO`.
const EIO: i64 = -5;

impl Session<'_> {
    pub(super) fn masks(&mut self, line: &Line) -> Option<()> {
        match line.words().nth(1)? {
            "domain" => {
                self.paths.learn(line)?;
                self.tally(line, "input: a domain's page sizes and aperture are the hardware's");
                Some(())
            }
            "mask" => self.mask(line),
            word if word.starts_with("dev=") => self.device(line),
            word if word.starts_with("min_align=") => self.min_align(line),
            _ => None,
        }
    }

    fn device(&mut self, line: &Line) -> Option<()> {
        let value = |key: &str| line.value(key);
        value("dev")?.clone_into(&mut self.paths.device);
        let kind = line.hex("type")?;
        self.params.bus_limit = line.hex("bus_dma_limit")?;
        self.params.min_align_mask = u32::try_from(line.hex("min_align")?).ok()?;
        self.params.max_segment = u32::try_from(line.hex("max_seg")?).ok()?;
        self.params.boundary = line.hex("seg_boundary")?;
        let recorded_kind = self.paths.attach(value("domain")? == "yes", kind);
        let translated = self.paths.translated();
        let ops = if translated && self.machine.rules.dma_iommu.ops_pointer { "set" } else { "NULL" };
        let show = |ops: &str, kind: u64, segment: u64, boundary: u64| {
            format!("dma_ops={ops} type={kind:x} max_seg={segment:x} seg_boundary={boundary:x}")
        };
        let recorded =
            show(value("dma_ops")?, kind, u64::from(self.params.max_segment), self.params.boundary);
        let modelled =
            show(ops, recorded_kind.unwrap_or(kind), u64::from(DEFAULT_MAX_SEGMENT), DMA_BIT_MASK_32);
        self.check(Check { row: ROW, line, recorded, modelled, why: None });
        Some(())
    }

    fn supported(&self, mask: u64) -> bool {
        match self.machine.memory_end {
            _ if self.paths.translated() => true,
            Some(end) => dma_direct_supported(mask, end, Some(ZONE_DMA_LIMIT)),
            None => mask >= ZONE_DMA_LIMIT,
        }
    }

    fn required(&self) -> Option<u64> {
        if self.paths.translated() {
            return Some(DMA_BIT_MASK_32);
        }
        self.machine.memory_end.map(dma_direct_required_mask)
    }

    fn max_mapping(&self) -> Option<u64> {
        if self.paths.translated() {
            return Some(u64::MAX);
        }
        let direct = &self.paths.direct;
        let required = self.required()?;
        Some(dma_direct_max_mapping_size(
            direct.forced(),
            direct.active(),
            self.params.limit(),
            required,
            self.params.limits(),
        ))
    }

    fn mask(&mut self, line: &Line) -> Option<()> {
        let bits = u32::try_from(line.dec("bits")?).ok()?;
        let mask = dma_bit_mask(bits);
        let answer = if self.supported(mask) {
            self.params.mask = mask;
            self.params.coherent_mask = mask;
            0
        } else {
            EIO
        };
        let (Some(required), Some(max)) = (self.required(), self.max_mapping()) else {
            self.tally(line, "how much memory there is is unknown");
            return Some(());
        };
        let translated = self.paths.translated();
        let opt = if translated { self.machine.rules.dma_iommu.opt_mapping_size().min(max) } else { max };
        let merge = if translated { PAGE_SIZE - 1 } else { 0 };
        let modelled = format!(
            "set_mask={answer} set_coherent_mask={answer} dev_mask={:x} coherent={:x} required={required:x} max_mapping={max:x} opt_mapping={opt:x} merge_boundary={merge:x}",
            self.params.mask, self.params.coherent_mask,
        );
        let recorded = line.text.split_once(" set_mask=")?.1;
        let recorded = format!("set_mask={}", recorded.trim_end());
        self.check(Check { row: ROW, line, recorded, modelled, why: None });
        Some(())
    }

    /// The driver sets the mask, asks, and takes it back.
    fn min_align(&mut self, line: &Line) -> Option<()> {
        let recorded = line.hex("max_mapping")?;
        self.params.min_align_mask = u32::try_from(line.hex("min_align")?).ok()?;
        let max = self.max_mapping();
        self.params.min_align_mask = 0;
        let Some(max) = max else {
            self.tally(line, "how much memory there is is unknown");
            return Some(());
        };
        let (recorded, modelled) = (format!("max_mapping={recorded:x}"), format!("max_mapping={max:x}"));
        self.check(Check { row: ROW, line, recorded, modelled, why: None });
        Some(())
    }
}
