//! Stream table entries and context descriptors of an SMMUv3: what their bits mean, and in which order software changes them
//! while the hardware may read them.
//!
//! An entry is words of 64 bits. The hardware reads each word at once, and the words of an entry in any order. It may keep
//! what it has read until a command tells it to forget that; so does everything that was written between two such commands
//! show in any mixture.

use crate::mem::PhysAddr;

/// Words of an entry that anybody uses; the others are 0.
pub(super) const WORDS: usize = 4;

/// An entry.
pub(super) type Words = [u64; WORDS];

/// Source: `arm-smmu-v3.h: STRTAB_STE_0_V`.
const STE_V: u64 = 1;
/// Source: `STRTAB_STE_0_CFG`.
const STE_CFG: u64 = 0b1110;
/// Source: `STRTAB_STE_0_CFG_BYPASS`.
const STE_CFG_BYPASS: u64 = 4 << 1;
/// Source: `STRTAB_STE_0_CFG_S1_TRANS`.
const STE_CFG_S1: u64 = 5 << 1;
/// Source: `STRTAB_STE_0_S1FMT`.
const STE_S1FMT: u64 = 0b11 << 4;
/// Source: `STRTAB_STE_0_S1CTXPTR_MASK`.
const STE_S1CTXPTR: u64 = 0x000f_ffff_ffff_ffc0;
/// Source: `STRTAB_STE_0_S1CDMAX`.
const STE_S1CDMAX: u64 = 0b1_1111 << 59;
/// Source: `STRTAB_STE_1_S1DSS_SSID0`: accesses without a number of a process use the first descriptor.
const STE1_S1DSS_SSID0: u64 = 2;
/// Source: `STRTAB_STE_1_S1CIR`, `STRTAB_STE_1_S1COR`: cached, with write-back; `STRTAB_STE_1_S1CSH`: inner shareable.
const STE1_S1C: u64 = 1 << 2 | 1 << 4 | 3 << 6;
/// All that stage 1 uses of the second word.
const STE1_S1: u64 = 0xff | 1 << 27 | 3 << 28 | 3 << 30;
/// Source: `STRTAB_STE_1_SHCFG`, `STRTAB_STE_1_SHCFG_INCOMING`.
const STE1_SHCFG: u64 = 3 << 44;
const STE1_SHCFG_INCOMING: u64 = 1 << 44;
/// Source: `STRTAB_STE_2_S2VMID`.
const STE2_S2VMID: u64 = 0xffff;

/// Source: `CTXDESC_CD_0_V`.
const CD_V: u64 = 1 << 31;
/// 4 KiB granule (0), write-back caches and inner shareable for walks; nothing above half of the addresses
/// (`CTXDESC_CD_0_TCR_EPD1`).
const CD_TCR: u64 = 1 << 8 | 1 << 10 | 3 << 12 | 1 << 30;
/// Source: `CTXDESC_CD_0_TCR_IPS`: memory of 48 bits.
const CD_IPS_48: u64 = 5 << 32;
/// Source: `CTXDESC_CD_0_AA64`, `CTXDESC_CD_0_R`, `CTXDESC_CD_0_A`, `CTXDESC_CD_0_ASET`.
const CD_FLAGS: u64 = 1 << 41 | 1 << 45 | 1 << 46 | 1 << 47;
/// Source: `CTXDESC_CD_1_TTB0_MASK`.
const CD1_TTB0: u64 = 0x000f_ffff_ffff_fff0;
/// The kinds of memory that an entry of a page table can name. Source: `arm_64_lpae_alloc_pgtable_s1()`, v6.12.
const CD3_MAIR: u64 = 0xf4 << 24 | 0x04 << 16 | 0xff << 8 | 0x44;

/// Which of the two an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Of the stream table.
    Stream,
    /// A context descriptor.
    Context,
}

/// What a stream table entry says of a device's accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ste {
    /// The entry is none: everything is refused, and an event tells so.
    Invalid,
    /// Everything is refused, and nothing tells so.
    Abort,
    /// Addresses go through as they are.
    Bypass,
    /// The context descriptor here says more.
    Translate(PhysAddr),
}

/// Source: `arm_smmu_make_abort_ste()`, v6.12.
pub(super) const fn abort_ste() -> Words {
    [STE_V, 0, 0, 0]
}

/// Source: `arm_smmu_make_bypass_ste()`, v6.12.
pub(super) const fn bypass_ste() -> Words {
    [STE_V | STE_CFG_BYPASS, STE1_SHCFG_INCOMING, 0, 0]
}

/// Source: `arm_smmu_make_cdtable_ste()`, v6.12.
pub(super) const fn translating_ste(context: PhysAddr) -> Words {
    [STE_V | STE_CFG_S1 | context.0 & STE_S1CTXPTR, STE1_S1DSS_SSID0 | STE1_S1C, 0, 0]
}

