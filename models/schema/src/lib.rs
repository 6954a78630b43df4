//! The types of a scenario file, as written in RON. They are plain data; see `docs/scenario-reference.md`.

mod defaults;
mod dist;
mod driver;
mod e820;
mod expect;
mod inject;
mod machine;
mod process;
mod text;
pub mod tree;

use serde::{Deserialize, Serialize};

pub use defaults::may_be_left_out;
pub use dist::{CpuChoice, Dist, JunkClass, WeightedFill};
pub use driver::{
    Access, Attr, BufferSource, DeviceArg, Dir, Driver, LinkFlag, MadeBy, MapArgs, MapSgArgs, OnError,
    PartArgs, PmOps, ProbeType, Queue, Registers, Stmt, SubmitArgs, SyncArgs, UnmapArgs, UnmapSgArgs,
};
pub use expect::{Expect, FindingPattern, SeedCount};
pub use inject::{AllocFail, Chance, Delay, HotUnplug, Inject, Trample, Window};
pub use machine::{
    AddrRange, Bus, Cap, CpuVendor, Device, DomainRange, E820Change, E820Entry, E820Kind, Early, Freed,
    FreedAt, FreedBy, InFlight, Iommu, Machine, MemEncrypt, MemoryOrder, Node, Plugged, Property, Region,
    Reserved, ReservedAt, SmmuV3, Supplier, Unplugged,
};
pub use process::{ProcStmt, Process, Reboot};
pub use text::{Content, MAX_DEPTH, Text, read};

/// A scenario file as written. Absent fields come from the file that it extends, or are the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioFile {
    /// Another scenario file; each field given here replaces that file's whole field.
    pub extends: Option<String>,
    /// What this scenario shows.
    pub about: Option<String>,
    /// Where the case comes from.
    pub source: Option<String>,
    /// The kernel.
    pub kernel: Option<Kernel>,
    /// The kernel's command line.
    pub cmdline: Option<String>,
    /// The machine.
    pub machine: Option<MachineRef>,
    /// The drivers.
    pub drivers: Option<Vec<DriverRef>>,
    /// What goes on besides the drivers.
    pub processes: Option<Vec<Process>>,
    /// What widens windows.
    pub inject: Option<Inject>,
    /// How many runs, and how they are scheduled.
    pub explore: Option<Explore>,
    /// What must come out.
    pub expect: Option<Expect>,
    /// The same scenario with some fields replaced.
    pub variants: Option<Vec<Variant>>,
}

/// A scenario with some of its fields replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Name, by which it is run.
    pub name: String,
    /// What it shows.
    #[serde(default)]
    pub about: Option<String>,
    /// Replaces the kernel.
    #[serde(default)]
    pub kernel: Option<Kernel>,
    /// Replaces the command line.
    #[serde(default)]
    pub cmdline: Option<String>,
    /// Replaces the machine.
    #[serde(default)]
    pub machine: Option<MachineRef>,
    /// Replaces the drivers.
    #[serde(default)]
    pub drivers: Option<Vec<DriverRef>>,
    /// Replaces the processes.
    #[serde(default)]
    pub processes: Option<Vec<Process>>,
    /// Replaces the injections.
    #[serde(default)]
    pub inject: Option<Inject>,
    /// Replaces the exploration.
    #[serde(default)]
    pub explore: Option<Explore>,
    /// Replaces the expectation.
    #[serde(default)]
    pub expect: Option<Expect>,
}

/// The kernel: a version, plus and minus named behaviours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Base version.
    pub version: String,
    /// Behaviours that it has in addition.
    #[serde(default)]
    pub apply: Vec<String>,
    /// Behaviours that it lacks.
    #[serde(default)]
    pub revert: Vec<String>,
    /// Configuration, as lines of a `.config`: `"CONFIG_SWIOTLB=y"`.
    #[serde(default)]
    pub config: Vec<String>,
}

/// A machine: in a file of its own, or here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineRef {
    /// A path, seen from the file that names it.
    File(String),
    /// The machine itself.
    Inline(Box<Machine>),
}

/// A driver: in a file of its own, or here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DriverRef {
    /// A path, seen from the file that names it.
    File(String),
    /// The driver itself.
    Inline(Driver),
}

/// How many runs, and how they are scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Explore {
    /// How many seeds a campaign runs unless told otherwise.
    pub seeds: u64,
    /// Who goes on.
    pub strategy: Strategy,
    /// A run that takes more steps has not settled.
    pub max_steps: u64,
    /// Whether a run goes on after its first finding.
    pub on_finding: OnFinding,
}

impl Default for Explore {
    fn default() -> Self {
        Self {
            seeds: 1_000,
            strategy: Strategy::default(),
            max_steps: 400_000,
            on_finding: OnFinding::default(),
        }
    }
}

/// Who goes on when several contexts can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// A different strategy for each seed.
    #[default]
    Swarm,
    /// Each in turn.
    RoundRobin,
    /// Any, each as likely as another.
    Random,
    /// Probabilistic concurrency testing with so many change points.
    Pct(u32),
    /// Partial-order sampling.
    Pos,
    /// A walk that is uniform over interleavings.
    Urw,
    /// Each until it cannot go on, with at most so many delays.
    Delay(u32),
    /// Reads-from fuzzing; only a whole campaign or a token repeats a run.
    Rff,
}

impl From<Strategy> for sim::schedule::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Swarm => Self::Swarm,
            Strategy::RoundRobin => Self::RoundRobin,
            Strategy::Random => Self::Random,
            Strategy::Pct(depth) => Self::Pct(depth),
            Strategy::Pos => Self::Pos,
            Strategy::Urw => Self::Urw,
            Strategy::Delay(most) => Self::Delay(most),
            Strategy::Rff => Self::Rff,
        }
    }
}

/// Whether a run goes on after a finding, with the consequence that a real machine would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFinding {
    /// It goes on.
    #[default]
    Continue,
    /// It ends there.
    Stop,
}
