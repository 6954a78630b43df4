//! Boot memory: who may ask memblock for what, when.

use models::kernel::{Kx, Phase};
use models::mem::{PAGE_SIZE, PageState, PhysAddr, PhysRange};
use models::memblock::{Bounds, Stage};
use sim::Finding;

use crate::support::{DIRECT, Outcome, WORLD, World, on_bare, on_booted};

const BASE: PhysAddr = PhysAddr(0x2000_0000);
const SIZE: u64 = 0x10_0000;
/// Above 4 GiB, in the last zone and not in its first section.
const HIGH: u64 = 0x2_0000_0000;

fn range() -> PhysRange {
    PhysRange::new(BASE, SIZE)
}

/// A machine with a reservation at `start` that is given back so.
fn reserving(start: u64, freed: &[(&str, &str)]) -> World {
    let freed: String = freed.iter().map(|(by, at)| format!("(by: {by}, at: {at}),")).collect();
    let machine = format!(
        r#"reserved: [(name: "efi_free_boot_services", region: (start: {start}, size: {SIZE}), freed: [{freed}])],"#
    );
    World { machine: Box::leak(machine.into_boxed_str()), ..DIRECT }
}

const EARLY: (&str, &str) = ("MemblockFree", "SetupArch");
const LATE: (&str, &str) = ("MemblockFreeLate", "StartKernel");
const LATER: (&str, &str) = ("MemblockFreeLate", "Initcalls");

/// The state of a page of the reservation once the machine has booted.
fn page_after(world: &World, start: u64) -> PageState {
    let outcome = on_booted(world, move |kx| async move {
        kx.k.mem.borrow().pages().page_state(PhysAddr(start + SIZE - PAGE_SIZE))
    });
    outcome.result.expect("the machine boots")
}

#[test]
fn memory_given_back_through_the_right_door() {
    for freed in [&[EARLY][..], &[LATE], &[LATER], &[]] {
        let world = reserving(BASE.0, freed);
        world.is_silent();
        let absent = page_after(&world, BASE.0) == PageState::Absent;
        assert_eq!(absent, freed.is_empty(), "{freed:?}");
    }
}

#[test]
fn memory_given_back_through_the_wrong_door() {
    let lost = reserving(BASE.0, &[("MemblockFree", "StartKernel")]);
    assert!(lost.fires("free-at-wrong-time").contains("after memblock_free_all"));
    assert_eq!(page_after(&lost, BASE.0), PageState::Absent);
    assert!(
        reserving(BASE.0, &[("MemblockFree", "Initcalls")]).fires("memblock-gone").contains("memblock_free")
    );
    assert!(
        reserving(BASE.0, &[("MemblockFreeLate", "SetupArch")])
            .fires("free-at-wrong-time")
            .contains("before")
    );
}

