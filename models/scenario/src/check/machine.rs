//! The machine: memory that overlaps, devices that clash.

use super::super::index::Seg;
use super::super::limits;
use super::{Checker, World, did_you_mean, is_bdf};
use mem::PAGE_SIZE;
use schema::{Device, E820Entry, E820Kind, InFlight, Iommu, Machine, Plugged, Region, Unplugged};

pub(super) fn check(checker: &mut Checker<'_>, machine: &Machine, world: &World<'_>) {
    checker.name("name", &machine.name);
    checker.range("cpus", machine.cpus.into(), 1, limits::CPUS.into());
    checker.range("nr_cpus", machine.nr_cpus.into(), 1, limits::NR_CPUS.into());
    if let Some(possible) = machine.possible_cpus {
        checker.range("possible_cpus", possible.into(), machine.cpus.into(), limits::NR_CPUS.into());
    }
    if let Some(early) = machine.early {
        checker.field("early", |c| {
            c.range("per_cpu", early.per_cpu, 0, limits::PHYS_MAX);
            c.range("per_cpu_unit", early.per_cpu_unit, 1, limits::BYTES);
        });
    }
    if machine.cpus > machine.nr_cpus {
        let message = format!("{} CPUs, but the kernel has room for {}", machine.cpus, machine.nr_cpus);
        checker.error(&[Seg::Field("cpus")], message);
    }
    if checker.count("e820", machine.e820.len(), limits::E820) {
        checker.field("e820", |c| e820(c, machine));
    }
    if checker.count("e820_changes", machine.e820_changes.len(), limits::E820) {
        for (i, change) in machine.e820_changes.iter().enumerate() {
            let at = [Seg::Field("e820_changes"), Seg::Index(i)];
            if change.start > change.end {
                checker.error_help(&at, "it ends before it starts", "both ends belong to a change");
            } else if change.end > limits::PHYS_MAX {
                checker.error(&at, "it lies above 52 bits");
            }
        }
    }
    if checker.count("nodes", machine.nodes.len(), limits::REGIONS) {
        checker.field("nodes", |c| nodes(c, machine));
    }
    checker.field("kernel_image", |c| usable(c, machine, machine.kernel_image));
    if let Some(init) = machine.init_sections {
        let image = machine.kernel_image;
        let inside = init.start >= image.start && init.end().is_some_and(|end| Some(end) <= image.end());
        if init.size == 0 || !inside {
            let at = [Seg::Field("init_sections")];
            checker.error_help(&at, "it does not lie in the kernel image", "the image is `kernel_image`");
        }
    }
    if let Some(initrd) = machine.initrd {
        checker.field("initrd", |c| usable(c, machine, initrd));
        if overlap(initrd, machine.kernel_image) {
            checker.error(&[Seg::Field("initrd")], "it overlaps the kernel image");
        }
    }
    if checker.count("bridge_windows", machine.bridge_windows.len(), limits::REGIONS) {
        for (i, window) in machine.bridge_windows.iter().enumerate() {
            let before = i.checked_sub(1).and_then(|before| machine.bridge_windows.get(before));
            let overlaps = before.is_some_and(|before| before.end().is_none_or(|end| end > window.start));
            checker.field("bridge_windows", |c| {
                c.at(Seg::Index(i), |c| {
                    region(c, *window);
                    if overlaps {
                        let message = "it begins before the one in front of it ends";
                        c.error_help(&[], message, "windows stand in ascending order");
                    }
                });
            });
        }
    }
    if checker.count("iommu_reserved", machine.iommu_reserved.len(), limits::REGIONS) {
        for (i, reserved) in machine.iommu_reserved.iter().enumerate() {
            checker.field("iommu_reserved", |c| c.at(Seg::Index(i), |c| region(c, *reserved)));
        }
    }
    checker.field("iommu", |c| virtio(c, machine.iommu));
    checker.field("iommu", |c| smmu(c, machine.iommu));
    if let Some(log) = machine.tpm_log {
        checker.field("tpm_log", |c| usable(c, machine, log));
    }
    if checker.count("reserved", machine.reserved.len(), limits::REGIONS) {
        for (i, reserved) in machine.reserved.iter().enumerate() {
            checker.field("reserved", |c| {
                c.at(Seg::Index(i), |c| {
                    c.name("name", &reserved.name);
                    c.field("region", |c| region(c, reserved.region));
                    c.range("times", reserved.times.into(), 1, limits::RESERVED_TIMES.into());
                    if reserved.times > 1 && reserved.stride < reserved.region.size {
                        let help = "each region begins behind the end of the one before";
                        c.error_help(&[Seg::Field("stride")], "the regions overlap", help);
                    } else if reserved.regions().last().is_some_and(past_the_end) {
                        c.error(&[Seg::Field("times")], "the last region lies above 52 bits");
                    }
                    c.count("freed", reserved.freed.len(), limits::FREES);
                });
            });
        }
    }
    if checker.count("devices", machine.devices.len(), limits::DEVICES) {
        for (i, one) in machine.devices.iter().enumerate() {
            checker.field("devices", |c| c.at(Seg::Index(i), |c| device(c, machine, i, one, world)));
        }
    }
}

