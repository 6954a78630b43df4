//! The addresses of one translated domain that follow a recording: allocated as the model does, taken as the kernel did.

use models::dma::rules::DMA_BIT_MASK_32;
use models::iommu::dma::{DmaIommuRules, IovaLimit, iommu_dma_alloc_iova};
use models::iommu::iova::{
    Cpu, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaPfn, IovaRange, IovaRules, Plenty, Remembered,
    order_base_2,
};
use models::mem::{PAGE_SHIFT, PAGE_SIZE};

use crate::replay::KernelRules;

/// Ranges that are supposed to be in use, to explain one result.
const MAX_SUPPOSED: usize = 512;

/// What the caller says of the addresses that it accepts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// The arguments of `alloc_iova_fast()`.
    Probed {
        /// Highest page frame.
        last: u64,
        /// Whether the caches are emptied if nothing is found.
        flush: bool,
    },
    /// A device's limits.
    Device(IovaLimit),
}

/// One allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The CPU that allocates.
    pub(super) cpu: u32,
    /// Pages wanted.
    pub(super) pages: u64,
    /// Where they may lie.
    pub(super) limit: Limit,
    /// Whether the caches had nothing, if the trace tells.
    pub(super) slow: Option<bool>,
    /// The model's caches had nothing when the call began; an interrupt may have filled them before it returned.
    pub(super) began_empty: bool,
}

/// What a guess rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// What the trace has shown.
    Seen,
    /// Ranges that the trace has not shown are taken for free.
    Unseen,
    /// Caches of which the trace has not shown the contents are taken for empty.
    OlderCache,
}

/// What came out of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The trace does not tell enough for an answer, because of this.
    Open(&'static str),
    /// Compared.
    Compared {
        /// What the model answered: a page frame, or none.
        modelled: Option<u64>,
        /// What that rests on.
        basis: Basis,
        /// Why it is wrong, if it is and that can be told.
        why: Option<&'static str>,
    },
}

pub(super) const FIRST: &str =
    "where the search of a domain begins is not known before an allocation shows it";
pub(super) const FLUSHED: &str = "when a flush queue was emptied, and on which CPU, is not shown";
pub(super) const CACHES: &str = "it came out of a cache that was filled before the trace began";
const OLDER: &str = "not determined: ranges that the trace never shows were in use since before it";
const CACHED: &str = "not determined: the address came out of a cache that was filled before the trace began";
const MOVED: &str =
    "not determined: the address was in another CPU's cache, or deeper in this one, by what the trace shows";

/// The addresses of a domain.
#[derive(Clone, Debug)]
pub(super) struct Space {
    iovad: IovaDomain,
    dma_iommu: DmaIommuRules,
    cpus: u32,
    /// Whether the trace shows all that ever happened to it.
    whole: bool,
    cursor_known: bool,
    /// What the caches held at some time is not known.
    forgotten: bool,
    /// CPUs and size classes whose caches were empty once in the trace.
    emptied: Vec<[bool; IOVA_RANGE_CACHE_MAX_SIZE]>,
}

impl Wanted {
    /// Whether an allocation in vain empties all caches before it gives up.
    fn may_flush(&self) -> bool {
        match self.limit {
            Limit::Probed { flush, .. } => flush,
            Limit::Device(limit) => limit.last() <= DMA_BIT_MASK_32 || !limit.low_first,
        }
    }
}

/// What a guess must be undone to.
enum Before {
    /// Only the ranges were changed.
    Ranges(Remembered),
    /// The caches may have been emptied, too.
    All(Box<IovaDomain>),
}

