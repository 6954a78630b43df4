//! Devices by number, with what their drivers set.

use std::collections::BTreeMap;

use models::swiotlb::DmaLimits;

use super::drivers::{self, Parameters};
use super::folder::Folder;

/// More devices than this share one number.
const MAX: usize = 1 << 16;

/// The devices of a trace.
#[derive(Clone, Debug)]
pub(super) struct Names {
    numbers: BTreeMap<String, u32>,
    known: Vec<Entry>,
    /// Whether drivers are known at all.
    drivers: bool,
    facts: BTreeMap<String, (String, Option<u32>)>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    parameters: Option<Parameters>,
    mask: Option<u64>,
}

impl Names {
    /// No device yet; drivers as the folder knows them.
    pub(super) fn new(folder: &Folder) -> Self {
        let facts = folder.devices.iter();
        let facts: BTreeMap<_, _> =
            facts.map(|(name, device)| (name.clone(), (device.driver.clone(), device.mask_bits))).collect();
        let drivers = !facts.is_empty();
        Self { numbers: BTreeMap::new(), known: Vec::new(), drivers, facts }
    }

    /// The number of a device.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.known.len().min(MAX);
        if number < MAX {
            let (driver, bits) = self.facts.get(name).cloned().unwrap_or_default();
            let parameters = (!self.drivers || !driver.is_empty()).then(|| drivers::parameters(&driver));
            let mask = bits.map(|bits| 1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1));
            self.known.push(Entry { name: name.to_owned(), parameters, mask });
            self.numbers.insert(name.to_owned(), u32::try_from(number).unwrap_or(u32::MAX));
        }
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.known.get(number as usize)
    }

    /// What the driver sets; none if nobody says which driver it is.
    pub(super) fn parameters(&self, number: u32) -> Option<Parameters> {
        self.entry(number)?.parameters
    }

    /// Alignment and boundary, the defaults if they are not known.
    pub(super) fn limits(&self, number: u32) -> DmaLimits {
        self.parameters(number).unwrap_or_else(|| drivers::parameters("")).limits
    }

    /// The device's DMA mask, if it is known.
    pub(super) fn mask(&self, number: u32) -> Option<u64> {
        self.entry(number)?.mask
    }

    /// Notes the mask that an event shows.
    pub(super) fn set_mask(&mut self, number: u32, mask: u64) {
        if let Some(entry) = self.known.get_mut(number as usize) {
            entry.mask = Some(mask);
        }
    }

    /// The device's name.
    pub(super) fn name(&self, number: u32) -> &str {
        self.entry(number).map_or("a device", |entry| entry.name.as_str())
    }
}
