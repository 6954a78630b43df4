//! dma-direct, with and without a pool.

use models::dma::rules::{DirectWay, dma_direct_way, dma_reaches};
use models::mem::{DmaAddr, PhysAddr};
use models::profile::Version;
use models::swiotlb::{Bounce, MapRequest, Pool, Way};

use super::{DmaParams, MapFailed};

/// dma-direct and the default pool, as all devices of a machine share it.
#[derive(Clone, Debug)]
pub struct DirectDma {
    version: Version,
    pool: Option<Pool>,
    force: bool,
}

impl DirectDma {
    /// Without a pool, or with one; `force` as the command line has it. Without a pool nothing can be forced, save in
    /// versions in which the command line's word alone counts.
    #[must_use]
    pub const fn new(version: Version, pool: Option<Pool>, force: bool) -> Self {
        Self { version, pool, force }
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// Whether there is a pool with slots. Source: `kernel/dma/swiotlb.c: is_swiotlb_active()`.
    #[must_use]
    pub fn active(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.size().nslabs > 0)
    }

    /// Whether every mapping bounces. Source: `include/linux/swiotlb.h: is_swiotlb_force_bounce()`.
    #[must_use]
    pub const fn forced(&self) -> bool {
        self.force && self.pool.is_some()
    }

    /// Whether an address is one of the pool's. Source: `include/linux/swiotlb.h: is_swiotlb_buffer()`.
    #[must_use]
    pub fn bounced(&self, addr: DmaAddr) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.contains(PhysAddr(addr.0)))
    }

    /// The way that a mapping goes.
    #[must_use]
    pub fn way(&self, params: &DmaParams, phys: PhysAddr, size: u64) -> DirectWay {
        let addr = DmaAddr(phys.0);
        let reaches = dma_reaches(params.mask, params.bus_limit, addr, size);
        let active = self.active() || self.version.base() < Version::V5_19;
        dma_direct_way(self.forced(), active, reaches, addr)
    }

    /// Source: `kernel/dma/direct.h: dma_direct_map_page()`, `kernel/dma/swiotlb.c: swiotlb_map()`.
    ///
    /// # Errors
    ///
    /// [`MapFailed`].
    pub fn map_page(
        &mut self,
        cpu: u32,
        params: &DmaParams,
        phys: PhysAddr,
        size: u64,
    ) -> Result<DmaAddr, MapFailed> {
        match self.way(params, phys, size) {
            DirectWay::Direct(addr) => return Ok(addr),
            DirectWay::Overflow => return Err(MapFailed::Overflow),
            DirectWay::Bounce => {}
        }
        let Some(pool) = self.pool.as_mut() else { return Err(MapFailed::Overflow) };
        let limits = params.limits();
        let mapping = pool.map(cpu, limits, &MapRequest::plain(phys, size)).map_err(MapFailed::Pool)?;
        let addr = DmaAddr(mapping.tlb_addr.0);
        if !dma_reaches(params.mask, params.bus_limit, addr, size) {
            pool.release_slots(limits, mapping.tlb_addr);
            return Err(MapFailed::SlotsOverflow);
        }
        Ok(addr)
    }

    /// The slots that a map on `cpu` would get, if it bounces.
    pub fn foresee(&mut self, cpu: u32, params: &DmaParams, phys: PhysAddr, size: u64) -> Option<DmaAddr> {
        if self.way(params, phys, size) != DirectWay::Bounce {
            return None;
        }
        let pool = self.pool.as_mut()?;
        let slots = pool.foresee(cpu, params.limits(), &MapRequest::plain(phys, size)).ok()?;
        Some(DmaAddr(slots.0))
    }

    /// Source: `kernel/dma/direct.h: dma_direct_unmap_page()`.
    pub fn unmap_page(&mut self, params: &DmaParams, addr: DmaAddr) {
        if self.bounced(addr)
            && let Some(pool) = self.pool.as_mut()
        {
            pool.release_slots(params.limits(), PhysAddr(addr.0));
        }
    }

    /// Maps entries of (address, bytes) one by one; all or none.
    ///
    /// Source: `kernel/dma/direct.c: dma_direct_map_sg()`.
    ///
    /// # Errors
    ///
    /// The first entry's [`MapFailed`]; those before it are unmapped again.
    pub fn map_sg(
        &mut self,
        cpu: u32,
        params: &DmaParams,
        entries: &[(PhysAddr, u32)],
    ) -> Result<Vec<DmaAddr>, MapFailed> {
        let mut mapped = Vec::with_capacity(entries.len());
        for (phys, length) in entries {
            match self.map_page(cpu, params, *phys, u64::from(*length)) {
                Ok(addr) => mapped.push(addr),
                Err(failed) => {
                    for addr in mapped {
                        self.unmap_page(params, addr);
                    }
                    return Err(failed);
                }
            }
        }
        Ok(mapped)
    }

    /// The copy of a bounce; nothing for an address outside the pool.
    #[must_use]
    pub fn bounce(&self, params: &DmaParams, addr: DmaAddr, size: u64, way: Way) -> Bounce {
        let pool = self.pool.as_ref().filter(|pool| pool.contains(PhysAddr(addr.0)));
        pool.map(|pool| pool.bounce(params.limits(), PhysAddr(addr.0), size, way)).unwrap_or_default()
    }

    /// After a contradiction: a mapping was made at `recorded` (or failed), while the model says `modelled`. What the
    /// model took goes back, and what was recorded is taken. Says whether the state can hold it.
    pub fn accept(
        &mut self,
        params: &DmaParams,
        phys: PhysAddr,
        size: u64,
        modelled: Option<DmaAddr>,
        recorded: Option<DmaAddr>,
    ) -> bool {
        if let Some(addr) = modelled {
            self.unmap_page(params, addr);
        }
        match recorded {
            Some(addr) if self.bounced(addr) => {
                let request = MapRequest::plain(phys, size);
                let pool = self.pool.as_mut();
                pool.and_then(|pool| pool.place(params.limits(), &request, PhysAddr(addr.0))).is_some()
            }
            Some(addr) => addr.0 == phys.0,
            None => true,
        }
    }
}
