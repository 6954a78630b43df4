//! The machine goes down, or sleeps: who is told in which order, and what the oracles say of a device that nobody told.

use std::path::Path;

use models::fuzz;
use models::run::{Request, Run, Simulation, Source};
use models::scenario::{Kernel, Overrides, Resolved, load};
use sim::trace::EventKind;

use crate::support::{campaign, resolved};

/// A consumer and its supplier. What differs between two tests is a field.
#[derive(Clone, Copy)]
struct Board {
    kernel: &'static str,
    cmdline: &'static str,
    iommu: &'static str,
    bus: &'static str,
    /// Of the consumer, which is found first.
    consumer: &'static str,
    /// What its driver does beside probing and its work.
    driver: &'static str,
    probe: &'static str,
    work: &'static str,
    supplier: &'static str,
    /// How the consumer's driver registers.
    registers: &'static str,
    processes: &'static str,
    inject: &'static str,
}

const WORK: &str = r#"Repeat(times: Fixed(400), body: [
    Map(name: "m", size: Fixed(4096), dir: FromDevice),
    Submit(name: "m", dma: Write, latency_us: Uniform(100, 1000), irq: []),
    WaitAll, Unmap(name: "m"),
])"#;

const BOARD: Board = Board {
    kernel: r#"version: "6.12""#,
    cmdline: "quiet",
    iommu: "None",
    bus: "Platform",
    consumer: r#"suppliers: [(property: Clocks, bdf: "0000:02:00.0")]"#,
    driver: "",
    probe: "SetMask(bits: 64)",
    work: WORK,
    supplier: "",
    registers: "Module(after_ms: Fixed(20))",
    processes: "",
    inject: "",
};

const SUSPEND: &str = r#"(name: "sleep", start_ms: Fixed(150), body: [Suspend]),"#;
const RESTART: &str = r#"(name: "init", start_ms: Fixed(150), body: [Reboot(how: Restart)]),"#;
const KEXEC: &str = r#"(name: "kexec", start_ms: Fixed(150), body: [Reboot(how: Kexec)]),"#;

impl Board {
    fn resolve(&self) -> Resolved {
        let Self { kernel, cmdline, iommu, bus, consumer, driver, work, supplier, .. } = *self;
        let Self { registers, probe, processes, inject, .. } = *self;
        resolved(&format!(
            r#"(
    about: "power",
    kernel: ({kernel}),
    cmdline: "{cmdline}",
    machine: Inline(
        name: "small", cpu_vendor: Amd, cpus: 2, nr_cpus: 64, iommu: {iommu},
        e820: [
            (start: 0x0, end: 0x9ffff, kind: Usable),
            (start: 0x100000, end: 0x7fffffff, kind: Usable),
            (start: 0x100000000, end: 0x13fffffff, kind: Usable),
        ],
        devices: [
            (bdf: "0000:01:00.0", bus: {bus}, driver: "user", isolation: 1, {consumer}),
            (bdf: "0000:02:00.0", bus: Platform, driver: "clock", outside_iommu: true),
        ],
    ),
    drivers: [
        Inline(
            name: "user", registers: {registers}, probe: [{probe}], {driver}
            workload: [(name: "io", start_ms: Fixed(1), body: [{work}])],
        ),
        Inline(name: "clock", {supplier}),
    ],
    processes: [{processes}],
    inject: ({inject}),
)"#
        ))
    }

    fn recorded(&self, seed: u64) -> Run {
        Simulation::new(self.resolve()).worker().run(&Request::full(Source::Seed(seed)))
    }

    /// Kinds of findings of some seeds.
    fn kinds(&self) -> Vec<&'static str> {
        campaign(self.resolve(), 12).into_keys().collect()
    }

    #[track_caller]
    fn is_silent(&self) {
        let found = campaign(self.resolve(), 12);
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// What was called for whom, in order: of functions that a driver's `Call` names.
fn called(run: &Run) -> Vec<&'static str> {
    let ours = |event: &sim::trace::Event| match event.kind {
        EventKind::Enter(name) if name.starts_with("user_") || name.starts_with("clock_") => Some(name),
        _ => None,
    };
    run.end.trace.events.iter().filter_map(ours).collect()
}

