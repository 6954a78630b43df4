//! What can be found wrong, by name.

/// Every kind of finding, and what it says in one line. `docs/findings.md` has the long form.
pub const FINDINGS: &[(&str, &str)] = &[
    ("atomic-at-end", "a context ended with preemption or interrupts off"),
    ("bad-free", "boot memory was given to the page allocator that it had already, or that is no memory"),
    ("bogus-full", "a freed bounce pool said that it is full"),
    ("data-race", "two contexts accessed a plain variable with nothing to order them, one of them writing"),
    ("deadlock", "contexts wait for one another in a circle"),
    ("dma-api-misuse", "a driver used the DMA API against its rules: double unmap, wrong size or direction"),
    ("dma-beyond-mask", "a mapping was made above what its device or bus can address"),
    ("dma-corrupts-object", "a device wrote over a living object of the kernel"),
    ("dma-outside-mapping", "a device reached memory that is in no mapping of it"),
    ("dma-path-changed", "a mapping was made through one set of DMA operations and undone through another"),
    ("dma-use-after-free", "a device reached a buffer that was freed while it was mapped"),
    ("dma-wrong-direction", "a device wrote what it may only read, or read what it may only write"),
    ("double-free", "memory was freed that is free already"),
    ("free-at-wrong-time", "memory was freed to an allocator that is not there yet"),
    ("general-protection-fault", "an address was followed that no page table could map"),
    ("hard-lockup", "a CPU spins for ever with interrupts off"),
    ("hung-task", "a task waits for what will not happen"),
    ("iommu-fault", "the IOMMU refused an access of a device"),
    ("irq-unsafe-lock", "a lock that a hard interrupt takes was taken with interrupts on"),
    ("kernel-bug", "a BUG_ON of the kernel was true"),
    ("leak-mapping", "mappings were left at unbind or at the end"),
    ("livelock", "a run took more steps than any that settles"),
    ("lock-held-at-end", "a context ended with a lock held"),
    ("lock-inversion", "two locks were taken in both orders"),
    ("lost-write", "what a device wrote is not in the buffer when the driver gets it back"),
    ("mapping-error", "a mapping failed although the driver kept the rules"),
    ("nondeterminism", "the same seed gave two runs: a mistake of the simulator"),
    ("null-pointer", "a NULL pointer was followed"),
    ("page-fault", "an address was followed that nothing is mapped at"),
    ("panic", "the kernel gave up by itself"),
    ("panic-in-model", "the simulator itself panicked: a mistake of the simulator"),
    ("rcu-reader-at-end", "a context ended inside an RCU read-side critical section"),
    ("recursive-locking", "a context took a lock that it holds already"),
    ("sleep-in-atomic", "a function that may sleep was called where nobody may sleep"),
    ("slots-inconsistent", "counters or lists of a bounce pool contradict one another"),
    ("slots-lost", "slots of a bounce pool are in use by no mapping"),
    ("soft-lockup", "a CPU spins for ever with interrupts on"),
    ("stale-translation", "a cached translation led a device to memory of another mapping"),
    ("too-many-contexts", "a run had more contexts at one time than the engine holds"),
    ("unlock-not-held", "a lock was released by a context that does not hold it"),
    ("use-after-free", "freed memory was read or written through an old pointer"),
    ("warn-on", "a WARN_ON of the kernel was true"),
    ("wild-pointer", "a pointer was followed that never pointed at an object"),
    ("wild-write", "memory of another owner was overwritten through a bad pointer"),
    ("wrong-data", "data that went through a mapping did not arrive as it was sent"),
    ("wrong-object", "a pointer to one type of object was used as another"),
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
