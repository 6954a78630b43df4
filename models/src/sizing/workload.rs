//! What was asked of the pool, in order.

use std::collections::BTreeMap;

use sim::Nanos;

use crate::swiotlb::{DmaLimits, MapRequest};

/// At most this many events are kept: what comes behind them is counted and dropped.
pub const MAX_EVENTS: usize = 4_000_000;

/// One bounce of a workload: its place among all that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapId(u32);

impl MapId {
    /// Its number.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A device, as far as the pool is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNeeds {
    /// Its name: bus address and driver, or what the trace calls it.
    pub name: String,
    /// What it demands of mappings.
    pub limits: DmaLimits,
}

/// Something that was asked of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A mapping is wanted.
    Map {
        /// Which one.
        id: MapId,
        /// Place of the device in [`Workload::devices`].
        device: u32,
        /// The request.
        request: MapRequest,
    },
    /// A mapping is given back.
    Unmap {
        /// Which one.
        id: MapId,
    },
}

/// When and on which CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Virtual time, or that of the trace.
    pub time: Nanos,
    /// Who asked.
    pub cpu: u32,
    /// What.
    pub what: What,
}

/// The bounces of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Who asked.
    pub devices: Vec<DeviceNeeds>,
    /// What was asked, in order.
    pub events: Vec<Event>,
    /// Events beyond [`MAX_EVENTS`], and returns of what was never seen to be mapped.
    pub dropped: u64,
    /// Mappings that the pool had no place for when the workload was recorded. How long they would have lived is not
    /// known: here they are given back at once.
    pub refused: u64,
    maps: u32,
    /// Mappings that were not given back yet, by what stands for them outside: a bounce address.
    live: BTreeMap<u64, MapId>,
}

impl Workload {
    /// The number of a device; equal ones have one.
    pub fn device(&mut self, name: &str, limits: DmaLimits) -> u32 {
        let known = self.devices.iter().position(|device| device.limits == limits && device.name == name);
        let index = known.unwrap_or_else(|| {
            self.devices.push(DeviceNeeds { name: name.to_owned(), limits });
            self.devices.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Enters a request.
    pub fn map(&mut self, time: Nanos, cpu: u32, device: u32, request: MapRequest) -> Option<MapId> {
        if self.events.len() >= MAX_EVENTS {
            self.dropped += 1;
            return None;
        }
        let id = MapId(self.maps);
        self.maps += 1;
        self.events.push(Event { time, cpu, what: What::Map { id, device, request } });
        Some(id)
    }

    /// Says under which address the device sees a mapping, so that its return can be told.
    pub fn given(&mut self, id: MapId, address: u64) {
        self.live.insert(address, id);
    }

    /// Notes that a mapping was refused, or undone because another one of its list was.
    pub fn refuse(&mut self, time: Nanos, cpu: u32, id: MapId) {
        self.refused += 1;
        if self.events.len() < MAX_EVENTS {
            self.events.push(Event { time, cpu, what: What::Unmap { id } });
        }
    }

    /// Enters the return of the mapping at `address`.
    pub fn unmap(&mut self, time: Nanos, cpu: u32, address: u64) {
        match self.live.remove(&address) {
            Some(id) if self.events.len() < MAX_EVENTS => {
                self.events.push(Event { time, cpu, what: What::Unmap { id } });
            }
            _ => self.dropped += 1,
        }
    }

    /// Whether a mapping at `address` was not given back yet.
    #[must_use]
    pub fn is_live(&self, address: u64) -> bool {
        self.live.contains_key(&address)
    }

    /// Keeps the first `most` events and counts the others as dropped.
    pub fn truncate(&mut self, most: usize) {
        let gone = self.events.split_off(most.min(self.events.len()));
        let maps = self.events.iter().filter(|event| matches!(event.what, What::Map { .. })).count();
        self.dropped += gone.len() as u64;
        // Numbers were given in the order of the events.
        self.maps = u32::try_from(maps).unwrap_or(u32::MAX);
        self.events.shrink_to_fit();
        self.live.clear();
    }

    /// Mappings that were asked for.
    #[must_use]
    pub const fn maps(&self) -> u32 {
        self.maps
    }

    /// CPUs that asked, at least 1.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.events.iter().map(|event| event.cpu.saturating_add(1)).max().unwrap_or(1)
    }

    /// From the first event to the last.
    #[must_use]
    pub fn span(&self) -> Nanos {
        let ends = self.events.first().zip(self.events.last());
        ends.map_or(0, |(first, last)| last.time.saturating_sub(first.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::PhysAddr;

    #[test]
    fn a_return_belongs_to_the_last_mapping_at_its_address() {
        let mut workload = Workload::default();
        let disk = workload.device("disk", DmaLimits::default());
        assert_eq!(workload.device("disk", DmaLimits::default()), disk);
        let request = MapRequest::plain(PhysAddr(0x1000), 512);
        let first = workload.map(0, 0, disk, request).unwrap();
        workload.given(first, 0x8000);
        workload.unmap(1, 1, 0x8000);
        let second = workload.map(2, 0, disk, request).unwrap();
        workload.given(second, 0x8000);
        workload.unmap(3, 0, 0x8000);
        workload.unmap(4, 0, 0x8000);
        let returned = workload.events.iter().filter_map(|event| match event.what {
            What::Unmap { id } => Some(id),
            What::Map { .. } => None,
        });
        assert_eq!((returned.collect::<Vec<_>>(), workload.dropped), (vec![first, second], 1));
        assert_eq!((workload.maps(), workload.cpus(), workload.span()), (2, 2, 3));
        workload.truncate(3);
        assert_eq!((workload.events.len(), workload.maps(), workload.dropped), (3, 2, 2));
        workload.truncate(2);
        assert_eq!((workload.events.len(), workload.maps(), workload.dropped), (2, 1, 3));
    }
}
