//! What the files beside a call log tell of the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use models::boot::cmdline::CommandLine;
use models::mem::PhysAddr;
use models::swiotlb::{IO_TLB_SHIFT, PoolDefaults, PoolSize};

use crate::replay::KernelRules;
use crate::source::{Source, SourceError};

use super::line::hex;

/// How many lines of a console log or a state file are read.
const MOST_LINES: u64 = 2_000_000;

/// A group of devices that share a domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Its number, as text.
    pub(super) name: String,
    /// Its domain's type, as sysfs has it.
    pub(super) kind: String,
    /// Its devices.
    pub(super) devices: Vec<String>,
    /// First and last byte of each region that is not handed out.
    pub(super) reserved: Vec<(u64, u64)>,
}

/// Which driver translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IommuKind {
    /// Intel's.
    Vtd,
    /// AMD's.
    Amd,
    /// The paravirtual one.
    Virtio,
}

/// What is known of the machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The rules of its kernel.
    pub(super) rules: KernelRules,
    /// One past the last byte of memory.
    pub(super) memory_end: Option<PhysAddr>,
    /// Possible CPUs.
    pub(super) cpus: usize,
    /// Start and size of the pool.
    pub(super) pool: Option<(PhysAddr, PoolSize)>,
    /// Every mapping bounces.
    pub(super) force: bool,
    /// Addresses above 4 GiB are used at once.
    pub(super) forcedac: bool,
    /// Which driver translates, if one does.
    pub(super) iommu: Option<IommuKind>,
    /// The memory windows of host bridges, by domain.
    pub(super) windows: Vec<(String, u64, u64)>,
    /// The groups of devices.
    pub(super) groups: Vec<Group>,
    /// VT-d's capability register.
    pub(super) vtd_cap: Option<u64>,
    /// Devices with a driver that makes mappings of its own.
    pub(super) drivers: BTreeMap<String, String>,
    /// What was used, and what is missing.
    pub(super) notes: Vec<String>,
}

/// The first of the names that exists in the folder of `log`, plain or compressed.
pub(super) fn beside(log: &Path, name: &str) -> Option<PathBuf> {
    let folder = log.parent()?;
    [name.to_owned(), format!("{name}.gz")].iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn each_line(path: &Path, mut look: impl FnMut(&str)) -> Result<(), SourceError> {
    let mut source = Source::open(path)?;
    while let Some(line) = source.next_line()? {
        look(&line);
        if source.line() > MOST_LINES {
            return Err(source.error(format!("more than {MOST_LINES} lines")));
        }
    }
    Ok(())
}

/// `0xA-0xB` or `A-B` after `before`, in the words of the kernel's log.
fn range_after(line: &str, before: &str) -> Option<(u64, u64)> {
    let rest = line.split_once(before)?.1;
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, 'x' | '-')))?;
    let (first, last) = rest[..end].split_once('-')?;
    Some((prefixed(first)?, prefixed(last)?))
}

fn prefixed(text: &str) -> Option<u64> {
    hex(text.strip_prefix("0x").unwrap_or(text))
}

/// What is gathered from the lines of the console log.
#[derive(Default)]
struct Console {
    banner: Option<String>,
    command_line: Option<String>,
    last_pfn: Option<u64>,
    cpus: Option<usize>,
    areas: Option<u32>,
    mapped: Option<(u64, u64)>,
    pool_asked: bool,
    pool_reserved: Option<(u64, u64)>,
    iommu: Option<IommuKind>,
    windows: Vec<(String, u64, u64)>,
    vtd_cap: Option<u64>,
}

