//! Device links: who waits for whom, who goes first, and what the oracle says where the order is broken.

use models::run::{Request, Run, Simulation, Source};
use models::scenario::{Overrides, Resolved, load};
use std::path::Path;

use crate::support::{campaign, resolved};

/// A consumer and its supplier, each with a driver; what differs between two tests is a field.
#[derive(Clone, Copy)]
struct Board {
    kernel: &'static str,
    cmdline: &'static str,
    iommu: &'static str,
    /// Of the consumer, 0000:01:00.0.
    consumer: &'static str,
    /// Of the supplier, 0000:02:00.0.
    supplier: &'static str,
    probe: &'static str,
    workload: &'static str,
    remove: &'static str,
    /// When the supplier's driver comes; nothing if there is none.
    supplier_driver: &'static str,
    supplier_probe: &'static str,
    processes: &'static str,
}

const BOARD: Board = Board {
    kernel: r#"version: "6.12""#,
    cmdline: "quiet",
    iommu: "None",
    consumer: r#"suppliers: [(property: Clocks, bdf: "0000:02:00.0")]"#,
    supplier: "outside_iommu: true",
    probe: "SetMask(bits: 64)",
    workload: "",
    remove: "",
    supplier_driver: "Module(after_ms: Fixed(50))",
    supplier_probe: "",
    processes: "",
};

impl Board {
    fn resolve(&self) -> Resolved {
        let Self { kernel, cmdline, iommu, consumer, supplier, probe, workload, remove, .. } = *self;
        let Self { supplier_driver, supplier_probe, processes, .. } = *self;
        let (driver, with) = match supplier_driver {
            "" => (String::new(), ""),
            registers => (
                format!(r#"Inline(name: "clock", registers: {registers}, probe: [{supplier_probe}]),"#),
                r#"driver: "clock","#,
            ),
        };
        let text = format!(
            r#"(
    about: "links",
    kernel: ({kernel}),
    cmdline: "{cmdline}",
    machine: Inline(
        name: "small", cpu_vendor: Arm, cpus: 2, nr_cpus: 64, iommu: {iommu},
        e820: [
            (start: 0x0, end: 0x9ffff, kind: Usable),
            (start: 0x100000, end: 0x7fffffff, kind: Usable),
            (start: 0x100000000, end: 0x13fffffff, kind: Usable),
        ],
        devices: [
            (bdf: "0000:01:00.0", bus: Platform, driver: "user", isolation: 1, {consumer}),
            (bdf: "0000:02:00.0", bus: Platform, {with} {supplier}),
        ],
    ),
    drivers: [
        Inline(
            name: "user", probe: [{probe}], remove: [{remove}],
            workload: [(name: "io", start_ms: Fixed(1), body: [{workload}])],
        ),
        {driver}
    ],
    processes: [{processes}],
)"#
        );
        resolved(&text)
    }

    fn recorded(&self, seed: u64) -> Run {
        Simulation::new(self.resolve()).worker().run(&Request::full(Source::Seed(seed)))
    }

    /// Milliseconds at which the log says this, in one run.
    fn when(&self, what: &str) -> Option<u64> {
        at(&self.recorded(0), what)
    }

