//! What can be found wrong, by name.

/// Every kind of finding, and what it says in one line. `docs/findings.md` has the long form.
pub const FINDINGS: &[(&str, &str)] = &[
    ("allocator-inconsistent", "lists of the page or slab allocator contradict one another"),
    ("atomic-at-end", "a context ended with preemption or interrupts off"),
    ("bad-free", "memory was given back that was never taken so, or not all of it"),
    ("bad-segment", "a segment is longer than the device takes, or lies across its boundary"),
    ("bogus-full", "a bounce pool says that it is full, from numbers that belong to somebody else"),
    ("completion-timeout", "a driver gave up waiting for commands that the IOMMU had done"),
    (
        "data-race",
        "two contexts accessed a plain variable or a field of a kernel object with nothing to order them, one of them writing",
    ),
    ("deadlock", "contexts wait for one another in a circle"),
    (
        "dma-api-misuse",
        "a driver used the DMA API against its rules: double unmap, wrong size, function or direction",
    ),
    ("dma-beyond-mask", "a mapping was given that the device cannot address"),
    ("dma-corrupts-object", "a device wrote over a living kernel object"),
    ("dma-misaligned", "a bounced mapping begins where the device cannot use it"),
    ("dma-outside-mapping", "a device accessed an address that is in no mapping of it"),
    ("dma-path-changed", "a mapping was made through one set of operations and undone through another"),
    ("dma-use-after-free", "a device accessed a buffer that was freed while it was mapped"),
    ("dma-wrong-direction", "a device accessed a mapping against the direction that the driver gave"),
    ("does-not-settle", "the workload is over, and a timer or a work item comes again and again"),
    ("domain-in-use", "a translation was freed while a device was attached to it"),
    ("double-free", "memory was freed that is free already"),
    ("exposed-data", "an untrusted device can read what is not its own, beside its mapping"),
    (
        "foreign-data",
        "a buffer holds after unmap or sync what neither the device wrote nor the buffer held before",
    ),
    ("free-at-wrong-time", "memory was freed through an allocator that is not there yet, or no more"),
    ("freed-before-grace-period", "a structure was freed while readers without a lock may still find it"),
    ("freed-while-shared", "pages were given back to an allocator while the host can read them"),
    ("general-protection-fault", "an address was followed that no page table could map"),
    (
        "grace-period-too-short",
        "an RCU grace period was over while a reader was inside who had been there before",
    ),
    ("group-inconsistent", "IOMMU groups, devices and the hardware's entries contradict one another"),
    ("group-with-two-users", "a group of devices was given to a user, and a driver uses it"),
    ("hard-lockup", "a CPU spins for ever with interrupts off"),
    ("hung-task", "a task waits for what will not happen"),
    ("iommu-fault", "the IOMMU refused an access of a device"),
    ("iova-out-of-range", "a bus address was taken outside what the domain and the device's limit allow"),
    ("irq-unsafe-lock", "a lock that a hard interrupt takes was taken with interrupts on"),
    ("kernel-bug", "a BUG_ON of the kernel fired"),
    ("leak-mapping", "mappings were left at unbind or at the end"),
    ("left-translation", "pages are translated for a device, and no mapping has them"),
    ("livelock", "a run, or a context with interrupts off, took more steps than any that settles"),
    ("lock-held-at-end", "a context ended with a lock held"),
    ("lock-inversion", "two locks were taken in both orders"),
    ("lock-not-held", "a function ran without the lock that it needs"),
    ("lost-iova", "bus addresses are taken, and no mapping has them"),
    ("lost-memory", "memory was given back, and no allocator got it"),
    ("lost-work", "a work item was queued while it ran, and did not run again"),
    ("lost-write", "what a device wrote through a mapping is not in the buffer after unmap or sync"),
    ("mapping-error", "a mapping failed"),
    ("maps-no-memory", "an IOMMU was told to let devices reach what is no memory"),
    ("memblock-gone", "memblock was used after its lists were discarded"),
    ("memory-leak", "memory of the kernel is taken, and nothing leads to it any more"),
    ("nondeterminism", "the same seed gave two runs: a mistake of the simulator"),
    ("not-cleared", "coherent memory was handed out with what somebody had written there"),
    ("null-pointer", "a NULL pointer was followed"),
    ("out-of-bounds", "memory behind the end of what was allocated was read or written"),
    ("overlapping-mappings", "slots, coherent memory or bus addresses of one mapping were given to another"),
    ("overlapping-owners", "one piece of memory was given to two owners"),
    ("page-fault", "an address was followed that nothing is mapped at"),
    ("panic", "the kernel panicked by its own decision"),
    ("panic-in-model", "the simulator itself panicked: a mistake of the simulator"),
    ("pool-too-high", "a bounce pool was added where devices may not reach it"),
    (
        "private-memory",
        "a device accessed encrypted memory that it cannot read, or that is not shared with it",
    ),
    ("rcu-reader-at-end", "a context ended inside an RCU read-side critical section"),
    ("recursive-locking", "a context took a lock that it holds already"),
    ("redundant-flush", "an IOMMU was told more than once to drop one translation"),
    ("refused-with-room", "a request for slots was refused although there was room for it"),
    ("refused-without-owner", "a driver was refused its device for a user of the group that there is not"),
    ("reserve-outside-memory", "memory was reserved at an address where no physical memory can be"),
    ("sleep-in-atomic", "a function that may sleep was called where nobody may sleep"),
    ("slots-inconsistent", "the lists and counters of a bounce pool contradict one another"),
    ("slots-lost", "slots of a bounce pool are in use by no mapping"),
    ("slots-outside-pool", "a search gave slots that the pool does not have"),
    ("soft-lockup", "a CPU spins for ever with interrupts on"),
    (
        "stale-iotlb",
        "memory was unmapped and flushed, and the IOMMU still has a translation to it in its cache",
    ),
    ("stale-translation", "a device's access was translated to memory where its mapping no longer leads"),
    ("timer-at-wrong-time", "a timer's function ran before its time, or although the timer was deleted"),
    ("too-many-contexts", "a run had more contexts at one time than the engine holds"),
    ("uninitialised-lock", "a lock was taken that nobody has initialised"),
    ("unlock-not-held", "a lock was released by a context that does not hold it"),
    ("use-after-free", "freed memory was read or written through an old pointer"),
    ("warn-on", "a WARN_ON of the kernel fired"),
    ("wild-pointer", "a pointer was followed that leads to no object"),
    ("wild-write", "memory of another owner was overwritten through a bad pointer"),
    ("work-still-runs", "a work item was cancelled, and its function was still running"),
    ("wrong-data", "a device read through a bounce buffer what the driver did not give it"),
    ("wrong-object", "a pointer to one type of object was used as another"),
    ("wrong-permission", "a translation allows a device more, or less, than its mapping is for"),
];

#[cfg(test)]
mod tests {
    use super::FINDINGS;

    #[test]
    fn the_table_is_sorted_and_names_are_kebab_case() {
        assert!(FINDINGS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(FINDINGS.iter().all(|(name, what)| plain(name) && !what.is_empty()));
    }
}
