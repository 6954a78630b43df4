//! `Heap` and `Shadow` against a flat twin: one owner and one value per byte.

use std::rc::Rc;

use models::mem::{Heap, PhysAddr, PhysRange, Ptr, ShadowError, Site};
use models::swiotlb::IoTlbMem;
use proptest::prelude::*;

/// The twin's window: four pages, of which the third and fourth are a slab.
const BASE: u64 = 0x7fff_e000;
const LEN: u64 = 4 * 4096;
const SLOT: u64 = 192;

#[derive(Clone, Debug)]
enum Op {
    Object(u64),
    Buffer(u64, u64),
    Slot(u64, u64),
    Free(prop::sample::Index),
    Write(u64, Vec<u8>),
    Copy(u64, u64, u64),
    Field(prop::sample::Index, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0..0x1fc8u64).prop_map(Op::Object),
        2 => (0..0x2000u64, 1..0x2000u64).prop_map(|(at, len)| Op::Buffer(at, len.min(0x2000 - at))),
        3 => (0..42u64, 1..=SLOT).prop_map(|(slot, len)| Op::Slot(slot, len)),
        4 => index().prop_map(Op::Free),
        3 => (0..LEN - 80, prop::collection::vec(any::<u8>(), 1..80)).prop_map(|(at, bytes)| Op::Write(at, bytes)),
        2 => (0..LEN, 0..LEN, 0..6000u64).prop_map(|(dst, src, len)| Op::Copy(dst, src, len.min(LEN - dst.max(src)))),
        2 => (index(), any::<u64>()).prop_map(|(index, value)| Op::Field(index, value)),
    ]
}

const SITE: Site = Site { func: "test", ctx: 0, time_ns: 0, step: 0 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bytes_and_owners_equal_a_flat_array(ops in prop::collection::vec(op(), 1..80)) {
        let mut heap = Heap::new(5, 0);
        let slab = PhysRange::new(PhysAddr(BASE + 0x2000), 0x2000);
        heap.shadow_mut().set_slab(slab, 192).unwrap();
        let mut owner = vec![0u32; usize::try_from(LEN).unwrap()];
        let mut bytes = vec![0u8; usize::try_from(LEN).unwrap()];
        heap.read_bytes(PhysAddr(BASE), &mut bytes);
        let mut live: Vec<(u32, u64, u64, bool)> = Vec::new();
        let us = |value: u64| usize::try_from(value).unwrap();
        for op in ops {
            let span = |at: u64, len: u64| us(at)..us(at + len);
            match op {
                Op::Object(at) | Op::Buffer(at, _) | Op::Slot(at, _) => {
                    let (at, len) = match op {
                        Op::Slot(slot, len) => (0x2000 + slot * SLOT, len),
                        Op::Buffer(_, len) => (at, len),
                        _ => (at, 0x38),
                    };
                    let object = Rc::new(IoTlbMem::default());
                    object.index.set(7);
                    let typed = matches!(op, Op::Object(_)) || len >= 0x38;
                    let id = if typed {
                        heap.alloc_object(PhysAddr(BASE + at), len, SITE, object).map(|ptr| ptr.id)
                    } else {
                        heap.alloc_buffer("buffer", PhysRange::new(PhysAddr(BASE + at), len), SITE)
                    };
                    let there = owner[span(at, len)].iter().rev().find(|&&id| id != 0);
                    match there {
                        Some(_) => {
 let overlap = matches!(id, Err(ShadowError::Overlap { .. }));
 prop_assert!(overlap);
 }
                        None => {
                            let id = id.unwrap();
                            owner[span(at, len)].fill(id);
                            live.push((id, at, len, typed));
                            if typed {
                                bytes[span(at, 0x33)].fill(0);
                                bytes[us(at + 0x20)] = 7;
                            }
                        }
                    }
                }
                Op::Free(index) if !live.is_empty() => {
                    let (id, at, len, _) = live.swap_remove(index.index(live.len()));
                    prop_assert!(heap.free_object(id, SITE).is_ok());
                    prop_assert_eq!(heap.free_object(id, SITE), Err(ShadowError::DoubleFree { id }));
                    owner[span(at, len)].fill(0);
                }
                Op::Write(at, new) => {
                    heap.raw_write(PhysAddr(BASE + at), &new).unwrap();
                    bytes[span(at, new.len() as u64)].copy_from_slice(&new);
                }
                Op::Copy(dst, src, len) => {
                    heap.copy(PhysAddr(BASE + dst), PhysAddr(BASE + src), len).unwrap();
                    bytes.copy_within(span(src, len), us(dst));
                }
                Op::Field(index, value) if !live.is_empty() => {
                    let (id, at, _, typed) = live[index.index(live.len())];
                    if typed {
                        let ptr = Ptr::new(PhysAddr(BASE + at).virt(), id);
                        heap.store(ptr, IoTlbMem::nslabs, value);
                        bytes[span(at + 0x10, 8)].copy_from_slice(&value.to_le_bytes());
                    }
                }
                Op::Free(_) | Op::Field(..) => {}
            }
            // A trampled boolean keeps only whether it is zero.
            for &(_, at, _, typed) in &live {
                if typed {
                    bytes[span(at + 0x30, 3)].iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
                }
            }
            let mut found = vec![0; bytes.len()];
            heap.read_bytes(PhysAddr(BASE), &mut found);
            if let Some(at) = (0..bytes.len()).find(|&at| found[at] != bytes[at]) {
                prop_assert!(false, "byte {at:#x}: {:#x} and not {:#x}", found[at], bytes[at]);
            }
        }
        for (at, id) in (0u64..).zip(&owner).step_by(5) {
            prop_assert_eq!(heap.shadow().object_at(PhysAddr(BASE + at)), *id, "owner of byte {:#x}", at);
        }
        for piece in 0..64u64 {
            let (at, size) = (piece * 200, u16::try_from(piece % 8 + 1).unwrap());
            let mut raw = [0; 8];
            raw[..usize::from(size)].copy_from_slice(&bytes[us(at)..us(at) + usize::from(size)]);
            prop_assert_eq!(heap.raw_read(PhysAddr(BASE + at), size), u64::from_le_bytes(raw));
        }
        prop_assert_eq!(heap.shadow().objects().live().count(), live.len());
    }
}
