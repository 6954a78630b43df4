//! Sequences of kinds `swiotlb` and `swiotlb-dynamic`.

mod dump;
mod growing;
mod memory;
mod one_pool;
mod parts;

pub(super) use growing::Growing;
pub(super) use one_pool::OnePool;

use super::table::{Form, MAX_BYTES, MAX_CPUS, MAX_PHYS, Param, Spec, num, op, switch, up_to};

const DEV: Param = up_to("dev", 31);
const OFF: Param = num("off");
const SIZE: Param = num("size");
/// What is copied without a look at a record of the allocator.
const LEN: Param = up_to("size", MAX_BYTES);
const PHYS: Param = num("phys");
const DIR: Param = up_to("dir", 3);
const ATTRS: Param = num("attrs");
const ALIGN_MASK: Param = up_to("align_mask", u32::MAX as u64);
const CPUS: Param = up_to("cpus", MAX_CPUS);
const STRING: Param = Param { name: "string", form: Form::Text };
const START: Param = up_to("base", MAX_PHYS);

const ADJUST_SIZE: Spec = op("adjust_size", &[up_to("bytes", MAX_PHYS)]).prepares();
const INIT: Spec = op("init", &[STRING, CPUS, START, num("limit")]).makes();
const INIT_LATE: Spec = op(
    "init_late",
    &[up_to("bytes", MAX_PHYS), CPUS, up_to("areas", MAX_CPUS), num("limit"), up_to("bump", MAX_PHYS)],
)
.makes();
const CPU: Spec = op("cpu", &[up_to("cpu", u32::MAX as u64)]).prepares();
const SET_DEV: Spec =
    op("dev", &[DEV, num("dma_mask"), up_to("min_align_mask", u32::MAX as u64), num("boundary_mask")])
        .prepares();
const MAP: Spec = op("map", &[DEV, PHYS, SIZE, num("alloc_size"), ALIGN_MASK, DIR, ATTRS]);
const SMAP: Spec = op("smap", &[DEV, PHYS, SIZE, DIR, ATTRS]);
const MAX_MAP: Spec = op("max_map", &[DEV]).prepares();
const IS_BUFFER: Spec = op("is_buffer", &[DEV, PHYS]);
const ADDR: Param = num("addr");
const BYTES: Param = up_to("len", MAX_BYTES);
const SPACE: Param = switch("space");
const WR: Spec = op("wr", &[SPACE, ADDR, BYTES, num("seed")]).prepares();
const SET: Spec = op("set", &[SPACE, ADDR, BYTES, up_to("byte", 255)]).prepares();
const CRC: Spec = op("crc", &[SPACE, ADDR, BYTES]).prepares();
const STAT: Spec = op("stat", &[]);
const DUMP: Spec = op("dump", &[]);

/// Every operation on a pool that keeps its size.
pub(super) const ONE_POOL: &[Spec] = &[
    ADJUST_SIZE,
    INIT,
    INIT_LATE,
    op("init_restricted", &[DEV, START, up_to("bytes", MAX_PHYS)]).makes(),
    CPU,
    SET_DEV,
    MAP,
    SMAP,
    op("unmap", &[DEV, OFF, LEN, DIR, ATTRS]),
    op("sync_cpu", &[DEV, OFF, LEN, DIR]),
    op("sync_dev", &[DEV, OFF, LEN, DIR]),
    op("alloc", &[DEV, SIZE]),
    op("free", &[DEV, OFF, SIZE]),
    MAX_MAP,
    IS_BUFFER,
    WR,
    SET,
    CRC,
    STAT,
    DUMP,
];

/// Every operation on pools that grow.
pub(super) const GROWING: &[Spec] = &[
    ADJUST_SIZE,
    INIT,
    INIT_LATE,
    op("page_max_order", &[up_to("order", 63)]).prepares(),
    CPU,
    SET_DEV,
    MAP,
    SMAP,
    op("unmap_abs", &[DEV, ADDR, LEN, DIR, ATTRS]),
    op("sync_cpu_abs", &[DEV, ADDR, LEN, DIR]),
    op("sync_dev_abs", &[DEV, ADDR, LEN, DIR]),
    op("work", &[]),
    MAX_MAP,
    IS_BUFFER,
    WR,
    SET,
    CRC,
    STAT,
    DUMP,
];
