//! The command queue of an SMMUv3.
//!
//! All CPUs write to one queue, and no lock is held over it: each takes as many entries as it needs by compare and exchange,
//! fills them, and marks them as valid. The first of those who take entries while nobody owns the head is its owner: it
//! waits until all entries that were taken meanwhile are valid, and tells the hardware of them. Who ends with a `CMD_SYNC`
//! waits until the hardware has come past it.

use std::rc::Rc;

use sim::cell::{Cell, OnceCell, RefCell};
use sim::{Draft, Kind, SpawnSpec};

use super::stream::{forget_context, forget_stream, forget_streams, prefetch};
use super::{log_name, tlb, v3};
use crate::iommu::core::IommuDomain;
use crate::kernel::Kx;
use crate::mem::Ptr;

/// log2 of the entries of a queue.
const MAX_N_SHIFT: u32 = 8;
const ENTRIES: u32 = 1 << MAX_N_SHIFT;
/// Commands that are written at once, at most (`CMDQ_BATCH_ENTRIES`).
pub(super) const BATCH: usize = 64;
/// So long a `CMD_SYNC` is waited for, in nanoseconds (`ARM_SMMU_POLL_TIMEOUT_US`).
const POLL_TIMEOUT: u64 = 1_000_000_000;
/// Between two looks at what somebody else is to change, at first and at most.
const POLL: u64 = 1_000;
const POLL_MOST: u64 = 64_000;
/// `INT_MIN`: the lock over the queue's own idea of what the hardware has done is held by one alone.
const EXCLUSIVE: i64 = i32::MIN as i64;

/// A command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// `CMDQ_OP_CFGI_STE`: forget what was read of this device's stream table entry, and all that followed from it.
    CfgiSte(usize),
    /// `CMDQ_OP_CFGI_CD`: the same for its context descriptor.
    CfgiCd(usize),
    /// `CMDQ_OP_CFGI_ALL`.
    CfgiAll,
    /// `CMDQ_OP_PREFETCH_CFG`: read this device's entries.
    PrefetchCfg(usize),
    /// `CMDQ_OP_TLBI_NH_ASID`: forget all translations of a domain.
    TlbiAsid(Ptr<IommuDomain>),
    /// `CMDQ_OP_TLBI_NH_VA`: forget those of some pages, both ends included; with `leaf` the walks there are kept.
    TlbiVa { domain: Ptr<IommuDomain>, first: u64, last: u64, leaf: bool },
    /// `CMDQ_OP_TLBI_NSNH_ALL`: forget all translations. Only before there are any.
    TlbiAll,
    /// `CMDQ_OP_CMD_SYNC`.
    Sync,
}

/// `struct arm_smmu_ll_queue`: what is written at once. An index counts entries modulo twice their number, so that full and
/// empty differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LlQueue {
    prod: u32,
    /// `CMDQ_PROD_OWNED_FLAG`: somebody owns the head.
    owned: bool,
    cons: u32,
}

const fn slot(index: u32) -> usize {
    (index % ENTRIES) as usize
}

/// Whether an index is in its second round (`Q_WRP`).
const fn wraps(index: u32) -> bool {
    index & ENTRIES != 0
}

const fn advance(index: u32, n: u32) -> u32 {
    index.wrapping_add(n) % (2 * ENTRIES)
}

/// Entries between two indices.
const fn distance(cons: u32, prod: u32) -> u32 {
    prod.wrapping_sub(cons) % (2 * ENTRIES)
}

impl LlQueue {
    /// `queue_has_space()`.
    const fn has_space(self, n: u32) -> bool {
        ENTRIES - distance(self.cons, self.prod) >= n
    }

    /// `queue_full()`.
    const fn is_full(self) -> bool {
        distance(self.cons, self.prod) == ENTRIES
    }
}