/// An architecture that keeps the lists can be asked at any time; what it gives back late is lost all the same.
#[test]
fn kept_lists_are_never_gone() {
    let world = reserving(BASE.0, &[("MemblockFree", "Initcalls")]);
    let kept = World { config: r#""CONFIG_ARCH_KEEP_MEMBLOCK=y""#, ..world };
    kept.fires("free-at-wrong-time");
    assert!(!kept.kinds(3).contains_key("memblock-gone"));
    let stage = |world: &World| on_booted(world, |kx| async move { kx.memblock_stage() }).result;
    assert_eq!((stage(&kept), stage(&DIRECT)), (Some(Stage::HandedOver), Some(Stage::Discarded)));
}

#[test]
fn memory_given_back_twice() {
    for freed in [[EARLY, EARLY], [EARLY, LATE], [LATE, LATE], [LATE, LATER]] {
        let title = reserving(BASE.0, &freed).fires("double-free");
        assert!(title.contains("given back before, in efi_free_boot_services"), "{title}");
    }
}

#[test]
fn memory_that_was_never_reserved_or_is_another_s() {
    let free = |start: u64, size: u64| {
        on_bare(&WORLD, move |kx| async move {
            ready(&kx);
            kx.memblock_free(PhysAddr(start), size).await;
        })
    };
    assert_eq!(free(BASE.0, SIZE).kinds(), [""; 0]);
    assert_eq!(free(BASE.0, SIZE / 2).kinds(), [""; 0]);
    assert_eq!(free(BASE.0 + 0x1000, SIZE).kinds(), ["bad-free"]);
    // The neighbour belongs to somebody else.
    let both = free(BASE.0 - SIZE, 2 * SIZE);
    assert_eq!(both.kinds(), ["bad-free"]);
    assert!(
        both.findings[0].title.contains("is reserved by reserve_initrd at 0.000000 s"),
        "{:?}",
        both.findings
    );
}

/// What the hand-over gave to the page allocator cannot be given to it again, whoever has it now.
#[test]
fn memory_that_the_page_allocator_has() {
    let found = on_booted(&DIRECT, |kx| async move { kx.memblock_free_late(BASE, PAGE_SIZE).await });
    assert_eq!(found.kinds(), ["bad-free"]);
    assert!(found.findings[0].title.contains("handed over before"), "{:?}", found.findings);
}

/// Memory, and two reservations side by side.
fn ready(kx: &Kx) {
    let _ = kx.k.mem.borrow_mut().memblock.add(PhysAddr(0x1000_0000), 0x4000_0000);
    kx.memblock_reserve_for("reserve_crashkernel", PhysRange::new(PhysAddr(BASE.0 - SIZE), SIZE));
    kx.memblock_reserve_for("reserve_initrd", range());
}

#[test]
fn two_owners_of_one_range() {
    let reserve = |over_allocated: bool| {
        on_bare(&WORLD, move |kx| async move {
            ready(&kx);
            let taken = kx.memblock_alloc("table", SIZE, SIZE, Bounds::ACCESSIBLE).expect("there is room").0;
            let at = if over_allocated { taken } else { PhysAddr(taken.0 - SIZE) };
            kx.memblock_reserve(PhysRange::new(at, SIZE));
            // What firmware left may be reserved twice.
            kx.memblock_reserve(range());
        })
    };
    assert_eq!(reserve(false).kinds(), [""; 0]);
    let found = reserve(true);
    assert_eq!(found.kinds(), ["overlapping-owners"]);
    let [Finding { title, .. }] = &found.findings[..] else { panic!("one finding") };
    assert!(title.contains("reserved by ") && title.contains(" at 0.000000 s"), "{title}");
}

/// What a report says of an address in memory that boot reserved, and beside it.
#[test]
fn a_report_says_who_reserved_the_memory() {
    let said = |at: PhysAddr| {
        let outcome = on_booted(&reserving(BASE.0, &[]), move |kx| async move {
            let mut details = Vec::new();
            kx.k.explain_memory(at.virt(), kx.sim(), &mut details);
            details[0].1[0].clone()
        });
        outcome.result.expect("the machine boots")
    };
    assert_eq!(said(BASE), "reserved by efi_free_boot_services at 0.000000 s");
    assert!(said(PhysAddr(0x3000_0000)).contains("free"));
}

/// After the hand-over: what is reserved stays so, what was free is the page allocator's.
#[test]
fn reservations_that_come_too_late() {
    let reserve = |start: u64| {
        on_bare(&WORLD, move |kx| async move {
            ready(&kx);
            kx.hand_over(PhysAddr(0x5000_0000));
            kx.k.globals.phase.set(Phase::PageAllocator);
            kx.memblock_reserve(PhysRange::new(PhysAddr(start), SIZE));
        })
    };
    assert_eq!(reserve(BASE.0).kinds(), [""; 0]);
    // No memory at all.
    assert_eq!(reserve(0x8000_0000).kinds(), [""; 0]);
    assert_eq!(reserve(BASE.0 + SIZE).kinds(), ["overlapping-owners"]);
}

#[test]
fn allocations_that_come_too_late() {
    let late = |version: &'static str, phys: bool, size: u64| -> Outcome<bool> {
        on_booted(&World { version, ..DIRECT }, move |kx| async move {
            let taken = if phys {
                kx.memblock_phys_alloc("late", size, PAGE_SIZE, Bounds::ACCESSIBLE)
            } else {
                kx.memblock_alloc("late", size, PAGE_SIZE, Bounds::ACCESSIBLE)
            };
            taken.is_ok()
        })
    };
    // The kernel notices, and helps out from slab, as far as slab goes.
    let helped = late("5.15", false, PAGE_SIZE);
    assert_eq!((helped.kinds(), helped.result), (vec!["warn-on"], Some(true)));
    let too_large = late("5.15", false, 8 << 20);
    assert_eq!((too_large.kinds(), too_large.result), (vec!["warn-on"], Some(false)));
    // It does not notice this one.
    assert_eq!(late("5.15", true, PAGE_SIZE).kinds(), ["memblock-gone"]);
    // Between the hand-over and the end of the lists somebody else has the memory.
    let shared = on_bare(&WORLD, |kx| async move {
        ready(&kx);
        kx.hand_over(PhysAddr(0x5000_0000));
        let _ = kx.memblock_phys_alloc("late", PAGE_SIZE, PAGE_SIZE, Bounds::ACCESSIBLE);
    });
    assert_eq!(shared.kinds(), ["overlapping-owners"]);
}