fn e820(checker: &mut Checker<'_>, machine: &Machine) {
    if !machine.e820.iter().any(|e| e.kind == E820Kind::Usable) {
        checker.error(&[], "there is no usable memory");
    }
    let mut before: Option<u64> = None;
    for (i, entry) in machine.e820.iter().enumerate() {
        let at = [Seg::Index(i)];
        if entry.start > entry.end {
            checker.error_help(&at, "it ends before it starts", "both ends belong to an entry");
            continue;
        }
        if entry.end > limits::PHYS_MAX {
            checker.error_help(
                &at,
                "it lies above 52 bits",
                format!("allowed: up to {:#x}", limits::PHYS_MAX),
            );
        }
        if let Some(last) = before.filter(|last| entry.start <= *last) {
            let message = format!("it starts at {:#x}, but the entry before ends at {last:#x}", entry.start);
            checker.error_help(&at, message, "entries are in ascending order and do not overlap");
        }
        before = before.max(Some(entry.end));
    }
}

fn nodes(checker: &mut Checker<'_>, machine: &Machine) {
    for (i, node) in machine.nodes.iter().enumerate() {
        checker.at(Seg::Index(i), |c| {
            c.range("id", node.id.into(), 0, 63);
            if machine.nodes[..i].iter().any(|n| n.id == node.id) {
                c.error(&[Seg::Field("id")], format!("another node has the number {}", node.id));
            }
            if !c.count("ranges", node.ranges.len(), limits::REGIONS) {
                return;
            }
            let earlier: Vec<_> = machine.nodes[..i].iter().flat_map(|n| n.ranges.iter().take(64)).collect();
            for (j, range) in node.ranges.iter().enumerate() {
                let at = [Seg::Field("ranges"), Seg::Index(j)];
                if range.start > range.end {
                    c.error(&at, "it ends before it starts");
                } else if range.end > limits::PHYS_MAX {
                    c.error(&at, "it lies above 52 bits");
                } else if earlier
                    .iter()
                    .copied()
                    .chain(&node.ranges[..j])
                    .any(|o| o.start <= range.end && range.start <= o.end)
                {
                    c.error(&at, "it overlaps another range");
                }
            }
        });
    }
}

fn past_the_end(region: Region) -> bool {
    region.end().is_none_or(|end| end > limits::PHYS_MAX + 1)
}

fn region(checker: &mut Checker<'_>, region: Region) {
    if region.size == 0 {
        checker.error(&[Seg::Field("size")], "an empty region");
    } else if past_the_end(region) {
        checker.error(&[], "it lies above 52 bits");
    }
}

