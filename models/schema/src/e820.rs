//! The kinds of memory of a firmware's map: their numbers and their names.

use std::borrow::Cow;

use crate::E820Kind;

impl E820Kind {
    /// The firmware's number for it.
    ///
    /// Source: `arch/x86/include/asm/e820/types.h`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Usable => 1,
            Self::Reserved => 2,
            Self::AcpiData => 3,
            Self::AcpiNvs => 4,
            Self::Unusable => 5,
            Self::Pmem => 7,
            Self::Pram => 12,
            Self::SoftReserved => 0xefff_ffff,
            Self::Other(number) => number,
        }
    }

    /// The kind of this number; there is none of number 0.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok().filter(|number| *number != 0)?;
        Some(Self::ALL.iter().copied().find(|kind| kind.number() == number).unwrap_or(Self::Other(number)))
    }

    /// The kind of this name in the log.
    #[must_use]
    pub fn of_words(words: &str) -> Option<Self> {
        let other = || Self::of_number(words.strip_prefix("type ")?.parse().ok()?);
        Self::ALL.iter().copied().find(|kind| kind.words() == words).or_else(other)
    }

    /// All kinds that have a name.
    pub const ALL: [Self; 8] = [
        Self::Usable,
        Self::Reserved,
        Self::AcpiData,
        Self::AcpiNvs,
        Self::Unusable,
        Self::Pmem,
        Self::Pram,
        Self::SoftReserved,
    ];

    /// Its name in the log (`e820_print_type`).
    #[must_use]
    pub fn words(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Usable => "usable",
            Self::Reserved => "reserved",
            Self::AcpiData => "ACPI data",
            Self::AcpiNvs => "ACPI NVS",
            Self::Unusable => "unusable",
            Self::Pmem => "persistent (type 7)",
            Self::Pram => "persistent (type 12)",
            Self::SoftReserved => "soft reserved",
            Self::Other(number) => return Cow::Owned(format!("type {number}")),
        })
    }

    /// Whether neighbours of this kind stay apart (`e820_nomerge`).
    #[must_use]
    pub const fn stands_alone(self) -> bool {
        matches!(self, Self::Pram | Self::SoftReserved)
    }
}