/// `queue_consumed()`: whether `cons` is past the entry at `prod`, which is not more than a round ahead.
const fn consumed(cons: u32, prod: u32) -> bool {
    let (same, ahead) = (wraps(cons) == wraps(prod), slot(cons) > slot(prod));
    same == ahead
}

/// The queue of one SMMU. Source: `arm-smmu-v3.h: struct arm_smmu_cmdq`, v6.12.
#[derive(Debug)]
struct CommandQueue {
    llq: Cell<LlQueue>,
    /// Who has told the hardware: the next owner begins here.
    owner_prod: Cell<u32>,
    /// An entry is valid if its bit is not that of its round.
    valid_map: RefCell<Vec<bool>>,
    /// Held by all who wait for a `CMD_SYNC`, or by one who brings `llq.cons` up to date.
    lock: Cell<i64>,
    entries: RefCell<Vec<Command>>,
    /// The hardware's registers.
    prod_reg: Cell<u32>,
    cons_reg: Cell<u32>,
    busy: Cell<bool>,
}

/// The queues of the machine's SMMUs.
#[derive(Debug, Default)]
pub(in super::super) struct CommandQueues([OnceCell<Rc<CommandQueue>>; 2]);

fn queue(kx: &Kx, smmu: usize) -> Rc<CommandQueue> {
    let new = || {
        Rc::new(CommandQueue {
            llq: Cell::new(LlQueue::default()),
            owner_prod: Cell::new(0),
            valid_map: RefCell::new(vec![false; ENTRIES as usize]),
            lock: Cell::new(0),
            entries: RefCell::new(vec![Command::Sync; ENTRIES as usize]),
            prod_reg: Cell::new(0),
            cons_reg: Cell::new(0),
            busy: Cell::new(false),
        })
    };
    Rc::clone(kx.k.iommu.command_queues.0[smmu.min(1)].get_or_init(new))
}

/// Writes commands, and with `sync` waits until the hardware has done them.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_cmdq_issue_cmdlist()`, v6.1, v6.12.
pub(super) async fn issue_cmdlist(kx: &Kx, smmu: usize, commands: &[Command], sync: bool) {
    let _frame = kx.enter("arm_smmu_cmdq_issue_cmdlist");
    let queue = queue(kx, smmu);
    let n = u32::try_from(commands.len()).unwrap_or(0);
    let taken = n + u32::from(sync);
    let mut irqs = kx.local_irq_save();
    // 1. Entries are taken.
    kx.step(Kind::Read, kx.memory_label()).await;
    let mut llq = queue.llq.get();
    loop {
        while !llq.has_space(taken) {
            kx.local_irq_restore(irqs);
            llq = poll_until_not_full(kx, &queue, smmu).await;
            irqs = kx.local_irq_save();
        }
        let head = LlQueue { prod: advance(llq.prod, taken), owned: true, cons: llq.cons };
        kx.step(Kind::Atomic, kx.memory_label()).await;
        if queue.llq.get() == llq {
            queue.llq.set(head);
            break;
        }
        llq = queue.llq.get();
    }
    // 2. They are filled.
    kx.step(Kind::Write, kx.memory_label()).await;
    for (nth, command) in (0..).zip(commands.iter().copied().chain(sync.then_some(Command::Sync))) {
        queue.entries.borrow_mut()[slot(advance(llq.prod, nth))] = command;
    }
    if sync {
        shared_lock(kx, &queue).await;
    }
    // 3. They are marked as valid.
    kx.step(Kind::Atomic, kx.memory_label()).await;
    for nth in 0..taken {
        let mut valid = queue.valid_map.borrow_mut();
        valid[slot(advance(llq.prod, nth))] ^= true;
    }
    // 4. The owner of the head tells the hardware.
    if !llq.owned {
        publish(kx, &queue, smmu, llq.prod).await;
    }
    // 5. And the hardware comes past the CMD_SYNC.
    if sync {
        let at = advance(llq.prod, n);
        let cons = poll_until_sync(kx, &queue, smmu, at).await;
        kx.step(Kind::Read, kx.memory_label()).await;
        if queue.lock.get() == 1 {
            // The last one out brings the queue's own idea up to date.
            kx.step(Kind::Write, kx.memory_label()).await;
            queue.llq.set(LlQueue { cons, ..queue.llq.get() });
        }
        kx.step(Kind::Atomic, kx.memory_label()).await;
        queue.lock.set(queue.lock.get() - 1);
    }
    kx.local_irq_restore(irqs);
}

