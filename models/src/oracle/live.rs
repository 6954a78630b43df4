//! The live mappings, for whoever wants to see them.

use super::dma_debug::{dir_name, type_name};
use super::ledger::Ledger;
use crate::dma::Ops;
use crate::mem::{DmaAddr, PhysAddr, Site};

/// A live mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveMapping {
    /// Number of the device.
    pub device: usize,
    /// Where the device finds it.
    pub dma: DmaAddr,
    /// Bytes.
    pub size: u64,
    /// Direction, as `DMA_TO_DEVICE`.
    pub dir: &'static str,
    /// How it was asked for, in the words of DMA-API debugging.
    pub kind: &'static str,
    /// Through which implementation.
    pub ops: Ops,
    /// Whether its unmap has begun.
    pub leaving: bool,
    /// Who mapped it, and when.
    pub since: Site,
    /// The call stack of that, innermost first; empty unless the run is recorded.
    pub stack: Vec<&'static str>,
    /// Its pieces.
    pub pieces: Vec<LivePiece>,
}

/// A piece of a mapping whose buffer is in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivePiece {
    /// Where the device finds it.
    pub dma: DmaAddr,
    /// Bytes.
    pub len: u64,
    /// The buffer.
    pub phys: PhysAddr,
    /// The memory that the device reaches: the buffer, or the slots of a pool.
    pub target: PhysAddr,
}

impl Ledger {
    /// The live mappings, by device and address.
    #[must_use]
    pub fn mappings(&self) -> Vec<LiveMapping> {
        let live = self.live.borrow();
        let mut all: Vec<LiveMapping> = live
            .iter()
            .map(|mapping| LiveMapping {
                device: mapping.device,
                dma: mapping.new.dma,
                size: mapping.new.size,
                dir: dir_name(mapping.new.dir),
                kind: type_name(mapping.new.kind),
                ops: mapping.new.ops,
                leaving: mapping.leaving,
                since: mapping.since,
                stack: mapping.stack.clone(),
                pieces: mapping
                    .pieces
                    .iter()
                    .map(|piece| LivePiece {
                        dma: piece.dma,
                        len: piece.len,
                        phys: piece.phys,
                        target: piece.target,
                    })
                    .collect(),
            })
            .collect();
        all.sort_by_key(|mapping| (mapping.device, mapping.dma, mapping.since.step));
        all
    }
}
