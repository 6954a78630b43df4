//! Compares what the kernel says of IOMMUs.

use super::replay::Replay;
use super::state::State;

impl Replay<'_> {
    pub(super) fn compare_iommu(&mut self, _state: Option<&State>) {}
}
