//! `Content` against a flat array of (source, offset) per byte.

#![expect(clippy::cast_possible_truncation, reason = "offsets in a small window")]

use mem::{Content, ContentError, JunkClass, MAX_LEN, PAGE_SIZE, PHYS_END, PhysAddr, Source};
use proptest::prelude::*;

/// The window that the twin covers: a chunk border lies in its middle.
const BASE: u64 = (128 << 20) - 8 * PAGE_SIZE;
const LEN: u64 = 16 * PAGE_SIZE;

#[derive(Clone, Debug)]
enum Op {
    Write { at: u64, len: u64, source: Source, offset: u64 },
    Bytes { at: u64, bytes: Vec<u8> },
    Copy { dst: u64, src: u64, len: u64 },
}

/// Lengths around the borders that matter, positions anywhere or aligned.
fn span() -> impl Strategy<Value = (u64, u64)> {
    let at =
        prop_oneof![0..LEN, (0..LEN / 512).prop_map(|n| n * 512), (0..16u64).prop_map(|n| n * PAGE_SIZE)];
    let len = prop_oneof![0..64u64, Just(512), Just(2048), Just(PAGE_SIZE), 0..4 * PAGE_SIZE];
    (at, len).prop_map(|(at, len)| (at, len.min(LEN - at)))
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Zero),
        Just(Source::Untouched),
        (0..3u32).prop_map(|tag| Source::Data { tag }),
        (0..6usize, 0..2u32)
            .prop_map(|(class, seed)| { Source::Junk { class: JunkClass::ALL[class], seed, owner: 1 } }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (span(), source(), prop_oneof![Just(0u64), 0..9000u64])
            .prop_map(|((at, len), source, offset)| Op::Write { at, len, source, offset }),
        2 => (0..LEN - 24, prop::collection::vec(any::<u8>(), 0..24))
            .prop_map(|(at, bytes)| Op::Bytes { at, bytes }),
        3 => (span(), 0..LEN).prop_map(|((src, len), dst)| {
            let len = len.min(LEN - dst);
            Op::Copy { dst, src, len }
        }),
        1 => (span(), -5000i64..5000).prop_map(|((src, len), by)| {
            let dst = src.saturating_add_signed(by).min(LEN);
            let len = len.min(LEN - dst);
            Op::Copy { dst, src, len }
        }),
    ]
}

/// One entry a byte: the naive twin.
struct Flat {
    bytes: Vec<(Source, u64)>,
    values: Vec<Vec<u8>>,
}

impl Flat {
    fn new() -> Self {
        Self { bytes: (0..LEN).map(|at| (Source::Untouched, BASE + at)).collect(), values: Vec::new() }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { at, len, source, offset } => {
                for step in 0..*len {
                    let offset = if *source == Source::Zero { 0 } else { offset + step };
                    self.bytes[(at + step) as usize] = (*source, offset);
                }
            }
            Op::Bytes { at, bytes } => {
                for step in 0..bytes.len() {
                    self.bytes[*at as usize + step] =
                        (Source::Raw { id: self.values.len() as u32 }, step as u64);
                }
                self.values.push(bytes.clone());
            }
            Op::Copy { dst, src, len } => {
                self.bytes.copy_within(*src as usize..(src + len) as usize, *dst as usize);
            }
        }
    }
}

fn apply(content: &mut Content, op: &Op) {
    let at = |at: u64| PhysAddr(BASE + at);
    match op {
        Op::Write { at: to, len, source, offset } => content.write_at(at(*to), *len, *source, *offset),
        Op::Bytes { at: to, bytes } => content.write_bytes(at(*to), bytes),
        Op::Copy { dst, src, len } => content.copy(at(*dst), at(*src), *len),
    }
    .unwrap();
}

