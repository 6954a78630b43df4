//! Attributes of a mapping.

use crate::scenario::schema::Attr;

/// The `DMA_ATTR_*` that decide anything here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    /// `DMA_ATTR_SKIP_CPU_SYNC`: the caller syncs by itself.
    pub skip_cpu_sync: bool,
    /// `DMA_ATTR_NO_WARN`: no message when the mapping fails.
    pub no_warn: bool,
}

impl Attrs {
    /// From a scenario's list.
    #[must_use]
    pub fn new(list: &[Attr]) -> Self {
        Self { skip_cpu_sync: list.contains(&Attr::SkipCpuSync), no_warn: list.contains(&Attr::NoWarn) }
    }

    /// With `DMA_ATTR_SKIP_CPU_SYNC`.
    #[must_use]
    pub const fn with_skip_cpu_sync(self) -> Self {
        Self { skip_cpu_sync: true, ..self }
    }
}
