//! What a queued spinlock does with four bytes that are no lock.
//!
//! Source: `kernel/locking/qspinlock.c: queued_spin_lock_slowpath()`, v5.13; the worked example is the crash of July
//! 2021: a tail of 0x7460 is CPU 7447.

use models::kernel::LockHeld;
use models::mem::{PhysAddr, Ptr};
use models::swiotlb::kernel::{IoTlbMem, POOL_LOCK};

use crate::support::{Outcome, WORLD, on_booted};

/// Where the words of the test lie.
const PAGE: PhysAddr = PhysAddr(0x4000);
/// Offset of the lock in `struct io_tlb_mem`.
const LOCK: u64 = 0x24;

/// Takes a "lock" whose word is `word`, and says what the word is afterwards if the lock was taken.
fn take(word: u32) -> Outcome<u64> {
    on_booted(&WORLD, move |kx| async move {
        kx.raw_write(PhysAddr(PAGE.0 + LOCK), &word.to_le_bytes());
        let ptr: Ptr<IoTlbMem> = Ptr::wild(PAGE.virt());
        let held = kx.raw_spin_lock_irqsave(ptr, IoTlbMem::lock, POOL_LOCK, IoTlbMem::lock_of).await;
        assert!(matches!(held, LockHeld::Foreign(..)));
        let taken = kx.raw_read(PhysAddr(PAGE.0 + LOCK), 4);
        kx.raw_spin_unlock_irqrestore(held);
        assert_eq!(
            kx.raw_read(PhysAddr(PAGE.0 + LOCK), 4),
            0,
            "only the locked byte was set, and is cleared"
        );
        taken
    })
}

fn details(outcome: &Outcome<u64>) -> String {
    format!("{:#?}", outcome.findings)
}

#[test]
fn a_word_of_zero_is_a_free_lock() {
    let outcome = take(0);
    assert_eq!((outcome.kinds(), outcome.result), (vec!["wild-pointer"], Some(1)));
}

#[test]
fn a_locked_byte_alone_is_waited_for() {
    for word in [1, 0x41, 0xff] {
        let outcome = take(word);
        assert_eq!(outcome.kinds(), ["wild-pointer", "hard-lockup"], "{word:#x}");
        assert!(details(&outcome).contains("pending"), "{word:#x}");
    }
}

#[test]
fn pending_without_a_tail_queues_at_the_head() {
    for word in [0x100, 0x101, 0x5500] {
        let outcome = take(word);
        assert_eq!(outcome.kinds(), ["wild-pointer", "hard-lockup"], "{word:#x}");
        assert!(details(&outcome).contains("head of the queue"), "{word:#x}");
    }
}

/// Tail of a CPU and nesting level.
const fn tail(cpu: u32, index: u32) -> u32 {
    (cpu + 1) << 18 | index << 16
}

#[test]
fn a_tail_of_a_cpu_that_exists_is_written_to() {
    for (cpu, index) in [(0, 0), (3, 2)] {
        let outcome = take(tail(cpu, index));
        assert_eq!(outcome.kinds(), ["wild-pointer", "wild-write", "hard-lockup"]);
        let title = &outcome.findings[1].title;
        assert!(title.contains(&format!("the node of CPU {cpu} ")), "{title}");
        // The node lies in that CPU's area, the areas 0x40000 apart.
        let low = 0x2_d580 + u64::from(index) * 32;
        assert!(title.contains(&format!("{:05x}:", (u64::from(cpu) * 0x4_0000 + low) & 0xf_ffff)), "{title}");
    }
}

#[test]
fn a_tail_of_a_cpu_that_could_exist_leads_into_the_image() {
    let outcome = take(tail(100, 1));
    assert_eq!(outcome.kinds(), ["wild-pointer", "wild-write", "hard-lockup"]);
    assert!(outcome.findings[1].title.contains("ffffffff82a2d5a0"), "{}", outcome.findings[1].title);
}

#[test]
fn the_tail_of_the_report_is_cpu_7447() {
    for index in 0..4_u32 {
        // The bytes 60..63 74 at offsets 0x26 and 0x27: "at", "bt", "ct" in a text.
        let outcome = take((0x7460 + index) << 16 | 0x2020);
        assert_eq!(outcome.kinds()[0], "wild-pointer");
        let text = details(&outcome);
        assert!(text.contains("CPU 7447 ") || text.contains("RDI: 0000000000001d17"), "{text}");
        assert!(outcome.result.is_none());
    }
}
