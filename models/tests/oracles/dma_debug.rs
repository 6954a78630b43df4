//! What DMA-API debugging checks: each kind of misuse, and what differs little from it and is none.

use std::collections::BTreeSet;

use models::oracle::Misuse;
use models::run::{Request, Simulation};

use crate::support::{BOUNCING, DIRECT, WORLD, World};

const DEBUG: &str = r#""CONFIG_DMA_API_DEBUG=y""#;
const DEBUG_SG: &str = r#""CONFIG_DMA_API_DEBUG=y", "CONFIG_DMA_API_DEBUG_SG=y""#;
const NO_VMAP: &str = r#""CONFIG_VMAP_STACK=n""#;

/// A kind of misuse, the options that it needs, a driver that commits it, and one that does not.
struct Case(Misuse, &'static str, &'static str, &'static str);

const PAGE: &str = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m")"#;
const LIST: &str =
    r#"MapSg(name: "s", entries: Fixed(3), size: Fixed(4096), dir: FromDevice), UnmapSg(name: "s")"#;

const CASES: &[Case] = &[
    Case(
        Misuse::FreesInvalid,
        "",
        r#"Map(name: "m", size: Fixed(1048576), dir: ToDevice, on_error: Ignore), Unmap(name: "m")"#,
        r#"Map(name: "m", size: Fixed(262144), dir: ToDevice), Unmap(name: "m")"#,
    ),
    Case(
        Misuse::FreesUnknown,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m"), Unmap(name: "m")"#,
        PAGE,
    ),
    Case(
        Misuse::FreesOtherSize,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m", size: Fixed(2048))"#,
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m", size: Fixed(4096))"#,
    ),
    Case(
        Misuse::FreesWrongFunction,
        "",
        r#"MapSg(name: "s", entries: Fixed(1), size: Fixed(4096), dir: FromDevice), Unmap(name: "s", made_by: MapSg)"#,
        LIST,
    ),
    Case(
        Misuse::FreesOtherAddress,
        "",
        r#"AllocCoherent(name: "c", size: Fixed(8192)), FreeCoherent(name: "c", cpu_offset: 4096)"#,
        r#"AllocCoherent(name: "c", size: Fixed(8192)), FreeCoherent(name: "c")"#,
    ),
    Case(
        Misuse::FreesOtherCount,
        "",
        r#"MapSg(name: "s", entries: Fixed(3), size: Fixed(4096), dir: FromDevice),
            UnmapSg(name: "s", entries: Fixed(1))"#,
        r#"MapSg(name: "s", entries: Fixed(3), size: Fixed(4096), dir: FromDevice),
            UnmapSg(name: "s", entries: Fixed(3))"#,
    ),
    Case(
        Misuse::FreesOtherDirection,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m", dir: ToDevice)"#,
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m", dir: FromDevice)"#,
    ),
    Case(
        Misuse::Unchecked,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice, on_error: Ignore), Unmap(name: "m")"#,
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice, on_error: Skip), Unmap(name: "m")"#,
    ),
    Case(
        Misuse::MapsStack,
        NO_VMAP,
        r#"AllocBuffer(name: "b", size: Fixed(64), from: Stack), Map(name: "m", buffer: "b", dir: ToDevice),
            Unmap(name: "m")"#,
        r#"AllocBuffer(name: "b", size: Fixed(64), from: Slab), Map(name: "m", buffer: "b", dir: ToDevice),
            Unmap(name: "m")"#,
    ),
    Case(
        Misuse::MapsKernelText,
        "",
        r#"AllocBuffer(name: "b", size: Fixed(64), from: Rodata), Map(name: "m", buffer: "b", dir: ToDevice),
            Unmap(name: "m")"#,
        r#"AllocBuffer(name: "b", size: Fixed(64)), Map(name: "m", buffer: "b", dir: ToDevice), Unmap(name: "m")"#,
    ),
    Case(
        Misuse::MapsInvalid,
        "",
        r#"AllocBuffer(name: "b", size: Fixed(64), from: NoRam), Map(name: "m", buffer: "b", dir: FromDevice),
            Unmap(name: "m")"#,
        r#"AllocBuffer(name: "b", size: Fixed(64)), Map(name: "m", buffer: "b", dir: FromDevice), Unmap(name: "m")"#,
    ),
    Case(
        Misuse::MapsVmalloc,
        "",
        r#"AllocBuffer(name: "b", size: Fixed(64), from: Stack), Map(name: "m", buffer: "b", dir: ToDevice,
            on_error: Skip), FreeBuffer(name: "b")"#,
        r#"AllocBuffer(name: "b", size: Fixed(64), from: Slab), Map(name: "m", buffer: "b", dir: ToDevice,
            on_error: Skip), Unmap(name: "m"), FreeBuffer(name: "b")"#,
    ),
    Case(
        Misuse::SyncsUnknown,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), SyncForCpu(name: "m", offset: Fixed(1), size: Fixed(4096)),
            Unmap(name: "m")"#,
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), SyncForCpu(name: "m", offset: Fixed(1), size: Fixed(4095)),
            Unmap(name: "m")"#,
    ),
    Case(
        Misuse::SyncsOtherDirection,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), SyncForCpu(name: "m", dir: Bidirectional),
            Unmap(name: "m")"#,
        r#"Map(name: "m", size: Fixed(4096), dir: Bidirectional), SyncForCpu(name: "m", dir: FromDevice),
            Unmap(name: "m")"#,
    ),
    Case(
        Misuse::SyncsReadOnly,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), SyncForCpu(name: "m", dir: FromDevice), Unmap(name: "m")"#,
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), SyncForCpu(name: "m", dir: FromDevice), Unmap(name: "m")"#,
    ),
    Case(
        Misuse::SyncsWriteOnly,
        "",
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), SyncForDevice(name: "m", dir: ToDevice), Unmap(name: "m")"#,
        r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), SyncForDevice(name: "m", dir: ToDevice), Unmap(name: "m")"#,
    ),
    Case(
        Misuse::SyncsOtherCount,
        "",
        r#"MapSg(name: "s", entries: Fixed(3), size: Fixed(4096), dir: FromDevice),
            SyncForCpu(name: "s", entries: Fixed(1)), UnmapSg(name: "s")"#,
        r#"MapSg(name: "s", entries: Fixed(3), size: Fixed(4096), dir: FromDevice),
            SyncForCpu(name: "s"), UnmapSg(name: "s")"#,
    ),
    Case(
        Misuse::SegmentTooLong,
        DEBUG_SG,
        r#"SetMaxSegSize(bytes: 4096), MapSg(name: "s", entries: Fixed(1), size: Fixed(8192), dir: ToDevice),
            UnmapSg(name: "s")"#,
        r#"SetMaxSegSize(bytes: 8192), MapSg(name: "s", entries: Fixed(1), size: Fixed(8192), dir: ToDevice),
            UnmapSg(name: "s")"#,
    ),
    Case(
        Misuse::SegmentAcross,
        DEBUG_SG,
        r#"SetSegBoundary(mask: 0xfff), MapSg(name: "s", entries: Fixed(1), size: Fixed(8192), dir: ToDevice),
            UnmapSg(name: "s")"#,
        r#"SetSegBoundary(mask: 0xfff), MapSg(name: "s", entries: Fixed(1), size: Fixed(4096), dir: ToDevice),
            UnmapSg(name: "s")"#,
    ),
    Case(
        Misuse::Overlaps,
        DEBUG,
        r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: FromDevice),
            Map(name: "n", buffer: "b", dir: FromDevice), Unmap(name: "m"), Unmap(name: "n")"#,
        r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: FromDevice),
            Map(name: "n", buffer: "b", dir: ToDevice), Unmap(name: "m"), Unmap(name: "n")"#,
    ),
    Case(
        Misuse::OverlapsTooOften,
        DEBUG,
        r#"AllocBuffer(name: "b", size: Fixed(4096)), Repeat(times: Fixed(9), body: [
            Map(name: "m", buffer: "b", dir: FromDevice, attrs: [SkipCpuSync])])"#,
        r#"AllocBuffer(name: "b", size: Fixed(4096)), Repeat(times: Fixed(8), body: [
            Map(name: "m", buffer: "b", dir: FromDevice, attrs: [SkipCpuSync])])"#,
    ),
];

