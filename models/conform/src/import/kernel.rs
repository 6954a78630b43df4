//! Version, command line, configuration and CPUs.

use models::boot::cmdline::CommandLine;
use models::profile::{BehaviourSet, Profile, Version};
use models::scenario::limits;

use super::{Found, Source};
use crate::boot::line::Event;
use crate::boot::line_iommu::IommuLine;

/// The CPUs.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpusFound {
    pub(crate) vendor: &'static str,
    pub(crate) cpus: u32,
    pub(crate) possible: u32,
    pub(crate) nr_cpus: u32,
    pub(crate) encrypted: &'static str,
}

/// The version that can be run and comes nearest.
fn nearest(release: &str) -> (&'static str, bool) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    let number = (next(), next());
    let version = match number {
        _ if release.contains("-next-2021062") || release.contains("-next-2021063") => Version::Next2021_06,
        (..=4, _) | (5, ..=13) => Version::V5_13,
        (5, 14) => Version::V5_14,
        (5, 15..=18) => Version::V5_15,
        (5, _) | (6, ..=6) => Version::V6_1,
        _ => Version::V6_12,
    };
    let exact = version.name() == format!("{}.{}", number.0, number.1) || version == Version::Next2021_06;
    (version.name(), exact)
}

/// What lies between a version that cannot be run and the one that stands for it: behaviours that it has, and that it
/// has not.
fn changes(release: &str, nearest: &str) -> Option<(Vec<String>, Vec<String>)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let wanted = Version::from_name(&format!("{}.{}", parts.next()?, parts.next()?))?;
    let (wanted, has) =
        (BehaviourSet::of_version(wanted), BehaviourSet::of_version(Version::from_name(nearest)?));
    let names = |of: BehaviourSet, not: BehaviourSet| -> Vec<String> {
        of.iter()
            .filter(|behaviour| !not.has(*behaviour))
            .map(|behaviour| behaviour.name().to_owned())
            .collect()
    };
    let (apply, revert) = (names(wanted, has), names(has, wanted));
    let none: &[&str] = &[];
    let profile = Profile::new(nearest, &apply, &revert, none).ok()?;
    (profile.set == wanted).then_some((apply, revert))
}

pub(super) fn gather(source: &Source<'_>, found: &mut Found) {
    let (version, exact) = nearest(&source.kernel.release);
    found.version = version;
    if !exact {
        (found.apply, found.revert) = changes(&source.kernel.release, version).unwrap_or_default();
        let with = if found.apply.is_empty() && found.revert.is_empty() {
            ""
        } else {
            " (with the changes that are known to lie between)"
        };
        found.assumptions.push(format!(
            "{} cannot be run: {version}, the nearest version that can{with}, stands for it",
            source.kernel.release
        ));
    }
    match &source.facts.command_line {
        Some(line) => line.trim().clone_into(&mut found.cmdline),
        None => found.assumptions.push("no line \"Command line:\": no option is assumed".to_owned()),
    }
    cpus(source, found);
}