    #[track_caller]
    fn is_silent(&self, seeds: u64) {
        let found = campaign(self.resolve(), seeds);
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn at(run: &Run, what: &str) -> Option<u64> {
    run.log().iter().find(|line| line.text.contains(what)).map(|line| line.time / 1_000_000)
}

fn shipped(name: &str, variant: Option<&str>) -> Resolved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
    let overrides = Overrides { variant: variant.map(str::to_owned), ..Overrides::default() };
    loaded.resolve(&overrides).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_consumer_is_probed_when_its_supplier_has_its_driver() {
    let user = BOARD.when("user 0000:01:00.0: bound").expect("it is bound");
    let clock = BOARD.when("clock 0000:02:00.0: bound").expect("it is bound");
    assert!(user >= clock, "{user} ms and {clock} ms");
    let alone = Board { consumer: "", ..BOARD };
    assert!(alone.when("user 0000:01:00.0: bound") < alone.when("clock 0000:02:00.0: bound"));
    for (cmdline, waits) in [
        ("fw_devlink=off", false),
        ("fw_devlink=permissive", false),
        ("fw_devlink=on", true),
        ("fw_devlink=rpm", true),
    ] {
        let board = Board { cmdline, ..BOARD };
        let waited = board.when("user 0000:01:00.0: bound") >= board.when("clock 0000:02:00.0: bound");
        assert_eq!(waited, waits, "{cmdline}");
        board.is_silent(6);
    }
}

#[test]
fn optional_suppliers_count_if_links_are_strict() {
    let consumer = r#"suppliers: [(property: Dmas, bdf: "0000:02:00.0")]"#;
    let board = Board { consumer, ..BOARD };
    assert!(board.when("user 0000:01:00.0: bound") < board.when("clock 0000:02:00.0: bound"));
    let strict = Board { cmdline: "fw_devlink.strict=1", ..board };
    assert!(strict.when("user 0000:01:00.0: bound") >= strict.when("clock 0000:02:00.0: bound"));
}

#[test]
fn nobody_waits_for_ever_for_a_supplier_without_a_driver() {
    let user = Board { supplier_driver: "", ..BOARD }.when("user 0000:01:00.0: bound").expect("it is bound");
    assert!((12_000..13_500).contains(&user), "{user} ms");
    // One that is not even there keeps its consumer from being probed.
    let late = Board { supplier: "outside_iommu: true, plugged: After(ms: 3000000)", ..BOARD };
    assert_eq!(at(&late.recorded(0), "0000:01:00.0: deferred probe pending").map(|ms| ms / 1000), Some(12));
}

#[test]
fn who_need_one_another_are_not_made_to_wait() {
    let circle = Board {
        supplier: r#"outside_iommu: true, suppliers: [(property: Clocks, bdf: "0000:01:00.0")]"#,
        ..BOARD
    };
    let run = circle.recorded(0);
    assert!(at(&run, "Fixed dependency cycle(s)").is_some());
    assert!(
        at(&run, "user 0000:01:00.0: bound").is_some() && at(&run, "clock 0000:02:00.0: bound").is_some()
    );
    circle.is_silent(6);
}

const UNBIND_SUPPLIER: &str =
    r#"(name: "admin", start_ms: Fixed(300), body: [Unbind(bdf: "0000:02:00.0")]),"#;

/// Functions that were entered, in order, of those that are asked for.
fn entered(run: &Run, names: &[&str]) -> Vec<&'static str> {
    let entered = |event: &sim::trace::Event| match event.kind {
        sim::trace::EventKind::Enter(name) if names.contains(&name) => Some(name),
        _ => None,
    };
    run.end.trace.events.iter().filter_map(entered).collect()
}

#[test]
fn consumers_are_unbound_before_their_supplier_and_bound_again_with_it() {
    let processes = r#"(name: "admin", start_ms: Fixed(300), body: [
        Unbind(bdf: "0000:02:00.0"), Sleep(us: Fixed(100000)), Bind(bdf: "0000:02:00.0", driver: "clock"),
    ]),"#;
    let board = Board { processes, ..BOARD };
    let run = board.recorded(0);
    assert_eq!(
        entered(&run, &["unbind_store", "pci_device_remove", "device_links_unbind_consumers"]),
        ["unbind_store", "device_links_unbind_consumers", "pci_device_remove", "pci_device_remove"]
    );
    // Its link asks for it to be probed again.
    let bound = run.log().iter().filter(|line| line.text.contains("user 0000:01:00.0: bound")).count();
    assert_eq!(bound, 2);
    board.is_silent(30);
}

#[test]
fn a_consumer_that_is_being_probed_is_waited_for() {
    // The probe takes 100 ms, and the supplier is unbound in the middle of it.
    let board = Board {
        probe: "SetMask(bits: 64), Sleep(us: Fixed(100000))",
        processes: r#"(name: "admin", start_ms: Fixed(110), body: [Unbind(bdf: "0000:02:00.0")]),"#,
        supplier_driver: "Module(after_ms: Fixed(10))",
        ..BOARD
    };
    let run = board.recorded(0);
    let order = entered(&run, &["wait_for_device_probe", "pci_device_remove"]);
    assert_eq!(order, ["wait_for_device_probe", "pci_device_remove", "pci_device_remove"]);
    board.is_silent(30);
}

