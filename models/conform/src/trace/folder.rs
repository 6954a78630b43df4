//! What lies next to a trace: the console log and the state file of the same boot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use models::mem::PhysAddr;
use models::swiotlb::{AreaLimit, IO_TLB_SHIFT, PoolSize, limit_nareas};

use super::full::{Message, keep};
use super::line::nanos;
use crate::replay::KernelRules;
use crate::{Source, SourceError};

/// Larger pools than this (8 GiB) are taken for garbage.
const MAX_SLABS: u64 = 1 << 22;
/// More devices, groups or regions than this are not read.
const MAX_ENTRIES: usize = 1 << 16;

/// A device of the state file or the console log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// Its driver; empty if none is bound.
    pub(super) driver: String,
    /// Bits of its DMA mask.
    pub(super) mask_bits: Option<u32>,
    /// Its IOMMU group.
    pub(super) group: Option<u64>,
}

/// An IOMMU group of the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// `DMA`, `DMA-FQ`, `identity`.
    pub(super) kind: String,
    /// First and last address of each region that no mapping may use.
    pub(super) reserved: Vec<(u64, u64)>,
}

/// What is known of the boot apart from the trace.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    /// `6.12.117+deb12-amd64`.
    pub(super) release: Option<String>,
    /// The command line.
    pub(super) cmdline: Option<String>,
    /// Possible CPUs (`nr_cpu_ids`).
    pub(super) cpus: Option<u32>,
    /// Where the bounce-buffer pool lies.
    pub(super) pool: Option<(PhysAddr, PoolSize)>,
    /// `io_tlb_used` and `io_tlb_used_hiwater` after the modules were loaded.
    pub(super) settled: (Option<u64>, Option<u64>),
    /// By name.
    pub(super) devices: BTreeMap<String, Device>,
    /// By number.
    pub(super) groups: BTreeMap<u64, Group>,
    /// Windows of the PCI host bridge onto memory: first and last address.
    pub(super) windows: Vec<(u64, u64)>,
    /// Whether the flush queues were switched off after the policy was printed.
    pub(super) strict: Option<bool>,
    /// Messages that the buffer is full.
    pub(super) full: Vec<Message>,
    /// What was found and what was missing, for the reader.
    pub(super) notes: Vec<String>,
    areas: Option<u32>,
    end: Option<(u64, u64)>,
    slabs: Option<u64>,
}

impl Folder {
    /// Reads what lies in the folder of `trace`.
    ///
    /// # Errors
    ///
    /// If a file that is there cannot be read.
    pub(super) fn read(trace: &Path) -> Result<Self, SourceError> {
        let mut folder = Self::default();
        let parent = trace.parent().unwrap_or(Path::new(""));
        match open(parent, "console.log")? {
            Some(source) => folder.read_console(source)?,
            None => folder
                .notes
                .push("no console log next to the trace: where the pool lies is not known".to_owned()),
        }
        match open(parent, "state.txt")? {
            Some(source) => folder.read_state(source)?,
            None => folder.notes.push(
                "no state file next to the trace: drivers, masks and groups are known only from the log"
                    .to_owned(),
            ),
        }
        Ok(folder)
    }

    /// The pool's place and size, once the version's rule for areas is known.
    pub(super) fn settle(&mut self, rules: &KernelRules) {
        let nslabs = self.end.map(|(start, end)| (end - start) >> IO_TLB_SHIFT).or(self.slabs);
        let (Some((start, _)), Some(nslabs)) = (self.end, nslabs) else { return };
        let Ok(nslabs) = u32::try_from(nslabs) else { return };
        let asked = self.areas.unwrap_or(1);
        let nareas = match rules.sizing.area_limit {
            AreaLimit::Always => limit_nareas(asked, u64::from(nslabs)).max(1),
            AreaLimit::Never | AreaLimit::Late => asked,
        };
        let nareas = if rules.sizing.areas { nareas } else { 1 };
        self.pool = Some((PhysAddr(start), PoolSize { nslabs, nareas }));
    }

    /// Whether the command line holds this word.
    pub(super) fn has_option(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.cmdline.as_deref().is_some_and(|line| line.split_whitespace().any(wanted))
    }

    /// Whether every mapping of dma-direct bounces.
    pub(super) fn forced(&self) -> bool {
        self.has_option(|word| {
            word.strip_prefix("swiotlb=").is_some_and(|value| value.split(',').any(|part| part == "force"))
        })
    }