/// What kinds of misuse one run of a driver shows, and its messages.
fn misuses(world: &World) -> Vec<(&'static str, String)> {
    let run = Simulation::new(world.resolve()).worker().run(&Request::quick(0));
    let misuse = run.end.findings.into_iter().filter(|finding| finding.kind == "dma-api-misuse");
    misuse.map(|finding| (finding.discriminator, finding.title)).collect()
}

#[test]
fn each_misuse_is_found_and_its_neighbour_is_none() {
    for Case(misuse, config, wrong, right) in CASES {
        for world in [WORLD, DIRECT, BOUNCING] {
            // Only a bounce pool has a mapping that is too large for it.
            if *misuse == Misuse::FreesInvalid && world.cmdline != BOUNCING.cmdline {
                continue;
            }
            // A bounce buffer is never chosen across a boundary.
            if *misuse == Misuse::SegmentAcross && world.cmdline == BOUNCING.cmdline {
                continue;
            }
            let with = |body: &'static str| World { config, body, ..world.clone() };
            let found = misuses(&with(wrong));
            let (_, title) = found
                .iter()
                .find(|(name, _)| *name == misuse.name())
                .unwrap_or_else(|| panic!("{misuse:?} with `{}`: {found:?}", world.cmdline));
            assert!(title.contains(misuse.words()), "{title}");
            assert!(title.contains("disk 0000:01:00.0: "), "{title}");
            let found = misuses(&with(right));
            assert!(found.is_empty(), "{misuse:?} with `{}`: {found:?}", world.cmdline);
        }
    }
}