/// `memblock_free_late` in the part of memory whose page structures come later: nobody gets the pages.
#[test]
fn memory_given_back_before_its_page_structures_are_there() {
    const DEFERRED: &str = r#""CONFIG_DEFERRED_STRUCT_PAGE_INIT=y""#;
    let with = |start: u64, freed, config: &'static str| World { config, ..reserving(start, &[freed]) };
    let lost = with(HIGH, LATE, DEFERRED);
    assert!(lost.fires("lost-memory").contains("not initialised yet"));
    assert_eq!(page_after(&lost, HIGH), PageState::Absent);
    for harmless in [
        with(HIGH, LATE, ""),
        with(HIGH, LATER, DEFERRED),
        with(HIGH, EARLY, DEFERRED),
        with(BASE.0, LATE, DEFERRED),
        with(0x1_0000_0000, LATE, DEFERRED),
    ] {
        harmless.is_silent();
    }
}

/// All pages arrive in the end, whenever their structures are initialised.
#[test]
fn deferred_pages_arrive() {
    let free = |config: &'static str, early: bool| {
        let path = move |kx: Kx| async move {
            if early {
                let _ = kx.k.mem.borrow_mut().memblock.add(PhysAddr(0x10_0000), 0xbff0_0000);
                let _ = kx.k.mem.borrow_mut().memblock.add(PhysAddr(1 << 32), 0x1_4000_0000);
                let end = PhysAddr(0x2_4000_0000);
                kx.free_area_init(end);
                let at_once = kx.hand_over(end);
                kx.k.globals.phase.set(Phase::PageAllocator);
                kx.page_alloc_init_late().await;
                return at_once;
            }
            let mem = kx.k.mem.borrow();
            let zones =
                [models::mem::ZoneKind::Dma, models::mem::ZoneKind::Dma32, models::mem::ZoneKind::Normal];
            zones.into_iter().map(|zone| mem.pages().free_page_count(0, zone)).sum::<u64>()
        };
        let world = World { config, ..DIRECT };
        let outcome = if early { on_bare(&world, path) } else { on_booted(&world, path) };
        assert_eq!(outcome.kinds(), [""; 0]);
        outcome.result.expect("it ends")
    };
    let deferred = r#""CONFIG_DEFERRED_STRUCT_PAGE_INIT=y""#;
    assert_eq!(free("", false), free(deferred, false));
    let (all, at_once) = (free("", true), free(deferred, true));
    // 5 GiB above 4 GiB, of which one section comes at once.
    assert_eq!(all - at_once, (0x1_4000_0000 - 0x800_0000) >> 12);
}

#[test]
fn init_sections_go_to_the_page_allocator() {
    let init = "init_sections: (start: 0x3000000, size: 0x200000),";
    let world = World { machine: init, ..DIRECT };
    world.is_silent();
    let page = |world: &World| {
        let outcome =
            on_booted(world, |kx| async move { kx.k.mem.borrow().pages().page_state(PhysAddr(0x310_0000)) });
        outcome.result.expect("the machine boots")
    };
    assert_eq!(page(&DIRECT), PageState::Absent);
    assert_ne!(page(&world), PageState::Absent);
    // Somebody gave a part of the image back already.
    let machine = format!(
        r#"{init} reserved: [(name: "greedy", region: (start: 0x3100000, size: 0x1000),
            freed: [(by: MemblockFreeLate, at: Initcalls)])],"#
    );
    let greedy = World { machine: Box::leak(machine.into_boxed_str()), ..DIRECT };
    assert!(greedy.fires("double-free").contains("in greedy"));
}

