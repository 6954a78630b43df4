//! The IOMMU, and whether it translates.

use models::boot::cmdline::CommandLine;
use models::iommu::core::{amd_translates, intel_translates};

use super::kernel::tables;
use super::{Source, viot};
use crate::boot::line::Event;
use crate::boot::line_iommu::IommuLine;

/// More windows are not read from a log.
const MOST_WINDOWS: usize = 64;

/// What is known of the IOMMU.
#[derive(Clone, Debug, Default)]
pub(crate) struct IommuFound {
    /// As the scenario writes it.
    pub(crate) written: String,
    pub(crate) why: String,
    /// Devices were given groups.
    pub(crate) translates: bool,
    /// The log goes on behind the IOMMUs' initialisation.
    pub(crate) done: bool,
    /// Why the kernel must have been built with Intel's IOMMU on.
    pub(crate) default_on: Option<String>,
    /// Why it must have been built without AMD's.
    pub(crate) amd_not_built: Option<String>,
    /// Devices get their groups when their drivers bind.
    pub(crate) by_driver: bool,
    /// First and last address of the memory windows of host bridges, in ascending order.
    pub(crate) windows: Vec<(u64, u64)>,
}

pub(super) fn gather(source: &Source<'_>, assumptions: &mut Vec<String>) -> IommuFound {
    let text = source.facts.command_line.as_deref().unwrap_or_default();
    let line = CommandLine::parse(text, source.kernel.rules.version);
    let entries = || {
        source.log.entries.iter().filter_map(|entry| match &entry.event {
            Event::Iommu(said) => Some((entry.line, said)),
            _ => None,
        })
    };
    let others = || source.log.others.iter();
    let names = tables(source);
    let has = |name: &str| names.iter().any(|table| table == name);
    let group = entries().find(|(_, said)| matches!(said, IommuLine::Group { .. }));
    let says = |start: &str| others().find(|other| other.text.starts_with(start)).map(|other| other.line);
    let amd_line = others().find(|other| other.text.contains("AMD-Vi: ") && !other.text.contains("IOMMUv2"));
    let dmar_line = says("DMAR: ");
    let mut found = IommuFound {
        translates: group.is_some(),
        done: source.facts.iommu_done || group.is_some(),
        windows: windows(source),
        ..IommuFound::default()
    };
    let runs = entries().find(|(_, said)| **said == IommuLine::IntelRuns);
    let intel = has("DMAR") || runs.is_some() || dmar_line.is_some() && group.is_some();
    let amd = has("IVRS") || amd_line.is_some() && group.is_some();
    let (has_amd, has_intel) = (amd && (!intel || runs.is_none()), intel);
    if has("VIOT") && !has_amd && !has_intel {
        found.viot(source);
    } else if has_amd {
        found.amd(source, &line, assumptions, amd_line.map(|other| other.text.as_str()));
    } else if has_intel {
        let opt_in = says("DMAR: Intel-IOMMU force enabled due to platform opt in");
        found.intel(source, &line, opt_in, assumptions);
    } else {
        found.written = "None".to_owned();
        found.why = "no table of the firmware describes one".to_owned();
        if found.translates {
            assumptions.push(
                "devices are given IOMMU groups, and the log does not say by which IOMMU: none is assumed"
                    .to_owned(),
            );
        }
    }
    found
}

impl IommuFound {
    /// Without its driver the paravirtual IOMMU does nothing; before v5.14 it is never looked for.
    fn viot(&mut self, source: &Source<'_>) {
        if self.translates {
            let range = viot::input_range(source)
                .map_or_else(String::new, |end| format!(", input_range: (start: 0x0, end: {end:#x})"));
            self.written = format!("Virtio(first_ms: {}{range})", viot::first_ms(source));
            self.why = "virtio-iommu, by the firmware's table; its driver comes late".to_owned();
            self.by_driver = true;
        } else {
            "None".clone_into(&mut self.written);
            "the firmware describes a virtio-iommu, and the log shows no driver for it"
                .clone_into(&mut self.why);
        }
    }

    fn amd(
        &mut self,
        source: &Source<'_>,
        line: &CommandLine,
        assumptions: &mut Vec<String>,
        said: Option<&str>,
    ) {
        let features = source.log.others.iter().find_map(|other| {
            let rest = other.text.split_once("AMD-Vi: Extended features")?.1;
            Some((other.line, rest.split_once(':')?.1.to_owned()))
        });
        let has = |name: &str| {
            features.as_ref().is_some_and(|(_, list)| list.split_whitespace().any(|word| word == name))
        };
        let strict = source
            .log
            .entries
            .iter()
            .find(|entry| matches!(entry.event, Event::Iommu(IommuLine::AmdStrict)))
            .map(|entry| entry.line);
        let mut options = Vec::new();
        if has("PPR") {
            options.push("ppr: true");
        }
        if has("GT") {
            options.push("gt: true");
        }
        if strict.is_some() {
            options.push("np_cache: true");
        }
        if features.is_none() {
            assumptions.push("the IOMMU's features are not in the log: neither page requests nor guest translation is assumed".to_owned());
        }
        self.written = format!("AmdVi({})", options.join(", "));
        self.why = features.map_or_else(
            || "AMD-Vi, by the firmware's table".to_owned(),
            |(line, _)| format!("AMD-Vi; features from line {line}"),
        );
        if amd_translates(line) && self.done && !self.translates {
            let none = said.is_none();
            self.amd_not_built =
                Some("the firmware describes the IOMMU, and the kernel does not use it".to_owned());
            if !none {
                assumptions.push("the IOMMU is described and not used, for a reason that the log does not tell: the kernel is taken to be built without it".to_owned());
            }
        }
    }

    fn intel(
        &mut self,
        source: &Source<'_>,
        line: &CommandLine,
        opt_in: Option<u64>,
        assumptions: &mut Vec<String>,
    ) {
        let strict = source
            .log
            .entries
            .iter()
            .any(|entry| matches!(entry.event, Event::Iommu(IommuLine::IntelStrict)));
        let flush = source.log.others.iter().any(|other| other.text.contains("write-buffer flush"));
        let mut options = Vec::new();
        if flush {
            options.push("write_buffer_flush: true");
        }
        if opt_in.is_some() {
            options.push("platform_opt_in: true");
        }
        if strict {
            options.push("caching_mode: true");
        }
        self.written = format!("Vtd({})", options.join(", "));
        self.why = "Intel VT-d, by the firmware's table".to_owned();
        let asked = intel_translates(line, false) || opt_in.is_some() && line.intel_iommu.enable.is_none();
        if self.translates && !asked && !line.iommu.off && line.intel_iommu.enable.is_none() {
            self.default_on =
                Some("translation is on, and nothing on the command line asks for it".to_owned());
        } else if asked && self.done && !self.translates {
            "None".clone_into(&mut self.written);
            assumptions.push(
                "VT-d is asked for, and no device got a group: the IOMMU is taken to be out of order"
                    .to_owned(),
            );
        }
    }
}

/// `pci_bus 0000:00: root bus resource [mem 0x80000000-0xafffffff window]`
fn windows(source: &Source<'_>) -> Vec<(u64, u64)> {
    let said = source.log.others.iter().filter_map(|other| {
        let (_, rest) = other.text.split_once(": root bus resource [mem ")?;
        let (first, last) = rest.split([' ', ']']).next()?.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
    });
    let mut windows: Vec<(u64, u64)> = said.take(MOST_WINDOWS).collect();
    windows.sort_unstable();
    // Two bridges never share an address; a log that says so is garbled.
    windows.dedup_by(|next, before| next.0 <= before.1);
    windows
}
