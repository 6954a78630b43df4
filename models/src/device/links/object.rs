//! `struct device_link`, and what a device keeps of its links.

use sim::cell::{Cell, RefCell};

use crate::device::Device;
use crate::mem::Ptr;

mem::kobject! {
    /// One device cannot work without another. The offsets are approximate: a `struct device` lies in it.
    ///
    /// Source: `include/linux/device.h: struct device_link`, v6.1, v6.12.
    pub struct DeviceLink = "struct device_link" {
        /// The one that is needed.
        supplier: Ptr<Device> = 0x0,
        /// The one that needs it.
        consumer: Ptr<Device> = 0x18,
        /// `DL_STATE_*`.
        status: u32 = 0x320,
        /// `DL_FLAG_*`.
        flags: u32 = 0x324,
        /// Who still uses it (`kref`).
        kref: u32 = 0x32c,
    }
    beside {
        /// The driver core has let the consumer's driver rely on the supplier's: for the oracle.
        promised: Cell<bool>,
    }
    size 0x358;
}

/// State of a link. Source: `include/linux/device.h: enum device_link_state`, v6.1, v6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The driver core does not look after it.
    None,
    /// Neither has a driver, or the supplier has none.
    Dormant,
    /// The supplier has its driver, the consumer none.
    Available,
    /// The consumer is being probed.
    ConsumerProbe,
    /// Both have their drivers.
    Active,
    /// The supplier's driver is being unbound.
    SupplierUnbind,
}

impl LinkState {
    /// The kernel's number.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::None => u32::MAX,
            Self::Dormant => 0,
            Self::Available => 1,
            Self::ConsumerProbe => 2,
            Self::Active => 3,
            Self::SupplierUnbind => 4,
        }
    }

    /// The state of this number; what is no number of a state counts as none.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number {
            0 => Self::Dormant,
            1 => Self::Available,
            2 => Self::ConsumerProbe,
            3 => Self::Active,
            4 => Self::SupplierUnbind,
            _ => Self::None,
        }
    }

    /// As sysfs names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "not tracked",
            Self::Dormant => "dormant",
            Self::Available => "available",
            Self::ConsumerProbe => "consumer probing",
            Self::Active => "active",
            Self::SupplierUnbind => "supplier unbinding",
        }
    }

    /// What a new link begins with.
    ///
    /// Source: `drivers/base/core.c: device_link_init_status()`, v6.1, v6.12.
    #[must_use]
    pub const fn initial(consumer: Presence, supplier: Presence) -> Self {
        match (supplier, consumer) {
            (Presence::Probing | Presence::Bound, Presence::Probing) => Self::ConsumerProbe,
            (Presence::Bound, Presence::Bound) => Self::Active,
            (Presence::Bound, Presence::NoDriver | Presence::Unbinding) => Self::Available,
            (Presence::Unbinding, _) => Self::SupplierUnbind,
            (Presence::NoDriver | Presence::Probing, _) => Self::Dormant,
        }
    }
}

/// Whether a device has a driver, as its links know it. Source: `include/linux/device.h: enum dl_dev_state`, v6.1, v6.12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// None.
    #[default]
    NoDriver,
    /// One is being tried.
    Probing,
    /// It is bound.
    Bound,
    /// It is being unbound.
    Unbinding,
}

/// What a device keeps of its links (`struct dev_links_info`).
#[derive(Debug, Default)]
pub struct NodeLinks {
    /// Links to those that it needs.
    pub(super) suppliers: RefCell<Vec<Ptr<DeviceLink>>>,
    /// Links to those that need it.
    pub(super) consumers: RefCell<Vec<Ptr<DeviceLink>>>,
    /// Whether it has a driver.
    pub(super) status: Cell<Presence>,
}

impl NodeLinks {
    /// Links to those that it needs.
    #[must_use]
    pub fn suppliers(&self) -> Vec<Ptr<DeviceLink>> {
        self.suppliers.borrow().clone()
    }

    /// Links to those that need it.
    #[must_use]
    pub fn consumers(&self) -> Vec<Ptr<DeviceLink>> {
        self.consumers.borrow().clone()
    }

    /// Whether it has a driver.
    #[must_use]
    pub fn status(&self) -> Presence {
        self.status.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_begins_with_what_both_ends_are_at() {
        use Presence as P;
        let all = [P::NoDriver, P::Probing, P::Bound, P::Unbinding];
        let state = |consumer, supplier| LinkState::initial(consumer, supplier);
        assert!(all.iter().all(|consumer| state(*consumer, P::NoDriver) == LinkState::Dormant));
        assert!(all.iter().all(|consumer| state(*consumer, P::Unbinding) == LinkState::SupplierUnbind));
        assert_eq!(
            all.map(|consumer| state(consumer, P::Probing)),
            [LinkState::Dormant, LinkState::ConsumerProbe, LinkState::Dormant, LinkState::Dormant]
        );
        assert_eq!(
            all.map(|consumer| state(consumer, P::Bound)),
            [LinkState::Available, LinkState::ConsumerProbe, LinkState::Active, LinkState::Available]
        );
        for number in 0..5 {
            assert_eq!(LinkState::of(number).number(), number);
        }
        assert_eq!(LinkState::of(LinkState::None.number()), LinkState::None);
    }
}