fn cpus(source: &Source<'_>, found: &mut Found) {
    let others = || source.log.others.iter().map(|other| other.text.as_str());
    let brought_up = others().find_map(brought_up);
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX).clamp(1, limits::NR_CPUS);
    let possible = source.facts.cpus.map(number);
    let cpus = match (brought_up, possible) {
        (Some(cpus), possible) => number(cpus).min(possible.unwrap_or(u32::MAX)),
        (None, Some(possible)) => possible,
        (None, None) => {
            found.assumptions.push("the number of CPUs is not in the log: 1 is assumed".to_owned());
            1
        }
    };
    found.cpus.possible = possible.unwrap_or(cpus).max(cpus);
    found.cpus.cpus = cpus.min(limits::CPUS);
    if cpus > limits::CPUS {
        found.assumptions.push(format!(
            "of {cpus} CPUs {} take part in a run; tables are made for {}",
            limits::CPUS,
            found.cpus.possible
        ));
    }
    let nr_cpus = others().find_map(|text| {
        let digits = text.split_once("NR_CPUS:").or_else(|| text.split_once("NR_CPUS="))?.1;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    let nr_cpus = nr_cpus.or_else(|| nr_cpus_of_setup(source));
    found.cpus.nr_cpus = nr_cpus.map_or_else(
        || {
            found.assumptions.push("CONFIG_NR_CPUS is not in the log: 8192 is assumed".to_owned());
            limits::NR_CPUS
        },
        number,
    );
    found.cpus.nr_cpus = found.cpus.nr_cpus.max(found.cpus.cpus);
    found.cpus.possible = found.cpus.possible.min(limits::NR_CPUS);
    let says = |words: &[&str]| others().any(|text| words.iter().any(|word| text.contains(word)));
    let cpu = |words: &[&str]| {
        others().any(|text| text.contains("CPU0: ") && words.iter().any(|word| text.contains(word)))
    };
    found.cpus.vendor = if cpu(&["AMD"]) || says(&["AuthenticAMD"]) && !cpu(&["Intel"]) {
        "Amd"
    } else if cpu(&["Intel"]) || says(&["GenuineIntel"]) {
        "Intel"
    } else {
        let tables = tables(source);
        let amd = tables.iter().any(|name| name == "IVRS");
        let vendor = if amd { "Amd" } else { "Intel" };
        found.assumptions.push(format!("who made the CPUs is not in the log: {vendor} is assumed"));
        vendor
    };
    let encryption = source.facts.encryption;
    found.cpus.encrypted = match (encryption.guest, encryption.host) {
        (true, _) => "Sev",
        (false, true) => "Sme",
        (false, false) => "None",
    };
}

/// `setup_percpu: NR_CPUS:8192 nr_cpumask_bits:2 nr_cpu_ids:2 nr_node_ids:1`.
fn nr_cpus_of_setup(source: &Source<'_>) -> Option<u64> {
    let entry = source.log.entries.iter().find(|entry| matches!(entry.event, Event::Cpus(_)))?;
    entry.text.split_once("NR_CPUS:")?.1.split(' ').next()?.parse().ok()
}

/// `smp: Brought up 2 nodes, 4 CPUs`.
fn brought_up(text: &str) -> Option<u64> {
    let rest = text.split_once("Brought up ")?.1.split_once(", ")?.1;
    let (digits, rest) = rest.split_once(' ')?;
    rest.starts_with("CPU").then(|| digits.parse().ok())?
}

/// The firmware's tables about IOMMUs.
pub(super) fn tables(source: &Source<'_>) -> Vec<String> {
    let tables = source.log.entries.iter().filter_map(|entry| match &entry.event {
        Event::Iommu(IommuLine::Table(name)) => Some(name.clone()),
        _ => None,
    });
    tables.take(16).collect()
}

/// Configuration that shows in what the kernel did.
pub(super) fn gather_config(source: &Source<'_>, found: &mut Found) {
    let version = Version::from_name(found.version).unwrap_or(Version::V6_12);
    let line = CommandLine::parse(&found.cmdline, version);
    let mut add = |option: &str, why: String| found.config.push((option.to_owned(), why));
    for entry in &source.log.entries {
        match &entry.event {
            Event::Iommu(IommuLine::DefaultDomain(words))
                if words == "Passthrough" && line.passthrough.is_none() =>
            {
                add("CONFIG_IOMMU_DEFAULT_PASSTHROUGH=y", format!("line {}", entry.line));
            }
            Event::Iommu(IommuLine::Policy(words)) => {
                let by_driver = line.amd_iommu.fullflush || line.intel_iommu.strict;
                if words == "strict mode" && line.strict.is_none() && !by_driver {
                    add("CONFIG_IOMMU_DEFAULT_DMA_STRICT=y", format!("line {}", entry.line));
                }
            }
            _ => {}
        }
    }
    if let Some(why) = &found.iommu.default_on {
        add("CONFIG_INTEL_IOMMU_DEFAULT_ON=y", why.clone());
    }
    if let Some(why) = &found.iommu.amd_not_built {
        add("# CONFIG_AMD_IOMMU is not set", why.clone());
    }
    for other in &source.log.others {
        let text = other.text.as_str();
        if let Some(rest) = text.strip_prefix("mem auto-init: ") {
            if rest.contains("heap alloc:on") && line.init_on_alloc.is_none() {
                add("CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y", format!("line {}", other.line));
            }
            if rest.contains("heap free:on") && line.init_on_free.is_none() {
                add("CONFIG_INIT_ON_FREE_DEFAULT_ON=y", format!("line {}", other.line));
            }
        } else if text.starts_with("node ") && text.contains(" deferred pages initialised") {
            add("CONFIG_DEFERRED_STRUCT_PAGE_INIT=y", format!("line {}", other.line));
        }
    }
    found.config.sort();
    found.config.dedup_by(|a, b| a.0 == b.0);
}
