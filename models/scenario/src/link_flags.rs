//! Flags of a device link: which of them a driver may ask for together.

use std::ops::{BitAnd, BitOr};

use schema::LinkFlag;

/// Flags of a link (`DL_FLAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFlags(pub u32);

impl LinkFlags {
    /// The driver core does not look after it.
    pub const STATELESS: Self = Self(1 << 0);
    /// It goes when the consumer's driver is unbound.
    pub const AUTOREMOVE_CONSUMER: Self = Self(1 << 1);
    /// The supplier is awake while the consumer is.
    pub const PM_RUNTIME: Self = Self(1 << 2);
    /// It goes when the supplier's driver is unbound.
    pub const AUTOREMOVE_SUPPLIER: Self = Self(1 << 4);
    /// The consumer is probed when the supplier's driver is bound.
    pub const AUTOPROBE_CONSUMER: Self = Self(1 << 5);
    /// The driver core looks after it.
    pub const MANAGED: Self = Self(1 << 6);
    /// The consumer may be probed without the supplier.
    pub const SYNC_STATE_ONLY: Self = Self(1 << 7);
    /// It was made of what the firmware says.
    pub const INFERRED: Self = Self(1 << 8);

    /// What only a managed link can have.
    pub const MANAGED_ONLY: Self = Self(
        Self::AUTOREMOVE_CONSUMER.0
            | Self::AUTOREMOVE_SUPPLIER.0
            | Self::AUTOPROBE_CONSUMER.0
            | Self::SYNC_STATE_ONLY.0
            | Self::INFERRED.0,
    );

    /// Those that a driver names.
    #[must_use]
    pub fn of(flags: &[LinkFlag]) -> Self {
        let one = |flag: &LinkFlag| match flag {
            LinkFlag::Stateless => Self::STATELESS,
            LinkFlag::AutoremoveConsumer => Self::AUTOREMOVE_CONSUMER,
            LinkFlag::AutoremoveSupplier => Self::AUTOREMOVE_SUPPLIER,
            LinkFlag::AutoprobeConsumer => Self::AUTOPROBE_CONSUMER,
            LinkFlag::SyncStateOnly => Self::SYNC_STATE_ONLY,
            LinkFlag::PmRuntime => Self::PM_RUNTIME,
        };
        flags.iter().map(one).fold(Self::default(), |all, flag| all | flag)
    }

    /// Whether it has any of these.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Without these.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Whether `device_link_add` takes them together.
    ///
    /// Source: `drivers/base/core.c: device_link_add()`, v6.1, v6.12.
    #[must_use]
    pub const fn are_valid(self) -> bool {
        let removes = self.has(Self(Self::AUTOREMOVE_CONSUMER.0 | Self::AUTOREMOVE_SUPPLIER.0));
        !(self.has(Self::STATELESS) && self.has(Self::MANAGED_ONLY)
            || self.has(Self::AUTOPROBE_CONSUMER) && removes
            || self.has(Self::SYNC_STATE_ONLY) && !self.is_sync_state_only())
    }

    /// Whether it says nothing but for whom the supplier must not settle.
    ///
    /// Source: `drivers/base/core.c: device_link_flag_is_sync_state_only()`, v6.1, v6.12.
    #[must_use]
    pub const fn is_sync_state_only(self) -> bool {
        self.without(Self(Self::INFERRED.0 | Self::MANAGED.0)).0 == Self::SYNC_STATE_ONLY.0
    }
}

impl BitOr for LinkFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for LinkFlags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_contradict_one_another_are_refused() {
        use LinkFlag as F;
        let valid = |flags: &[F]| LinkFlags::of(flags).are_valid();
        assert!(valid(&[]) && valid(&[F::Stateless]) && valid(&[F::Stateless, F::PmRuntime]));
        assert!(valid(&[F::AutoremoveConsumer, F::AutoremoveSupplier]));
        assert!(valid(&[F::AutoprobeConsumer, F::PmRuntime]) && valid(&[F::SyncStateOnly]));
        assert!(!valid(&[F::Stateless, F::AutoremoveConsumer]));
        assert!(!valid(&[F::AutoprobeConsumer, F::AutoremoveSupplier]));
        assert!(!valid(&[F::SyncStateOnly, F::PmRuntime]));
    }
}