impl Console {
    fn look(&mut self, line: &str) {
        if self.banner.is_none() && line.contains("Linux version ") {
            self.banner = Some(line.to_owned());
        }
        if self.command_line.is_none()
            && let Some((_, text)) = line.split_once("Command line: ")
        {
            self.command_line = Some(text.to_owned());
        }
        if self.last_pfn.is_none() {
            self.last_pfn = word_after(line, "last_pfn = ").and_then(prefixed);
        }
        if let Some(cpus) = word_after(line, "nr_cpu_ids:").and_then(|text| text.parse().ok()) {
            self.cpus = Some(cpus);
        }
        if let Some(areas) = word_after(line, "software IO TLB: area num ") {
            self.areas = areas.trim_end_matches('.').parse().ok();
        }
        if line.contains("software IO TLB: mapped [mem ") {
            self.mapped = range_after(line, "[mem ");
        }
        // The pool itself is the first memory that its set-up asks for.
        if self.pool_asked && self.pool_reserved.is_none() && line.contains("memblock_reserve: [") {
            self.pool_reserved = range_after(line, "memblock_reserve: [");
        }
        if line.contains("memblock_alloc") && line.contains("swiotlb_init") {
            self.pool_asked = true;
        }
        if line.contains("DMAR: dmar") {
            self.vtd_cap = self.vtd_cap.or_else(|| word_after(line, " cap ").and_then(hex));
        }
        if line.contains("DMAR: Intel(R) Virtualization Technology for Directed I/O") {
            self.iommu = Some(IommuKind::Vtd);
        }
        if line.contains("AMD-Vi: Interrupt remapping enabled")
            || line.contains("AMD-Vi: Found IOMMU")
            || line.contains("AMD-Vi: Extended features")
        {
            self.iommu = Some(IommuKind::Amd);
        }
        if line.contains("virtio_iommu virtio") {
            self.iommu = Some(IommuKind::Virtio);
        }
        if let Some((bus, rest)) = line.split_once(": root bus resource [mem ")
            && let Some((first, last)) = range_after(&format!("[mem {rest}"), "[mem ")
        {
            let bus = bus.rsplit(' ').next().unwrap_or_default();
            self.windows.push((bus.split(':').next().unwrap_or_default().to_owned(), first, last));
        }
    }
}

fn word_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    line.split_once(before)?.1.split_ascii_whitespace().next()
}

impl Machine {
    /// Reads what lies beside `log`.
    ///
    /// # Errors
    ///
    /// If a file is there and cannot be read, or none tells which kernel it was.
    pub(super) fn beside(log: &Path) -> Result<Self, SourceError> {
        let mut notes = Vec::new();
        let mut console = Console::default();
        match beside(log, "console.log") {
            Some(path) => each_line(&path, |line| console.look(line))?,
            None => notes
                .push("no console.log beside the log: memory, pool and host bridges are unknown".to_owned()),
        }
        let mut groups = Vec::new();
        let mut drivers = BTreeMap::new();
        match beside(log, "state.txt") {
            Some(path) => {
                let mut section = String::new();
                each_line(&path, |line| {
                    look_at_state(line, &mut section, &mut groups, &mut drivers, &mut console);
                })?;
            }
            None => {
                notes.push("no state.txt beside the log: groups and reserved regions are unknown".to_owned());
            }
        }
        let unknown = |what: String| SourceError::of_file(log, what);
        let banner = console.banner.as_deref().ok_or_else(|| {
            unknown(
                "which kernel was it? No console.log and no state.txt beside it has a line `Linux version`"
                    .to_owned(),
            )
        })?;
        let rules = KernelRules::version_in(banner).and_then(KernelRules::of_version).ok_or_else(|| {
            let found = banner.split_once("Linux version ").map_or(banner, |(_, rest)| rest);
            let found: String = found.chars().take(40).collect();
            unknown(format!("there are no rules for Linux {found}: 5.13 to 6.12 are known"))
        })?;
        let command_line =
            CommandLine::parse(console.command_line.as_deref().unwrap_or_default(), rules.version);
        let pool = pool_of(&console, &rules);
        Ok(Self {
            rules,
            memory_end: console.last_pfn.and_then(|pfn| pfn.checked_mul(4096)).map(PhysAddr),
            cpus: console.cpus.unwrap_or(1).clamp(1, 8192),
            pool,
            force: command_line.swiotlb.force,
            forcedac: command_line.forcedac.unwrap_or(false),
            iommu: console.iommu,
            windows: console.windows,
            vtd_cap: console.vtd_cap,
            groups,
            drivers,
            notes,
        })
    }

    /// The group of a device.
    pub(super) fn group_of(&self, device: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.devices.iter().any(|other| other == device))
    }
}

