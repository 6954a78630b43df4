//! What widens windows. Each is absent unless named; strengths are drawn for each seed, up to what is given.

use serde::{Deserialize, Serialize};

/// All injections of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inject {
    /// Delays a context before a step.
    pub delay: Option<Delay>,
    /// Fails memory allocations.
    pub alloc_fail: Option<AllocFail>,
    /// Lets a probe return `-EPROBE_DEFER`.
    pub probe_defer: Option<Chance>,
    /// Lets drivers probe before the IOMMU is set up, as drivers at early initcall levels do.
    pub probe_before_init: Option<Window>,
    /// Pulls devices out at any time.
    pub hot_unplug: Option<HotUnplug>,
    /// Takes memory away from the page allocator.
    pub memory_pressure: Option<Chance>,
    /// Raises interrupts that no device asked for.
    pub spurious_irq: Option<Chance>,
    /// Delays interrupts.
    pub late_irq: Option<Delay>,
    /// Overwrites fields of an object: the hypothesis that somebody tramples on it.
    pub trample: Option<Trample>,
    /// Virtual milliseconds after power-on at which injection stops, so that everything can settle.
    pub settle_ms: u64,
}

impl Default for Inject {
    fn default() -> Self {
        Self {
            delay: None,
            alloc_fail: None,
            probe_defer: None,
            probe_before_init: None,
            hot_unplug: None,
            memory_pressure: None,
            spurious_irq: None,
            late_irq: None,
            trample: None,
            settle_ms: 10_000,
        }
    }
}

/// A delay of up to `max_us`, at `percent` of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Longest delay in microseconds.
    pub max_us: u64,
    /// How often.
    pub percent: u32,
}

/// Allocations that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocFail {
    /// How many of a thousand.
    pub per_mille: u32,
}

/// How likely something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// Of a hundred.
    pub percent: u32,
}

/// How long before its time something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Microseconds.
    pub max_us: u64,
}

/// Devices that are pulled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotUnplug {
    /// At most so many.
    pub devices: u32,
    /// How likely for each.
    pub percent: u32,
}

/// Fields that are overwritten with junk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trample {
    /// C type of the object: `"struct device"`.
    pub object: String,
    /// Which fields may be hit. Empty: any.
    #[serde(default)]
    pub fields: Vec<String>,
    /// How likely in a run.
    pub percent: u32,
    /// Only the object of this device, by its address. Absent: any.
    #[serde(default)]
    pub device: Option<String>,
}
