//! The IOMMU: groups as `/sys/kernel/iommu_groups` shows them, and what each domain has mapped, queued and cached.

use models::iommu::core::IommuDriver;
use models::run::state::{DomainState, GroupState, IovaUse, State};

use super::{made, stack};
use crate::layout::counted;

pub(super) fn lines(state: &State) -> Vec<String> {
    let iommu = &state.iommu;
    let driver = match iommu.driver {
        None => "none",
        Some(IommuDriver::Amd) => "AMD-Vi",
        Some(IommuDriver::Intel) => "Intel VT-d",
        Some(IommuDriver::Virtio) => "virtio-iommu",
        Some(IommuDriver::Smmu) => "Arm SMMU",
    };
    let mut lines = vec![format!("driver: {driver}")];
    for group in &iommu.groups {
        group_lines(group, &mut lines);
    }
    for domain in &iommu.domains {
        lines.push(String::new());
        domain_lines(state, domain, &mut lines);
    }
    lines
}

fn group_lines(group: &GroupState, lines: &mut Vec<String>) {
    let folder = format!("/sys/kernel/iommu_groups/{}", group.id);
    let type_ = if group.type_.is_empty() { "(none yet)" } else { group.type_ };
    let number = |domain: Option<u16>| domain.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let other = if group.domain == group.default_domain {
        String::new()
    } else {
        format!(", in use: domain {}", number(group.domain))
    };
    lines.push(format!("{folder}/type: {type_} (domain {}{other})", number(group.default_domain)));
    lines.extend(group.devices.iter().map(|device| format!("{folder}/devices/{device}")));
}

/// I/O virtual addresses.
fn range_of(start: u64, size: u64) -> String {
    format!("[{start:#010x}-{:#010x}]", start.wrapping_add(size).wrapping_sub(1))
}

fn domain_lines(state: &State, domain: &DomainState, lines: &mut Vec<String>) {
    let attached = match domain.attached.as_slice() {
        [] => "nobody".to_owned(),
        devices => devices.join(" "),
    };
    lines.push(format!("domain {} ({}), translates for {attached}", domain.id, domain.type_));
    for iova in &domain.iovas {
        let range = range_of(iova.start.0, iova.size);
        match iova.what {
            IovaUse::Mapping(at) => {
                let Some(by) = state.mappings.get(at) else { continue };
                let mapping = &by.mapping;
                lines.push(format!(
                    "  {range} {} {} {} bytes at {:#x}, {}",
                    by.device, mapping.dir, mapping.size, mapping.dma.0, mapping.kind
                ));
                for piece in mapping.pieces.iter().take(4) {
                    let bounced = if piece.target == piece.phys {
                        String::new()
                    } else {
                        format!(", bounced at {:#x}", piece.target.0)
                    };
                    lines.push(format!(
                        "      {:#x} -> {:#x}, {} bytes{bounced}",
                        piece.dma.0, piece.phys.0, piece.len
                    ));
                }
                if let Some(more @ 1..) = mapping.pieces.len().checked_sub(4) {
                    lines.push(format!("      and {more} more pieces"));
                }
                lines.push(format!("      {}", made(by)));
                lines.extend(stack(by, "      "));
            }
            IovaUse::Queued(cpu) => {
                lines.push(format!("  {range} unmapped, waits in the flush queue of cpu {cpu}"));
            }
            IovaUse::Cached => lines.push(format!("  {range} free, in a cache of freed ranges")),
            IovaUse::Other => lines.push(format!("  {range} taken; reserved, or on its way")),
        }
    }
    for queue in domain.queues.iter().filter(|queue| !queue.entries.is_empty()) {
        let flushed = queue.entries.iter().filter(|(.., flushed)| *flushed).count();
        lines.push(format!(
            "  flush queue of cpu {}: {}, {flushed} of them flushed",
            queue.cpu,
            counted(queue.entries.len() as u64, "range")
        ));
        for (start, size, flushed) in &queue.entries {
            let word = if *flushed { "flushed, waits to be given back" } else { "waits for a flush" };
            lines.push(format!("    {} {word}", range_of(start.0, *size)));
        }
    }
    for page in &domain.tlb {
        let stale = match page.table {
            Some(table) if table == page.phys => String::new(),
            Some(table) => format!(" STALE: the tables say {:#x}", table.0),
            None => " STALE: the tables have nothing there".to_owned(),
        };
        lines.push(format!("  iotlb {:#x} -> {:#x}{stale}", page.iova.0, page.phys.0));
    }
}
