//! Compares the bounce buffer pool: whether there is one, how large, in how many areas, and where.

use models::boot::cmdline::CommandLine;
use models::mem::PAGE_SIZE;
use models::swiotlb::{IO_TLB_SHIFT, PoolDefaults, PoolReasons, PoolSize, PoolWish, encrypted_guest_bytes};

use super::line::{Event, Function, Request, SwiotlbLine};
use super::replay::Replay;
use super::state::State;
use super::zones::{Hex, compare_lists, compare_value};

/// `sizeof(struct io_tlb_slot)`.
const SLOT_BYTES: u64 = 24;
/// `sizeof(struct io_tlb_area)`.
const AREA_BYTES: u64 = 16;
/// Highest address of memory that any device reaches. Source: `ARCH_LOW_ADDRESS_LIMIT`.
const LOW_LIMIT: u64 = 0xffff_ffff;

/// What the pool must be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    wish: PoolWish,
    /// There is to be a pool.
    wanted: bool,
    defaults: PoolDefaults,
    /// Lines that say how many areas there are, and what the slots were rounded up to.
    said: Vec<SwiotlbLine>,
}

/// One request, without its place.
pub(super) type Asked = (Function, u64, u64, u64, u64);

pub(super) fn asked(request: &Request) -> Asked {
    (request.function, request.size, request.align, request.min, request.max)
}

pub(super) fn show_asked((_, size, align, min, max): &Asked) -> String {
    format!("{size} bytes align={align:#x} from={min:#x} max_addr={max:#x}")
}

/// Takes the number of areas, and says so.
fn adjust(said: &mut Vec<SwiotlbLine>, before: u64, defaults: &PoolDefaults) {
    said.push(SwiotlbLine::Areas(u64::from(defaults.nareas)));
    if before != defaults.nslabs {
        said.push(SwiotlbLine::RoundedUp { mib: (defaults.nslabs << IO_TLB_SHIFT) >> 20 });
    }
}

