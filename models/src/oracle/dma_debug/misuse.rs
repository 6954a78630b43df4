//! The kinds of misuse, each with the kernel's words.

macro_rules! misuses {
    ($($variant:ident $name:literal, $words:literal;)*) => {
        /// A rule of the DMA API that a driver breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Misuse {
            $(#[doc = $words] $variant,)*
        }

        impl Misuse {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// A few words that tell the kinds apart in signatures.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What the kernel says, up to the details in brackets.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }
        }
    };
}

misuses! {
    FreesInvalid "unmap of an error", "device driver tries to free an invalid DMA memory address";
    FreesUnknown "unmap of what is not mapped", "device driver tries to free DMA memory it has not allocated";
    FreesOtherSize "different size", "device driver frees DMA memory with different size";
    FreesWrongFunction "wrong function", "device driver frees DMA memory with wrong function";
    FreesOtherAddress "different CPU address", "device driver frees DMA memory with different CPU address";
    FreesOtherCount "different entry count", "device driver frees DMA sg list with different entry count";
    FreesOtherDirection "different direction", "device driver frees DMA memory with different direction";
    Unchecked "error not checked", "device driver failed to check map error";
    MapsStack "stack", "device driver maps memory from stack";
    MapsKernelText "kernel text or rodata", "device driver maps memory from kernel text or rodata";
    MapsInvalid "invalid area", "device driver maps memory from invalid area";
    MapsVmalloc "vmalloc area", "rejecting DMA map of vmalloc memory";
    SyncsUnknown "sync outside a mapping", "device driver tries to sync DMA memory it has not allocated";
    SyncsOtherDirection "sync with different direction", "device driver syncs DMA memory with different direction";
    SyncsReadOnly "sync of read-only memory", "device driver syncs device read-only DMA memory for cpu";
    SyncsWriteOnly "sync of write-only memory", "device driver syncs device write-only DMA memory to device";
    SyncsOtherCount "sync with different entry count", "device driver syncs DMA sg list with different entry count";
    SegmentTooLong "segment too long", "mapping sg segment longer than device claims to support";
    SegmentAcross "segment across boundary", "mapping sg segment across boundary";
    Overlaps "overlapping mappings", "cacheline tracking EEXIST, overlapping mappings aren't supported";
    OverlapsTooOften "too many overlapping mappings", "exceeded 7 overlapping mappings of cacheline";
}
