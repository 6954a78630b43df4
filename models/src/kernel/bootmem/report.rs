//! What the oracle of boot memory says.

use sim::Draft;

use super::super::{Kx, reserved_by, seconds};
use super::GivenBack;
use crate::mem::PhysRange;

impl Kx {
    /// Who has reserved a range, for a report.
    pub(super) fn owners_of(&self, range: PhysRange) -> Vec<(String, Vec<String>)> {
        let mem = self.k.mem.borrow();
        let line = |owned: &crate::memblock::OwnedRange| {
            format!("{}..{} {}", owned.range.start, owned.range.end, reserved_by(&owned.owner))
        };
        let mut lines: Vec<String> = mem.memblock.owners_in(range).iter().take(12).map(line).collect();
        if lines.is_empty() {
            lines.push("nobody".to_owned());
        }
        vec![("boot memory there".to_owned(), lines)]
    }

    pub(super) fn report_double_free(&self, what: &str, before: GivenBack) {
        let title = format!("{what}: given back before, in {} at {}", before.by, seconds(before.at));
        self.report(Draft::warning("double-free", title).discriminator(before.by), Vec::new);
    }

    pub(super) fn report_two_owners(&self, range: PhysRange, other: &str) {
        let title = format!(
            "{}..{} is given to {}, and belongs to another: {other}",
            range.start,
            range.end,
            self.function()
        );
        self.report(Draft::warning("overlapping-owners", title), || self.owners_of(range));
    }

    pub(super) fn report_gone(&self, what: &str) {
        let title =
            format!("{what} in {} looks at the lists of memblock, which were discarded", self.function());
        self.report(Draft::warning("memblock-gone", title), Vec::new);
    }
}
