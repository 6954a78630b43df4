//! What differs between kernels and command lines, as named switches.

use crate::profile::Version;

/// Behaviour of one kernel's memblock. Pure data: compared and copied freely.
///
/// The constructors give the plain kernel; fields are changed one by one to ask what a single change of
/// behaviour does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemblockRules {
    /// Every change merges neighbours in the whole list, not only round the changed regions.
    /// Source: `mm/memblock.c: memblock_merge_regions()`, v6.1.
    pub merge_whole_list: bool,
    /// An empty list keeps one entry of size 0, which counts and which the plain range iterators show.
    /// Source: `mm/memblock.c: memblock_remove_region()`, v6.1.
    pub empty_dummy_region: bool,
    /// A full list that may not grow ends in `panic()`; before, the request failed with `-ENOMEM`.
    /// Source: `mm/memblock.c: memblock_double_array()`, v6.12.
    pub resize_panics: bool,
    /// A node number out of range means "any node"; before, only -1 and `MAX_NUMNODES` did.
    /// Source: `include/linux/numa.h: numa_valid_node()`, v6.12.
    pub invalid_nid_is_any: bool,
    /// `memblock_reserved_mark_noinit()` exists. Source: `mm/memblock.c`, v6.12.
    pub noinit_flag: bool,
    /// The hand-over first gives each reserved region the node of the memory under it.
    /// Source: `mm/memblock.c: memmap_init_reserved_pages()`, v6.12.
    pub handover_sets_reserved_nodes: bool,
    /// That is done again if the list has grown meanwhile. Source: `memmap_init_reserved_pages()`, v6.12 (stable).
    pub handover_repeats_after_growth: bool,
    /// `memblock_phys_alloc*()` gives slab memory, with a warning, once there is a slab allocator, as `memblock_alloc*()`
    /// always did. Source: `mm/memblock.c: memblock_alloc_range_nid()`, v6.12.
    pub phys_alloc_sees_slab: bool,
    /// A `reserved` list that grows keeps off the range that is about to be reserved. Source: `memblock_double_array()`,
    /// v3.6.
    pub growth_avoids_request: bool,
    /// The lists stay for ever. Source: `CONFIG_ARCH_KEEP_MEMBLOCK`; x86 has it not.
    pub keep_memblock: bool,

    /// Lists may grow from the start, as after `memblock_allow_resize()`.
    pub can_resize: bool,
    /// `movable_node` on the command line: hotpluggable memory is left alone.
    /// Source: `include/linux/memory_hotplug.h: movable_node_is_enabled()`.
    pub movable_node: bool,
    /// `kernelcore=mirror` on the command line. Source: `mm/internal.h: mirrored_kernelcore`.
    pub mirrored_kernelcore: bool,
    /// First capacity of the `memory` list, at least 1. Source: `INIT_MEMBLOCK_MEMORY_REGIONS`.
    pub init_memory_regions: u32,
    /// First capacity of the `reserved` list, at least 1. Source: `INIT_MEMBLOCK_RESERVED_REGIONS`.
    pub init_reserved_regions: u32,
}

impl MemblockRules {
    /// First capacity of a list where the architecture asks for no other.
    /// Source: `mm/memblock.c: INIT_MEMBLOCK_REGIONS`.
    pub const INIT_MEMBLOCK_REGIONS: u32 = 128;

    /// Kernel 6.1, and 5.10 to 5.15. Source: `mm/memblock.c`, v6.1.
    #[must_use]
    pub const fn v6_1() -> Self {
        Self {
            merge_whole_list: true,
            empty_dummy_region: true,
            resize_panics: false,
            invalid_nid_is_any: false,
            noinit_flag: false,
            handover_sets_reserved_nodes: false,
            handover_repeats_after_growth: false,
            phys_alloc_sees_slab: false,
            growth_avoids_request: true,
            keep_memblock: false,
            can_resize: false,
            movable_node: false,
            mirrored_kernelcore: false,
            init_memory_regions: Self::INIT_MEMBLOCK_REGIONS,
            init_reserved_regions: Self::INIT_MEMBLOCK_REGIONS,
        }
    }

    /// Kernel 6.12. Source: `mm/memblock.c`, v6.12.
    #[must_use]
    pub const fn v6_12() -> Self {
        Self {
            merge_whole_list: false,
            empty_dummy_region: false,
            resize_panics: true,
            invalid_nid_is_any: true,
            noinit_flag: true,
            handover_sets_reserved_nodes: true,
            handover_repeats_after_growth: true,
            phys_alloc_sees_slab: true,
            ..Self::v6_1()
        }
    }

    /// What `version` does, each difference since the release that brought it. Between the two that were recorded this
    /// rests on the history of `mm/memblock.c`.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        let since = |first| version >= first;
        Self {
            // "mm/memblock: avoid useless checks in memblock_merge_regions()".
            merge_whole_list: !since(Version::V6_3),
            // "mm: pass nid to reserve_bootmem_region()".
            handover_sets_reserved_nodes: since(Version::V6_6),
            // "memblock: report failures when memblock_can_resize is not set".
            resize_panics: since(Version::V6_7),
            // "memblock: introduce MEMBLOCK_RSRV_NOINIT flag".
            noinit_flag: since(Version::V6_7),
            // "mm/memblock: remove empty dummy entry".
            empty_dummy_region: !since(Version::V6_10),
            // "memblock: use numa_valid_node() helper to check for invalid node ID".
            invalid_nid_is_any: since(Version::V6_10),
            // "memblock: move late alloc warning down to phys alloc".
            phys_alloc_sees_slab: since(Version::V6_11),
            // Of the stable series only; 6.12 stands for its latest.
            handover_repeats_after_growth: since(Version::V6_12),
            ..Self::v6_1()
        }
    }

    /// The same kernel with lists that may grow from the start.
    #[must_use]
    pub const fn with_resize(self) -> Self {
        Self { can_resize: true, ..self }
    }
}
