//! Compares how much memory the kernel says it has.

use super::replay::Replay;
use super::state::State;
use super::zones::{compare_value, kib};
use crate::Exception;

/// Pages of tables for the addresses of `vmalloc`, made before the line `Memory:` of v6.1: one for each entry of the
/// top table. With random bases the range begins inside an entry, mostly, and takes one more.
///
/// Source: `arch/x86/mm/init_64.c: preallocate_vmalloc_pages()`, `arch/x86/include/asm/pgtable_64_types.h`.
fn vmalloc_tables(five_levels: bool) -> u64 {
    if five_levels { 12_800 / 256 } else { 32 * 2 }
}

impl Replay<'_> {
    pub(super) fn compare_totals(&mut self, state: Option<&State>) {
        let Some(hand_over) = self.hand_over.clone() else { return };
        if let Some((line, memory)) = self.facts.memory {
            let total = kib(hand_over.total_pages);
            compare_value(self.report, "Memory: total KiB", line, &memory.total, &total);
            if self.reserved_known {
                let given = if self.rules.counts_early {
                    0
                } else {
                    self.facts.freed_before.saturating_add(kib(self.gigantic_pages))
                };
                let reserved = total.saturating_sub(kib(hand_over.freed_pages)).saturating_sub(given);
                compare_value(self.report, "Memory: reserved KiB", line, &memory.reserved, &reserved);
                if self.rules.counts_early {
                    self.compare_available(line, memory.available, hand_over.early_pages);
                } else {
                    let note = "\"available\" of the line Memory: is not determined: it is printed after all CPUs run";
                    self.report.notes.push(note.to_owned());
                }
            }
        }
        if let (Some((line, mem_total)), true) =
            (state.and_then(|state| state.mem_total), self.reserved_known)
        {
            let modelled = kib(hand_over.freed_pages)
                .saturating_add(self.facts.freed_before)
                .saturating_add(self.facts.freed_after)
                .saturating_add(kib(self.gigantic_pages));
            if !compare_value(self.report, "MemTotal KiB (state)", line, &mem_total, &modelled)
                && let Some(exception) = self.report.exceptions.last_mut()
            {
                exception.why = state.and_then(|state| state.later_memory(&self.facts.ram));
            }
        }
    }

    fn compare_available(&mut self, line: u64, recorded: u64, early_pages: u64) {
        let five_levels = self.facts.max_arch_pfn.is_some_and(|pfn| pfn > 1 << 34);
        let least = kib(early_pages.saturating_sub(vmalloc_tables(five_levels)));
        let name = "Memory: available KiB";
        if self.facts.is_nokaslr() {
            compare_value(self.report, name, line, &recorded, &least);
            return;
        }
        let agrees = recorded == least || recorded + 4 == least;
        self.report.count(name, agrees);
        if !agrees {
            self.report.exceptions.push(Exception {
                line,
                what: name.to_owned(),
                recorded: recorded.to_string(),
                modelled: format!("{least} or {}", least.saturating_sub(4)),
                why: None,
                detail: vec!["with random bases the tables for vmalloc take one page more or not".to_owned()],
            });
        }
    }
}
