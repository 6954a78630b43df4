//! Which way a mapping of dma-direct goes: as it is, or through the pool.

use models::dma::rules::{DirectWay, dma_direct_way, dma_reaches};
use models::mem::DmaAddr;

use super::event::Event;
use super::names::Names;
use super::tally::{Compared, Tally};
use crate::Exception;

const SUBJECT: &str = "direct or bounced";

/// What decides, apart from the device's mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// Every mapping bounces.
    pub(super) force: bool,
    /// There is a pool.
    pub(super) active: bool,
}

impl Ways {
    /// Compares what an event shows of the way. `in_pool` says whether an address lies in the pool.
    pub(super) fn event(
        self,
        at: u64,
        event: Event<'_>,
        names: &mut Names,
        in_pool: impl Fn(u64) -> bool,
        tally: &mut Tally,
    ) {
        match event {
            Event::Bounced { dev, mask, orig, size } => {
                let dev = names.number(dev);
                names.set_mask(dev, mask);
                self.compare(at, dev, (orig, size), true, names, tally);
            }
            // A bounced one was counted above; what is neither is behind an IOMMU.
            Event::MapPage { dev, dma, size, phys } if dma == phys => {
                let dev = names.number(dev);
                self.compare(at, dev, (phys, size), false, names, tally);
            }
            Event::MapSg { dev, dma, sizes, phys, .. } => {
                let dev = names.number(dev);
                for ((dma, size), phys) in dma.iter().zip(sizes.iter()).zip(phys.iter()) {
                    if let (Some(dma), Some(size), Some(phys)) = (dma, size, phys)
                        && dma == phys
                        && !in_pool(dma)
                    {
                        self.compare(at, dev, (phys, size), false, names, tally);
                    }
                }
            }
            _ => {}
        }
    }

    fn compare(
        self,
        at: u64,
        dev: u32,
        (phys, size): (u64, u64),
        bounced: bool,
        names: &Names,
        tally: &mut Tally,
    ) {
        // A bounce shows the mask with it. Else it is the driver's, and one that nobody names may set another at any time.
        let known = names.mask(dev).filter(|_| bounced || names.parameters(dev).is_some());
        let Some(mask) = known else {
            let why = if names.mask(dev).is_some() {
                "nobody says which driver the device has, and so which mask"
            } else {
                "the device's DMA mask is not known"
            };
            tally.open(SUBJECT, why, at);
            return;
        };
        let addr = DmaAddr(phys);
        let way = dma_direct_way(self.force, self.active, dma_reaches(mask, 0, addr, size), addr);
        let agreed = bounced == (way == DirectWay::Bounce);
        let compared = Compared { subject: SUBJECT, row: SUBJECT, sure: true, agreed };
        tally.compare(&compared, None, || Exception {
            line: at,
            what: format!("{} maps {size} bytes at {phys:#x}, mask {mask:#x}", names.name(dev)),
            recorded: if bounced { "bounced" } else { "direct" }.to_owned(),
            modelled: match way {
                DirectWay::Direct(_) => "direct",
                DirectWay::Bounce => "bounced",
                DirectWay::Overflow => "out of reach, and there is no pool",
            }
            .to_owned(),
            why: None,
            detail: Vec::new(),
        });
    }
}
