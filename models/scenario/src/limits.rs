//! How large a scenario may be. A run must end, and in little memory, whatever the file says.

macro_rules! limits {
    ($(#[doc = $doc:literal] $name:ident: $type:ty = $value:expr;)*) => {
        $(#[doc = $doc] pub const $name: $type = $value;)*

        /// All limits, each with what it limits.
        pub const ALL: &[(&str, u64)] = &[$(($doc, $name as u64)),*];
    };
}

limits! {
    /// Bytes of one file.
    FILE_BYTES: u64 = 1 << 20;
    /// Bytes of all files of one scenario.
    TOTAL_BYTES: u64 = 4 << 20;
    /// Files of one scenario.
    FILES: usize = 128;
    /// Length of a chain of `extends`.
    EXTENDS: usize = 8;
    /// Variants of a scenario.
    VARIANTS: usize = 64;
    /// CPUs of a machine.
    CPUS: u32 = 32;
    /// Entries of `CONFIG_NR_CPUS`.
    NR_CPUS: u32 = 8192;
    /// Lines of a memory map.
    E820: usize = 256;
    /// NUMA nodes, and early reservations.
    REGIONS: usize = 256;
    /// Regions of one reservation.
    RESERVED_TIMES: u32 = 1_024;
    /// Times that one reservation is given back.
    FREES: usize = 8;
    /// Devices of a machine.
    DEVICES: usize = 256;
    /// Suppliers of a device.
    SUPPLIERS: usize = 16;
    /// Drivers of a scenario.
    DRIVERS: usize = 64;
    /// Queues of a driver.
    QUEUES: usize = 32;
    /// Processes of a scenario.
    PROCESSES: usize = 32;
    /// Statements of one driver or process, nested ones included.
    STATEMENTS: usize = 4_096;
    /// How deep statements nest.
    BODY_DEPTH: usize = 16;
    /// Microseconds for which a queue polls for what another shares.
    POLL_US: u64 = 10_000;
    /// Statements that one context may execute, repetitions multiplied out.
    EXECUTED: u64 = 1_000_000;
    /// Bytes of one buffer, mapping or object.
    BYTES: u64 = 1 << 30;
    /// Entries of one scatter list.
    SG_ENTRIES: u64 = 4_096;
    /// The largest order of the page allocator.
    ORDER: u64 = 10;
    /// Blocks of pages of one statement.
    PAGE_BLOCKS: u64 = 1 << 20;
    /// One delay, in microseconds: an hour.
    DELAY_US: u64 = 3_600_000_000;
    /// Tries of a mapping or a request.
    RETRIES: u32 = 1_000;
    /// Mistakes that are looked for before giving up.
    PROBLEMS: usize = 200;
    /// Seeds of a campaign.
    SEEDS: u64 = 1_000_000_000;
    /// Steps of a run.
    STEPS: u64 = 1_000_000_000;
    /// Depth of probabilistic concurrency testing.
    PCT_DEPTH: u32 = 64;
    /// Delays of delay-bounded scheduling.
    DELAYS: u32 = 64;
    /// The highest address that a machine may have memory at: 52 bits.
    PHYS_MAX: u64 = (1 << 52) - 1;
    /// The largest error number of the kernel.
    ERRNO: u32 = 4_095;
}