    fn read_console(&mut self, mut source: Source) -> Result<(), SourceError> {
        let mut pool_follows = false;
        let mut claimed: BTreeSet<String> = BTreeSet::new();
        while let Some(line) = source.next_line()? {
            let Some(text) = message(&line) else { continue };
            if text.contains(": swiotlb buffer is full ")
                && let Some(message) = stamp(&line).and_then(|nanos| Message::read(nanos, text))
            {
                keep(&mut self.full, message);
            } else if let Some(rest) = text.strip_prefix("Linux version ") {
                self.release.get_or_insert_with(|| rest.split(' ').next().unwrap_or_default().to_owned());
            } else if let Some(rest) = text.strip_prefix("Command line: ") {
                self.cmdline.get_or_insert_with(|| rest.to_owned());
            } else if let Some(rest) = text.strip_prefix("software IO TLB: area num ") {
                self.areas =
                    rest.trim_end_matches('.').parse().ok().filter(|areas| (1..=8192).contains(areas));
            } else if let Some(rest) = text.strip_prefix("software IO TLB: mapped [mem ") {
                // Exclusive, unlike all other ranges of the log.
                self.set_pool(rest.split_once(']').and_then(|(range, _)| pair(range, '-')));
            } else if text.contains(" swiotlb_init_remap+") && text.contains("max_addr=0x00000000ffffffff ") {
                pool_follows = true;
                continue;
            } else if pool_follows && let Some(rest) = text.strip_prefix("memblock_reserve: [") {
                // A later line says so again where the kernel prints it; it does not if all memory is low.
                let range = rest.split_once(']').and_then(|(range, _)| pair(range, '-'));
                self.set_pool(range.and_then(|(start, last)| Some((start, last.checked_add(1)?))));
            } else if text.starts_with("pci_bus ")
                && let Some((_, rest)) = text.split_once("root bus resource [mem ")
            {
                let range = rest.split(' ').next().and_then(|range| pair(range.trim_end_matches(']'), '-'));
                if let Some(range) = range.filter(|_| self.windows.len() < MAX_ENTRIES) {
                    self.windows.push(range);
                }
            } else if let Some((_, rest)) = text.split_once("nr_cpu_ids:") {
                let cpus = rest.split(' ').next().and_then(|cpus| cpus.parse().ok());
                self.cpus = cpus.filter(|cpus| (1..=8192).contains(cpus));
            } else if text.contains("TLB invalidation policy: ") {
                self.strict = Some(text.contains("policy: strict"));
            } else if text.contains("Using strict mode due to virtualization")
                || text.contains("IOMMU batching disallowed due to virtualization")
            {
                self.strict = Some(true);
            } else if let Some((_, rest)) = text.split_once(": Adding to iommu group ") {
                let name = text.split([' ', ':']).nth(1).map(|_| bdf_of(text)).unwrap_or_default();
                if let (Some(name), Ok(group)) = (name, rest.trim().parse()) {
                    self.device(name).group = Some(group);
                }
            } else if let Some((driver, name)) = claims(text)
                && claimed.len() < MAX_ENTRIES
                && claimed.insert(name.to_owned())
            {
                driver.clone_into(&mut self.device(name).driver);
            }
            pool_follows = false;
        }
        Ok(())
    }

    fn set_pool(&mut self, range: Option<(u64, u64)>) {
        let sane = range.filter(|(start, end)| start < end && (end - start) >> IO_TLB_SHIFT <= MAX_SLABS);
        if sane.is_some() {
            self.end = sane;
        }
    }

    fn device(&mut self, name: &str) -> &mut Device {
        self.devices.entry(name.to_owned()).or_default()
    }