/// Source: `arm_smmu_make_s1_cd()`, v6.12.
pub(super) fn context_descriptor(asid: u16, root: PhysAddr, address_bits: u32) -> Words {
    let size = u64::from(u64::BITS - address_bits);
    let first = CD_V | CD_TCR | CD_IPS_48 | CD_FLAGS | size | u64::from(asid) << 48;
    [first, root.0 & CD1_TTB0, 0, CD3_MAIR]
}

/// A stream table entry as the hardware reads it.
pub(super) const fn read_ste(words: Words) -> Ste {
    if words[0] & STE_V == 0 {
        return Ste::Invalid;
    }
    match words[0] & STE_CFG {
        STE_CFG_BYPASS => Ste::Bypass,
        STE_CFG_S1 => Ste::Translate(PhysAddr(words[0] & STE_S1CTXPTR)),
        // The highest bit says whether anything goes through at all.
        config if config & STE_CFG_BYPASS == 0 => Ste::Abort,
        _ => Ste::Invalid,
    }
}

/// The root table that a context descriptor names, as the hardware reads it; `None` if it is none.
pub(super) const fn read_cd(words: Words) -> Option<PhysAddr> {
    if words[0] & CD_V == 0 { None } else { Some(PhysAddr(words[1] & CD1_TTB0)) }
}

/// The bits of an entry that the hardware looks at.
///
/// Source: `arm_smmu_get_ste_used()`, `arm_smmu_get_cd_used()`, v6.12.
fn used(table: Table, words: Words) -> Words {
    if table == Table::Context {
        return if words[0] & CD_V == 0 { [CD_V, 0, 0, 0] } else { [u64::MAX; WORDS] };
    }
    let mut bits = [STE_V, 0, 0, 0];
    if words[0] & STE_V == 0 {
        return bits;
    }
    bits[0] |= STE_CFG;
    match words[0] & STE_CFG {
        STE_CFG_S1 => {
            bits[0] |= STE_S1FMT | STE_S1CTXPTR | STE_S1CDMAX;
            bits[1] |= STE1_S1;
            bits[2] |= STE2_S2VMID;
        }
        STE_CFG_BYPASS => bits[1] |= STE1_SHCFG,
        _ => {}
    }
    bits
}

/// One thing that software does to change an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It writes a word.
    Write(usize, u64),
    /// It tells the hardware to forget what it has read of the entry, and waits for that.
    Sync,
}

/// How an entry becomes another without a state in between that the hardware could take for a third one: if only one word
/// that the hardware looks at differs, what it ignores is written first, then that word, then what it ignores from there on.
/// Otherwise the entry is none in between.
///
/// Source: `arm_smmu_write_entry()`, `arm_smmu_entry_qword_diff()`, `entry_set()`, v6.12.
pub(super) fn change_in_place(table: Table, current: Words, target: Words) -> Vec<Change> {
    let (used_now, used_then) = (used(table, current), used(table, target));
    let mut ignored: Words =
        std::array::from_fn(|word| current[word] & used_now[word] | target[word] & !used_now[word]);
    let differing: Vec<usize> =
        (0..WORDS).filter(|&word| ignored[word] & used_then[word] != target[word]).collect();
    let mut plan = Plan { entry: current, changes: Vec::new() };
    match differing[..] {
        [] => plan.set(&target, 0..WORDS),
        [critical] => {
            ignored[critical] = current[critical];
            plan.set(&ignored, 0..WORDS);
            plan.set(&target, critical..critical + 1);
            plan.set(&target, 0..WORDS);
        }
        _ => {
            plan.set(&[0; WORDS], 0..1);
            plan.set(&target, 1..WORDS);
            plan.set(&target, 0..1);
        }
    }
    plan.changes
}

struct Plan {
    entry: Words,
    changes: Vec<Change>,
}

impl Plan {
    fn set(&mut self, to: &Words, words: std::ops::Range<usize>) {
        let before = self.changes.len();
        for word in words {
            if self.entry[word] != to[word] {
                self.entry[word] = to[word];
                self.changes.push(Change::Write(word, to[word]));
            }
        }
        if self.changes.len() > before {
            self.changes.push(Change::Sync);
        }
    }
}