impl Space {
    /// A domain with nothing but its reserved regions (first and last byte).
    pub(super) fn new(rules: &KernelRules, cpus: u32, reserved: &[(u64, u64)], whole: bool) -> Self {
        let mut iovad = IovaDomain::init_iova_domain(rules.iova, PAGE_SIZE, IovaPfn(1))
            .expect("a page is a granule that every domain takes");
        iovad.iova_domain_init_rcaches();
        for (first, last) in reserved {
            iovad.reserve_iova(IovaPfn(first >> PAGE_SHIFT), IovaPfn(last >> PAGE_SHIFT), &mut Plenty);
        }
        let emptied = vec![[whole; IOVA_RANGE_CACHE_MAX_SIZE]; cpus as usize];
        Self {
            iovad,
            dma_iommu: rules.dma_iommu,
            cpus,
            whole,
            cursor_known: whole,
            forgotten: false,
            emptied,
        }
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        self.whole = false;
        self.cursor_known = false;
        for classes in &mut self.emptied {
            classes.fill(false);
        }
    }

    /// A range that was there before the trace began.
    pub(super) fn add_older(&mut self, pfn: u64, pages: u64) {
        if let Some(range) = range(pfn, pages) {
            self.iovad.adopt_iova(range, false);
        }
    }

    /// The kernel gives a range back to a CPU's cache, or frees it.
    pub(super) fn free(&mut self, cpu: u32, pfn: u64, pages: u64) {
        // Fails only without caches or without sentinel; this domain has both.
        let _ = self.iovad.free_iova_fast(Cpu(cpu), IovaPfn(pfn), pages, &mut Plenty);
    }