fn pool_of(console: &Console, rules: &KernelRules) -> Option<(PhysAddr, PoolSize)> {
    // "mapped" says one past the end, a reservation the last byte.
    let reserved = console.pool_reserved.and_then(|(first, last)| Some((first, last.checked_add(1)?)));
    let (start, end) = console.mapped.or(reserved)?;
    let nslabs = end.checked_sub(start)? >> IO_TLB_SHIFT;
    if nslabs == 0 || nslabs > 1 << 22 {
        return None;
    }
    let mut defaults = PoolDefaults::new(rules.sizing);
    let cpus = u32::try_from(console.cpus.unwrap_or(1)).unwrap_or(1);
    defaults.adjust_nareas(console.areas.unwrap_or(cpus).clamp(1, 8192));
    Some((PhysAddr(start), defaults.boot_pool(nslabs)))
}

/// The first sections of each kind count: later ones tell of the time after.
fn look_at_state(
    line: &str,
    section: &mut String,
    groups: &mut Vec<Group>,
    drivers: &mut BTreeMap<String, String>,
    console: &mut Console,
) {
    if let Some(name) = line.strip_prefix("@@@BEGIN ") {
        name.trim().clone_into(section);
    } else if line.starts_with("@@@END") {
        section.clear();
    } else if section == "s1.version" && console.banner.is_none() && line.contains("Linux version ") {
        console.banner = Some(line.to_owned());
    } else if section == "s1.cmdline" && console.command_line.is_none() {
        console.command_line = Some(line.to_owned());
    } else if section == "s1.iommu_class" {
        let cap = word_after(line, "/intel-iommu/cap: ").and_then(hex);
        console.vtd_cap = console.vtd_cap.or(cap);
    } else if section == "s1.iommu_groups" {
        groups.extend(group(line));
    } else if section == "s1.pci" {
        let device = line.split_ascii_whitespace().next().unwrap_or_default();
        if let Some(driver) = word_after(line, " driver=").filter(|word| !word.contains('=')) {
            drivers.insert(device.to_owned(), driver.to_owned());
        }
    }
}

/// `group 1 type=DMA-FQ devices=0000:00:01.0  reserved_regions=[0x… 0x… msi;]`
fn group(line: &str) -> Option<Group> {
    let mut words = line.strip_prefix("group ")?.split_ascii_whitespace();
    let name = words.next()?.to_owned();
    let kind = words.next()?.strip_prefix("type=")?.to_owned();
    let (devices, regions) = line.split_once("devices=")?.1.split_once("reserved_regions=[")?;
    let devices = devices.split_ascii_whitespace().map(str::to_owned).collect();
    let mut reserved = Vec::new();
    for region in regions.trim_end_matches(']').split(';') {
        let mut words = region.split_ascii_whitespace();
        // What the IOMMU core's own message window covers is handed out as usual.
        if let (Some(first), Some(last), Some(kind)) = (words.next(), words.next(), words.next())
            && kind != "sw-msi"
            && let (Some(first), Some(last)) = (prefixed(first), prefixed(last))
        {
            reserved.push((first, last));
        }
    }
    Some(Group { name, kind, devices, reserved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_with_and_without_blanks() {
        let line = "[    1.9] software IO TLB: mapped [mem 0x000000007bca5000-0x000000007fca5000] (64MB)";
        assert_eq!(range_after(line, "[mem "), Some((0x7bca_5000, 0x7fca_5000)));
        assert_eq!(
            range_after("root bus resource [mem 0x000a0000-0x000bffff window]", "[mem "),
            Some((0xa_0000, 0xb_ffff))
        );
        assert_eq!(range_after("[mem nothing]", "[mem "), None);
    }

    #[test]
    fn a_group_has_devices_and_regions() {
        let line = "group 5 type=DMA devices=0000:00:05.0 0000:01:02.0  reserved_regions=[0x00000000fee00000 0x00000000feefffff msi;0x8000000 0x80fffff sw-msi;]";
        let group = group(line).expect("a group");
        assert_eq!(group.devices, ["0000:00:05.0", "0000:01:02.0"]);
        assert_eq!(group.reserved, [(0xfee0_0000, 0xfeef_ffff)]);
        assert_eq!((group.name.as_str(), group.kind.as_str()), ("5", "DMA"));
    }
}
