//! Sequences of memblock operations as plain text: what the benches of the model and its peer, the kernel's own code,
//! both read. `models/benches/peers/memblock/README.md` describes the form.

pub(crate) mod apply;
pub(crate) mod generate;
pub(crate) mod text;
pub(crate) mod vectors;

/// One operation: its name, its arguments (negative nodes in two's complement), and what the model answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// The function's name, or `config`.
    pub(crate) name: Name,
    /// As many as the function takes, and then zeroes.
    pub(crate) args: [u64; 6],
    /// Status, address or checksum of what was listed.
    pub(crate) answer: u64,
}

/// Operations on one machine. Those before `timed_from` set the machine up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Says where it comes from.
    pub(crate) name: String,
    /// The operations.
    pub(crate) ops: Vec<Op>,
    /// How many of them are not timed.
    pub(crate) timed_from: usize,
}

macro_rules! names {
    ($($variant:ident $name:literal $args:literal,)*) => {
        /// What can be asked of memblock.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Name {
            $(#[doc = $name] $variant,)*
        }

        impl Name {
            /// All of them, with the number of arguments.
            pub(crate) const ALL: &'static [(Self, &'static str, usize)] = &[$((Self::$variant, $name, $args),)*];
        }
    };
}

names! {
    Config "config" 5,
    SetBottomUp "set_bottom_up" 1,
    SetCurrentLimit "set_current_limit" 1,
    Add "add" 2,
    AddNode "add_node" 4,
    Remove "remove" 2,
    Reserve "reserve" 2,
    Free "free" 2,
    MarkHotplug "mark_hotplug" 2,
    ClearHotplug "clear_hotplug" 2,
    MarkNomap "mark_nomap" 2,
    ClearNomap "clear_nomap" 2,
    MarkMirror "mark_mirror" 2,
    ReservedMarkNoinit "reserved_mark_noinit" 2,
    SetNode "set_node" 4,
    PhysAllocRange "phys_alloc_range" 4,
    PhysAllocTryNid "phys_alloc_try_nid" 3,
    AllocRangeNid "alloc_range_nid" 6,
    AllocTryNid "alloc_try_nid" 5,
    AllocExactNid "alloc_exact_nid" 5,
    CapMemoryRange "cap_memory_range" 2,
    EnforceMemoryLimit "enforce_memory_limit" 1,
    MemLimitRemoveMap "mem_limit_remove_map" 1,
    TrimMemory "trim_memory" 1,
    IsMemory "is_memory" 1,
    IsMapMemory "is_map_memory" 1,
    IsReserved "is_reserved" 1,
    IsRegionMemory "is_region_memory" 2,
    IsRegionReserved "is_region_reserved" 2,
    OverlapsRegion "overlaps_region" 3,
    SearchPfnNid "search_pfn_nid" 1,
    Totals "totals" 0,
    FreeRanges "free_ranges" 3,
    PfnRanges "pfn_ranges" 1,
}

impl Name {
    /// An operation with these arguments, not yet answered; `None` if it takes another number of them.
    pub(crate) fn with(self, given: &[u64]) -> Option<Op> {
        let takes = self.takes();
        let mut args = [0; 6];
        args.get_mut(..takes).filter(|_| given.len() == takes)?.copy_from_slice(given);
        Some(Op { name: self, args, answer: 0 })
    }

    /// How many arguments it takes.
    pub(crate) fn takes(self) -> usize {
        Self::ALL.iter().find(|(name, ..)| *name == self).map_or(0, |(.., takes)| *takes)
    }

    /// The name in a file.
    pub(crate) fn text(self) -> &'static str {
        Self::ALL.iter().find(|(name, ..)| *name == self).map_or("", |(_, text, _)| text)
    }

    /// The operation of this name.
    pub(crate) fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name, _)| *name == text).map(|(name, ..)| *name)
    }
}
