//! Scenario files: their schema, their validation, and their error messages.
//!
//! [`load`] reads a file and everything that it names; [`Loaded::resolve`] picks a variant, lays what the user asks
//! for on top, and gives a [`Resolved`] scenario, which is what a run takes.

mod check;
pub mod cmdline;
pub mod e820;
pub mod edit;
mod error;
mod index;
mod intern;
pub mod limits;
mod link_flags;
mod load;
mod nearest;
mod parse;
pub mod profile;
mod resolve;
mod value;

pub use ::schema;
pub use ::schema::{
    Access, AddrRange, AllocFail, Attr, BufferSource, Bus, Cap, Chance, CpuChoice, CpuVendor, Delay, Device,
    DeviceArg, Dir, Dist, DomainRange, Driver, DriverRef, E820Change, E820Entry, E820Kind, Early, Expect,
    Explore, FindingPattern, Freed, FreedAt, FreedBy, HotUnplug, InFlight, Inject, Iommu, JunkClass, Kernel,
    LinkFlag, Machine, MachineRef, MadeBy, MapArgs, MapSgArgs, MemEncrypt, MemoryOrder, Node, OnError,
    OnFinding, PartArgs, Plugged, PmOps, ProbeType, ProcStmt, Process, Property, Queue, Reboot, Region,
    Registers, Reserved, ReservedAt, ScenarioFile, SeedCount, SmmuV3, Stmt, Strategy, SubmitArgs, Supplier,
    SyncArgs, Trample, UnmapArgs, UnmapSgArgs, Unplugged, Variant, WeightedFill, Window,
};
pub use error::{LoadError, Problem};
pub use intern::{InternerFull, intern};
pub use link_flags::LinkFlags;
pub use load::{Disk, ReadFile, read_text};
pub use nearest::nearest;
pub use resolve::{Digest, Loaded, Overrides, Resolved, load, load_from};
pub use value::read_value;
