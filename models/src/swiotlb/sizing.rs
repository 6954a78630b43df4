//! Constants of the pool, and how its size and its number of areas are chosen.

use crate::mem::{PAGE_SIZE, align_up};

/// log2 of the size of a slot. Source: `include/linux/swiotlb.h`, all versions.
pub const IO_TLB_SHIFT: u32 = 11;
/// Bytes in a slot. Source: `include/linux/swiotlb.h`, all versions.
pub const IO_TLB_SIZE: u64 = 1 << IO_TLB_SHIFT;
/// Slots in a segment; no mapping crosses the edge of one. Source: `include/linux/swiotlb.h`.
pub const IO_TLB_SEGSIZE: u32 = 128;
/// Slots in the default pool of 64 MiB (`IO_TLB_DEFAULT_SIZE`). Source: `include/linux/swiotlb.h`.
pub const IO_TLB_DEFAULT_SLABS: u64 = (64 << 20) >> IO_TLB_SHIFT;
/// Slots in the smallest pool that boot settles for, 1 MiB. Source: `kernel/dma/swiotlb.c`.
pub const IO_TLB_MIN_SLABS: u64 = (1 << 20) >> IO_TLB_SHIFT;
/// What `orig_addr` holds while no mapping is recorded (`INVALID_PHYS_ADDR`).
pub const INVALID_PHYS_ADDR: u64 = u64::MAX;

/// Number of slots that hold `bytes`, rounded up, wrapping as the kernel's 64-bit sum does.
///
/// Source: `kernel/dma/swiotlb.c: nr_slots()`.
#[must_use]
pub const fn nr_slots(bytes: u64) -> u64 {
    bytes.wrapping_add(IO_TLB_SIZE - 1) / IO_TLB_SIZE
}

/// The low 32 bits, as an assignment to `unsigned int` keeps them.
#[expect(clippy::cast_possible_truncation, reason = "dropping the upper half is the point")]
pub(super) const fn low32(value: u64) -> u32 {
    value as u32
}

/// Numbers of slots and of areas in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSize {
    /// Slots.
    pub nslabs: u32,
    /// Areas; 1 in a kernel without.
    pub nareas: u32,
}

impl PoolSize {
    /// A restricted pool of `bytes`.
    ///
    /// Source: `kernel/dma/swiotlb.c: rmem_swiotlb_device_init()`, v5.15 to v6.12.
    #[must_use]
    pub const fn restricted(bytes: u64) -> Self {
        Self { nslabs: low32(bytes >> IO_TLB_SHIFT), nareas: 1 }
    }

    /// Slots in each area; the last slots of a pool may lie in none.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_io_tlb_pool()`, v6.12.
    #[must_use]
    pub const fn area_nslabs(self) -> u32 {
        match self.nslabs.checked_div(self.nareas) {
            Some(slots) => slots,
            None => 0,
        }
    }

    /// Bytes in the pool.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.nslabs as u64) << IO_TLB_SHIFT
    }
}

/// How far a version limits areas to those that have a whole segment each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaLimit {
    /// Not at all. v6.0 to v6.4.
    Never,
    /// For late pools; at boot the limit is computed and the pool made without it. v6.1.192.
    Late,
    /// Always. Since v6.5.
    Always,
}

/// The behaviours of one version in choosing a pool's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizingRules {
    /// Pools have areas (v6.0).
    pub areas: bool,
    /// How their number is limited.
    pub area_limit: AreaLimit,
    /// Boot tries half the size when memory cannot be had (v6.2, v6.1.192).
    pub halves: bool,
}

