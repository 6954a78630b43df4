//! Where the boot loader put things, and what is taken before the bounce buffers are asked for.

use models::boot::e820::MemoryMap;
use models::mem::{PAGE_SIZE, PhysAddr, PhysRange};
use models::memblock::MemblockType;
use models::scenario::limits;
use models::scenario::schema::{E820Change, E820Kind};

use super::words::{within, without};
use super::{Found, Source};
use crate::boot::line::{CrashLine, Event, Function, SwiotlbLine, function_of};
use crate::boot::log::Entry;

/// Where the kernel is linked to lie.
const LINKED_AT: u64 = 0x100_0000;
/// A kernel of a distribution, with everything that is reserved with it.
const USUAL_SIZE: u64 = 0x300_0000;
/// What the model of the boot reserves by itself: the lowest 64 KiB, and the BIOS.
const BY_MODEL: [(u64, u64); 2] = [(0, 0x1_0000), (0x9_f000, 0x10_0000)];
/// Bytes from one CPU's area to the next, where the log does not say.
const USUAL_UNIT: u64 = 0x4_0000;

/// Reserved memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReservedFound {
    pub(crate) kernel_image: PhysRange,
    pub(crate) initrd: Option<PhysRange>,
    pub(crate) regions: Vec<(String, PhysRange)>,
    /// Place and distance of the per-CPU areas, if the reservations hold all early allocations.
    pub(crate) early: Option<(u64, u64)>,
    /// The pool's place was worked out from the line that tells it.
    pub(crate) from_pool: bool,
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange { start: PhysAddr(start), end: PhysAddr(end) }
}

fn overlap(a: PhysRange, b: PhysRange) -> bool {
    a.start < b.end && b.start < a.end
}

pub(super) fn gather(source: &Source<'_>, found: &mut Found) {
    let changes: Vec<E820Change> = found
        .memory
        .changes
        .iter()
        .map(|(_, change)| E820Change {
            start: change.start,
            end: change.end,
            from: change.from,
            to: change.to,
        })
        .collect();
    let ram: Vec<PhysRange> =
        MemoryMap::build(&found.memory.e820, &changes, &found.cmdline).usable().collect();
    let pieces: Vec<PhysRange> = found
        .memory
        .e820
        .iter()
        .filter(|entry| entry.kind == E820Kind::Usable)
        .map(|entry| range(entry.start, entry.end.saturating_add(1)))
        .collect();
    let image = kernel_image(source, &pieces, &mut found.assumptions);
    let initrd = initrd(source, &pieces, image, &mut found.assumptions);
    let mut known: Vec<PhysRange> = BY_MODEL.map(|(start, end)| range(start, end)).to_vec();
    known.push(image);
    known.extend(initrd);
    let mut result = ReservedFound { kernel_image: image, initrd, ..ReservedFound::default() };
    if let Some(reserved) = &source.replay.before_pool {
        let reserved = without(&within(reserved, &ram), &known);
        result.regions = named(source, reserved);
        let unit = percpu_unit(source).unwrap_or(USUAL_UNIT);
        let place = percpu(source).unwrap_or_else(|| {
            found.assumptions.push(
                "the place of the per-CPU areas is not in the log: the kernel's image is taken for it"
                    .to_owned(),
            );
            image.start.0
        });
        result.early = Some((place, unit));
    } else {
        found.assumptions.push("the lists of memblock are not in the log (memblock=debug): what the kernel takes early is what the model takes, in the model's places".to_owned());
        let mut regions = crash_kernels(source);
        regions.retain(|(_, region)| !within(&[*region], &ram).is_empty());
        let mut all = known.clone();
        all.extend(regions.iter().map(|(_, region)| *region));
        if let Some((line, pool)) = mapped(source) {
            above_pool(&ram, &all, line, pool, &mut regions, &mut result, &mut found.assumptions);
        }
        // A crash kernel is where it is, but what is known is reserved once.
        result.regions = regions
            .into_iter()
            .flat_map(|(name, region)| {
                without(&[region], &known).into_iter().map(move |part| (name.clone(), part))
            })
            .collect();
    }
    if result.regions.len() > limits::REGIONS {
        result.regions.sort_by_key(|(_, region)| std::cmp::Reverse(region.size()));
        result.regions.truncate(limits::REGIONS);
        found.assumptions.push(format!("only the {} largest reservations are kept", limits::REGIONS));
    }
    result.regions.sort_by_key(|(_, region)| region.start);
    found.reserved = result;
}

