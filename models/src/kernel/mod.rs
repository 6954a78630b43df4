//! The modelled kernel's world: its memory, its global variables, and the handle that every code path gets.
//!
//! Code paths are `async fn`s that take a [`Kx`], bear the kernel's names and read like the kernel's functions. What
//! they share lies in simulated memory and is reached by [`Kx::load`] and [`Kx::store`], which ask the shadow.

mod access;
mod alloc;
mod bootmem;
mod draws;
mod encryption;
mod globals;
mod holders;
mod jiffies;
mod load;
mod memory;
mod oops;
mod ordering;
mod qspinlock;
mod recorded;
mod stacks;
mod symbols;

use std::cell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use sim::cell::{Cell, OnceCell, RefCell};
use sim::sync::Mutex;
use sim::{Cx, Draft, ObjId};

use crate::device::links::DeviceLinks;
use crate::device::power::Power;
use crate::device::{DeferredProbes, DeviceNode, RegisteredDriver};
use crate::dma::atomic_pool::AtomicPools;
use crate::driver::Programs;
use crate::iommu::core::IommuCore;
use crate::mem::Site;
use crate::oracle::{FieldAccesses, Ledger};
use crate::profile::{Behaviour, Profile};
use crate::run::Facts;
use crate::scenario::Resolved;
use crate::sizing::Workload;

pub use alloc::{GfpFlags, NoMemory};
pub use bootmem::BootMemory;
pub use draws::Draws;
pub use globals::{Globals, Phase, SwiotlbForce};
pub use holders::Holder;
pub use jiffies::{msecs_to_jiffies, wheel_ticks};
pub use memory::{Memory, MemoryCell};
pub use oops::{reserved_by, seconds};
pub use ordering::{Shared, StoreOrder};
pub use qspinlock::{LockCell, LockHeld};
pub use stacks::Stacks;
pub use symbols::{KernelImage, Symbol};

/// The world of one run.
pub struct Kernel {
    /// What is run.
    pub scenario: Arc<Resolved>,
    /// What was drawn for this run as a whole.
    pub draws: Draws,
    /// Simulated memory.
    pub mem: MemoryCell,
    /// Global variables and state.
    pub globals: Globals,
    /// What became of boot memory.
    pub bootmem: BootMemory,
    /// Memory for atomic requests that is shared with the host.
    pub atomic_pools: AtomicPools,
    /// What CPUs see of one another's stores.
    pub order: Rc<StoreOrder>,
    /// What is asked of the default pool, if somebody wants to know.
    pub bounces: Option<RefCell<Workload>>,
    /// Where the kernel's image lies.
    pub image: KernelImage,
    /// Devices known to the driver core, by number.
    pub devices: RefCell<Vec<Rc<DeviceNode>>>,
    /// `pci_rescan_remove_lock`, once somebody took it.
    pub pci_rescan_remove_lock: OnceCell<Mutex>,
    /// The locks of the buses' lists of devices and drivers (`klist->k_lock`): each is taken and given back in one step.
    pub(crate) klist: sim::sync::Order,
    /// Drivers that have registered.
    pub drivers: RefCell<Vec<RegisteredDriver>>,
    /// Which device needs which.
    pub links: DeviceLinks,
    /// Devices that are to be probed again.
    pub deferred: DeferredProbes,
    /// Whether the machine sleeps or goes down.
    pub power: Power,
    /// The IOMMU and the core of its subsystem.
    pub iommu: IommuCore,
    /// What the DMA oracles remember.
    pub ledger: Ledger,
    /// Facts for readers.
    pub facts: RefCell<Facts>,
    /// The drivers' and processes' programs.
    pub programs: Arc<Programs>,
    /// Engine labels of objects, by heap id. Each is written once, before anybody has the id: no search need know.
    labels: cell::RefCell<Vec<ObjId>>,
    /// What the oracle of data races remembers. It finds the same in whatever order independent steps are taken.
    pub(crate) races: cell::RefCell<FieldAccesses>,
    holders: holders::Holders,
    /// For the record alone.
    stacks: cell::RefCell<stacks::StackTable>,
    reported: RefCell<BTreeSet<(u32, &'static str)>>,
    wild: ObjId,
    details: bool,
    tags: Cell<u32>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("scenario", &self.scenario.name).finish_non_exhaustive()
    }
}