impl SizingRules {
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init()`, v5.10 to v5.19.
    #[must_use]
    pub const fn v5_10() -> Self {
        Self { areas: false, area_limit: AreaLimit::Never, halves: false }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, v6.0 and v6.1.
    #[must_use]
    pub const fn v6_0() -> Self {
        Self { areas: true, ..Self::v5_10() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, v6.1.192.
    #[must_use]
    pub const fn v6_1_192() -> Self {
        Self { areas: true, area_limit: AreaLimit::Late, halves: true }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, v6.2 to v6.4.
    #[must_use]
    pub const fn v6_2() -> Self {
        Self { halves: true, ..Self::v6_0() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, v6.5 to v6.12.
    #[must_use]
    pub const fn v6_5() -> Self {
        Self { area_limit: AreaLimit::Always, ..Self::v6_2() }
    }
}

/// The most areas that leave a segment to each.
///
/// Source: `kernel/dma/swiotlb.c: limit_nareas()`, v6.5 to v6.12.
#[must_use]
pub const fn limit_nareas(nareas: u32, nslabs: u64) -> u32 {
    let segment = IO_TLB_SEGSIZE as u64;
    if nslabs < low32(nareas as u64 * segment) as u64 { low32(nslabs / segment) } else { nareas }
}

/// What boot knows of the pool to come: the command line, and what the architecture asked for.
///
/// Source: the file-scope variables of `kernel/dma/swiotlb.c`, v6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolDefaults {
    rules: SizingRules,
    /// Slots (`default_nslabs`).
    pub nslabs: u64,
    /// Areas (`default_nareas`), 0 while nothing set them.
    pub nareas: u32,
    /// Bouncing is forced (`swiotlb=force`).
    pub force_bounce: bool,
    /// There shall be no pool (`swiotlb=noforce`).
    pub force_disable: bool,
}

impl PoolDefaults {
    /// 64 MiB, areas open.
    #[must_use]
    pub const fn new(rules: SizingRules) -> Self {
        Self { rules, nslabs: IO_TLB_DEFAULT_SLABS, nareas: 0, force_bounce: false, force_disable: false }
    }

    /// Rounds the slots up to a power of two of at least a segment for each area, once areas are set.
    ///
    /// Source: `kernel/dma/swiotlb.c: round_up_default_nslabs()`, v6.0 to v6.12.
    fn round_up_nslabs(&mut self) {
        if self.nareas != 0 {
            let least = u64::from(IO_TLB_SEGSIZE) * u64::from(self.nareas);
            self.nslabs = self.nslabs.max(least).checked_next_power_of_two().unwrap_or(0);
        }
    }

    /// Sets the number of areas, rounded up to a power of two. Without areas, nothing happens.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_adjust_nareas()`, v6.0 to v6.12.
    pub fn adjust_nareas(&mut self, nareas: u32) {
        if self.rules.areas {
            self.nareas = nareas.max(1).checked_next_power_of_two().unwrap_or(0);
            self.round_up_nslabs();
        }
    }

    /// Changes the size to `bytes`, unless the command line has given one. Returns the size in bytes that the log then
    /// tells: what was asked for in whole slots, or where the areas round it up, the pool's.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_adjust_size()`, v5.11 to v6.12.
    pub fn adjust_size(&mut self, bytes: u64) -> Option<u64> {
        if self.nslabs != IO_TLB_DEFAULT_SLABS {
            return None;
        }
        let plain = align_slabs(nr_slots(bytes));
        self.nslabs = plain;
        self.round_up_nslabs();
        let told = if self.nslabs == plain { nr_slots(bytes) } else { self.nslabs };
        Some(told << IO_TLB_SHIFT)
    }

