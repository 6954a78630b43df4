//! `state.txt` beside a log: what the running system reported of itself, in sections.

use std::path::{Path, PathBuf};

use models::mem::{PhysAddr, PhysRange};

use super::scan::Scan;
use crate::{Source, SourceError};

/// So many lines are read at most.
const MAX_LINES: u64 = 1_000_000;
/// So many boots.
const MAX_ACCOUNTS: usize = 20;

/// A zone as `/proc/zoneinfo` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneInfo {
    pub(crate) nid: i32,
    pub(crate) name: String,
    pub(crate) spanned: u64,
    pub(crate) present: u64,
}

/// A PCI device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PciDevice {
    pub(crate) name: String,
    pub(crate) group: Option<u64>,
    /// The driver that is bound.
    pub(crate) driver: Option<String>,
    /// Vendor and device, as `1b36:0010`.
    pub(crate) ids: Option<String>,
    /// Class, as `0x010802`.
    pub(crate) class: Option<String>,
    /// `dma_mask_bits`.
    pub(crate) mask_bits: Option<u32>,
}

/// One report of the sections named by `prefix`, the first of the boot.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The file.
    pub(crate) name: String,
    pub(crate) cmdline: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) zones: Vec<(u64, ZoneInfo)>,
    pub(crate) mem_total: Option<(u64, u64)>,
    /// `io_tlb_nslabs` of each report; absent where a report has the section and not the number.
    pub(crate) nslabs: Vec<(u64, Option<u64>)>,
    /// Ranges of `/proc/iomem`, with their names.
    pub(crate) iomem: Vec<(u64, PhysRange, String)>,
    /// Type of each group.
    pub(crate) groups: Vec<(u64, u64, String)>,
    pub(crate) devices: Vec<(u64, PciDevice)>,
    /// Modules that are loaded.
    pub(crate) modules: Vec<String>,
    /// The firmware's map of memory: first byte, last byte, and what is there.
    pub(crate) memmap: Vec<(u64, u64, String)>,
}

