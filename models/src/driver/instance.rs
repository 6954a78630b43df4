//! A driver bound to a device: its state, its probe, its work, its removal.

use sim::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use sim::SpawnSpec;
use sim::choices::Stream;
use sim::sync::{LockClass, Order, SpinLock, WaitQueue};

use super::exec::{Flow, run_block};
use super::io::free_item;
use super::items::{Item, Items, draw};
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
    pub(super) items: Items,
    pub(super) locks: Vec<SpinLock>,
    /// Names of what the driver core frees, in the order in which it was made (`dev->devres_head`).
    pub(super) managed: RefCell<Vec<NameId>>,
    /// What queues have handed to one another, oldest first.
    shared: RefCell<Vec<(NameId, Item)>>,
    /// The lock of that list: taken and given back in one step.
    handed_over: Order,
    /// What probe and remove have asked the device for.
    outstanding: Rc<Outstanding>,
    /// The largest mapping that is asked for (`LimitToMaxMapping`).
    pub(super) max_mapping: Cell<u64>,
    pub(super) going: Cell<bool>,
    pub(super) running: Cell<u32>,
    pub(super) idle: WaitQueue,
    /// Its queues are to rest.
    pub(super) halted: Cell<bool>,
    /// Queues that rest.
    pub(super) resting: Cell<u32>,
    /// Where they wait, once one does.
    pub(super) awake: OnceCell<WaitQueue>,
}

/// Requests that the device has not completed.
#[derive(Debug)]
pub(super) struct Outstanding {
    count: Cell<u32>,
    done: WaitQueue,
}

impl Outstanding {
    fn new(kx: &Kx) -> Rc<Self> {
        Rc::new(Self { count: Cell::new(0), done: WaitQueue::new(kx.cx(), "driver completion") })
    }

    pub(super) fn begin(&self) {
        self.count.set(self.count.get() + 1);
    }

    pub(super) fn complete(&self, kx: &Kx) {
        self.count.set(self.count.get().saturating_sub(1));
        self.done.wake_all(kx);
    }
}

/// What one context of a driver sees: its own names, and those of the instance.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) instance: Rc<Instance>,
    /// Names made here; probe's go to the instance.
    items: Items,
    /// For an interrupt handler: the context that submitted the request.
    submitter: Option<Rc<Self>>,
    pub(super) is_probe: bool,
    pub(super) outstanding: Rc<Outstanding>,
    /// How many `Requeue` round this would try again if it fails.
    pub(super) tries: Cell<u32>,
}

impl Env {
    pub(super) fn new(kx: &Kx, instance: &Rc<Instance>, is_probe: bool) -> Rc<Self> {
        let outstanding = if is_probe { Rc::clone(&instance.outstanding) } else { Outstanding::new(kx) };
        let instance = Rc::clone(instance);
        let tries = Cell::new(0);
        Rc::new(Self { instance, items: Items::default(), submitter: None, is_probe, outstanding, tries })
    }

    /// For the handler of an interrupt that says that a request is done: the name under which the request was made
    /// means what it meant then.
    pub(super) fn of_irq(submitter: &Rc<Self>, request: Option<(NameId, Item)>) -> Rc<Self> {
        let items = Items::default();
        if let Some((name, item)) = request {
            items.put(name, item);
        }
        Rc::new(Self {
            instance: Rc::clone(&submitter.instance),
            items,
            submitter: Some(Rc::clone(submitter)),
            is_probe: submitter.is_probe,
            outstanding: Rc::clone(&submitter.outstanding),
            tries: Cell::new(0),
        })
    }

    /// Whether this is an interrupt's.
    pub(super) fn is_irq(&self) -> bool {
        self.submitter.is_some()
    }

    /// Where names are looked up, in order.
    fn scopes(&self) -> impl Iterator<Item = &Items> {
        let submitter = self.submitter.as_deref().map(|env| &env.items);
        std::iter::once(&self.items).chain(submitter).chain(std::iter::once(&self.instance.items))
    }

    /// What a name stands for, be it gone or not.
    pub(super) fn get(&self, name: NameId) -> Option<Item> {
        self.scopes().find_map(|items| items.get(name))
    }

    /// The same, and marks it as gone.
    pub(super) fn take(&self, name: NameId) -> Option<Item> {
        let item = self.get(name)?;
        for items in self.scopes() {
            items.retire(name, &item);
        }
        Some(item)
    }

    /// Gives a name a meaning.
    pub(super) fn put(&self, name: NameId, item: Item) {
        self.items.forget(name);
        self.home().put(name, item);
    }

    /// What would have had this name was not made: the name stands for nothing.
    pub(super) fn forget_gone(&self, name: NameId) {
        for items in self.scopes() {
            if items.get(name).is_some_and(|item| item.is_gone()) {
                items.forget(name);
            }
        }
    }

    /// What names stand for where new ones go, to be compared with later.
    pub(super) fn snapshot(&self) -> Vec<Option<Item>> {
        self.home().all()
    }

