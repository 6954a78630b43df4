//! Compares what the kernel says of IOMMUs: the default domain, who translates, and the groups.

use std::collections::BTreeMap;

use models::boot::cmdline::CommandLine;
use models::iommu::core::{
    DomainPolicy, PciAddress, PciFunction, PciGroups, PciKind, amd_translates, intel_translates,
};
use models::profile::IommuDefault;

use super::line::Event;
use super::line_iommu::IommuLine;
use super::replay::Replay;
use super::state::State;
use super::zones::compare_value;
use crate::Exception;

/// More functions than the groups of which are followed.
const MAX_FUNCTIONS: usize = 4_096;

/// Bridges that v6.1 does not describe in its log, by vendor and device: ports of PCI Express.
const PORTS: [&str; 4] = ["1b36:000c", "8086:3420", "104c:8232", "104c:8233"];
/// The same: bridges to conventional PCI.
const BRIDGES: [&str; 3] = ["1b36:000e", "1b36:0001", "8086:244e"];

/// What the lines about IOMMUs add up to.
#[derive(Debug, Default)]
struct Seen {
    tables: Vec<String>,
    /// Flushing became strict after the default domain was announced.
    strict: bool,
    runs: bool,
    first_groups: BTreeMap<PciAddress, u32>,
    groups: PciGroups,
    functions: BTreeMap<PciAddress, PciFunction>,
    /// Bridges of which the log does not say what they are.
    unclear: bool,
    others: u64,
    /// Where the default domain is announced.
    line: u64,
}

pub(crate) fn kind_of(is_bridge: bool, ids: &str, kind: &str) -> Option<PciKind> {
    if !is_bridge {
        return Some(if kind.starts_with("PCIe") { PciKind::Express } else { PciKind::Conventional });
    }
    // Whether a port isolates what is below is in no line; most that can be told apart do.
    let port = PciKind::Port { isolates: true };
    match kind {
        _ if kind.contains("Port") => Some(port),
        _ if kind.contains("bridge") => Some(PciKind::Bridge),
        _ if PORTS.contains(&ids) => Some(port),
        _ if BRIDGES.contains(&ids) => Some(PciKind::Bridge),
        _ => None,
    }
}

