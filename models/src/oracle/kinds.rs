//! What can be found wrong, by name.

/// Every kind of finding, and what it says in one line. `docs/findings.md` has the long form.
pub const FINDINGS: &[(&str, &str)] = &[
    ("atomic-at-end", "a context ended with preemption or interrupts off"),
    ("bus-error", "a device drove an address that leads to no memory, or is above what its bus carries"),
    ("data-race", "two contexts accessed a plain variable with nothing to order them, one of them writing"),
    ("deadlock", "contexts wait for one another in a circle"),
    ("dma-api-misuse", "a driver used the DMA API against its rules: double unmap, wrong size or direction"),
    ("dma-outside-mapping", "a device reached memory that is in no mapping of it"),
    ("double-free", "memory was freed that is free already"),
    ("general-protection-fault", "an address was followed that no page table could map"),
    ("hard-lockup", "a CPU spins for ever with interrupts off"),
    ("hung-task", "a task waits for what will not happen"),
    ("iommu-fault", "the IOMMU refused an access of a device"),
    ("irq-unsafe-lock", "a lock that a hard interrupt takes was taken with interrupts on"),
    ("leak-content", "bytes of another owner became visible to a device or to the CPU"),
    ("leak-coherent", "coherent memory was left at unbind or at the end"),
    ("leak-mapping", "mappings were left at unbind or at the end"),
    ("leak-memory", "memory was left allocated when nobody could free it any more"),
    ("livelock", "a run took more steps than any that settles"),
    ("lock-held-at-end", "a context ended with a lock held"),
    ("lock-inversion", "two locks were taken in both orders"),
    ("mapping-error", "a mapping failed although the driver kept the rules"),
    ("nondeterminism", "the same seed gave two runs: a mistake of the simulator"),
    ("null-pointer", "a NULL pointer was followed"),
    ("out-of-bounds", "an access reached past the end of its object"),
    ("page-fault", "an address was followed that nothing is mapped at"),
    ("panic-in-model", "the simulator itself panicked: a mistake of the simulator"),
    ("pool-exhausted", "the bounce pool had no room for a mapping that fits into it"),
    ("rcu-reader-at-end", "a context ended inside an RCU read-side critical section"),
    ("recursive-locking", "a context took a lock that it holds already"),
    ("sleep-in-atomic", "a function that may sleep was called where nobody may sleep"),
    ("slots-counter", "counters of a bounce pool disagree with its lists"),
    ("slots-lost", "slots of a bounce pool belong to no mapping and are not free"),
    ("slots-shared", "one slot of a bounce pool is in two live mappings"),
    ("soft-lockup", "a CPU spins for ever with interrupts on"),
    ("too-many-contexts", "a run had more contexts at one time than the engine holds"),
    ("unlock-not-held", "a lock was released by a context that does not hold it"),
    ("use-after-free", "freed memory was read or written through an old pointer"),
    ("use-before-init", "an object was used before it was initialised"),
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
