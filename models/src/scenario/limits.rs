//! How large a scenario may be. A run must end, and in little memory, whatever the file says.

/// Bytes of one file.
pub const FILE_BYTES: u64 = 1 << 20;
/// Files of one scenario.
pub const FILES: usize = 128;
/// Length of a chain of `extends`.
pub const EXTENDS: usize = 8;
/// Variants of a scenario.
pub const VARIANTS: usize = 64;
/// CPUs of a machine.
pub const CPUS: u32 = 32;
/// Entries of `CONFIG_NR_CPUS`.
pub const NR_CPUS: u32 = 8192;
/// Lines of a memory map.
pub const E820: usize = 256;
/// NUMA nodes, and early reservations.
pub const REGIONS: usize = 64;
/// Devices of a machine.
pub const DEVICES: usize = 64;
/// Drivers of a scenario.
pub const DRIVERS: usize = 64;
/// Queues of a driver.
pub const QUEUES: usize = 32;
/// Processes of a scenario.
pub const PROCESSES: usize = 32;
/// Statements of one driver or process, nested ones included.
pub const STATEMENTS: usize = 4_096;
/// How deep statements nest.
pub const BODY_DEPTH: usize = 16;
/// Statements that one context may execute, repetitions multiplied out.
pub const EXECUTED: u64 = 1_000_000;
/// Bytes of one buffer, mapping or object.
pub const BYTES: u64 = 1 << 30;
/// Entries of one scatter list.
pub const SG_ENTRIES: u64 = 4_096;
/// The largest order of the page allocator.
pub const ORDER: u64 = 10;
/// Blocks of pages of one statement.
pub const PAGE_BLOCKS: u64 = 1 << 20;
/// One delay, in microseconds: an hour.
pub const DELAY_US: u64 = 3_600_000_000;
/// Tries of a mapping.
pub const RETRIES: u32 = 1_000;
/// Seeds of a campaign.
pub const SEEDS: u64 = 1_000_000_000;
/// Steps of a run.
pub const STEPS: u64 = 1_000_000_000;
/// Depth of probabilistic concurrency testing.
pub const PCT_DEPTH: u32 = 64;
/// The highest address that a machine may have memory at: 52 bits.
pub const PHYS_MAX: u64 = (1 << 52) - 1;
/// The largest error number of the kernel.
pub const ERRNO: u32 = 4_095;