/// What a paravirtual IOMMU says of itself.
fn virtio(checker: &mut Checker<'_>, iommu: Iommu) {
    let Iommu::Virtio { input_range, domain_range, page_size_mask, .. } = iommu else { return };
    if let Some(range) = input_range {
        let at = [Seg::Field("input_range")];
        if range.start > range.end {
            checker.error_help(&at, "it ends before it starts", "both ends belong to a range");
        } else if range.end >= 1 << 57 {
            checker.error_help(&at, "it ends above 57 bits", "a host's table has five levels at most");
        } else if range.end - range.start < PAGE_SIZE - 1 {
            checker.error(&at, "there is no page in it");
        }
    }
    if domain_range.is_some_and(|range| range.first > range.last) {
        checker.error_help(
            &[Seg::Field("domain_range")],
            "it ends before it starts",
            "both ends belong to a range",
        );
    }
    if let Some(mask) = page_size_mask
        && (mask == 0 || mask.trailing_zeros() < 12)
    {
        let message = format!("{mask:#x} names no page size, or one below 4096 bytes");
        let help = "allowed: bits from 0x1000 up, as in `0xfffffffffffff000`";
        checker.error_help(&[Seg::Field("page_size_mask")], message, help);
    }
}

/// What SMMUs say of themselves.
fn smmu(checker: &mut Checker<'_>, iommu: Iommu) {
    if let Iommu::Smmu { address_bits: Some(bits), .. } = iommu {
        checker.range("address_bits", bits.into(), 32, 48);
    }
}

/// The region lies in one piece of usable memory.
fn usable(checker: &mut Checker<'_>, machine: &Machine, inside: Region) {
    let before = checker.problems.len();
    region(checker, inside);
    if checker.problems.len() > before {
        return;
    }
    let last = inside.end().map_or(u64::MAX, |end| end - 1);
    let fits =
        machine.e820.iter().any(|e| e.kind == E820Kind::Usable && e.start <= inside.start && last <= e.end);
    if !fits {
        let message = format!("{:#x} to {last:#x} is not in one piece of usable memory", inside.start);
        checker.error(&[], message);
    }
}

/// What a crashed kernel left of a device: whole pages, behind an IOMMU, in memory that this kernel does not use.
fn in_flight(checker: &mut Checker<'_>, machine: &Machine, left: InFlight) {
    if !matches!(machine.iommu, Iommu::AmdVi { .. } | Iommu::Vtd { .. }) {
        checker.error(&[], "only an AMD or Intel IOMMU is left on by a kernel that crashed");
    }
    for (name, value) in [("iova", left.iova), ("phys", left.phys), ("size", left.size)] {
        if value % PAGE_SIZE != 0 {
            checker.error(&[Seg::Field(name)], format!("{value:#x} is no multiple of 4096"));
        }
    }
    checker.range("size", left.size, PAGE_SIZE, 1 << 30);
    checker.range("every_us", left.every_us, 1, limits::DELAY_US);
    checker.range("domain", left.domain.into(), 1, u16::MAX.into());
    for (name, start) in [("iova", left.iova), ("phys", left.phys)] {
        if start.checked_add(left.size).is_none() {
            checker.error(&[Seg::Field(name)], "it reaches past the end of the address space");
        }
    }
    let taken = |e: &&E820Entry| {
        e.kind == E820Kind::Usable && left.phys <= e.end && e.start < left.phys.saturating_add(left.size)
    };
    if let Some(entry) = machine.e820.iter().find(taken) {
        let message = format!(
            "memory of the kernel before cannot be usable ({:#x} to {:#x} is)",
            entry.start, entry.end
        );
        checker.error(&[Seg::Field("phys")], message);
    }
}