fn entered(run: &Run, name: &str) -> usize {
    let events = run.end.trace.events.iter();
    events.filter(|event| matches!(event.kind, EventKind::Enter(entered) if entered == name)).count()
}

fn says(run: &Run, text: &str) -> bool {
    run.log().iter().any(|line| line.text.contains(text))
}

const USER_DOWN: &str = r#"shutdown: [Call(function: "user_shutdown", body: [])],"#;
const CLOCK_DOWN: &str = r#"shutdown: [Call(function: "clock_shutdown", body: [Sleep(us: Fixed(3000))])],"#;

#[test]
fn consumers_are_shut_down_before_their_suppliers() {
    let board = Board { driver: USER_DOWN, supplier: CLOCK_DOWN, processes: RESTART, ..BOARD };
    let run = board.recorded(0);
    assert_eq!(called(&run), ["user_shutdown", "clock_shutdown"]);
    assert!(says(&run, "reboot: Restarting system"));
    board.is_silent();
    // Without links the one that was found last goes first.
    let unlinked = Board { cmdline: "fw_devlink=off", ..board };
    assert_eq!(called(&unlinked.recorded(0)), ["clock_shutdown", "user_shutdown"]);
    assert!(unlinked.kinds().contains(&"supplier-asleep"));
}

#[test]
fn who_is_probed_again_moves_behind_all_others() {
    // No link says so, but the consumer's probe was put off: it comes to the end of the list.
    let board = Board {
        cmdline: "fw_devlink=off",
        driver: USER_DOWN,
        supplier: CLOCK_DOWN,
        processes: RESTART,
        registers: "Device",
        inject: "probe_defer: (percent: 100)",
        ..BOARD
    };
    let deferred = |run: &Run, bdf: &str| {
        let text = format!("the probe of {bdf} is deferred");
        let mut events = run.end.trace.events.iter();
        events.any(|event| matches!(&event.kind, EventKind::Injected(said) if *said == text))
    };
    let mut seen = [false; 2];
    for seed in 0..40 {
        let run = board.recorded(seed);
        let order = match (deferred(&run, "0000:01:00.0"), deferred(&run, "0000:02:00.0")) {
            (true, false) => ["user_shutdown", "clock_shutdown"],
            (false, _) => ["clock_shutdown", "user_shutdown"],
            (true, true) => continue,
        };
        seen[usize::from(order[0] == "user_shutdown")] = true;
        assert_eq!(called(&run), order, "seed {seed}");
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn after_a_kexec_all_memory_is_the_next_kernels() {
    let board = Board { processes: KEXEC, ..BOARD };
    assert_eq!(board.kinds(), ["dma-after-kexec"]);
    assert!(says(&board.recorded(0), "kexec_core: Starting new kernel"));
    // Its driver lets it rest; or it is a PCI device; or the firmware resets it.
    Board { driver: "shutdown: [],", ..board }.is_silent();
    Board { bus: "Pci", ..board }.is_silent();
    Board { processes: RESTART, ..board }.is_silent();
}

#[test]
fn an_iommu_is_turned_off_before_the_next_kernel_comes() {
    for (iommu, function, cmdline) in
        [("AmdVi()", "disable_iommus", "quiet"), ("Vtd()", "intel_iommu_shutdown", "intel_iommu=on")]
    {
        // Bus addresses that are those of memory, too.
        let board = Board { iommu, cmdline, probe: "SetMask(bits: 31)", processes: KEXEC, ..BOARD };
        assert_eq!(entered(&board.recorded(0), function), 1);
        assert!(board.kinds().contains(&"dma-after-kexec"), "{iommu}");
        Board { bus: "Pci", ..board }.is_silent();
    }
}

const USER_PM: &str = r#"pm: (
    suspend: [Call(function: "user_suspend", body: [])], resume: [Call(function: "user_resume", body: [])],
    suspend_noirq: [Call(function: "user_suspend_noirq", body: [])],
),"#;
const CLOCK_PM: &str = r#"pm: (
    suspend: [Call(function: "clock_suspend", body: [Sleep(us: Fixed(3000))])],
    resume: [Call(function: "clock_resume", body: [Sleep(us: Fixed(3000))])],
    resume_early: [Call(function: "clock_resume_early", body: [])],
),"#;

