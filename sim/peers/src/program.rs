//! The programs, as far as they are the same for everybody: what happens inside a critical section.

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Contexts that take and give back so many bits each of an eight-slot map, one critical section for each.
    Bitmap { contexts: u8, pairs: u8 },
    /// Producers of so many items each, one consumer, a buffer of one place with a condition variable.
    Buffer { producers: u8, items: u8 },
    /// Two contexts that take two locks in opposite orders.
    Deadlock,
    /// Three contexts as in the bitmap; the first of them looks for a free bit and takes it in another critical
    /// section without looking again.
    CheckThenAct,
}

impl Program {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bitmap { contexts: 2, pairs: 1 } => "bitmap 2x1",
            Self::Bitmap { contexts: 2, .. } => "bitmap 2x2",
            Self::Bitmap { pairs: 1, .. } => "bitmap 3x1",
            Self::Bitmap { .. } => "bitmap 3x2",
            Self::Buffer { items: 1, .. } => "buffer 2x1",
            Self::Buffer { .. } => "buffer 2x2",
            Self::Deadlock => "lock order",
            Self::CheckThenAct => "check-then-act",
        }
    }

    /// Contexts beside the one that starts them.
    pub(crate) const fn contexts(self) -> u8 {
        match self {
            Self::Bitmap { contexts, .. } => contexts,
            Self::Buffer { producers, .. } => producers + 1,
            Self::Deadlock => 2,
            Self::CheckThenAct => 3,
        }
    }

    pub(crate) const fn pairs(self) -> u8 {
        match self {
            Self::Bitmap { pairs, .. } => pairs,
            Self::Buffer { items, .. } => items,
            Self::Deadlock => 1,
            Self::CheckThenAct => 2,
        }
    }

    /// Whether context `who` looks first and takes later in its pair number `pair`.
    pub(crate) fn looks_first(self, who: u8, pair: u8) -> bool {
        self == Self::CheckThenAct && who == 0 && pair == 1
    }
}

/// What the lock protects, whatever the program, and the order in which contexts came to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Data {
    bits: u8,
    /// The bits that each context got, three binary digits each.
    got: [u16; 3],
    /// Whether a bit was taken that somebody had.
    pub(crate) twice: bool,
    /// What lies in the buffer.
    place: Option<u8>,
    /// What came out of it, in order.
    eaten: u64,
    /// Who had the lock in turn, two binary digits each. No part of the state.
    pub(crate) order: u64,
}

impl Data {
    fn note(&mut self, who: u8) {
        self.order = self.order << 2 | u64::from(who + 1);
    }

    /// The lowest free bit.
    pub(crate) fn look(&mut self, who: u8) -> u8 {
        self.note(who);
        u8::try_from(self.bits.trailing_ones()).unwrap_or(7) & 7
    }

    /// Takes `bit`, whether or not it is free.
    pub(crate) fn occupy(&mut self, who: u8, bit: u8) {
        self.note(who);
        self.twice |= self.bits & 1 << bit != 0;
        self.bits |= 1 << bit;
        let got = &mut self.got[usize::from(who)];
        *got = *got << 3 | u16::from(bit);
    }

    /// Takes the lowest free bit.
    pub(crate) fn take(&mut self, who: u8) -> u8 {
        let bit = u8::try_from(self.bits.trailing_ones()).unwrap_or(7) & 7;
        self.occupy(who, bit);
        bit
    }

    /// Gives `bit` back.
    pub(crate) fn give(&mut self, who: u8, bit: u8) {
        self.note(who);
        self.bits &= !(1 << bit);
    }

    pub(crate) const fn full(&self) -> bool {
        self.place.is_some()
    }

    /// Puts an item that tells who made it into the buffer.
    pub(crate) fn put(&mut self, who: u8) {
        self.note(who);
        self.place = Some(who);
    }

    /// Takes it out.
    pub(crate) fn eat(&mut self, who: u8) {
        self.note(who);
        let item = self.place.take().map_or(7, |item| item + 1);
        self.eaten = self.eaten << 3 | u64::from(item);
    }

    /// The state without the way to it.
    pub(crate) const fn state(self) -> Self {
        Self { order: 0, ..self }
    }
}