/// Those whom a device needs, and what it takes to be an IOMMU.
fn links(checker: &mut Checker<'_>, machine: &Machine, i: usize, device: &Device, world: &World<'_>) {
    if checker.count("suppliers", device.suppliers.len(), limits::SUPPLIERS) {
        for (nth, supplier) in device.suppliers.iter().enumerate() {
            let at = [Seg::Field("suppliers"), Seg::Index(nth), Seg::Field("bdf")];
            if supplier.bdf == device.bdf {
                checker.error(&at, "a device cannot need itself");
            } else {
                checker.device(&at, &supplier.bdf, world);
            }
            if device.suppliers[..nth].contains(supplier) {
                checker.error(&at, format!("{} is named twice by this property", supplier.bdf));
            }
        }
    }
    let Some(number) = device.is_iommu else { return };
    let at = [Seg::Field("is_iommu")];
    let second = match machine.iommu {
        Iommu::Virtio { second_ms, .. } | Iommu::Smmu { second_ms, .. } => second_ms,
        Iommu::None | Iommu::AmdVi { .. } | Iommu::Vtd { .. } => {
            let help = "allowed with `Virtio` and `Smmu`, which the firmware names";
            checker.error_help(&at, "the machine's `iommu` is none that is a device like others", help);
            return;
        }
    };
    if number > 1 || number == 1 && second.is_none() {
        let most = u32::from(second.is_some());
        let help = if most == 0 { "a second one needs `second_ms`" } else { "allowed: 0 and 1" };
        checker.error_help(&at, format!("the machine has no IOMMU of the number {number}"), help);
    } else if machine.devices[..i].iter().any(|other| other.is_iommu == Some(number)) {
        checker.error(&at, format!("another device is the IOMMU of the number {number}"));
    }
    if !device.outside_iommu {
        checker.error_help(&at, "an IOMMU is behind none", "give it `outside_iommu: true`");
    }
}

fn overlap(a: Region, b: Region) -> bool {
    let end = |r: Region| r.end().unwrap_or(u64::MAX);
    a.start < end(b) && b.start < end(a)
}

fn device(checker: &mut Checker<'_>, machine: &Machine, i: usize, device: &Device, world: &World<'_>) {
    let at = [Seg::Field("bdf")];
    if !is_bdf(&device.bdf) {
        checker.bad_bdf(&at, &device.bdf);
    } else if machine.devices[..i].iter().any(|d| d.bdf == device.bdf) {
        checker.error(&at, format!("another device has the address {}", device.bdf));
    }
    checker.range("dma_bits", device.dma_bits.into(), 20, 64);
    let caps = &device.caps;
    if let Some(j) = (1..caps.len()).find(|j| caps[..*j].contains(&caps[*j])) {
        checker.error(&[Seg::Field("caps"), Seg::Index(j)], format!("`{:?}` is given twice", caps[j]));
    }
    if let Some(pool) = device.restricted_pool {
        checker.field("restricted_pool", |c| region(c, pool));
    }
    if let Some(range) = device.dma_range {
        checker.field("dma_range", |c| region(c, range));
    }
    if let Some(left) = device.in_flight {
        checker.field("in_flight", |c| in_flight(c, machine, left));
    }
    if device.bus_dma_limit == Some(0) {
        checker.error_help(&[Seg::Field("bus_dma_limit")], "no address at all", "leave it out for no limit");
    }
    links(checker, machine, i, device, world);
    if let Some(driver) = &device.driver
        && !world.drivers.contains(&driver.as_str())
    {
        let help = did_you_mean(driver, world.drivers.iter().copied());
        checker.error_help(&[Seg::Field("driver")], format!("no driver `{driver}` in the scenario"), help);
    }
    let appears = match device.plugged {
        Plugged::AtBoot => 0,
        Plugged::After { ms } => {
            checker.field("plugged", |c| c.range("ms", ms, 0, limits::DELAY_US / 1_000));
            ms
        }
    };
    if let Unplugged::After { ms } = device.unplugged {
        checker.field("unplugged", |c| c.range("ms", ms, 0, limits::DELAY_US / 1_000));
        if ms < appears {
            checker.error(&[Seg::Field("unplugged")], "it goes away before it appears");
        }
    }
}
