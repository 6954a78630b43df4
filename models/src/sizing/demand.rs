//! What a workload needs, whatever the pool: slots alive at once, the largest request, what is never given back.

use super::workload::{What, Workload};
use crate::mem::PhysAddr;
use crate::swiotlb::{IO_TLB_SEGSIZE, Prepared, SearchPlan, SearchRules};

/// A workload is looked at in so many parts to see whether what is in use only ever grows.
pub(super) const PARTS: usize = 8;

/// What one device needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceDemand {
    /// Its name.
    pub name: String,
    /// Mappings it asked for.
    pub maps: u64,
    /// Mappings it never gave back.
    pub kept: u64,
    /// The most slots it had at once.
    pub peak: u64,
    /// Bytes of its largest request.
    pub largest: u64,
    /// The fewest slots it had in each part of the workload.
    pub low_water: [u64; PARTS],
}

/// What a workload needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The most slots that were alive at once.
    pub peak: u64,
    /// By device, in the order of [`Workload::devices`].
    pub devices: Vec<DeviceDemand>,
}

/// Adds up what `workload` needs under the rules of a version, as if there were always room. Requests longer than a
/// segment are counted, but need nothing: no pool serves them.
#[must_use]
pub fn demand(workload: &Workload, rules: SearchRules) -> Demand {
    let named = |name: &String| DeviceDemand { name: name.clone(), ..DeviceDemand::default() };
    let mut devices: Vec<_> = workload.devices.iter().map(|device| named(&device.name)).collect();
    let mut alive = vec![0_u64; devices.len()];
    let mut taken: Vec<Option<(u32, u64)>> = vec![None; workload.maps() as usize];
    let (mut live, mut peak) = (0, 0);
    let count = workload.events.len();
    for (nth, event) in workload.events.iter().enumerate() {
        // The first event of a part: what is in use is the part's first mark.
        let part = nth * PARTS / count.max(1);
        if nth == 0 || (nth - 1) * PARTS / count.max(1) != part {
            for (device, &alive) in devices.iter_mut().zip(&alive) {
                device.low_water[part] = alive;
            }
        }
        match event.what {
            What::Map { id, device, request } => {
                let at = device as usize;
                let limits = workload.devices[at].limits;
                let slots = Prepared::new(rules, limits, &request).map_or(0, |prepared| {
                    u64::from(SearchPlan::new(rules, limits, PhysAddr(0), &prepared.request).nslots)
                });
                devices[at].maps += 1;
                devices[at].largest = devices[at].largest.max(request.mapping_size);
                if slots > u64::from(IO_TLB_SEGSIZE) {
                    // No pool serves it: it needs no slots, and there is nothing to give back.
                    continue;
                }
                taken[id.index()] = Some((device, slots));
                devices[at].kept += 1;
                alive[at] += slots;
                live += slots;
                devices[at].peak = devices[at].peak.max(alive[at]);
                peak = peak.max(live);
            }
            What::Unmap { id } => {
                if let Some((device, slots)) = taken[id.index()].take() {
                    let at = device as usize;
                    devices[at].kept -= 1;
                    alive[at] -= slots;
                    live -= slots;
                    devices[at].low_water[part] = devices[at].low_water[part].min(alive[at]);
                }
            }
        }
    }
    Demand { peak, devices }
}
