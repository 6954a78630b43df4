//! What `CONFIG_DMA_API_DEBUG` checks, in the words that users know.
//!
//! The checks are made in every run, whatever the modelled kernel's configuration: they are an oracle. With the option on,
//! the modelled kernel says the first one in its log too, as the real one does. Two groups need an option here as there,
//! since much that is legal on a coherent machine breaks their rules: overlaps of cache lines (`CONFIG_DMA_API_DEBUG`)
//! and segments of scatterlists (`CONFIG_DMA_API_DEBUG_SG`).
//!
//! Source: `kernel/dma/debug.c`, v6.12.

mod map;
mod misuse;
mod sync;
mod unmap;

pub use map::reject_vmalloc;
pub(super) use map::{check_map, check_overlap, check_segment, segment_limits};
pub use misuse::Misuse;
pub use sync::Synced;
pub(super) use sync::check_sync;
pub use unmap::Unmapped;
pub(super) use unmap::check_unmap;

use sim::Draft;

use super::ledger::{MapKind, Mapping};
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::swiotlb::Direction;

/// So many functions of a mapping's call stack are told (`DMA_DEBUG_STACKTRACE_ENTRIES`).
const STACKTRACE_ENTRIES: usize = 5;

/// Tells of a mistake: to the campaign always, to the modelled log once, if the kernel was built so.
///
/// Source: `kernel/dma/debug.c: err_printk(), dump_entry_trace()`, `show_num_errors`.
fn err_printk(kx: &Kx, dev: Ptr<Device>, misuse: Misuse, entry: Option<&Mapping>, detail: &str) {
    let device = kx.k.dev_string(dev);
    let title = format!("DMA-API: {device}: {}{detail}", misuse.words());
    log(kx, &title, entry);
    let draft = Draft::warning("dma-api-misuse", title).discriminator(misuse.name());
    kx.report(draft, || entry.map(|entry| ("mapped at".to_owned(), mapped_at(entry))).into_iter().collect());
}

/// Says it in the modelled log, if this kernel has the option, the command line does not turn it off, and nothing was said
/// before (`show_num_errors` is 1).
pub(super) fn log(kx: &Kx, message: &str, entry: Option<&Mapping>) {
    if !is_on(kx) || !kx.k.globals.once("DMA-API") {
        return;
    }
    kx.log(|| "------------[ cut here ]------------".to_owned());
    kx.log(|| message.to_owned());
    kx.log(|| {
        format!("WARNING: CPU: {} Comm: {} at kernel/dma/debug.c {}", kx.cpu(), kx.name(), kx.function())
    });
    if let Some(entry) = entry {
        kx.log(|| "DMA-API: Mapped at:".to_owned());
        for frame in mapped_at(entry) {
            kx.log(|| format!(" {frame}"));
        }
    }
}

/// Whether the modelled kernel checks by itself.
pub(super) fn is_on(kx: &Kx) -> bool {
    kx.k.profile().config.dma_api_debug && !kx.k.scenario.command_line.dma_debug_off
}

fn mapped_at(entry: &Mapping) -> Vec<String> {
    let frames: Vec<String> =
        entry.stack.iter().take(STACKTRACE_ENTRIES).map(|frame| (*frame).to_owned()).collect();
    if frames.is_empty() { vec![entry.since.func.to_owned()] } else { frames }
}

/// Source: `kernel/dma/debug.c: type2name[]`.
pub(super) const fn type_name(kind: MapKind) -> &'static str {
    match kind {
        MapKind::Single => "single",
        MapKind::Scatter => "scatter-gather",
        MapKind::Coherent => "coherent",
        MapKind::User => "user",
    }
}

/// Source: `kernel/dma/debug.c: dir2name[]`.
pub(super) const fn dir_name(dir: Direction) -> &'static str {
    match dir {
        Direction::Bidirectional => "DMA_BIDIRECTIONAL",
        Direction::ToDevice => "DMA_TO_DEVICE",
        Direction::FromDevice => "DMA_FROM_DEVICE",
        Direction::None => "DMA_NONE",
    }
}