    fn read_state(&mut self, mut source: Source) -> Result<(), SourceError> {
        let mut section = String::new();
        while let Some(line) = source.next_line()? {
            if let Some(name) = line.strip_prefix("@@@BEGIN ") {
                name.trim().clone_into(&mut section);
                continue;
            }
            if line.starts_with("@@@END ") {
                section.clear();
                continue;
            }
            match section.as_str() {
                "s1.cmdline" => {
                    self.cmdline.get_or_insert_with(|| line.trim().to_owned());
                }
                "s1.version" => {
                    let release = line.strip_prefix("Linux version ").and_then(|rest| rest.split(' ').next());
                    if let Some(release) = release {
                        self.release.get_or_insert_with(|| release.to_owned());
                    }
                }
                "s1.swiotlb" => self.read_counter(&line),
                "s1.pci" | "s2.pci" => self.read_device(&line),
                "s1.iommu_groups" => self.read_group(&line),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_counter(&mut self, line: &str) {
        let Some((name, value)) = line.trim().split_once(' ') else { return };
        let value = value.trim().parse::<u64>().ok();
        match name {
            "io_tlb_nslabs" => self.slabs = value.filter(|slabs| (1..=MAX_SLABS).contains(slabs)),
            "io_tlb_used" => self.settled.0 = value,
            "io_tlb_used_hiwater" => self.settled.1 = value,
            _ => {}
        }
    }

    /// `0000:00:01.0 path=… driver=nvme dma_mask_bits=64 … iommu_group=1 enable=1`
    fn read_device(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once(' ') else { return };
        if !is_bdf(name) || self.devices.len() >= MAX_ENTRIES {
            return;
        }
        let value = |key: &str| rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let device = self.device(name);
        if let Some(driver) = value("driver") {
            // Empty where none is bound: whatever bound itself later may set what it likes.
            driver.clone_into(&mut device.driver);
        }
        device.mask_bits = value("dma_mask_bits").and_then(|bits| bits.parse().ok()).or(device.mask_bits);
        device.group = value("iommu_group").and_then(|group| group.parse().ok()).or(device.group);
    }

    /// `group 8 type=DMA-FQ devices=… …  reserved_regions=[0x0 0xffffff direct-relaxable;0x… 0x… msi;]`
    fn read_group(&mut self, line: &str) {
        let Some((number, rest)) = line.strip_prefix("group ").and_then(|rest| rest.split_once(' ')) else {
            return;
        };
        let Ok(number) = number.parse() else { return };
        if self.groups.len() >= MAX_ENTRIES {
            return;
        }
        let kind = rest.split(' ').find_map(|word| word.strip_prefix("type=")).unwrap_or_default();
        let regions = rest.split_once("reserved_regions=[").map_or("", |(_, regions)| regions);
        let reserved = regions.trim_end_matches(']').split(';').filter_map(|region| {
            let mut words = region.split_whitespace();
            Some((hex(words.next()?)?, hex(words.next()?)?))
        });
        let reserved = reserved.take(MAX_ENTRIES).collect();
        let names = rest
            .split_once("devices=")
            .map_or("", |(_, names)| names.split("reserved").next().unwrap_or(names));
        for name in names.split_whitespace().filter(|name| is_bdf(name)).take(MAX_ENTRIES) {
            self.device(name).group = Some(number);
        }
        self.groups.insert(number, Group { kind: kind.to_owned(), reserved });
    }
}

fn open(parent: &Path, name: &str) -> Result<Option<Source>, SourceError> {
    for name in [name.to_owned(), format!("{name}.gz")] {
        let path = parent.join(name);
        if path.is_file() {
            return Source::open(&path).map(Some);
        }
    }
    Ok(None)
}

/// A line of the log without its time stamp; none for what is not the kernel's.
fn message(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('[')?;
    let (stamp, text) = rest.split_once("] ")?;
    stamp.trim().split_once('.')?;
    Some(text)
}

/// The time stamp of a line of the log, in nanoseconds.
fn stamp(line: &str) -> Option<u64> {
    nanos(line.trim_start().strip_prefix('[')?.split_once(']')?.0.trim())
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn pair(range: &str, between: char) -> Option<(u64, u64)> {
    let (first, second) = range.split_once(between)?;
    Some((hex(first)?, hex(second)?))
}

/// `0000:00:1f.2`
fn is_bdf(name: &str) -> bool {
    let bytes = name.as_bytes();
    let hex_at = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_hexdigit);
    bytes.len() == 12
        && bytes[4] == b':'
        && bytes[7] == b':'
        && bytes[10] == b'.'
        && hex_at(0..4)
        && hex_at(5..7)
        && hex_at(8..10)
        && hex_at(11..12)
}

fn bdf_of(text: &str) -> Option<&str> {
    text.split(' ').map(|word| word.trim_end_matches(':')).find(|word| is_bdf(word))
}

/// Which driver speaks for which device: `e1000e 0000:00:04.0: …`, or NVMe's way to say it.
fn claims(text: &str) -> Option<(&str, &str)> {
    if let Some((_, name)) = text.split_once(": pci function ") {
        let driver = text.split(' ').next()?;
        return is_bdf(name.trim()).then(|| (driver, name.trim()));
    }
    let mut words = text.split(' ');
    let driver = words.next()?;
    let name = words.next()?.strip_suffix(':').unwrap_or_default();
    let plain = driver.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    (is_bdf(name) && plain && driver != "pci" && driver != "iommu").then_some((driver, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_read_off_the_log() {
        assert_eq!(claims("nvme nvme0: pci function 0000:00:01.0"), Some(("nvme", "0000:00:01.0")));
        assert_eq!(claims("ahci 0000:00:1f.2: version 3.0"), Some(("ahci", "0000:00:1f.2")));
        assert_eq!(claims("pci 0000:00:1f.2: BAR 4"), None);
        assert_eq!(claims("e1000e 0000:00:04.0 eth2: NIC"), None);
    }

    #[test]
    fn a_message_has_a_stamp() {
        assert_eq!(
            message("[    0.474235] software IO TLB: area num 2."),
            Some("software IO TLB: area num 2.")
        );
        assert_eq!(message("Poking KASLR using RDRAND RDTSC..."), None);
    }
}
