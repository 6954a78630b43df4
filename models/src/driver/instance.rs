//! A driver bound to a device: its state, its probe, its work, its removal.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::SpawnSpec;
use sim::choices::Stream;
use sim::sync::{LockClass, SpinLock, WaitQueue};

use super::exec::{Flow, run_block};
use super::io::free_item;
use super::items::{Item, draw};
use super::program::{DriverProgram, NameId};
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::scenario::schema::CpuChoice;

/// First id of lock classes of drivers; those below belong to the modelled kernel.
const DRIVER_LOCKS: usize = 40;

/// A driver's state for one device.
#[derive(Debug)]
pub struct Instance {
    /// Number of the device.
    pub device: usize,
    /// Number of the driver.
    pub driver: usize,
    /// The device's address, for names.
    pub bdf: &'static str,
    pub(super) ptr: Ptr<Device>,
    pub(super) items: RefCell<Vec<Option<Item>>>,
    pub(super) locks: Vec<SpinLock>,
    pub(super) going: Cell<bool>,
    pub(super) running: Cell<u32>,
    pub(super) idle: WaitQueue,
}

/// What one context of a driver sees: its own names, and those of the instance.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) instance: Rc<Instance>,
    /// Names made here; probe's go to the instance.
    pub(super) items: RefCell<Vec<Option<Item>>>,
    pub(super) is_probe: bool,
    pub(super) outstanding: Cell<u32>,
    pub(super) done: WaitQueue,
}

impl Env {
    pub(super) fn new(kx: &Kx, instance: &Rc<Instance>, is_probe: bool) -> Rc<Self> {
        Rc::new(Self {
            instance: Rc::clone(instance),
            items: RefCell::new(Vec::new()),
            is_probe,
            outstanding: Cell::new(0),
            done: WaitQueue::new(kx.cx(), "driver completion"),
        })
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: NameId) -> Option<Item> {
        let at = usize::from(name);
        let own = self.items.borrow().get(at).cloned().flatten();
        own.or_else(|| self.instance.items.borrow().get(at).cloned().flatten())
    }

    /// The same, and forgets it.
    pub(super) fn take(&self, name: NameId) -> Option<Item> {
        let at = usize::from(name);
        let own = self.items.borrow_mut().get_mut(at).and_then(Option::take);
        own.or_else(|| self.instance.items.borrow_mut().get_mut(at).and_then(Option::take))
    }

    /// Gives a name a meaning.
    pub(super) fn put(&self, name: NameId, item: Item) {
        let at = usize::from(name);
        let mut items = if self.is_probe { self.instance.items.borrow_mut() } else { self.items.borrow_mut() };
        if items.len() <= at {
            items.resize_with(at + 1, || None);
        }
        items[at] = Some(item);
    }
}

impl Instance {
    /// A fresh one.
    #[must_use]
    pub fn new(kx: &Kx, node: &DeviceNode, driver: usize) -> Rc<Self> {
        let program = &kx.k.programs.drivers[driver];
        let before: usize = kx.k.programs.drivers[..driver].iter().map(|program| program.locks.len()).sum();
        let locks = program.locks.iter().enumerate().map(|(nth, name)| {
            let id = u8::try_from(DRIVER_LOCKS + (before + nth) % (128 - DRIVER_LOCKS)).unwrap_or(127);
            SpinLock::new(kx.cx(), LockClass::new(id, name))
        });
        Rc::new(Self {
            device: node.index,
            driver,
            bdf: node.bdf,
            ptr: node.ptr.get(),
            items: RefCell::new(Vec::new()),
            locks: locks.collect(),
            going: Cell::new(false),
            running: Cell::new(0),
            idle: WaitQueue::new(kx.cx(), "driver idle"),
        })
    }

    fn program<'a>(&self, kx: &'a Kx) -> &'a DriverProgram {
        &kx.k.programs.drivers[self.driver]
    }
}

/// Runs the driver's probe.
///
/// # Errors
/// The positive error number that it returns.
pub async fn probe(kx: &Kx, instance: &Rc<Instance>) -> Result<(), u32> {
    let env = Env::new(kx, instance, true);
    let body = std::sync::Arc::clone(&instance.program(kx).probe);
    match run_block(kx, &env, &body).await {
        Flow::Next => Ok(()),
        Flow::Return(errno) => Err(errno),
    }
}

/// Starts the driver's queues.
pub fn start_workload(kx: &Kx, instance: &Rc<Instance>) {
    let programs = std::sync::Arc::clone(&kx.k.programs);
    for (number, queue) in programs.drivers[instance.driver].queues.iter().enumerate() {
        let cpus = kx.k.cpus();
        let chosen = match queue.cpu {
            CpuChoice::Any => {
                let cpu = u8::try_from(kx.choose(Stream::Workload, "CPU of a queue", u64::from(cpus))).unwrap_or(0);
                cpu..=cpu
            }
            CpuChoice::Cpu(cpu) => {
                let cpu = u8::try_from(cpu).unwrap_or(0);
                cpu..=cpu
            }
            CpuChoice::PerCpu => 0..=cpus - 1,
        };
        for cpu in chosen {
            let (k, instance) = (Rc::clone(&kx.k), Rc::clone(instance));
            instance.running.set(instance.running.get() + 1);
            kx.spawn(SpawnSpec::task(queue.name, cpu), move |cx| async move {
                let kx = Kx::new(cx, k);
                let queue = &kx.k.programs.drivers[instance.driver].queues[number];
                let env = Env::new(&kx, &instance, false);
                let start = draw(&kx, "start of a queue", &queue.start_ms);
                if start > 0 {
                    kx.sleep(start * 1_000_000).await;
                }
                if !instance.going.get() {
                    let body = std::sync::Arc::clone(&queue.body);
                    run_block(&kx, &env, &body).await;
                }
                wait_all(&kx, &env).await;
                // What this context made and still holds goes with it, as a well-behaved driver sees to.
                let left = env.items.take();
                for item in left.into_iter().flatten() {
                    free_item(&kx, item).await;
                }
                instance.running.set(instance.running.get() - 1);
                instance.idle.wake_all(&kx);
            });
        }
    }
}

/// Waits until the device has done all that this context asked it for.
pub(super) async fn wait_all(kx: &Kx, env: &Env) {
    while env.outstanding.get() > 0 {
        env.done.wait(kx).await;
    }
}

/// Stops the driver's queues and runs its removal; what `remove` leaves behind is for the oracles.
pub async fn remove(kx: &Kx, instance: &Rc<Instance>) {
    instance.going.set(true);
    while instance.running.get() > 0 {
        instance.idle.wait(kx).await;
    }
    let env = Env::new(kx, instance, true);
    let body = std::sync::Arc::clone(&instance.program(kx).remove);
    run_block(kx, &env, &body).await;
}

/// A probe that failed gives back what it took, in reverse order, as managed resources do.
pub async fn undo(kx: &Kx, instance: &Rc<Instance>) {
    let left = instance.items.take();
    for item in left.into_iter().flatten().rev() {
        free_item(kx, item).await;
    }
}