#[test]
fn drivers_make_and_take_links_of_their_own() {
    let probe = |flags: &'static str| -> &'static str { flags };
    let bound = Board { consumer: "", supplier_driver: "Subsys", ..BOARD };
    for flags in [
        probe(r#"AddLink(supplier: "0000:02:00.0")"#),
        probe(r#"AddLink(supplier: "0000:02:00.0", flags: [AutoremoveConsumer, PmRuntime])"#),
        probe(r#"AddLink(supplier: "0000:02:00.0", flags: [AutoprobeConsumer])"#),
    ] {
        let board = Board { probe: flags, processes: UNBIND_SUPPLIER, ..bound };
        let run = board.recorded(0);
        let removed = entered(&run, &["pci_device_remove"]).len();
        assert_eq!(removed, 2, "{flags}: the consumer goes, too");
        board.is_silent(20);
    }
    // The driver core does not look after this one.
    let own = Board {
        probe: r#"AddLink(supplier: "0000:02:00.0", flags: [Stateless])"#,
        remove: r#"RemoveLink(supplier: "0000:02:00.0")"#,
        processes: UNBIND_SUPPLIER,
        ..bound
    };
    assert_eq!(entered(&own.recorded(0), &["pci_device_remove"]).len(), 1);
    let both = r#"(name: "admin", start_ms: Fixed(300), body: [Unbind(bdf: "0000:01:00.0"), Unbind(bdf: "0000:02:00.0")]),"#;
    let own = Board { processes: both, ..own };
    assert_eq!(entered(&own.recorded(0), &["device_link_release_fn"]).len(), 1);
    own.is_silent(20);
    // A managed one may not be taken back by hand.
    let wrong = Board {
        probe: r#"AddLink(supplier: "0000:02:00.0"), RemoveLink(supplier: "0000:02:00.0")"#,
        ..bound
    };
    assert!(campaign(wrong.resolve(), 3).contains_key("warn-on"));
}

#[test]
fn a_link_to_a_supplier_without_a_driver_is_a_warning_of_the_kernel() {
    let board = Board { consumer: "", probe: r#"AddLink(supplier: "0000:02:00.0")"#, ..BOARD };
    let found = campaign(board.resolve(), 3);
    assert!(
        found.get("warn-on").is_some_and(|(_, title)| title.contains("device_links_driver_bound")),
        "{found:?}"
    );
}

#[test]
fn links_are_freed_when_their_readers_have_left() {
    // The supplier is pulled out while somebody tries to bind the consumer again and again: each try reads its links under
    // SRCU, with no lock that whoever frees them takes.
    let bind = r#"Bind(bdf: "0000:01:00.0", driver: "user")"#;
    let processes = format!(
        r#"(name: "binder", cpu: Cpu(0), start_ms: Fixed(300), body: [
            Repeat(times: Fixed(40), body: [{bind}, Unbind(bdf: "0000:01:00.0")]),
        ]),
        (name: "puller", cpu: Cpu(1), start_ms: Fixed(300), body: [
            Sleep(us: Uniform(0, 30)), Unplug(bdf: "0000:02:00.0"),
        ]),"#
    );
    let board = Board { processes: Box::leak(processes.into_boxed_str()), ..BOARD };
    board.is_silent(300);
}

#[test]
fn what_a_link_keeps_is_given_back() {
    let board = Board {
        consumer: r#"suppliers: [(property: Clocks, bdf: "0000:02:00.0")], unplugged: After(ms: 3000)"#,
        ..BOARD
    };
    let run = board.recorded(0);
    assert_eq!(
        entered(&run, &["device_link_release_fn", "pci_release_dev"]),
        ["device_link_release_fn", "pci_release_dev"]
    );
    board.is_silent(20);
}

#[test]
fn managed_memory_goes_after_remove() {
    let probe = r#"SetMask(bits: 64), AllocCoherent(name: "ring", size: Fixed(4096), managed: true)"#;
    let processes = r#"(name: "admin", start_ms: Fixed(300), body: [Unbind(bdf: "0000:01:00.0")]),"#;
    let board = Board { probe, processes, ..BOARD };
    assert_eq!(entered(&board.recorded(0), &["devres_release_all"]).len(), 1);
    board.is_silent(6);
    let left =
        Board { probe: r#"SetMask(bits: 64), AllocCoherent(name: "ring", size: Fixed(4096))"#, ..board };
    assert!(campaign(left.resolve(), 3).contains_key("leak-mapping"));
}

#[test]
fn a_supplier_that_goes_while_its_consumer_gives_back_is_found() {
    let found = campaign(shipped("bugs/consumer-cleanup-after-supplier-unbound/buggy.ron", None), 2000);
    assert!(found.contains_key("supplier-gone"), "{found:#?}");
    let found = campaign(shipped("bugs/consumer-cleanup-after-supplier-unbound/fixed.ron", None), 2000);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn an_iommu_that_is_unbound_takes_its_clients_with_it_if_there_is_a_link() {
    let found = campaign(shipped("links/iommu-unbound.ron", None), 20);
    assert!(!found.is_empty());
    let found = campaign(shipped("links/iommu-unbound.ron", Some("clients-first")), 100);
    assert!(found.is_empty(), "{found:#?}");
}

/// As in docs/findings-open.md: the kernel writes to a link that its work item may have freed already.
#[test]
fn a_link_that_goes_with_its_supplier_is_written_after_it_was_dropped() {
    let board = Board {
        consumer: "",
        supplier_driver: "Subsys",
        probe: r#"AddLink(supplier: "0000:02:00.0", flags: [AutoremoveSupplier])"#,
        processes: UNBIND_SUPPLIER,
        ..BOARD
    };
    let found = campaign(board.resolve(), 300);
    let (seeds, title) = found.get("use-after-free").unwrap_or_else(|| panic!("{found:#?}"));
    assert!(title.contains("device_links_driver_cleanup") && *seeds < 300, "{found:#?}");
}