fn compare(content: &Content, flat: &Flat) -> Result<(), TestCaseError> {
    let mut at = 0u64;
    let mut last = None;
    for (range, source, offset) in content.extents(PhysAddr(BASE), LEN) {
        prop_assert_eq!(range.start.0, BASE + at, "no gap");
        prop_assert!(range.size() > 0);
        for step in 0..range.size() {
            let offset = if source == Source::Zero { 0 } else { offset + step };
            prop_assert_eq!(flat.bytes[at as usize], (source, offset), "byte {:#x}", at);
            at += 1;
        }
        let bias = if source == Source::Zero { 0 } else { offset.wrapping_sub(range.start.0) };
        prop_assert_ne!(last, Some((source, bias)), "neighbours that go on are one extent");
        last = Some((source, bias));
    }
    prop_assert_eq!(at, LEN, "covered to the end");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn extents_equal_a_flat_array(ops in prop::collection::vec(op(), 1..60), again in any::<bool>()) {
        let mut content = Content::new(7);
        if again {
            for op in &ops {
                apply(&mut content, op);
            }
            content.reset(7);
        }
        let mut flat = Flat::new();
        for op in &ops {
            apply(&mut content, op);
            flat.apply(op);
        }
        compare(&content, &flat)?;
    }

    #[test]
    fn a_read_in_pieces_equals_a_read_in_one(ops in prop::collection::vec(op(), 1..30), (at, len) in span(), cut in 0..PAGE_SIZE) {
        let (mut content, mut flat) = (Content::new(7), Flat::new());
        for op in &ops {
            apply(&mut content, op);
            flat.apply(op);
        }
        let mut whole = vec![0; len as usize];
        content.read_bytes(PhysAddr(BASE + at), &mut whole);
        let cut = cut.min(len) as usize;
        let mut pieces = vec![0; len as usize];
        for (step, byte) in whole.iter().enumerate().step_by(37) {
            let (source, offset) = flat.bytes[at as usize + step];
            let expected = match source {
                Source::Raw { id } => flat.values[id as usize][offset as usize],
                source => {
                    let mut fresh = Content::new(7);
                    fresh.write_at(PhysAddr(0x5003), 1, source, offset).unwrap();
                    fresh.read_u8(PhysAddr(0x5003))
                }
            };
            prop_assert_eq!(*byte, expected, "{:?} {:#x}", source, offset);
        }
        let (head, tail) = pieces.split_at_mut(cut);
        content.read_bytes(PhysAddr(BASE + at), head);
        content.read_bytes(PhysAddr(BASE + at + cut as u64), tail);
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn written_bytes_are_read_back_also_from_a_copy() {
    let mut content = Content::new(0);
    content.write_bytes(PhysAddr(0xffe), &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    content.copy(PhysAddr(0x12345), PhysAddr(0xffe), 8).unwrap();
    assert_eq!(content.read_u64(PhysAddr(0x12345)), 0x0807_0605_0403_0201);
    assert_eq!(content.read_u32(PhysAddr(0x12347)), 0x0605_0403);
    assert_eq!(content.read_u8(PhysAddr(0x1005)), 8);
}

#[test]
fn what_leaves_physical_memory_is_an_error_and_writes_nothing() {
    let mut content = Content::new(0);
    let end = PhysAddr(PHYS_END - 8);
    content.write(end, 8, Source::Zero).unwrap();
    let outside = ContentError::OutsidePhysical { addr: end, len: 9 };
    assert_eq!(content.write(end, 9, Source::Data { tag: 1 }), Err(outside));
    assert_eq!(content.extents(end, 8).next().unwrap().1, Source::Zero);
    let long = MAX_LEN + 1;
    assert_eq!(content.copy(end, end, long), Err(ContentError::TooLong { len: long }));
    content.write(PhysAddr(0), MAX_LEN, Source::Zero).unwrap();
}

/// The leak that a bounce buffer makes when more is copied back than the device wrote.
#[test]
fn a_planted_leak_is_found_to_the_byte() {
    let mut content = Content::new(0);
    let (slot, buffer) = (PhysAddr(0x10_0000), PhysAddr(0x20_0800));
    content.write(slot, 2048, Source::Data { tag: 1 }).unwrap();
    content.write(slot, 512, Source::Data { tag: 2 }).unwrap();
    content.copy(buffer, slot, 2048).unwrap();
    let foreign = content.extents(buffer, 2048).filter(|(_, source, _)| *source != Source::Data { tag: 2 });
    assert_eq!(foreign.map(|(range, _, offset)| (range.size(), offset)).collect::<Vec<_>>(), [(1536, 512)]);
}