    /// Takes the value of `swiotlb=` on the command line: slots, areas (v6.0), `force` or `noforce`.
    ///
    /// Source: `kernel/dma/swiotlb.c: setup_io_tlb_npages()`, v5.10 to v6.12.
    pub fn parse(&mut self, value: &str) {
        let mut rest = value;
        if let Some(slots) = strtoul(&mut rest) {
            self.nslabs = align_slabs(slots);
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if self.rules.areas {
            if let Some(areas) = strtoul(&mut rest) {
                self.adjust_nareas(low32(areas));
            }
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        match rest {
            "force" => self.force_bounce = true,
            "noforce" => self.force_disable = true,
            _ => {}
        }
    }

    /// Areas of a pool of `nslabs` slots, if the version limits them there.
    const fn nareas_for(&self, nslabs: u64, late: bool) -> u32 {
        match self.rules.area_limit {
            AreaLimit::Always => limit_nareas(self.nareas, nslabs),
            AreaLimit::Late if late => limit_nareas(self.nareas, nslabs),
            AreaLimit::Late | AreaLimit::Never => self.nareas,
        }
    }

    fn pool_size(&self, nslabs: u64, late: bool) -> PoolSize {
        let nareas = if self.rules.areas { self.nareas_for(nslabs, late) } else { 1 };
        PoolSize { nslabs: u32::try_from(nslabs).unwrap_or(u32::MAX), nareas }
    }

    /// The slots to try for first at boot, with `cpus` possible CPUs.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, by version.
    pub fn boot_nslabs(&mut self, cpus: u32) -> u64 {
        if self.nareas == 0 {
            self.adjust_nareas(cpus);
        }
        self.nslabs
    }

    /// The slots to try for next after `failed` could not be had; `None` to give up.
    ///
    /// Source: the loop of `kernel/dma/swiotlb.c: swiotlb_init_remap()`, by version.
    #[must_use]
    pub const fn boot_retry(&self, failed: u64) -> Option<u64> {
        if self.rules.halves && failed > IO_TLB_MIN_SLABS { Some(align_slabs(failed >> 1)) } else { None }
    }

    /// The pool made at boot of `nslabs` slots, which are the default from now on.
    ///
    /// Source: the end of `kernel/dma/swiotlb.c: swiotlb_init_remap()`, by version.
    pub fn boot_pool(&mut self, nslabs: u64) -> PoolSize {
        self.nslabs = nslabs;
        self.pool_size(nslabs, false)
    }

    /// The block order to try for first for a late pool of `bytes`; `None` when it would be too small.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_late()`, by version.
    pub fn late_order(&mut self, bytes: u64, cpus: u32) -> Option<u32> {
        if self.nareas == 0 {
            self.adjust_nareas(cpus);
        }
        let pages = (align_slabs(bytes >> IO_TLB_SHIFT) << IO_TLB_SHIFT).div_ceil(PAGE_SIZE);
        let order = pages.checked_next_power_of_two()?.ilog2();
        (late_nslabs(order) > IO_TLB_MIN_SLABS).then_some(order)
    }

    /// The order to try for next after `failed` could not be had; `None` to give up.
    ///
    /// Source: the loop of `kernel/dma/swiotlb.c: swiotlb_init_late()`, by version.
    #[must_use]
    pub const fn late_retry(failed: u32) -> Option<u32> {
        if failed > 0 && late_nslabs(failed - 1) > IO_TLB_MIN_SLABS { Some(failed - 1) } else { None }
    }

    /// The late pool made of a block of `order`.
    ///
    /// Source: the end of `kernel/dma/swiotlb.c: swiotlb_init_late()`, by version.
    #[must_use]
    pub fn late_pool(&self, order: u32) -> PoolSize {
        self.pool_size(late_nslabs(order), true)
    }
}

const fn align_slabs(nslabs: u64) -> u64 {
    align_up(nslabs, IO_TLB_SEGSIZE as u64)
}

/// Slots in a block of `order`.
const fn late_nslabs(order: u32) -> u64 {
    (PAGE_SIZE >> IO_TLB_SHIFT) << order
}

/// A number at the start of `text`, in C's notation, if there is one; `text` is moved behind it.
///
/// Source: `lib/vsprintf.c: simple_strtoul()` with base 0.
fn strtoul(text: &mut &str) -> Option<u64> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (base, digits) = match hex {
        Some(digits) if digits.starts_with(|first: char| first.is_ascii_hexdigit()) => (16, digits),
        _ if text.starts_with('0') => (8, *text),
        _ => (10, *text),
    };
    let end = digits.find(|digit: char| !digit.is_digit(base)).unwrap_or(digits.len());
    let value = digits[..end]
        .chars()
        .filter_map(|digit| digit.to_digit(base))
        .fold(0u64, |sum, digit| sum.wrapping_mul(u64::from(base)).wrapping_add(u64::from(digit)));
    *text = &digits[end..];
    Some(value)
}