impl Replay<'_> {
    pub(super) fn compare_iommu(&mut self, state: Option<&State>) {
        let text = self.facts.command_line.clone().unwrap_or_default();
        let line = CommandLine::parse(&text, self.rules.version);
        let encrypted = self.facts.encryption.host || self.facts.encryption.guest;
        let policy = DomainPolicy::new(&line, IommuDefault::DmaLazy, encrypted);
        let mut seen = Seen::default();
        let entries = self.entries;
        for entry in entries {
            if let Event::Iommu(said) = &entry.event {
                self.follow(&mut seen, entry.line, said, policy);
            }
        }
        if seen.unclear {
            let note = "some bridges are of a kind that the log does not tell: groups below them may differ";
            self.report.notes.push(note.to_owned());
        }
        if seen.others > 0 {
            let note =
                format!("{} devices on other buses than PCI were given groups: not compared", seen.others);
            self.report.notes.push(note);
        }
        self.compare_presence(&seen, &line);
        if let Some(state) = state {
            self.compare_state_groups(&seen, state, policy);
        }
    }

    fn follow(&mut self, seen: &mut Seen, line: u64, said: &IommuLine, policy: DomainPolicy) {
        match said {
            IommuLine::DefaultDomain(words) => {
                let modelled = policy.domain_words();
                seen.line = line;
                compare_value(self.report, "iommu: default domain type", line, words, &modelled);
                // The next line is about flushing, or there is none.
                let next = self.entries.iter().find(|entry| entry.line > line).map(|entry| &entry.event);
                if policy.passthrough && matches!(next, Some(Event::Iommu(IommuLine::Policy(_)))) {
                    compare_value(self.report, "iommu: flushing", line, &"said", &"nothing is translated");
                }
            }
            IommuLine::Policy(words) => {
                if let Some(modelled) = policy.flush_words() {
                    compare_value(self.report, "iommu: flushing", line, words, &modelled);
                }
            }
            IommuLine::AmdStrict | IommuLine::IntelStrict => seen.strict = true,
            IommuLine::IntelRuns => seen.runs = true,
            IommuLine::Table(name) if seen.tables.len() < 10 => seen.tables.push(name.clone()),
            IommuLine::Table(_) => {}
            IommuLine::IntelEnabled => {}
            IommuLine::Function { device, is_bridge, ids, kind } => {
                let Some(at) = PciAddress::parse(device).filter(|_| seen.functions.len() < MAX_FUNCTIONS)
                else {
                    return;
                };
                let kind = kind_of(*is_bridge, ids, kind);
                seen.unclear |= kind.is_none();
                let secondary = seen.functions.get(&at).and_then(|function| function.secondary);
                let function =
                    PciFunction { kind: kind.unwrap_or(PciKind::Port { isolates: true }), secondary };
                // Found once more means that it was gone: that is not said by every kernel.
                if seen.functions.insert(at, function).is_some() {
                    seen.groups.leave(at);
                }
                seen.groups.add_function(at, function);
            }
            IommuLine::Secondary { device, bus } => {
                let Some(at) = PciAddress::parse(device) else { return };
                if let Some(function) = seen.functions.get_mut(&at) {
                    function.secondary = Some(at.bus & !0xff | bus);
                    seen.groups.add_function(at, *function);
                }
            }
            IommuLine::Removed { device } => {
                if let Some(at) = PciAddress::parse(device) {
                    seen.groups.leave(at);
                }
            }
            IommuLine::Group { device, group } => self.group(seen, line, device, *group),
        }
    }

    fn group(&mut self, seen: &mut Seen, line: u64, device: &str, recorded: u64) {
        let Some(at) = PciAddress::parse(device) else {
            seen.others += 1;
            return;
        };
        let recorded = u32::try_from(recorded).unwrap_or(u32::MAX);
        if seen.first_groups.len() >= MAX_FUNCTIONS {
            return;
        }
        // A function that the log does not describe could be behind anything.
        let known = seen.functions.contains_key(&at);
        let modelled = seen.groups.join(at);
        let agrees = modelled == recorded;
        self.report.count("iommu: groups", agrees);
        if !agrees {
            let why = if !known {
                Some("the log has no line that describes this function")
            } else if seen.unclear || seen.functions.values().any(|f| matches!(f.kind, PciKind::Port { .. }))
            {
                Some("whether a port keeps the devices below it apart (ACS) is not in the log")
            } else {
                None
            };
            self.report.exceptions.push(Exception {
                line,
                what: format!("group of {device}"),
                recorded: recorded.to_string(),
                modelled: modelled.to_string(),
                why: why.map(str::to_owned),
                detail: Vec::new(),
            });
            seen.groups.put(at, recorded);
        }
        seen.first_groups.entry(at).or_insert(recorded);
    }

    /// Translation is on if the hardware is there and nobody turned it off.
    fn compare_presence(&mut self, seen: &Seen, line: &CommandLine) {
        // A paravirtual IOMMU may come as a module, whenever that is.
        if !self.facts.iommu_done || seen.tables.iter().any(|name| name == "VIOT") || seen.others > 0 {
            return;
        }
        let has = |table: &str| seen.tables.iter().any(|name| name == table);
        let intel = has("DMAR") && intel_translates(line, false);
        let amd = has("IVRS") && amd_translates(line);
        let recorded = !seen.first_groups.is_empty();
        let name = "iommu: translation is on";
        if !compare_value(self.report, name, seen.line, &recorded, &(intel || amd))
            && has("DMAR")
            && line.intel_iommu.enable.is_none()
            && let Some(exception) = self.report.exceptions.last_mut()
        {
            let why = "the log does not say whether the kernel was built with CONFIG_INTEL_IOMMU_DEFAULT_ON";
            exception.why = Some(why.to_owned());
        }
        if has("DMAR") {
            compare_value(self.report, "iommu: VT-d is on", seen.line, &seen.runs, &intel);
        }
    }

    /// Groups of the running system: who is in them, and the type of their domain.
    fn compare_state_groups(&mut self, seen: &Seen, state: &State, policy: DomainPolicy) {
        if !self.facts.iommu_done {
            return;
        }
        for (line, device) in &state.devices {
            let Some(at) = PciAddress::parse(&device.name) else { continue };
            let modelled = seen.first_groups.get(&at).copied().map(u64::from);
            compare_value(self.report, "iommu: groups (state)", *line, &device.group, &modelled);
        }
        let policy = DomainPolicy { strict: policy.strict || seen.strict, ..policy };
        let modelled = policy.domain_type().sysfs();
        for (line, _, recorded) in &state.groups {
            compare_value(
                self.report,
                "iommu: types of groups (state)",
                *line,
                &recorded.as_str(),
                &modelled,
            );
        }
    }
}
