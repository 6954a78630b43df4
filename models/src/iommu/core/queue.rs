//! The command queue of AMD's IOMMU: commands are written by CPUs and done by the hardware later, in order; a completion wait
//! writes a number to memory when everything before it is done.

use sim::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use sim::sync::{LockClass, SpinLock, Var};
use sim::{Draft, SpawnSpec};

use super::flush::{Scope, invalidate};
use super::{IommuDomain, IommuDriver};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::profile::Behaviour;
use crate::scenario::schema::Iommu;

/// Class of `iommu->lock` of AMD's driver.
const IOMMU_LOCK: LockClass = LockClass::new(21, "&iommu->lock");

/// So many microseconds are waited for a completion (`LOOP_TIMEOUT`).
const LOOP_TIMEOUT: u32 = 100_000;

/// A command.
#[derive(Clone, Copy, Debug)]
enum Command {
    /// `CMD_INV_IOMMU_PAGES`.
    Invalidate(Ptr<IommuDomain>, Scope),
    /// `CMD_COMPL_WAIT`: write this number.
    CompletionWait(u64),
}

/// The queue, and what the driver keeps of it. Source: `drivers/iommu/amd/amd_iommu_types.h: struct amd_iommu`, v6.12.
#[derive(Debug)]
pub struct CommandQueue {
    lock: SpinLock,
    commands: RefCell<VecDeque<Command>>,
    /// A command was queued since the last completion wait. Plain: the lock is to order its accesses.
    need_sync: Var<bool>,
    /// The last number that was given to a completion wait.
    cmd_sem_val: Cell<u64>,
    /// The last number that the hardware wrote.
    cmd_sem: Cell<u64>,
    /// The hardware is at work.
    busy: Cell<bool>,
}

/// Whether commands of this machine's IOMMU take time.
pub(super) fn takes_time(kx: &Kx) -> bool {
    command_ns(kx) > 0 && kx.k.iommu.registered.get() == Some(IommuDriver::Amd)
}

fn command_ns(kx: &Kx) -> u64 {
    match kx.k.scenario.machine.iommu {
        Iommu::AmdVi { command_ns, .. } => command_ns,
        _ => 0,
    }
}

fn queue(kx: &Kx) -> Rc<CommandQueue> {
    Rc::clone(kx.k.iommu.queue.get_or_init(|| {
        Rc::new(CommandQueue {
            lock: SpinLock::new(kx.cx(), IOMMU_LOCK),
            commands: RefCell::default(),
            need_sync: Var::new(kx.cx(), "iommu->need_sync", false),
            cmd_sem_val: Cell::new(0),
            cmd_sem: Cell::new(0),
            busy: Cell::new(false),
        })
    }))
}

/// Invalidations, and the wait for them.
///
/// Source: `drivers/iommu/amd/iommu.c: domain_flush_pages()`, `__domain_flush_pages()`, `domain_flush_complete()`, v5.13,
/// v6.1, v6.12.
pub(super) async fn flush(kx: &Kx, domain: Ptr<IommuDomain>, scopes: &[Scope]) {
    let queue = queue(kx);
    for scope in scopes {
        let _frame = kx.enter("domain_flush_pages");
        let irqs = queue.lock.lock_irqsave(kx.cx()).await;
        kx.step(sim::Kind::Io, kx.label(domain.id, 30)).await;
        submit(kx, &queue, Command::Invalidate(domain, *scope));
        queue.need_sync.set(kx.cx(), true);
        queue.lock.unlock_irqrestore(kx.cx(), irqs);
    }
    completion_wait(kx, &queue).await;
}

/// Waits until all commands that were queued so far are done.
///
/// With `completion-wait-covers` a caller that finds nothing to be synchronised waits for the last wait that was queued; with
/// `completion-sequence-under-lock` numbers are taken in the order in which the waits are queued.
///
/// Source: `drivers/iommu/amd/iommu.c: iommu_completion_wait()`, v5.13, v6.1, v6.12.
async fn completion_wait(kx: &Kx, queue: &CommandQueue) {
    let _frame = kx.enter("iommu_completion_wait");
    let covers = kx.k.has(Behaviour::CompletionWaitCovers);
    let under_lock = kx.k.has(Behaviour::CompletionSequenceUnderLock);
    let next = || {
        queue.cmd_sem_val.set(queue.cmd_sem_val.get() + 1);
        queue.cmd_sem_val.get()
    };
    if !covers {
        kx.step(sim::Kind::Read, kx.memory_label()).await;
        if !queue.need_sync.get(kx.cx()) {
            return;
        }
    }
    let mut number = 0;
    if !under_lock {
        kx.step(sim::Kind::Atomic, kx.memory_label()).await;
        number = next();
    }
    let irqs = queue.lock.lock_irqsave(kx.cx()).await;
    kx.step(sim::Kind::Io, kx.memory_label()).await;
    if covers && !queue.need_sync.get(kx.cx()) {
        number = queue.cmd_sem_val.get();
    } else {
        if under_lock {
            number = next();
        }
        submit(kx, queue, Command::CompletionWait(number));
        queue.need_sync.set(kx.cx(), false);
    }
    queue.lock.unlock_irqrestore(kx.cx(), irqs);
    wait_on_sem(kx, queue, number).await;
}

/// Source: `drivers/iommu/amd/iommu.c: wait_on_sem()`, v6.1, v6.12.
async fn wait_on_sem(kx: &Kx, queue: &CommandQueue, number: u64) {
    for _ in 0..LOOP_TIMEOUT {
        kx.step(sim::Kind::Read, kx.memory_label()).await;
        if queue.cmd_sem.get() >= number {
            return;
        }
        kx.delay(1_000).await;
    }
    let line = "AMD-Vi: Completion-Wait loop timed out";
    kx.log(|| line.to_owned());
    let title = format!(
        "{line}: waited for {number}, and the hardware, which has done all commands, wrote {} last",
        queue.cmd_sem.get()
    );
    let draft = Draft::warning("completion-timeout", title);
    // One that has commands left is slow, and not silent.
    if queue.commands.borrow().is_empty() {
        kx.report(draft, Vec::new);
    }
}

/// Writes a command; the hardware begins if it is idle.
fn submit(kx: &Kx, queue: &CommandQueue, command: Command) {
    queue.commands.borrow_mut().push_back(command);
    if queue.busy.replace(true) {
        return;
    }
    let k = Rc::clone(&kx.k);
    let time = command_ns(kx);
    kx.spawn(SpawnSpec::device("AMD-Vi"), move |cx| async move {
        let kx = Kx::new(cx, k);
        let Some(queue) = kx.k.iommu.queue.get().cloned() else { return };
        loop {
            kx.delay(time).await;
            kx.step(sim::Kind::Io, kx.memory_label()).await;
            let command = queue.commands.borrow_mut().pop_front();
            match command {
                Some(Command::Invalidate(domain, scope)) => invalidate(&kx, domain, scope),
                Some(Command::CompletionWait(number)) => queue.cmd_sem.set(number),
                None => break,
            }
        }
        queue.busy.set(false);
    });
}