/// Tells the hardware of the entries from `start` on that have been taken by now.
async fn publish(kx: &Kx, queue: &Rc<CommandQueue>, smmu: usize, start: u32) {
    // a. The owner before is done.
    poll(kx, || queue.owner_prod.get() == start).await;
    // b. Who takes entries from here on is an owner, too.
    kx.step(Kind::Atomic, kx.memory_label()).await;
    let llq = queue.llq.get();
    queue.llq.set(LlQueue { owned: false, ..llq });
    let end = llq.prod;
    // c. All entries up to here are filled.
    let all_valid = || {
        let valid = queue.valid_map.borrow();
        (0..distance(start, end)).all(|nth| {
            let index = advance(start, nth);
            valid[slot(index)] != wraps(index)
        })
    };
    poll(kx, all_valid).await;
    // d. The hardware's register.
    kx.step(Kind::Io, kx.memory_label()).await;
    queue.prod_reg.set(end);
    work(kx, queue, smmu);
    // e. The next owner may go on.
    kx.step(Kind::Write, kx.memory_label()).await;
    queue.owner_prod.set(end);
}

/// Looks again and again, keeping the CPU.
async fn poll(kx: &Kx, done: impl Fn() -> bool) {
    loop {
        kx.step(Kind::Read, kx.memory_label()).await;
        if done() {
            return;
        }
        kx.delay(POLL).await;
    }
}

/// Source: `arm_smmu_cmdq_shared_lock()`, v6.12.
async fn shared_lock(kx: &Kx, queue: &CommandQueue) {
    kx.step(Kind::Atomic, kx.memory_label()).await;
    let was = queue.lock.get();
    queue.lock.set(was + 1);
    if was < 0 {
        poll(kx, || queue.lock.get() > 0).await;
    }
}

/// A wait with an end: the looks get rarer (`struct arm_smmu_queue_poll`).
struct QueuePoll {
    until: u64,
    delay: u64,
}

impl QueuePoll {
    fn new(kx: &Kx) -> Self {
        Self { until: kx.now().saturating_add(POLL_TIMEOUT), delay: POLL }
    }

    /// `queue_poll()`: waits; says whether the time is over.
    async fn wait(&mut self, kx: &Kx) -> bool {
        if kx.now() > self.until {
            return true;
        }
        kx.delay(self.delay).await;
        self.delay = (self.delay * 2).min(POLL_MOST);
        false
    }
}

/// Waits until the queue has room again, as far as that can be told; where it is then.
///
/// Source: `arm_smmu_cmdq_poll_until_not_full()`, v6.12.
async fn poll_until_not_full(kx: &Kx, queue: &CommandQueue, smmu: usize) -> LlQueue {
    let irqs = kx.local_irq_save();
    kx.step(Kind::Atomic, kx.memory_label()).await;
    let exclusive = queue.lock.get() == 0;
    if exclusive {
        queue.lock.set(EXCLUSIVE);
        kx.step(Kind::Io, kx.memory_label()).await;
        queue.llq.set(LlQueue { cons: queue.cons_reg.get(), ..queue.llq.get() });
        kx.step(Kind::Atomic, kx.memory_label()).await;
        queue.lock.set(queue.lock.get() - EXCLUSIVE);
    }
    kx.local_irq_restore(irqs);
    let mut poll = QueuePoll::new(kx);
    loop {
        // Who finds room for one entry and needs more comes back at once: one look takes its time here, or such a CPU would
        // do nothing else for ever.
        if poll.wait(kx).await {
            let name = log_name(kx, u32::try_from(smmu).unwrap_or(0));
            kx.log(|| format!("{name}: CMDQ timeout"));
            break;
        }
        kx.step(Kind::Read, kx.memory_label()).await;
        if exclusive || !queue.llq.get().is_full() {
            break;
        }
    }
    queue.llq.get()
}