    /// What the caches hold is known no more; all of it stays in use.
    pub(super) fn forget_caches(&mut self) {
        for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
            let view = self.iovad.rcache(class);
            let of_cpus =
                (0..self.cpus).flat_map(|cpu| view.loaded(Cpu(cpu)).iter().chain(view.prev(Cpu(cpu))));
            let held: Vec<IovaPfn> = of_cpus.chain(view.depot().flatten()).copied().collect();
            for pfn in held {
                self.iovad.uncache_iova(self.cpus, pfn, 1 << class);
            }
        }
        self.forgotten = true;
        self.cursor_known = false;
        self.emptied.iter_mut().for_each(|classes| classes.fill(false));
    }

    /// Takes what the kernel took, whatever the model would have done.
    pub(super) fn follow(&mut self, wanted: &Wanted, recorded: u64) {
        self.adopt(wanted, Some(recorded), false);
    }

    /// Whether another CPU's cache holds a page frame, so that this one cannot get it.
    pub(super) fn is_elsewhere(&self, wanted: &Wanted, pfn: u64) -> bool {
        let class = order_base_2(IovaRules::range_pages(wanted.pages));
        let view = self.iovad.rcache(class);
        let holds = |cpu: u32| {
            view.loaded(Cpu(cpu)).contains(&IovaPfn(pfn)) || view.prev(Cpu(cpu)).contains(&IovaPfn(pfn))
        };
        class < IOVA_RANGE_CACHE_MAX_SIZE && (0..self.cpus).any(|cpu| cpu != wanted.cpu && holds(cpu))
    }

    /// Possible CPUs.
    pub(super) const fn cpus(&self) -> u32 {
        self.cpus
    }

    fn before(&self, wanted: &Wanted) -> Before {
        if wanted.may_flush() {
            Before::All(Box::new(self.iovad.clone()))
        } else {
            Before::Ranges(self.iovad.remembered())
        }
    }

    fn undo(&mut self, before: Before, guess: Option<u64>) {
        match before {
            Before::Ranges(before) => self.iovad.undo_alloc(before, guess.map(IovaPfn)),
            Before::All(before) => self.iovad = *before,
        }
    }

    fn holds_cached(&self, cpu: u32, class: usize) -> bool {
        let view = self.iovad.rcache(class);
        !view.loaded(Cpu(cpu)).is_empty() || !view.prev(Cpu(cpu)).is_empty() || view.depot_size() > 0
    }

    /// Whether the model would find nothing of this size in the caches of a CPU.
    pub(super) fn is_empty(&self, cpu: u32, pages: u64) -> bool {
        let class = order_base_2(IovaRules::range_pages(pages));
        class >= IOVA_RANGE_CACHE_MAX_SIZE || !self.holds_cached(cpu, class)
    }

    fn alloc(&mut self, wanted: &Wanted) -> Option<u64> {
        let cpu = Cpu(wanted.cpu);
        match wanted.limit {
            Limit::Probed { last, .. } if wanted.slow == Some(true) && wanted.began_empty => {
                let pages = IovaRules::range_pages(wanted.pages);
                let range = self.iovad.alloc_iova(pages, IovaPfn(last), true, &mut Plenty);
                range.ok().map(|range| range.lo.0)
            }
            Limit::Probed { last, flush } => {
                let pfn = self.iovad.alloc_iova_fast(cpu, wanted.pages, IovaPfn(last), flush, &mut Plenty);
                pfn.ok().map(|pfn| pfn.0)
            }
            Limit::Device(limit) => {
                let size = wanted.pages.checked_mul(PAGE_SIZE)?;
                let taken =
                    iommu_dma_alloc_iova(self.dma_iommu, &mut self.iovad, cpu, size, &limit, &mut Plenty);
                taken.addr.ok().map(|addr| addr.0 >> PAGE_SHIFT)
            }
        }
    }

    /// What the model allocates, and what the kernel did; the model goes on from that.
    pub(super) fn allocate(&mut self, wanted: &Wanted, recorded: Option<u64>) -> Outcome {
        let class = order_base_2(IovaRules::range_pages(wanted.pages));
        let cacheable = class < IOVA_RANGE_CACHE_MAX_SIZE;
        if wanted.slow == Some(true) && cacheable {
            self.set_emptied(wanted.cpu, class);
        }
        let skipped = wanted.slow == Some(true) && wanted.began_empty;
        let cached = cacheable && !skipped && self.holds_cached(wanted.cpu, class);
        if cached {
            return self.allocate_cached(wanted, class, recorded);
        }
        let known = self.whole && !self.forgotten;
        let empty = !cacheable || known || wanted.slow == Some(true) || self.is_emptied(wanted.cpu, class);
        if !empty && self.forgotten {
            self.adopt(wanted, recorded, false);
            return Outcome::Open(FLUSHED);
        }
        if !empty && wanted.slow == Some(false) {
            self.adopt(wanted, recorded, false);
            return Outcome::Open(CACHES);
        }
        if !self.cursor_known {
            let from_ranges = empty;
            self.adopt(wanted, recorded, from_ranges);
            self.cursor_known |= from_ranges;
            return Outcome::Open(if from_ranges { FIRST } else { CACHES });
        }
        let basis = match (self.whole, empty) {
            (true, _) => Basis::Seen,
            (false, true) => Basis::Unseen,
            (false, false) => Basis::OlderCache,
        };
        let before = self.before(wanted);
        let modelled = self.alloc(wanted);
        if modelled == recorded {
            return Outcome::Compared { modelled, basis, why: None };
        }
        self.undo(before, modelled);
        if !self.whole && self.suppose(wanted, recorded, modelled) {
            return Outcome::Compared { modelled, basis, why: Some(OLDER) };
        }
        let why = match basis {
            Basis::OlderCache => Some(CACHED),
            Basis::Seen | Basis::Unseen => None,
        };
        self.adopt(wanted, recorded, why.is_none());
        Outcome::Compared { modelled, basis, why }
    }

    /// An allocation that the model serves from a cache.
    fn allocate_cached(&mut self, wanted: &Wanted, class: usize, recorded: Option<u64>) -> Outcome {
        let before = self.before(wanted);
        let ranges = self.iovad.range_count();
        let modelled = self.alloc(wanted);
        if modelled == recorded {
            return Outcome::Compared { modelled, basis: Basis::Seen, why: None };
        }
        match before {
            Before::Ranges(_) if self.iovad.range_count() <= ranges => {
                if let Some(pfn) = modelled {
                    self.free(wanted.cpu, pfn, wanted.pages);
                }
            }
            before => self.undo(before, modelled),
        }
        if wanted.slow == Some(true) {
            self.drop_caches(wanted.cpu, class);
        } else if let Some(pfn) = modelled {
            // Wherever it is, it is not where the next allocation would find it.
            self.iovad.uncache_iova(self.cpus, IovaPfn(pfn), IovaRules::range_pages(wanted.pages));
        }
        let held = recorded.is_some_and(|pfn| self.is_cached(class, pfn));
        let why = match (self.whole, wanted.slow, held) {
            (false, Some(false) | None, false) => Some(CACHED),
            (false, Some(false) | None, true) => Some(MOVED),
            _ => None,
        };
        self.adopt(wanted, recorded, wanted.slow == Some(true));
        Outcome::Compared { modelled, basis: Basis::Seen, why }
    }

    /// The kernel found a CPU's caches empty that the model holds for filled: something emptied them unseen.
    fn drop_caches(&mut self, cpu: u32, class: usize) {
        let view = self.iovad.rcache(class);
        let held = view.loaded(Cpu(cpu)).iter().chain(view.prev(Cpu(cpu))).chain(view.depot().flatten());
        let held: Vec<IovaPfn> = held.copied().collect();
        for pfn in held {
            self.iovad.uncache_iova(self.cpus, pfn, 1 << class);
            self.iovad.retract_iova(pfn);
        }
    }

    fn is_cached(&self, class: usize, pfn: u64) -> bool {
        let view = self.iovad.rcache(class);
        let pfn = IovaPfn(pfn);
        (0..self.cpus).any(|cpu| view.loaded(Cpu(cpu)).contains(&pfn) || view.prev(Cpu(cpu)).contains(&pfn))
            || view.depot().any(|magazine| magazine.contains(&pfn))
    }

    fn set_emptied(&mut self, cpu: u32, class: usize) {
        if let Some(classes) = self.emptied.get_mut(cpu as usize) {
            classes[class] = true;
        }
    }

    fn is_emptied(&self, cpu: u32, class: usize) -> bool {
        self.emptied.get(cpu as usize).is_some_and(|classes| classes[class])
    }

    /// Looks for ranges in use that the search must have passed over; on success, the model has allocated.
    fn suppose(&mut self, wanted: &Wanted, recorded: Option<u64>, first: Option<u64>) -> bool {
        let pages = IovaRules::range_pages(wanted.pages);
        let taken = recorded.and_then(|pfn| range(pfn, pages));
        let mut guess = first;
        let mut supposed = Vec::new();
        while supposed.len() < MAX_SUPPOSED {
            let Some(place) = guess.and_then(|pfn| range(pfn, pages)) else { break };
            // The highest page of the place that the kernel did not take.
            let page = match taken {
                Some(taken) if taken.contains(place.hi) => taken.lo.0.checked_sub(1),
                Some(_) | None => Some(place.hi.0),
            };
            let Some(page) = page.filter(|page| place.contains(IovaPfn(*page))) else { break };
            if !self.iovad.adopt_iova(IovaRange::new(page, page), false) {
                break;
            }
            supposed.push(page);
            let before = self.before(wanted);
            guess = self.alloc(wanted);
            if guess == recorded {
                return true;
            }
            self.undo(before, guess);
        }
        let before = self.iovad.remembered();
        for page in supposed {
            self.iovad.undo_alloc(before, Some(IovaPfn(page)));
        }
        false
    }

    /// Takes what the kernel took.
    fn adopt(&mut self, wanted: &Wanted, recorded: Option<u64>, from_ranges: bool) {
        let pages = IovaRules::range_pages(wanted.pages);
        let Some((pfn, range)) = recorded.and_then(|pfn| Some((pfn, range(pfn, pages)?))) else { return };
        let cached = self.iovad.uncache_iova(self.cpus, IovaPfn(pfn), pages);
        if cached || self.iovad.find_iova(IovaPfn(pfn)) == Some(range) {
            return;
        }
        for page in [range.lo, range.hi] {
            self.iovad.retract_iova(page);
        }
        self.iovad.adopt_iova(range, from_ranges);
    }
}

fn range(pfn: u64, pages: u64) -> Option<IovaRange> {
    let last = pfn.checked_add(pages.checked_sub(1)?)?;
    // Page frames are addresses without their lowest bits.
    (last <= u64::MAX >> PAGE_SHIFT).then(|| IovaRange::new(pfn, last))
}