/// The kernel's image with its early heap: where the log says it is, or where it is linked to lie.
fn kernel_image(source: &Source<'_>, pieces: &[PhysRange], assumptions: &mut Vec<String>) -> PhysRange {
    let disk = source.facts.ramdisk;
    let fits = |image: &PhysRange| {
        image.start < image.end
            && pieces.iter().any(|piece| piece.start <= image.start && image.end <= piece.end)
            && !disk.is_some_and(|disk| overlap(disk, *image))
    };
    let iomem = |name: &str| {
        let state = source.state?;
        state.iomem.iter().find(|(_, _, known)| known == name).map(|(_, range, _)| *range)
    };
    let code = iomem("Kernel code").filter(|code| code.start.0 != 0);
    if let Some(mb) = &source.replay.first {
        // The early heap is reserved by a line before the first dump, right behind the image.
        let heap = source.log.entries.iter().take_while(|entry| !matches!(entry.event, Event::DumpBegins));
        let heap = heap.filter_map(|entry| match &entry.event {
            Event::Reserve(range, caller) if function_of(caller) == "setup_arch" => Some(*range),
            _ => None,
        });
        let inside = code.map(|code| code.start).or_else(|| heap.last().map(|heap| heap.start));
        let inside = inside.unwrap_or(PhysAddr(LINKED_AT));
        let regions = mb.regions(MemblockType::Reserved);
        let region = regions.iter().map(|region| range(region.base.0, region.end().0));
        if let Some(region) = region.into_iter().find(|region| region.start <= inside && inside < region.end)
        {
            // Other things may lie right beside it.
            let start = code.map_or(region.start, |code| code.start.max(region.start));
            let own = match disk {
                Some(disk) if disk.start > start && disk.start < region.end => range(start.0, disk.start.0),
                Some(disk) if disk.end > start && disk.start <= start => {
                    range(disk.end.0.next_multiple_of(PAGE_SIZE), region.end.0)
                }
                _ => range(start.0, region.end.0),
            };
            if fits(&own) {
                return own;
            }
        }
    }
    if let (Some(code), Some(bss)) = (code, iomem("Kernel bss")) {
        let image = range(code.start.0, bss.end.0.next_multiple_of(PAGE_SIZE));
        if fits(&image) {
            return image;
        }
    }
    let size = source.log.entries.iter().find_map(|entry| match entry.event {
        Event::Memory(_) => size_in_words(&entry.text),
        _ => None,
    });
    let size = size.unwrap_or(USUAL_SIZE);
    for start in [LINKED_AT].into_iter().chain(pieces.iter().map(|p| p.start.0.next_multiple_of(0x20_0000))) {
        let image = range(start, start.saturating_add(size));
        if start >= 0x10_0000 && fits(&image) {
            assumptions
                .push(format!("where the kernel's image lies is not in the log: {start:#x} is assumed"));
            return image;
        }
    }
    // No piece is large enough: what is left of the largest.
    let largest = pieces.iter().copied().max_by_key(|piece| piece.size()).unwrap_or_default();
    let image = range(largest.start.0, largest.start.0 + (largest.size() / 2).max(1));
    assumptions.push("there is no room for a kernel's image of the usual size".to_owned());
    image
}

/// The parts of the image in `Memory: ... (14343K kernel code, 2338K rwdata, ...)`.
fn size_in_words(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once('(')?;
    let mut sum = 0_u64;
    for part in rest.split(", ") {
        let (kib, what) = part.split_once("K ")?;
        if ["kernel code", "rwdata", "rodata", "init", "bss"].contains(&what) {
            sum = sum.checked_add(kib.parse::<u64>().ok()?.checked_mul(1024)?)?;
        }
    }
    (sum > 0 && sum < 1 << 30).then_some(sum.next_multiple_of(PAGE_SIZE))
}

fn initrd(
    source: &Source<'_>,
    pieces: &[PhysRange],
    image: PhysRange,
    assumptions: &mut Vec<String>,
) -> Option<PhysRange> {
    let disk = source.facts.ramdisk?;
    let whole = range(disk.start.0, disk.end.0.checked_next_multiple_of(PAGE_SIZE).unwrap_or(disk.end.0));
    let fits = |part: &PhysRange| {
        part.start < part.end
            && pieces.iter().any(|piece| piece.start <= part.start && part.end <= piece.end)
            && !overlap(*part, image)
    };
    let found = [whole, disk].into_iter().find(|part| fits(part));
    if found.is_none() {
        assumptions.push(
            "the initial RAM disk does not lie in one piece of usable memory, and is left out".to_owned(),
        );
    }
    found
}