/// Waits until the hardware is past the entry `at`; where it is then.
///
/// Source: `__arm_smmu_cmdq_poll_until_consumed()`, v6.12.
async fn poll_until_sync(kx: &Kx, queue: &CommandQueue, smmu: usize, at: u32) -> u32 {
    let mut poll = QueuePoll::new(kx);
    loop {
        kx.step(Kind::Io, kx.memory_label()).await;
        let cons = queue.cons_reg.get();
        if consumed(cons, at) {
            return cons;
        }
        if poll.wait(kx).await {
            let prod = queue.prod_reg.get();
            let name = log_name(kx, u32::try_from(smmu).unwrap_or(0));
            let line =
                format!("{name}: CMD_SYNC timeout at {at:#010x} [hwprod {prod:#010x}, hwcons {cons:#010x}]");
            kx.log(|| line.clone());
            // One that has commands left is slow, and not silent.
            if prod == cons {
                kx.report(Draft::warning("completion-timeout", line), Vec::new);
            }
            return cons;
        }
    }
}

/// The hardware begins if it is idle, and does what it was told of in order.
fn work(kx: &Kx, queue: &Rc<CommandQueue>, smmu: usize) {
    let time = v3(kx).map_or(0, |v3| v3.command_ns);
    if time == 0 {
        while consume(kx, queue, smmu) {}
        return;
    }
    if queue.busy.replace(true) {
        return;
    }
    let (k, queue) = (Rc::clone(&kx.k), Rc::clone(queue));
    kx.spawn(SpawnSpec::device("arm-smmu-v3"), move |cx| async move {
        let kx = Kx::new(cx, k);
        loop {
            kx.delay(time).await;
            kx.step(Kind::Io, kx.memory_label()).await;
            if !consume(&kx, &queue, smmu) {
                break;
            }
        }
        queue.busy.set(false);
    });
}

/// Does one command; says whether there was one.
fn consume(kx: &Kx, queue: &CommandQueue, smmu: usize) -> bool {
    let cons = queue.cons_reg.get();
    if cons == queue.prod_reg.get() {
        return false;
    }
    let command = queue.entries.borrow()[slot(cons)];
    match command {
        Command::CfgiSte(device) => forget_stream(kx, device),
        Command::CfgiCd(device) => forget_context(kx, device),
        Command::CfgiAll => forget_streams(kx, smmu),
        Command::PrefetchCfg(device) => prefetch(kx, device),
        Command::TlbiAsid(domain) => tlb::drop_all(kx, domain),
        Command::TlbiVa { domain, first, last, leaf } => tlb::drop_pages(kx, domain, (first, last), leaf),
        Command::TlbiAll | Command::Sync => {}
    }
    queue.cons_reg.set(advance(cons, 1));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_knows_its_round() {
        assert!(!consumed(5, 5) && consumed(6, 5));
        assert!(consumed(ENTRIES, ENTRIES - 1), "the first entry of the second round");
        assert!(consumed(ENTRIES + 5, 6), "a round later");
        assert!(!consumed(ENTRIES + 7, ENTRIES + 7));
        assert_eq!(advance(2 * ENTRIES - 1, 1), 0);
        let full = LlQueue { prod: ENTRIES + 3, owned: false, cons: 3 };
        assert!(full.is_full() && !full.has_space(1) && full.has_space(0));
        assert!(LlQueue { cons: 4, ..full }.has_space(1));
    }
}