#[test]
fn every_misuse_has_a_case_and_is_documented() {
    let known: BTreeSet<_> = Misuse::ALL.iter().copied().collect();
    let tried: BTreeSet<_> = CASES.iter().map(|case| case.0).collect();
    assert_eq!(tried, known);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    for misuse in Misuse::ALL {
        let row = format!("| {} | {} |", misuse.name(), misuse.words());
        assert!(text.contains(&row), "docs/findings.md lacks: {row}");
    }
}

/// Two groups are asked for by name, as in the kernel.
#[test]
fn overlaps_and_segments_need_their_options() {
    for Case(misuse, config, wrong, _) in CASES {
        if [DEBUG, DEBUG_SG].contains(config) {
            let found = misuses(&World { body: wrong, ..DIRECT });
            assert!(found.iter().all(|(name, _)| *name != misuse.name()), "{misuse:?}: {found:?}");
        }
    }
    // Segments need theirs beside the general one.
    let Case(misuse, _, wrong, _) =
        CASES.iter().find(|case| case.0 == Misuse::SegmentTooLong).expect("a case");
    let found = misuses(&World { config: DEBUG, body: wrong, ..DIRECT });
    assert!(found.is_empty(), "{misuse:?}: {found:?}");
}

/// With the option the modelled kernel says it by itself, once, and where the mapping was made.
#[test]
fn the_modelled_log_has_the_first_message_if_the_kernel_was_built_so() {
    let body = r#"Call(function: "disk_queue", body: [Map(name: "m", size: Fixed(4096), dir: FromDevice)]),
        Unmap(name: "m", size: Fixed(2048)),
        Map(name: "n", size: Fixed(4096), dir: FromDevice), Unmap(name: "n", dir: ToDevice)"#;
    let world = World { body, ..DIRECT };
    let lines = |world: &World| -> Vec<String> {
        world.recorded().log().iter().map(|line| line.text.clone()).collect()
    };
    let log = lines(&World { config: DEBUG, ..world.clone() });
    let at = log
        .iter()
        .position(|line| {
            line.starts_with("DMA-API: disk 0000:01:00.0: device driver frees DMA memory with different size")
                && line.ends_with("[map size=4096 bytes] [unmap size=2048 bytes]")
        })
        .unwrap_or_else(|| panic!("{log:#?}"));
    assert!(log[at + 1].starts_with("WARNING: CPU: "), "{}", log[at + 1]);
    assert_eq!(log[at + 2..at + 5], ["DMA-API: Mapped at:", " dma_map_page_attrs", " disk_queue"]);
    assert!(!log.iter().any(|line| line.contains("different direction")), "one message is shown");
    for silent in [world.clone(), World { config: DEBUG, cmdline: "amd_iommu=off dma_debug=off", ..world }] {
        assert!(!lines(&silent).iter().any(|line| line.contains("DMA-API")));
    }
}

/// The stack of another task is memory like any other for this check; with `CONFIG_VMAP_STACK` it is refused.
#[test]
fn a_refused_stack_is_no_mapping() {
    let body = r#"AllocBuffer(name: "b", size: Fixed(64), from: Stack),
        Map(name: "m", buffer: "b", dir: ToDevice, on_error: Ignore), Unmap(name: "m")"#;
    let found: Vec<_> = misuses(&World { body, ..DIRECT }).into_iter().map(|found| found.0).collect();
    assert_eq!(found, [Misuse::MapsVmalloc.name(), Misuse::FreesInvalid.name()]);
}
