//! Spinlocks that lie in kernel objects, and what a queued spinlock does when its word is not a lock at all.

use sim::cell::{Cell, OnceCell};
use std::rc::Rc;

use sim::choices::Stream;
use sim::sync::{LockClass, SpinLock};
use sim::{Draft, IrqFlags, Kind};

use super::Kx;
use super::symbols::{QNODE_SIZE, QNODES_OFFSET, Symbol};
use crate::mem::{Field, Kobject, LockWord, PhysAddr, Ptr};

const LOCKED_MASK: u32 = 0xff;
const PENDING_MASK: u32 = 0xff00;
const PENDING_VAL: u32 = 0x100;

/// The engine's side of a spinlock in a kernel object, and whether somebody has initialised it.
#[derive(Debug, Default)]
pub struct LockCell {
    lock: OnceCell<Rc<SpinLock>>,
    initialised: Cell<bool>,
}

impl LockCell {
    /// `spin_lock_init`: from here on it may be taken.
    pub fn init(&self) {
        self.initialised.set(true);
    }

    /// Its bytes were cleared with the structure that it lies in.
    pub fn clear(&self) {
        self.initialised.set(false);
    }
}

/// A lock that was taken: a real one, or four bytes of somebody else's.
#[derive(Debug)]
#[must_use = "the lock stays taken"]
pub enum LockHeld {
    /// The object lived when it was taken.
    Live(IrqFlags, Rc<SpinLock>),
    /// It does not, and the word there looked like a free lock.
    Foreign(IrqFlags, PhysAddr),
}

impl Kx {
    /// Takes the lock in `ptr->field` with interrupts off.
    ///
    /// Source: `kernel/locking/spinlock.c: _raw_spin_lock_irqsave()`, `kernel/locking/qspinlock.c`, v5.13.
    pub async fn raw_spin_lock_irqsave<T: Kobject>(
        &self,
        ptr: Ptr<T>,
        field: Field<T, LockWord>,
        class: LockClass,
        lock: fn(&T) -> &LockCell,
    ) -> LockHeld {
        let _frame = self.enter("_raw_spin_lock_irqsave");
        let live = self.k.mem.object(ptr);
        match live {
            Ok(object) => {
                let cell = lock(&object);
                if !cell.initialised.get() {
                    self.bad_magic(T::TYPE_NAME);
                }
                let lock = Rc::clone(cell.lock.get_or_init(|| Rc::new(SpinLock::new(self.cx(), class))));
                let flags = lock.lock_irqsave(self.cx()).await;
                LockHeld::Live(flags, lock)
            }
            Err(_) => {
                // The load reports it, and ends the run if nothing is mapped there.
                let flags = self.local_irq_save();
                self.preempt_disable();
                let word = self.load(ptr, field).await;
                let addr = ptr.addr.wrapping_add(field.offset(T::layout(self.k.layout_variant())));
                let Some(phys) = self.k.image.mapped(addr) else {
                    self.page_fault(addr, "write").await;
                    return LockHeld::Foreign(flags, PhysAddr(0));
                };
                self.queued_spin_lock(phys, word.0).await;
                LockHeld::Foreign(flags, phys)
            }
        }
    }

    /// Takes a lock that lies in no object of its own.
    pub async fn raw_spin_lock_irqsave_of(&self, lock: &Rc<SpinLock>) -> LockHeld {
        let _frame = self.enter("_raw_spin_lock_irqsave");
        let flags = lock.lock_irqsave(self.cx()).await;
        LockHeld::Live(flags, Rc::clone(lock))
    }

    /// A lock is taken that nobody has initialised. Bytes that are all zero happen to be a free lock, and the machine
    /// goes on.
    ///
    /// Source: `kernel/locking/spinlock_debug.c: debug_spin_lock_before()`, v6.1.
    fn bad_magic(&self, object: &'static str) {
        let title =
            format!("BUG: spinlock bad magic on CPU#{}, {}: a lock of {object}", self.cpu(), self.name());
        self.report(Draft::warning("uninitialised-lock", title).object(object), Vec::new);
    }

    /// Gives it back. The engine's side of the lock outlives the object, should somebody have freed that meanwhile.
    pub fn raw_spin_unlock_irqrestore(&self, held: LockHeld) {
        self.order_stores();
        match held {
            LockHeld::Live(flags, lock) => lock.unlock_irqrestore(self.cx(), flags),
            LockHeld::Foreign(flags, phys) => {
                // Only the locked byte is cleared (`queued_spin_unlock`).
                self.raw_write(phys, &[0]);
                self.preempt_enable();
                self.local_irq_restore(flags);
            }
        }
    }