    /// Takes out what names have come to stand for since: what is gone already is left out.
    pub(super) fn made_since(&self, before: &[Option<Item>]) -> Vec<Item> {
        self.home().take_new(before)
    }

    /// Where new names go.
    fn home(&self) -> &Items {
        if self.is_probe {
            return &self.instance.items;
        }
        self.submitter.as_deref().map_or(&self.items, |env| &env.items)
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
            items: Items::default(),
            locks: locks.collect(),
            managed: RefCell::default(),
            shared: RefCell::default(),
            handed_over: Order::default(),
            outstanding: Outstanding::new(kx),
            max_mapping: Cell::new(u64::MAX),
            going: Cell::new(false),
            running: Cell::new(0),
            idle: WaitQueue::new(kx.cx(), "driver idle"),
            halted: Cell::new(false),
            resting: Cell::new(0),
            awake: OnceCell::new(),
        })
    }

    pub(super) fn program<'a>(&self, kx: &'a Kx) -> &'a DriverProgram {
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
        Flow::Return(errno) => {
            // What was handed to the device is stopped before anything is given back.
            wait_all(kx, &env).await;
            Err(errno)
        }
    }
}

/// Starts the driver's queues.
pub fn start_workload(kx: &Kx, instance: &Rc<Instance>) {
    let programs = std::sync::Arc::clone(&kx.k.programs);
    for (number, queue) in programs.drivers[instance.driver].queues.iter().enumerate() {
        let cpus = kx.k.cpus();
        let chosen = match queue.cpu {
            CpuChoice::Any => {
                let cpu =
                    u8::try_from(kx.choose(Stream::Workload, "CPU of a queue", u64::from(cpus))).unwrap_or(0);
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
                super::power::rest(&kx, &env).await;
                if !instance.going.get() {
                    let body = std::sync::Arc::clone(&queue.body);
                    run_block(&kx, &env, &body).await;
                }
                wait_all(&kx, &env).await;
                // What this context made and still holds goes with it, as a well-behaved driver sees to.
                for item in env.items.take() {
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
    while env.outstanding.count.get() > 0 {
        env.outstanding.done.wait(kx).await;
    }
    env.outstanding.done.see(kx);
}

/// How long a poll for something shared pauses.
const POLL: sim::Nanos = 500;

/// Puts what a name stands for where other queues of the device find it.
pub(super) async fn share(kx: &Kx, env: &Env, name: NameId) {
    let Some(item) = env.get(name).filter(|item| !item.is_gone()) else { return };
    kx.step(sim::Kind::Write, kx.memory_label()).await;
    for items in env.scopes() {
        items.forget(name);
    }
    env.instance.handed_over.release(kx);
    env.instance.shared.borrow_mut().push((name, item));
}

/// Takes what another queue has shared, polling for it.
pub(super) async fn take_shared(kx: &Kx, env: &Env, name: NameId, within_us: u64) {
    env.forget_gone(name);
    let until = kx.now().saturating_add(within_us.saturating_mul(1000));
    loop {
        kx.step(sim::Kind::Read, kx.memory_label()).await;
        let found = {
            let mut shared = env.instance.shared.borrow_mut();
            let at = shared.iter().position(|(shared, _)| *shared == name);
            at.map(|at| shared.remove(at).1)
        };
        if let Some(item) = found {
            env.instance.handed_over.acquire(kx);
            env.put(name, item);
            return;
        }
        if kx.now() >= until || env.instance.going.get() {
            return;
        }
        kx.delay(POLL).await;
    }
}

/// Stops the driver's queues and runs its removal; what `remove` leaves behind is for the oracles.
pub async fn remove(kx: &Kx, instance: &Rc<Instance>) {
    instance.going.set(true);
    super::power::wake_resting(kx, instance);
    while instance.running.get() > 0 {
        instance.idle.wait(kx).await;
    }
    instance.idle.see(kx);
    // What was shared and nobody took goes with the queues.
    for (_, item) in instance.shared.take() {
        free_item(kx, item).await;
    }
    let env = Env::new(kx, instance, true);
    let body = std::sync::Arc::clone(&instance.program(kx).remove);
    run_block(kx, &env, &body).await;
}

/// The driver core frees what is managed and still there, newest first.
///
/// Source: `drivers/base/devres.c: devres_release_all()`, v6.1, v6.12.
pub async fn free_managed(kx: &Kx, instance: &Rc<Instance>) {
    let names = instance.managed.take();
    if names.is_empty() {
        return;
    }
    let _frame = kx.enter("devres_release_all");
    for name in names.into_iter().rev() {
        if let Some(item) = instance.items.get(name).filter(|item| !item.is_gone()) {
            instance.items.retire(name, &item);
            free_item(kx, item).await;
        }
    }
}

/// A probe that failed gives back what it took, in reverse order, as managed resources do.
pub async fn undo(kx: &Kx, instance: &Rc<Instance>) {
    for item in instance.items.take().into_iter().rev() {
        free_item(kx, item).await;
    }
}