/// How an entry becomes another where it is not in use, or goes out of use: the first word last, when the hardware is to use
/// the rest, and first if it is to ignore the rest from then on.
///
/// Source: `arm_smmu_write_strtab_ent()`, `arm_smmu_write_ctx_desc()`, v6.1.
pub(super) fn change_first_word_last(table: Table, target: Words) -> Vec<Change> {
    let rest = (1..WORDS).map(|word| Change::Write(word, target[word]));
    let first = Change::Write(0, target[0]);
    let translates = table == Table::Context || matches!(read_ste(target), Ste::Translate(_));
    let mut changes = Vec::new();
    if translates {
        changes.extend(rest);
        changes.extend([Change::Sync, first, Change::Sync]);
    } else {
        changes.push(first);
        changes.extend(rest);
        changes.push(Change::Sync);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the hardware may have read of an entry at any time while it is changed: between two commands to forget, any mixture
    /// of what was there and what is written.
    fn views(start: Words, changes: &[Change]) -> Vec<Words> {
        let mut seen = vec![start];
        let mut entry = start;
        for part in changes.split(|change| *change == Change::Sync) {
            for mixture in 0_u32..1 << part.len() {
                let mut view = entry;
                for (nth, change) in part.iter().enumerate() {
                    if let Change::Write(word, value) = change
                        && mixture >> nth & 1 == 1
                    {
                        view[*word] = *value;
                    }
                }
                seen.push(view);
            }
            for change in part {
                if let Change::Write(word, value) = change {
                    entry[*word] = *value;
                }
            }
        }
        seen
    }

    fn after(start: Words, changes: &[Change]) -> Words {
        let mut entry = start;
        for change in changes {
            if let Change::Write(word, value) = change {
                entry[*word] = *value;
            }
        }
        entry
    }

    /// What the hardware makes of an entry: the bits that it looks at.
    fn meaning(table: Table, words: Words) -> Words {
        let used = used(table, words);
        std::array::from_fn(|word| words[word] & used[word])
    }

    fn entries(table: Table) -> Vec<Words> {
        match table {
            Table::Stream => vec![
                [0; WORDS],
                abort_ste(),
                bypass_ste(),
                translating_ste(PhysAddr(0x1_2340)),
                translating_ste(PhysAddr(0x5_6780)),
            ],
            Table::Context => vec![
                [0; WORDS],
                context_descriptor(1, PhysAddr(0x9000), 48),
                context_descriptor(2, PhysAddr(0x9000), 48),
                context_descriptor(3, PhysAddr(0xa000), 39),
            ],
        }
    }

    #[test]
    fn in_place_nothing_is_seen_but_the_old_the_new_or_none() {
        for table in [Table::Stream, Table::Context] {
            let none = meaning(table, [0; WORDS]);
            for old in entries(table) {
                for new in entries(table) {
                    let changes = change_in_place(table, old, new);
                    assert_eq!(after(old, &changes), new);
                    let allowed = [meaning(table, old), meaning(table, new), none];
                    for view in views(old, &changes) {
                        let seen = meaning(table, view);
                        assert!(allowed.contains(&seen), "{table:?} {old:x?} to {new:x?}: {view:x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn in_place_a_stream_goes_over_without_a_gap_and_a_context_by_none() {
        let gap = |table, old, new| {
            let changes = change_in_place(table, old, new);
            views(old, &changes).iter().any(|view| meaning(table, *view) == meaning(table, [0; WORDS]))
        };
        let streams = &entries(Table::Stream)[1..];
        for old in streams {
            for new in streams {
                assert!(!gap(Table::Stream, *old, *new), "{old:x?} to {new:x?}");
            }
        }
        let contexts = entries(Table::Context);
        assert!(!gap(Table::Context, contexts[1], contexts[2]), "one word differs");
        assert!(gap(Table::Context, contexts[1], contexts[3]), "two words differ");
    }

    #[test]
    fn with_the_first_word_last_a_live_entry_would_show_what_is_neither() {
        let live = translating_ste(PhysAddr(0x1_2340));
        // Out of an entry that refuses all, nothing but the new one is seen, or the old one.
        for (old, new) in [(abort_ste(), live), (abort_ste(), bypass_ste())] {
            for view in views(old, &change_first_word_last(Table::Stream, new)) {
                let seen = read_ste(view);
                assert!(seen == read_ste(old) || seen == read_ste(new));
            }
        }
        // A live one shows other attributes on the way, which is why it is not changed so.
        let changes = change_first_word_last(Table::Stream, bypass_ste());
        let allowed = [meaning(Table::Stream, live), meaning(Table::Stream, bypass_ste())];
        let mixed = |view: &Words| !allowed.contains(&meaning(Table::Stream, *view));
        assert!(views(live, &changes).iter().any(mixed));
        assert_eq!(after(live, &changes), bypass_ste());
    }

    #[test]
    fn entries_read_as_they_were_written() {
        assert_eq!(read_ste([0; WORDS]), Ste::Invalid);
        assert_eq!(read_ste(abort_ste()), Ste::Abort);
        assert_eq!(read_ste(bypass_ste()), Ste::Bypass);
        assert_eq!(read_ste(translating_ste(PhysAddr(0x1_2340))), Ste::Translate(PhysAddr(0x1_2340)));
        assert_eq!(read_cd(context_descriptor(7, PhysAddr(0x9000), 48)), Some(PhysAddr(0x9000)));
        assert_eq!(read_cd([0; WORDS]), None);
        assert_eq!(
            context_descriptor(7, PhysAddr(0x9000), 48)[0] & 0x3f,
            16,
            "64 less the bits of addresses"
        );
    }
}