    /// Takes a lock word that belongs to somebody else, with all that follows.
    ///
    /// Source: `kernel/locking/qspinlock.c: queued_spin_lock_slowpath()`, v5.13, with `NR_CPUS` below 16 K.
    async fn queued_spin_lock(&self, phys: PhysAddr, word: u32) {
        self.step(Kind::Atomic, self.k.wild).await;
        if word == 0 {
            self.clobber(phys, &[1], "the lock word was 0: taken, and its byte written");
            return;
        }
        if word == PENDING_VAL {
            // A hand-over that never comes: one look more, then the queue.
            self.point().await;
        }
        if word & !LOCKED_MASK == 0 {
            self.clobber(
                PhysAddr(phys.0 + 1),
                &[1],
                "only the locked byte was set: the pending byte is written",
            );
            self.spin_forever("queued spinlock: pending, waiting for the locked byte of foreign memory")
                .await;
            return;
        }
        let (prev_cpu, index) = (u64::from(word >> 18), u64::from(word >> 16 & 3));
        let tail = (u32::from(self.cpu()) + 1) << 18;
        let half = u16::try_from(tail >> 16).unwrap_or(0);
        self.clobber(
            PhysAddr(phys.0 + 2),
            &half.to_le_bytes(),
            "the upper half of the word is exchanged for the own tail",
        );
        if word >> 16 == 0 {
            debug_assert!(word & PENDING_MASK != 0);
            self.spin_forever(
                "queued spinlock: head of the queue, waiting for foreign memory to become unlocked",
            )
            .await;
            return;
        }
        let cpu = prev_cpu.wrapping_sub(1);
        let offset = self.per_cpu_offset(cpu);
        let prev = offset.wrapping_add(QNODES_OFFSET).wrapping_add(index * QNODE_SIZE);
        self.note(|| {
            format!("lock word {word:#010x}: tail of CPU {cpu}, index {index}; __per_cpu_offset gives {offset:#x}, previous node {prev:#x}")
        });
        let Some(target) = self.k.image.writable(prev) else {
            self.queued_fault(prev, cpu, word).await;
            return;
        };
        let own = self.per_cpu_offset(u64::from(self.cpu())).wrapping_add(QNODES_OFFSET);
        let trampled = self.raw_write(target, &own.to_le_bytes());
        let victim = self.k.mem.borrow().heap.record(trampled).map_or("", |record| record.type_name);
        let title =
            format!("wild write of 8 bytes to {prev:016x}: the node of CPU {cpu} that the lock word names");
        self.report(Draft::warning("wild-write", title).object(victim).ending("wild write"), || {
            let mut details = Vec::new();
            self.k.explain_memory(prev, self.sim(), &mut details);
            details
        });
        self.spin_forever("queued spinlock: waiting to be woken by a node that nobody owns").await;
    }

    async fn queued_fault(&self, prev: u64, cpu: u64, word: u32) {
        let own = self.per_cpu_offset(u64::from(self.cpu())).wrapping_add(QNODES_OFFSET);
        let (kind, title) = Self::fault_of(prev);
        let tail = (u32::from(self.cpu()) + 1) << 18;
        let draft = Draft::fatal(kind, title).discriminator("write").ending("oops");
        self.report(draft, || {
            vec![
                (
                    "fault".to_owned(),
                    vec![
                        "#PF: supervisor write access in kernel mode".to_owned(),
                        format!("#PF: error_code({}", self.k.image.fault_code(prev, true)),
                    ],
                ),
                (
                    "registers".to_owned(),
                    vec![
                        "RIP: native_queued_spin_lock_slowpath: WRITE_ONCE(prev->next, node)".to_owned(),
                        format!("CR2: {prev:016x}  RAX: {prev:016x}  (the node that the lock word names)"),
                        format!("RCX: {own:016x}  (this CPU's own queue node)"),
                        format!("RDI: {cpu:016x}  (CPU number taken from the junk tail)"),
                        format!("RSI: {tail:016x}  (own tail: CPU {})", self.cpu()),
                    ],
                ),
                (
                    "lock word".to_owned(),
                    vec![
                        format!(
                            "{word:#010x} = tail {:#06x}, locked/pending {:#06x}",
                            word >> 16,
                            word & 0xffff
                        ),
                        format!("bytes in memory: {}", printable(word)),
                    ],
                ),
            ]
        });
        self.spin_forever("the machine has stopped").await;
    }

    /// `__per_cpu_offset[cpu]`, also beyond its end: there lies whatever the linker put behind the table.
    ///
    /// Source: `arch/x86/kernel/setup_percpu.c`, v5.13.
    fn per_cpu_offset(&self, cpu: u64) -> u64 {
        let possible = self.k.globals.per_cpu_offset.borrow();
        if let Some(offset) = usize::try_from(cpu).ok().and_then(|cpu| possible.get(cpu)) {
            return *offset;
        }
        if cpu < u64::from(self.k.nr_cpus()) {
            // Entries of CPUs that do not exist keep their initial value.
            return Symbol::PerCpuLoad.addr();
        }
        // What lies behind the table is not known to us, and is the same whenever it is read.
        let classes = 6;
        let class = self.choose(Stream::Content, "word behind __per_cpu_offset", classes);
        let bits = self.choose(Stream::Content, "its value", 1 << 32);
        match class {
            0 => bits & 0xff_ffff,
            1 => 0,
            2 => 0xffff_ffff_8100_0000 + (bits & 0xff_fff8),
            3 => 0xffff_8880_0000_0000 + (bits << 3 & 0x7_ffff_fff8),
            4 => bits << 32 | bits.rotate_left(7) & 0xffff_ffff,
            _ => bits & 0xffff,
        }
    }

    /// Writes into memory of another owner; the trace and the digest know.
    fn clobber(&self, phys: PhysAddr, bytes: &[u8], why: &'static str) {
        self.raw_write(phys, bytes);
        self.note(|| format!("foreign memory at {phys} written: {why}"));
    }
}

/// The bytes of a word as a hex dump shows them.
fn printable(word: u32) -> String {
    let bytes = word.to_le_bytes();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String =
        bytes.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' }).collect();
    format!("{}  \"{text}\"", hex.join(" "))
}
