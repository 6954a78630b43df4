//! Compares what the kernel says of IOMMUs: the default domain, who translates, and the groups.

use std::collections::{BTreeMap, BTreeSet};

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

/// Ports that are known not to keep what is below them apart.
const OPEN_PORTS: [&str; 1] = ["104c:8233"];

/// Whether a port keeps the devices below it apart (ACS) is in no line of the log. Most do; a port of which nothing is known
/// is taken for one that does until a group says otherwise, and so are all of its model.
#[derive(Debug, Default)]
struct Ports {
    /// Vendor and device of each port.
    models: BTreeMap<PciAddress, String>,
    /// Models of which a group has told.
    told: BTreeSet<String>,
    /// How many groups were needed to learn it.
    learned: u64,
}

/// What the lines about IOMMUs add up to.
#[derive(Debug, Default)]
struct Seen {
    ports: Ports,
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
    /// Functions with a group and without a line that describes them.
    undescribed: u64,
    /// Where the default domain is announced.
    line: u64,
}

pub(crate) fn kind_of(is_bridge: bool, ids: &str, kind: &str) -> Option<PciKind> {
    if !is_bridge {
        return Some(if kind.starts_with("PCIe") { PciKind::Express } else { PciKind::Conventional });
    }
    // Whether a port isolates what is below is in no line; most that can be told apart do.
    let port = PciKind::Port { isolates: !OPEN_PORTS.contains(&ids) };
    match kind {
        _ if kind.contains("Port") => Some(port),
        _ if kind.contains("bridge") => Some(PciKind::Bridge),
        _ if PORTS.contains(&ids) => Some(port),
        _ if BRIDGES.contains(&ids) => Some(PciKind::Bridge),
        _ => None,
    }
}

impl Ports {
    fn add(&mut self, at: PciAddress, ids: &str, kind: &str) {
        self.models.insert(at, ids.to_owned());
        // A port upwards that is alone in its slot has nobody to let requests through to.
        if kind.contains("Upstream") || ids == "104c:8232" || OPEN_PORTS.contains(&ids) {
            self.told.insert(ids.to_owned());
        }
    }

    /// Models of ports among these functions of which nothing is known yet.
    fn open(&self, groups: &PciGroups, among: impl Iterator<Item = PciAddress>) -> Vec<String> {
        let is_port = |at: &PciAddress| {
            matches!(groups.function(*at), Some(PciFunction { kind: PciKind::Port { .. }, .. }))
        };
        let models = among.filter(is_port).filter_map(|at| self.models.get(&at));
        models.filter(|model| !self.told.contains(*model)).cloned().collect()
    }

    /// The group agrees: the ports above are what they are taken for.
    fn settle(&mut self, groups: &PciGroups, at: PciAddress) {
        let open = self.open(groups, groups.above(at));
        self.told.extend(open);
    }

    /// The groups with a model of ports that does not keep devices apart, if that explains the group of `at`.
    fn learn(&mut self, groups: &PciGroups, at: PciAddress, group: u32) -> Option<PciGroups> {
        for model in self.open(groups, std::iter::once(at).chain(groups.above(at))) {
            let mut changed = groups.clone();
            for (port, _) in self.models.iter().filter(|(_, other)| **other == model) {
                if let Some(PciFunction { kind: PciKind::Port { .. }, secondary }) = groups.function(*port) {
                    let kind = PciKind::Port { isolates: false };
                    changed.add_function(*port, PciFunction { kind, secondary });
                }
            }
            if changed.join(at) == group {
                self.told.insert(model);
                self.learned += 1;
                return Some(changed);
            }
        }
        None
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
        if seen.ports.learned > 0 {
            let note = format!(
                "{} groups tell whether ports keep the devices below them apart (ACS), and are not compared",
                seen.ports.learned
            );
            self.report.notes.push(note);
        }
        if seen.undescribed > 0 {
            let note = format!(
                "{} groups are not compared: the log has no line that describes the function",
                seen.undescribed
            );
            self.report.notes.push(note);
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
                seen.ports.add(at, ids, kind);
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
        if !known {
            seen.undescribed += 1;
            seen.groups.put(at, recorded);
            seen.first_groups.entry(at).or_insert(recorded);
            return;
        }
        let before = seen.groups.clone();
        let modelled = seen.groups.join(at);
        if modelled != recorded
            && let Some(groups) = seen.ports.learn(&before, at, recorded)
        {
            seen.groups = groups;
            seen.first_groups.entry(at).or_insert(recorded);
            return;
        }
        if modelled == recorded {
            seen.ports.settle(&before, at);
        }
        let agrees = modelled == recorded;
        self.report.count("iommu: groups", agrees);
        if !agrees {
            let why =
                if seen.unclear || seen.functions.values().any(|f| matches!(f.kind, PciKind::Port { .. })) {
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
        let recorded = !seen.first_groups.is_empty();
        // Where nobody asks for VT-d or turns it off, the kernel's configuration decides, or the platform.
        let intel = has("DMAR") && intel_translates(line, recorded);
        let amd = has("IVRS") && amd_translates(line);
        if intel && !intel_translates(line, false) {
            let note = "VT-d is on, and nothing on the command line asks for it: the kernel was built so \
                        (CONFIG_INTEL_IOMMU_DEFAULT_ON), or the platform wants it";
            self.report.notes.push(note.to_owned());
        }
        compare_value(self.report, "iommu: translation is on", seen.line, &recorded, &(intel || amd));
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