impl Replay<'_> {
    /// What the command line and the machine say of the size, before memory is asked for; and what the log says then.
    fn early_defaults(&self) -> Option<(PoolDefaults, Vec<SwiotlbLine>)> {
        let mut defaults = PoolDefaults::new(self.rules.swiotlb);
        let mut said = Vec::new();
        for value in self.facts.words("swiotlb").into_iter().flatten() {
            let mut alone = PoolDefaults::new(self.rules.swiotlb);
            alone.parse(&value);
            let mut slots_only = defaults;
            slots_only.parse(value.split(',').next().unwrap_or_default());
            defaults.parse(&value);
            if alone.nareas != 0 {
                adjust(&mut said, slots_only.nslabs, &defaults);
            }
        }
        if self.facts.encryption.guest {
            let bytes = encrypted_guest_bytes(self.mb.as_ref()?.phys_mem_size());
            said.extend(defaults.adjust_size(bytes).map(|told| SwiotlbLine::Default { mib: told >> 20 }));
        }
        Some((defaults, said))
    }

    /// Bytes of the pool that is to be.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_size_or_default()`.
    pub(super) fn pool_bytes(&self) -> Option<u64> {
        self.early_defaults()?.0.nslabs.checked_mul(1 << IO_TLB_SHIFT)
    }

    fn plan(&self) -> Option<Plan> {
        let text = self.facts.command_line.as_deref().unwrap_or_default();
        let line = CommandLine::parse(text, self.rules.version);
        let mb = self.mb.as_ref()?;
        let end = mb.dram_range()?.end.max(self.facts.srat_end);
        let encryption = self.facts.encryption;
        let wish = PoolReasons {
            max_possible_pfn: end.0.div_ceil(PAGE_SIZE),
            no_iommu: line.iommu.off,
            soft: line.iommu.soft,
            host_encrypted: encryption.host,
            guest_encrypted: encryption.guest,
        }
        .decide();
        let (mut defaults, mut said) = self.early_defaults()?;
        let wanted = (wish.enable || defaults.force_bounce) && !defaults.force_disable;
        if wanted && defaults.nareas == 0 {
            let before = defaults.nslabs;
            defaults.boot_nslabs(u32::try_from(self.facts.cpus?).ok()?);
            adjust(&mut said, before, &defaults);
        }
        Some(Plan { wish, wanted, defaults, said })
    }

    /// Compares all that the log says of the pool; returns the number of slots, if that is known.
    pub(super) fn compare_swiotlb(&mut self) -> Option<Option<u64>> {
        let lines: Vec<(u64, SwiotlbLine)> = self
            .entries
            .iter()
            .filter_map(|entry| match entry.event {
                Event::Swiotlb(line) => Some((entry.line, line)),
                _ => None,
            })
            .collect();
        let Some(plan) = self.plan() else {
            if !lines.is_empty() || !self.swiotlb.is_empty() {
                let note = "the bounce buffer pool is not compared: the end of memory or the number of CPUs is not known";
                self.report.notes.push(note.to_owned());
            }
            return None;
        };
        let past_boot = self.facts.memory.is_some()
            || !lines.is_empty() && lines.iter().any(|(_, l)| *l == SwiotlbLine::Using);
        let said: Vec<_> = lines
            .iter()
            .filter(|(_, line)| {
                use SwiotlbLine::{Areas, Default, RoundedUp};
                matches!(line, Areas(_) | RoundedUp { .. } | Default { .. })
            })
            .copied()
            .collect();
        if !said.is_empty() || !plan.said.is_empty() {
            compare_lists(self.report, "swiotlb: areas and rounding", &said, &plan.said, past_boot, |line| {
                format!("{line:?}")
            });
        }
        let pool = self.compare_requests(&plan, past_boot, &lines);
        self.compare_mapped(&plan, pool, &lines);
        if !past_boot {
            return None;
        }
        Some(pool.map(|pool| u64::from(pool.nslabs)))
    }

    /// The pool is asked for in a fixed way; sizes are halved as long as there is no memory.
    fn compare_requests(
        &mut self,
        plan: &Plan,
        past_boot: bool,
        lines: &[(u64, SwiotlbLine)],
    ) -> Option<PoolSize> {
        let mut defaults = plan.defaults;
        let mut modelled: Vec<Asked> = Vec::new();
        let mut made = None;
        if plan.wanted {
            let mut nslabs = defaults.nslabs;
            let mut answers = self.swiotlb.iter();
            loop {
                let bytes = (nslabs << IO_TLB_SHIFT).next_multiple_of(PAGE_SIZE);
                modelled.push((Function::TryNid, bytes, PAGE_SIZE, 0, LOW_LIMIT));
                // Without lines of memblock, nothing is known to have failed.
                if answers.next().is_none_or(|answer| answer.recorded.is_some()) {
                    made = Some(defaults.boot_pool(nslabs));
                    break;
                }
                match defaults.boot_retry(nslabs) {
                    Some(fewer) => nslabs = fewer,
                    None => break,
                }
            }
            if let Some(pool) = made {
                let slots = (SLOT_BYTES * u64::from(pool.nslabs)).next_multiple_of(PAGE_SIZE);
                modelled.push((Function::TryNid, slots, PAGE_SIZE, 0, 0));
                modelled.push((Function::TryNid, AREA_BYTES * u64::from(pool.nareas), 64, 0, 0));
            }
        }
        let fewer = made.filter(|pool| u64::from(pool.nslabs) != plan.defaults.nslabs);
        let adjusted: Vec<_> = fewer
            .map(|pool| SwiotlbLine::Adjusted { from: plan.defaults.nslabs, to: u64::from(pool.nslabs) })
            .into_iter()
            .collect();
        let said: Vec<_> =
            lines.iter().filter(|(_, line)| matches!(line, SwiotlbLine::Adjusted { .. })).copied().collect();
        if self.reserved_known && !(said.is_empty() && adjusted.is_empty()) {
            let name = "swiotlb: fewer slots for want of memory";
            compare_lists(self.report, name, &said, &adjusted, past_boot, |line| format!("{line:?}"));
        }
        if self.reserved_known && (!modelled.is_empty() || !self.swiotlb.is_empty()) {
            let recorded: Vec<_> =
                self.swiotlb.iter().map(|answer| (answer.line, asked(&answer.request))).collect();
            compare_lists(self.report, "swiotlb: requests", &recorded, &modelled, past_boot, show_asked);
        }
        made
    }

    fn compare_mapped(&mut self, plan: &Plan, pool: Option<PoolSize>, lines: &[(u64, SwiotlbLine)]) {
        let last = lines.last().map_or(0, |(line, _)| *line);
        // The decision is announced when the IOMMUs run, after the default domain type.
        let announced = lines.iter().any(|(_, line)| *line == SwiotlbLine::Using);
        if !announced && !self.facts.iommu_done {
            return;
        }
        compare_value(self.report, "swiotlb: in use for devices", last, &announced, &plan.wish.enable);
        let place = self.swiotlb.iter().find_map(|answer| answer.recorded);
        for (line, said) in lines {
            match (said, pool) {
                (SwiotlbLine::Mapped { start, end, mib }, Some(pool)) => {
                    let modelled = (pool.bytes(), pool.bytes() >> 20);
                    compare_value(
                        self.report,
                        "swiotlb: size",
                        *line,
                        &(end.wrapping_sub(*start), *mib),
                        &modelled,
                    );
                    if let Some(place) = place {
                        compare_value(
                            self.report,
                            "swiotlb: place",
                            *line,
                            &Hex(*start),
                            &Hex(place.start.0),
                        );
                    }
                }
                (SwiotlbLine::Mapped { .. }, None) => {
                    compare_value(self.report, "swiotlb: size", *line, &"a pool", &"none");
                }
                (SwiotlbLine::NoLowMem, pool) => {
                    compare_value(
                        self.report,
                        "swiotlb: size",
                        *line,
                        &"none",
                        &pool.map_or("none", |_| "a pool"),
                    );
                }
                // Only the driver of the old AMD GART takes the pool away again.
                (SwiotlbLine::TearingDown, _) => {
                    compare_value(self.report, "swiotlb: size", *line, &"torn down", &"stays");
                }
                _ => {}
            }
        }
    }

    /// `io_tlb_nslabs` of the running system.
    pub(super) fn compare_nslabs(&mut self, state: &State, nslabs: Option<u64>) {
        for (line, recorded) in &state.nslabs {
            compare_value(self.report, "swiotlb: io_tlb_nslabs (state)", *line, recorded, &nslabs);
        }
    }
}