/// The report beside a log, if there is one.
pub(crate) fn beside(log: &Path) -> Option<PathBuf> {
    let folder = log.parent()?;
    ["state.txt", "state.txt.gz"].iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

impl State {
    /// Bytes of RAM in `/proc/iomem`.
    pub(crate) fn system_ram(&self) -> u64 {
        let ram = self.iomem.iter().filter(|(_, _, name)| name.starts_with("System RAM"));
        ram.fold(0, |sum: u64, (_, range, _)| sum.saturating_add(range.end.0 - range.start.0))
    }

    /// Why sizes of the running system may differ from those of the boot.
    pub(crate) fn later_memory(&self, ram: &[PhysRange]) -> Option<String> {
        let known = ram.iter().fold(0, |sum: u64, range| sum.saturating_add(range.end.0 - range.start.0));
        let why = "memory was added after the boot: /proc/iomem has more RAM than the firmware's map";
        (self.system_ram() > known).then(|| why.to_owned())
    }

    /// Reads what a file tells of one boot of a log, numbered from 1: the account that names the boot's command line. A
    /// file that names none is about the first boot, and so is the first account of several.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn of_boot(
        path: &Path,
        command_line: Option<&str>,
        number: u64,
    ) -> Result<Option<Self>, SourceError> {
        let mut states = Self::read(path)?;
        let wanted = command_line.map(str::trim);
        let same = |state: &Self| wanted.is_some() && state.cmdline.as_deref().map(str::trim) == wanted;
        let at = states.iter().position(same).or((number <= 1).then_some(0));
        Ok(at.filter(|at| *at < states.len()).map(|at| states.swap_remove(at)))
    }

    /// Reads the accounts of a file: another one begins with another command line.
    fn read(path: &Path) -> Result<Vec<Self>, SourceError> {
        let mut source = Source::open(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut state = Self { name, ..Self::default() };
        let mut done = Vec::new();
        let mut section = String::new();
        // The first report is the nearest to the boot; later ones are only asked for what must not change.
        let mut first: Option<String> = None;
        while let Some(line) = source.next_line()? {
            if source.line() > MAX_LINES {
                break;
            }
            if let Some(begins) = line.strip_prefix("@@@BEGIN ") {
                begins.trim().clone_into(&mut section);
                if section.ends_with("swiotlb") {
                    state.nslabs.push((source.line(), None));
                }
                continue;
            }
            if line.starts_with("@@@END") {
                section.clear();
                continue;
            }
            let Some((report, what)) = section.split_once('.') else { continue };
            let another = || state.cmdline.as_deref().is_some_and(|known| known.trim() != line.trim());
            if what == "cmdline" && !line.trim().is_empty() && another() && done.len() < MAX_ACCOUNTS {
                let next = Self { name: state.name.clone(), ..Self::default() };
                done.push(std::mem::replace(&mut state, next));
                first = None;
            }
            if what == "swiotlb" {
                state.swiotlb(&line);
                continue;
            }
            if first.get_or_insert_with(|| report.to_owned()) == report {
                state.take(source.line(), what, &line);
            }
        }
        done.push(state);
        Ok(done)
    }

    fn swiotlb(&mut self, line: &str) {
        if let Some(value) = line.trim().strip_prefix("io_tlb_nslabs ")
            && let (Ok(value), Some(last)) = (value.trim().parse(), self.nslabs.last_mut())
        {
            last.1 = Some(value);
        }
    }

    fn take(&mut self, number: u64, what: &str, line: &str) {
        match what {
            "cmdline" if !line.trim().is_empty() => {
                self.cmdline.get_or_insert_with(|| line.to_owned());
            }
            "version" => {
                if let Some(version) = line.strip_prefix("Linux version ") {
                    self.version.get_or_insert_with(|| version.to_owned());
                }
            }
            "iomem" => self.iomem(number, line),
            "meminfo" => {
                if let Some(rest) = line.strip_prefix("MemTotal:")
                    && let Some((kib, _)) = Scan(rest).blanks().dec()
                {
                    self.mem_total.get_or_insert((number, kib));
                }
            }
            "zoneinfo" => self.zoneinfo(number, line),
            "pci" => self.pci(number, line),
            "iommu_groups" => self.group(number, line),
            "modules" if self.modules.len() < 10_000 => {
                self.modules.extend(line.split_whitespace().next().map(str::to_owned));
            }
            "memmap" if self.memmap.len() < 10_000 => self.memmap.extend(memmap_line(line)),
            _ => {}
        }
    }

    fn iomem(&mut self, number: u64, line: &str) {
        let read = || {
            let (start, rest) = Scan(line).blanks().hex()?;
            let (last, rest) = rest.lit("-")?.hex()?;
            let name = rest.lit(" : ")?.0.trim_end().to_owned();
            let range = PhysRange { start: PhysAddr(start), end: PhysAddr(last.checked_add(1)?) };
            (start <= last && self.iomem.len() < 10_000).then_some((number, range, name))
        };
        if let Some(item) = read() {
            self.iomem.push(item);
        }
    }

    fn zoneinfo(&mut self, number: u64, line: &str) {
        let header = || {
            let (nid, rest) = Scan(line).lit("Node ")?.signed()?;
            let (name, _) = rest.lit(", zone")?.blanks().word();
            Some(ZoneInfo { nid, name: name.to_owned(), ..ZoneInfo::default() })
        };
        if let Some(zone) = header() {
            self.zones.push((number, zone));
            return;
        }
        let Some((_, zone)) = self.zones.last_mut() else { return };
        let value = |key| Scan(line).blanks().lit(key)?.blanks().dec().map(|(value, _)| value);
        if let Some(spanned) = value("spanned ") {
            zone.spanned = spanned;
        } else if let Some(present) = value("present ") {
            zone.present = present;
        }
    }

    fn pci(&mut self, number: u64, line: &str) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next().filter(|name| name.contains(':')) else { return };
        let mut device = PciDevice { name: name.to_owned(), ..PciDevice::default() };
        let (mut vendor, mut id) = (None, None);
        for (key, value) in words.filter_map(|word| word.split_once('=')).filter(|pair| !pair.1.is_empty()) {
            match key {
                "iommu_group" => device.group = value.parse().ok(),
                "driver" => device.driver = Some(value.to_owned()),
                "dma_mask_bits" => device.mask_bits = value.parse().ok(),
                "class" => device.class = Some(value.to_owned()),
                "vendor" => vendor = value.strip_prefix("0x"),
                "device" => id = value.strip_prefix("0x"),
                _ => {}
            }
        }
        device.ids = vendor.zip(id).map(|(vendor, id)| format!("{vendor}:{id}"));
        self.devices.push((number, device));
    }

    fn group(&mut self, number: u64, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["group", group, rest @ ..] = words.as_slice()
            && let (Ok(group), Some(type_)) =
                (group.parse(), rest.iter().find_map(|word| word.strip_prefix("type=")))
        {
            self.groups.push((number, group, type_.to_owned()));
        }
    }
}

/// `3 start=0x100000 end=0x7ffd3fff type=System RAM`.
fn memmap_line(line: &str) -> Option<(u64, u64, String)> {
    let (start, rest) = Scan(line).after("start=")?.hex()?;
    let (end, rest) = rest.lit(" end=")?.hex()?;
    Some((start, end, rest.lit(" type=")?.0.trim_end().to_owned()))
}