/// A reservation of a virtual address is one of nothing; the same of a physical one is in order, RAM or not.
#[test]
fn a_reservation_where_no_memory_can_be() {
    let log = |flips| World {
        machine: "tpm_log: (start: 0x3e123018, size: 0x10000),",
        version: "6.1",
        flips,
        ..DIRECT
    };
    let title = log(r#"revert: ["tpm-log-by-physical-address"],"#).fires("reserve-outside-memory");
    assert!(title.contains("efi_tpm_eventlog_init reserves 0xffffffffff200018"), "{title}");
    log("").is_silent();
    let reserves = |start: u64| {
        on_bare(&WORLD, move |kx| async move {
            ready(&kx);
            kx.memblock_reserve(PhysRange::new(PhysAddr(start), 0x1000));
        })
    };
    assert_eq!(reserves(1 << 52).kinds(), ["reserve-outside-memory"]);
    assert_eq!(reserves((1 << 52) - 0x1000).kinds(), [""; 0]);
}

/// 118 regions that the machine reserves early, and 20 more in `start_kernel` where there is no RAM.
const MANY: &str = r#"reserved: [
    (name: "firmware", region: (start: 0x20000000, size: 0x1000), times: 118, stride: 0x100000),
    (name: "late", region: (start: 0xd0000000, size: 0x1000), times: 20, stride: 0x100000, at: StartKernel),
],"#;

#[test]
fn an_array_that_came_from_slab_goes_back_there() {
    let many = |flips| World { machine: MANY, version: "6.1", flips, ..DIRECT };
    let title = many(r#"revert: ["memblock-array-kfreed"],"#).fires("bad-free");
    assert!(title.contains("memblock_free_late"), "{title}");
    many("").is_silent();
    // Lists that have not grown go with the image.
    let few: &'static str = MANY.replace("times: 20", "times: 2").leak();
    World { machine: few, ..many(r#"revert: ["memblock-array-kfreed"],"#) }.is_silent();
}

/// The kernel's own reservations and these fill the list to the last entry.
const FULL: &str = r#"reserved: [
    (name: "firmware", region: (start: 0x20000000, size: 0x1000), times: 125, stride: 0x100000),
],"#;

#[test]
fn lists_that_are_given_back_before_their_last_reader_is_done() {
    let full = |flips, machine, config| World { machine, version: "6.1", flips, config, ..DIRECT };
    let deferred = r#""CONFIG_DEFERRED_STRUCT_PAGE_INIT=y""#;
    let early = r#"revert: ["memblock-discarded-late"],"#;
    let title = full(early, FULL, deferred).fires("memblock-gone");
    assert!(title.contains("in deferred_init_memmap"), "{title}");
    full("", FULL, deferred).is_silent();
    full(early, FULL, "").is_silent();
    full(early, "", deferred).is_silent();
}

#[test]
fn a_list_that_grows_into_the_range_that_is_reserved() {
    let full = |flips| World { machine: FULL, version: "6.1", flips, ..DIRECT };
    let title = full(r#"revert: ["memblock-growth-avoids-request"],"#).fires("overlapping-owners");
    assert!(title.contains("memblock_double_array"), "{title}");
    full("").is_silent();
}

#[test]
fn boot_services_memory_waits_for_page_structures() {
    let machine: &'static str = format!(
        r#"reserved: [(name: "efi_free_boot_services", region: (start: {HIGH}, size: {SIZE}),
            freed: [(by: MemblockFreeLate, at: StartKernel)])],"#
    )
    .leak();
    let config = r#""CONFIG_DEFERRED_STRUCT_PAGE_INIT=y""#;
    let world = |flips| World { machine, version: "6.12", flips, config, ..DIRECT };
    world("").fires("lost-memory");
    let late = world(r#"apply: ["boot-services-freed-late"],"#);
    late.is_silent();
    assert_ne!(page_after(&late, HIGH), PageState::Absent);
}