impl Kernel {
    /// A machine that was just switched on.
    #[must_use]
    pub fn new(
        scenario: Arc<Resolved>,
        programs: Arc<Programs>,
        draws: Draws,
        mem: Memory,
        sim: &sim::Sim,
        details: bool,
    ) -> Self {
        let image = KernelImage::new(&scenario.machine, &scenario.map);
        let order = Rc::new(StoreOrder::new(&scenario.machine));
        order.listen(sim);
        let iommu = IommuCore::new(&scenario.machine.devices);
        let mut devices = scenario.machine.devices.iter();
        let names_some = devices.any(|device| !device.suppliers.is_empty() || device.is_iommu.is_some());
        let links = DeviceLinks::new(names_some || programs.make_links);
        Self {
            scenario,
            draws,
            mem: MemoryCell::new(mem),
            globals: Globals::default(),
            bootmem: BootMemory::default(),
            atomic_pools: AtomicPools::default(),
            order,
            bounces: None,
            image,
            devices: RefCell::new(Vec::new()),
            pci_rescan_remove_lock: OnceCell::new(),
            klist: sim::sync::Order::default(),
            drivers: RefCell::new(Vec::new()),
            links,
            deferred: DeferredProbes::default(),
            power: Power::default(),
            iommu,
            ledger: Ledger::default(),
            facts: RefCell::new(Facts::default()),
            programs,
            labels: cell::RefCell::new(Vec::new()),
            races: cell::RefCell::default(),
            holders: holders::Holders::default(),
            stacks: cell::RefCell::default(),
            reported: RefCell::default(),
            wild: sim.object("memory"),
            details,
            tags: Cell::new(1),
        }
    }

    /// The modelled kernel's behaviours.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.scenario.profile
    }

    /// Whether the modelled kernel has this behaviour.
    #[inline]
    #[must_use]
    pub fn has(&self, behaviour: Behaviour) -> bool {
        self.scenario.profile.set.has(behaviour)
    }

    /// A number for data that is written now; no two writes of a run share one.
    pub fn next_tag(&self) -> u32 {
        let tag = self.tags.get();
        self.tags.set(tag + 1);
        tag
    }

    /// Which layouts of structures this kernel has.
    #[must_use]
    pub const fn layout_variant(&self) -> u8 {
        0
    }

    /// CPUs that take part (`nr_cpus=` may leave some out).
    #[must_use]
    pub fn cpus(&self) -> u8 {
        let limit = self.scenario.command_line.nr_cpus.unwrap_or(u32::MAX).max(1);
        u8::try_from(self.scenario.machine.cpus.min(limit)).unwrap_or(u8::MAX)
    }

    /// CPUs that there are tables for (`nr_cpu_ids`).
    #[must_use]
    pub fn possible_cpus(&self) -> u32 {
        let limit = self.scenario.command_line.nr_cpus.unwrap_or(u32::MAX).max(1);
        let machine = &self.scenario.machine;
        machine.possible_cpus.unwrap_or(machine.cpus).min(limit)
    }

    /// `CONFIG_NR_CPUS`.
    #[must_use]
    pub fn nr_cpus(&self) -> u32 {
        self.scenario.profile.config.nr_cpus.unwrap_or(self.scenario.machine.nr_cpus)
    }

    /// Whether findings are to explain themselves.
    #[must_use]
    pub const fn details(&self) -> bool {
        self.details
    }
}

/// A code path's handle: the engine's context, and the world.
#[derive(Clone)]
pub struct Kx {
    cx: Cx,
    /// The world.
    pub k: Rc<Kernel>,
}

impl fmt::Debug for Kx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.cx, f)
    }
}

impl Deref for Kx {
    type Target = Cx;

    fn deref(&self) -> &Cx {
        &self.cx
    }
}

impl Kx {
    /// A handle for the context `cx`.
    #[must_use]
    pub const fn new(cx: Cx, k: Rc<Kernel>) -> Self {
        Self { cx, k }
    }

    /// The same world, in another context.
    #[must_use]
    pub fn with(&self, cx: Cx) -> Self {
        Self { cx, k: Rc::clone(&self.k) }
    }

    /// The engine's context.
    #[must_use]
    pub const fn cx(&self) -> &Cx {
        &self.cx
    }

    /// Reports a finding at this point, as [`Cx::report`] does. When the machine is off nothing is found any more: its contexts
    /// end as they may.
    pub fn report(&self, draft: Draft, details: impl FnOnce() -> Vec<(String, Vec<String>)>) {
        if !self.k.power.is_over() {
            self.cx.report(draft, details);
        }
    }

    /// Notes a decision that later code paths act on, for reports.
    pub fn decide(&self, about: &'static str, text: &'static str) {
        let decision = globals::Decision { about, by: self.function(), at: self.stamp(), text };
        self.k.globals.decisions.borrow_mut().push(decision);
        self.note(|| text.to_owned());
    }

    /// Here and now, by this context, in its innermost function.
    #[must_use]
    pub fn site(&self) -> Site {
        Site {
            func: self.function(),
            ctx: self.serial(),
            time_ns: self.stamp(),
            step: self.sim().stamped_steps(),
        }
    }
}