/// Who asked for each piece of reserved memory.
fn named(source: &Source<'_>, ranges: Vec<PhysRange>) -> Vec<(String, PhysRange)> {
    let mut owners: Vec<(PhysRange, String)> = Vec::new();
    let mut asked: Option<String> = None;
    let mut dumped = false;
    for entry in &source.log.entries {
        match &entry.event {
            Event::DumpBegins => dumped = true,
            Event::Request(request) => {
                if function_of(&request.caller).starts_with("swiotlb") {
                    break;
                }
                asked = Some(function_of(&request.caller).to_owned());
                continue;
            }
            Event::Reserve(range, caller) => {
                let name = asked.take().unwrap_or_else(|| match function_of(caller) {
                    "memblock_alloc_range_nid" => "alloc_node_data".to_owned(),
                    name => name.to_owned(),
                });
                if dumped {
                    owners.push((*range, name));
                }
            }
            _ => {}
        }
        asked = None;
    }
    let name = |range: &PhysRange| {
        let mut names: Vec<&str> = Vec::new();
        // Who asked last has what an earlier one gave back.
        let mut left = vec![*range];
        for (owned, name) in owners.iter().rev() {
            let still = !within(&left, &[*owned]).is_empty();
            left = without(&left, &[*owned]);
            if still && !names.contains(&name.as_str()) && !name.is_empty() {
                names.push(name);
            }
        }
        match names.len() {
            0 => "reserved before memblock's first dump".to_owned(),
            1..=3 => names.join(", "),
            count => format!("{}, and {} more", names[..2].join(", "), count - 2),
        }
    };
    ranges.into_iter().map(|range| (name(&range), range)).collect()
}

/// Where the per-CPU areas lie.
fn percpu(source: &Source<'_>) -> Option<u64> {
    let entries = &source.log.entries;
    let is_chunk = |entry: &Entry| match &entry.event {
        Event::Request(request) => {
            ["pcpu_fc_alloc", "pcpu_alloc_bootmem"].contains(&function_of(&request.caller))
                || request.function == Function::TryNid
                    && function_of(&request.caller) == "pcpu_embed_first_chunk"
                    && request.size >= 0x20_0000
        }
        _ => false,
    };
    let at = entries.iter().position(is_chunk)?;
    match &entries.get(at + 1)?.event {
        Event::Reserve(range, _) => Some(range.start.0),
        _ => None,
    }
}

/// `percpu: Embedded 66 pages/cpu s233472 r8192 d28672 u1048576`.
fn percpu_unit(source: &Source<'_>) -> Option<u64> {
    let other = source.log.others.iter().find(|other| other.text.starts_with("percpu: Embedded "))?;
    let word = other.text.split_whitespace().find_map(|word| word.strip_prefix('u'))?;
    word.parse().ok().filter(|unit| (1..limits::BYTES).contains(unit))
}

fn crash_kernels(source: &Source<'_>) -> Vec<(String, PhysRange)> {
    let place = |entry: &Entry| match entry.event {
        Event::CrashKernel(CrashLine::Range(start, end)) => Some(range(start, end)),
        Event::CrashKernel(CrashLine::Mib(size, at)) => {
            let start = at.checked_mul(1 << 20)?;
            Some(range(start, start.checked_add(size.checked_mul(1 << 20)?)?))
        }
        _ => None,
    };
    let ranges = source.log.entries.iter().filter_map(place).filter(|range| range.start < range.end);
    ranges.take(8).map(|range| ("crash kernel".to_owned(), range)).collect()
}

/// Where the log says that the pool is.
fn mapped(source: &Source<'_>) -> Option<(u64, PhysRange)> {
    source.log.entries.iter().find_map(|entry| match entry.event {
        Event::Swiotlb(SwiotlbLine::Mapped { start, end, .. }) if start < end => {
            Some((entry.line, range(start, end)))
        }
        _ => None,
    })
}

/// The pool is taken as high as there is room below 4 GiB: all that lies above it must have been taken.
fn above_pool(
    ram: &[PhysRange],
    known: &[PhysRange],
    line: u64,
    pool: PhysRange,
    regions: &mut Vec<(String, PhysRange)>,
    result: &mut ReservedFound,
    assumptions: &mut Vec<String>,
) {
    let inside = ram.iter().any(|piece| piece.start <= pool.start && pool.end <= piece.end);
    if !inside || known.iter().any(|other| overlap(*other, pool)) {
        assumptions.push(format!("line {line} has the bounce buffers where there is no room: ignored"));
        return;
    }
    let low = within(ram, &[range(pool.end.0, 1 << 32)]);
    for part in without(&low, known) {
        // Pieces that are too small for the pool may as well be free.
        if part.size() >= pool.size() || part.start == pool.end {
            regions.push(("taken before the bounce buffers".to_owned(), part));
        }
    }
    // The model's own early allocations must not come between.
    let room = ram.iter().rfind(|piece| piece.start.0 >= 1 << 32 && piece.size() >= 64 << 20);
    if room.is_none() {
        let place = low.first().map_or(pool.end.0, |part| part.start.0);
        result.early = Some((place, USUAL_UNIT));
    }
    result.from_pool = true;
    assumptions.push(format!(
        "the bounce buffers lie as high below 4 GiB as there is room: what is above them (line {line}) is taken to be reserved"
    ));
}