#[test]
fn consumers_sleep_before_their_suppliers_and_wake_after_them() {
    let order = [
        "user_suspend",
        "clock_suspend",
        "user_suspend_noirq",
        "clock_resume_early",
        "clock_resume",
        "user_resume",
    ];
    for bus in ["Platform", "Pci"] {
        let board = Board { bus, driver: USER_PM, supplier: CLOCK_PM, processes: SUSPEND, ..BOARD };
        assert_eq!(called(&board.recorded(0)), order, "{bus}");
        board.is_silent();
        // A PCI device is suspended beside the others: only links make it wait.
        let unlinked = Board { cmdline: "fw_devlink=off", ..board };
        assert!(unlinked.kinds().contains(&"supplier-asleep"), "{bus}");
    }
}

#[test]
fn work_goes_on_when_the_machine_has_slept() {
    for (iommu, cmdline) in [("None", "quiet"), ("AmdVi()", "quiet"), ("Vtd()", "intel_iommu=on")] {
        for (bus, driver) in [("Pci", ""), ("Pci", "pm: (),"), ("Platform", "pm: (),"), ("Platform", "")] {
            let board = Board { iommu, cmdline, bus, driver, processes: SUSPEND, ..BOARD };
            let run = board.recorded(0);
            assert!(says(&run, "PM: suspend entry (deep)") && says(&run, "PM: suspend exit"));
            let unmaps = entered(&run, "dma_unmap_page_attrs");
            assert_eq!(unmaps, 400, "{iommu} {bus} {driver}");
            if bus == "Pci" || driver == "pm: ()," || iommu == "None" {
                board.is_silent();
            } else {
                // Nobody lets it rest, and translation is off while the machine falls asleep.
                let found = campaign(board.resolve(), 60);
                assert!(
                    found.keys().all(|kind| ["stale-translation", "dma-corrupts-object"].contains(kind)),
                    "{found:?}"
                );
            }
        }
    }
}

#[test]
fn a_driver_that_refuses_keeps_the_machine_awake() {
    let board = Board {
        driver: USER_PM,
        supplier: r#"pm: (suspend: [Call(function: "clock_suspend", body: [ReturnError(errno: 16)])]),"#,
        processes: SUSPEND,
        ..BOARD
    };
    let run = board.recorded(0);
    assert_eq!(called(&run), ["user_suspend", "clock_suspend", "user_resume"]);
    assert!(says(&run, "0000:02:00.0: PM: failed to suspend: error -16"));
    assert_eq!(entered(&run, "suspend_enter"), 0);
    board.is_silent();
}

#[test]
fn tasks_are_frozen_while_the_machine_sleeps_and_drivers_wait() {
    // A process plugs and unbinds at the same time, and a driver comes.
    let processes = r#"
        (name: "sleep", start_ms: Fixed(150), body: [Repeat(times: Fixed(3), body: [Suspend, Sleep(us: Fixed(500))])]),
        (name: "admin", start_ms: Fixed(149), body: [Repeat(times: Fixed(8), body: [
            Unbind(bdf: "0000:01:00.0"), Sleep(us: Uniform(100, 4000)), Bind(bdf: "0000:01:00.0", driver: "user"),
            Sleep(us: Uniform(100, 4000)),
        ])]),"#;
    let board = Board { driver: USER_PM, supplier: CLOCK_PM, processes, ..BOARD };
    board.is_silent();
    let late = Board { registers: "Module(after_ms: Uniform(80, 100))", processes: SUSPEND, ..board };
    late.is_silent();
    assert!(says(&late.recorded(1), "user 0000:01:00.0: bound"));
}

