//! What a log says, in a form in which two logs can be compared: one of a real boot, and one of a modelled boot.

use crate::boot::line::{E820, Event, Function, SwiotlbLine, function_of, show};
use crate::boot::line_iommu::IommuLine;
use crate::boot::log::Log;
use crate::boot::prefix::strip;

/// What a fact is about. In the order of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    FirmwareMap,
    MapChange,
    UserMap,
    NodeRange,
    Areas,
    PoolRequest,
    PoolFewer,
    Memory,
    BroughtUp,
    IntelEnabled,
    DomainType,
    Policy,
    Function,
    Strict,
    Group,
    IntelRuns,
    Using,
    Mapped,
}

impl Kind {
    pub(super) const ALL: [Self; 18] = [
        Self::FirmwareMap,
        Self::MapChange,
        Self::UserMap,
        Self::NodeRange,
        Self::Areas,
        Self::PoolRequest,
        Self::PoolFewer,
        Self::Memory,
        Self::BroughtUp,
        Self::IntelEnabled,
        Self::DomainType,
        Self::Policy,
        Self::Function,
        Self::Strict,
        Self::Group,
        Self::IntelRuns,
        Self::Using,
        Self::Mapped,
    ];

    /// Its row in a report.
    pub(super) const fn row(self) -> &'static str {
        match self {
            Self::FirmwareMap => "memory map of the firmware",
            Self::MapChange => "changes of the memory map",
            Self::UserMap => "memory map with the command line's changes",
            Self::NodeRange => "memory of nodes",
            Self::Areas => "swiotlb: areas and rounding",
            Self::PoolRequest => "swiotlb: requests for memory, and their places",
            Self::PoolFewer => "swiotlb: fewer slots for want of memory",
            Self::Memory => "Memory: total KiB",
            Self::BroughtUp => "nodes and CPUs",
            Self::IntelEnabled => "VT-d is asked for",
            Self::DomainType => "default domain type",
            Self::Policy => "flushing policy",
            Self::Function => "devices found, in order",
            Self::Strict => "strict since the IOMMU is emulated",
            Self::Group => "IOMMU groups, in order",
            Self::IntelRuns => "VT-d runs",
            Self::Using => "swiotlb: in use for devices",
            Self::Mapped => "swiotlb: size and place",
        }
    }

    /// Whether the fact is told only after all IOMMUs were set up.
    pub(super) const fn is_late(self) -> bool {
        matches!(self, Self::Strict | Self::Group | Self::IntelRuns | Self::Using | Self::Mapped)
    }
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    pub(super) line: u64,
    pub(super) text: String,
}

/// The facts of a log, in its order.
pub(super) fn facts(log: &Log) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut groups: Vec<String> = Vec::new();
    let mut functions: Vec<String> = Vec::new();
    let mut asked: Option<String> = None;
    for entry in &log.entries {
        let text = entry.text.trim_end();
        let mut push = |kind: Kind, text: String| facts.push(Fact { kind, line: entry.line, text });
        let request = asked.take();
        match &entry.event {
            Event::E820(_) if text.starts_with("BIOS-e820: [") => push(Kind::FirmwareMap, text.to_owned()),
            Event::E820(_) if text.starts_with("user: [") => push(Kind::UserMap, text.to_owned()),
            // Usable memory that stays usable: the kernel's own data are marked.
            Event::E820(E820::Other) => {}
            Event::E820(_) if text.starts_with("e820: ") && !text.ends_with("usable ==> usable") => {
                push(Kind::MapChange, text.to_owned());
            }
            Event::NodeRange { nid, range } => push(Kind::NodeRange, format!("node {nid} {}", show(*range))),
            Event::Swiotlb(said) => {
                let kind = match said {
                    SwiotlbLine::Areas(_) | SwiotlbLine::RoundedUp { .. } | SwiotlbLine::Default { .. } => {
                        Kind::Areas
                    }
                    SwiotlbLine::Adjusted { .. } => Kind::PoolFewer,
                    SwiotlbLine::Mapped { .. } | SwiotlbLine::NoLowMem | SwiotlbLine::TearingDown => {
                        Kind::Mapped
                    }
                    SwiotlbLine::Using => Kind::Using,
                };
                push(kind, text.to_owned());
            }
            Event::Request(request)
                if request.function == Function::TryNid
                    && function_of(&request.caller).starts_with("swiotlb") =>
            {
                asked = Some(format!("{} bytes align={:#x}", request.size, request.align));
            }
            Event::Reserve(range, _) => {
                if let Some(request) = request {
                    push(Kind::PoolRequest, format!("{request} at {}", show(*range)));
                }
            }
            Event::Memory(said) => push(Kind::Memory, said.total.to_string()),
            Event::Iommu(said) => match said {
                IommuLine::DefaultDomain(words) => push(Kind::DomainType, words.clone()),
                IommuLine::Policy(words) => push(Kind::Policy, words.clone()),
                IommuLine::AmdStrict | IommuLine::IntelStrict => push(Kind::Strict, text.to_owned()),
                IommuLine::IntelRuns => push(Kind::IntelRuns, text.to_owned()),
                IommuLine::IntelEnabled => push(Kind::IntelEnabled, text.to_owned()),
                IommuLine::Function { device, ids, .. } if !functions.contains(device) => {
                    functions.push(device.clone());
                    push(Kind::Function, format!("{device} [{ids}]"));
                }
                // What leaves and comes back is no part of the boot.
                IommuLine::Group { device, group } if !groups.contains(device) => {
                    groups.push(device.clone());
                    push(Kind::Group, format!("{device}: group {group}"));
                }
                _ => {}
            },
            _ => {}
        }
    }
    for other in &log.others {
        let text = other.text.trim_end();
        if text.starts_with("smp: Brought up ") {
            facts.push(Fact { kind: Kind::BroughtUp, line: other.line, text: text.to_owned() });
        } else if let Some(text) = modelled_function(text) {
            facts.push(Fact { kind: Kind::Function, line: other.line, text });
        }
    }
    facts.sort_by_key(|fact| fact.line);
    facts
}

/// `pci 0000:00:01.0: [1b36:0010] nvme`, as a modelled boot says it.
fn modelled_function(text: &str) -> Option<String> {
    let (device, rest) = text.strip_prefix("pci ")?.split_once(": [")?;
    let (ids, rest) = rest.split_once("] ")?;
    (!rest.starts_with("type ") && ids.len() == 9).then(|| format!("{device} [{ids}]"))
}

/// The log of a modelled boot, read as that of a real one.
pub(super) fn log_of_run(lines: impl Iterator<Item = String>) -> Log {
    let mut log = Log::default();
    for line in lines {
        let (text, _) = strip(&line);
        log.lines += 1;
        log.take_modelled(text);
    }
    log
}
