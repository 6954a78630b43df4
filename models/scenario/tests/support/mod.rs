//! Scenario files that exist only in a test.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use scenario::{LoadError, Loaded, ReadFile, load_from};

/// Files by their path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<PathBuf, String>);

impl Memory {
    pub(crate) fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.to_owned());
        self
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        &self.0[Path::new(path)]
    }

    pub(crate) fn load(&self, path: &str) -> Result<Loaded, LoadError> {
        load_from(Path::new(path), self)
    }
}

impl ReadFile for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn neighbours(&self, path: &Path) -> Vec<String> {
        let near = self.0.keys().filter(|p| p.parent() == path.parent());
        near.filter_map(|p| Some(p.file_name()?.to_str()?.to_owned())).collect()
    }
}

/// A machine that passes every check.
pub(crate) const MACHINE: &str = r#"(
    name: "small",
    cpu_vendor: Amd,
    cpus: 2,
    e820: [
        (start: 0x0, end: 0x9fbff, kind: Usable),
        (start: 0x100000, end: 0x3fffffff, kind: Usable),
    ],
    devices: [
        (bdf: "0000:01:00.0", driver: "nvme", caps: [Ats]),
        (bdf: "0000:02:00.0", name: "spare"),
    ],
)"#;

/// A driver that passes every check.
pub(crate) const DRIVER: &str = r#"(
    name: "nvme",
    probe: [SetMask(bits: 64), AllocCoherent(name: "queue", size: Fixed(4096))],
    workload: [(
        name: "io",
        cpu: PerCpu,
        body: [
            Repeat(times: Fixed(4), body: [
                Map(name: "data", size: Uniform(512, 8192), dir: FromDevice),
                Submit(name: "data", dma: Write, irq: [Call(function: "nvme_unmap_data", body: [Unmap(name: "data")])]),
                WaitAll,
            ]),
        ],
    )],
    remove: [FreeCoherent(name: "queue")],
)"#;

/// A scenario that names both.
pub(crate) const SCENARIO: &str = r#"// A comment.
(
    kernel: (version: "5.13"),
    cmdline: "quiet",
    machine: File("machine.ron"),
    drivers: [File("nvme.ron")],
    processes: [(name: "udev", body: [AllocPages(count: Fixed(3), fill: [(1, Text)])])],
    inject: (delay: (max_us: 100, percent: 10)),
    variants: [(name: "passthrough", cmdline: "iommu=pt")],
)"#;

/// The three files above, with `from` replaced by `to` in whichever has it.
pub(crate) fn edited(from: &str, to: &str) -> Memory {
    let mut files = plain();
    let mut hits = 0;
    for text in files.0.values_mut() {
        hits += text.matches(from).count();
        *text = text.replacen(from, to, 1);
    }
    assert_eq!(hits, 1, "`{from}` must stand in one place");
    files
}

/// The files as they are.
pub(crate) fn plain() -> Memory {
    Memory::default().with("s/machine.ron", MACHINE).with("s/nvme.ron", DRIVER).with("s/main.ron", SCENARIO)
}

/// What a load of the edited files complains about.
pub(crate) fn complaint(from: &str, to: &str) -> String {
    match edited(from, to).load("s/main.ron") {
        Ok(_) => panic!("`{to}` should not be accepted"),
        Err(error) => error.to_string(),
    }
}