#[test]
fn a_supplier_is_told_when_all_that_need_it_have_their_drivers() {
    let supplier = r#"sync_state: [Call(function: "clock_sync_state", body: [])],"#;
    let board = Board { supplier, ..BOARD };
    let run = board.recorded(0);
    let line = |text: &str| run.log().iter().position(|line| line.text.contains(text));
    assert!(line("user 0000:01:00.0: bound").is_some());
    assert!(line("user 0000:01:00.0: bound") < line("0000:02:00.0: sync_state"), "{:?}", line("sync_state"));
    assert_eq!(called(&run), ["clock_sync_state"]);
    board.is_silent();
    // Nobody needs it: the last of the initcalls lets it know.
    let alone = Board { consumer: "", ..board }.recorded(0);
    assert_eq!(called(&alone), ["clock_sync_state"]);
    // One that needs it never comes.
    let never = Board { registers: "Module(after_ms: Fixed(60000))", ..board };
    for (kernel, cmdline, said) in [
        (r#"version: "6.12""#, "quiet", "0000:02:00.0: sync_state() pending due to 0000:01:00.0"),
        (
            r#"version: "6.12""#,
            "fw_devlink.sync_state=timeout",
            "0000:02:00.0: Timed out. Forcing sync_state()",
        ),
    ] {
        assert!(says(&Board { kernel, cmdline, ..never }.recorded(0), said), "{said}");
    }
    let old = Board { kernel: r#"version: "6.1""#, ..never };
    assert!(!says(&old.recorded(0), "sync_state() pending"));
}

/// Machines of the generator sleep and go down, each in its way, and come to an end of it.
#[test]
fn generated_machines_sleep_and_go_down() {
    let kernel =
        Kernel { version: "6.12".to_owned(), apply: Vec::new(), revert: Vec::new(), config: Vec::new() };
    let lines = [
        "PM: suspend exit",
        "reboot: Restarting system",
        "reboot: Power down",
        "kexec_core: Starting new kernel",
    ];
    let mut seen = [0; 4];
    for seed in 0..80 {
        let scenario = fuzz::resolve(seed, &kernel).expect("a scenario that can be run");
        let run = Simulation::new(scenario).worker().run(&Request::full(Source::Seed(seed)));
        for (nth, line) in lines.iter().enumerate() {
            seen[nth] += usize::from(says(&run, line));
        }
    }
    assert!(seen.iter().all(|seeds| *seeds > 1), "{seen:?}");
}

/// The scenarios that are shipped are the pairs that they say they are.
#[test]
fn shipped_scenarios_differ_in_one_thing() {
    for (name, variant, kind) in [
        ("iommu-shut-down-first.ron", None, "supplier-asleep"),
        ("iommu-shut-down-first.ron", Some("linked"), ""),
        ("iommu-shut-down-first.ron", Some("not-reset"), ""),
        ("kexec-nobody-stops-the-device.ron", None, "dma-after-kexec"),
        ("kexec-nobody-stops-the-device.ron", Some("on-pci"), ""),
        ("supplier-suspended-first.ron", None, ""),
        ("supplier-suspended-first.ron", Some("no-links"), "supplier-asleep"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/power").join(name);
        let overrides = Overrides { variant: variant.map(str::to_owned), ..Overrides::default() };
        let scenario = load(&path).unwrap_or_else(|error| panic!("{error}")).resolve(&overrides);
        let found = campaign(scenario.unwrap_or_else(|error| panic!("{error}")), 30);
        assert_eq!(found.is_empty(), kind.is_empty(), "{name} {variant:?}: {found:#?}");
        assert!(kind.is_empty() || found.contains_key(kind), "{name} {variant:?}: {found:#?}");
    }
}
