//! Replays boots of real machines from their `memblock=debug` lines: every allocation must get the address that it
//! got there, the second dump of the regions must be the same, and as many pages must reach the page allocator.
//!
//! The lines of some boots lie in `tests/data`; whole console logs are read, too, where they exist beside the
//! workspace (`../shared/data/boots`), or where the environment variable `DMASIM_BOOTS` says they are.

#![expect(clippy::print_stderr, reason = "a test says which logs it did not find")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use models::mem::{Pfn, PhysAddr, PhysRange};
use models::memblock::{Bounds, Memblock, MemblockFlags, MemblockRules, MemblockType, NodeId, Owner};

const OWNER: Owner = Owner::new("boot log", 0);
/// Until the page tables are up, only the first MiB can be written to.
const EARLY_LIMIT: PhysAddr = PhysAddr(1 << 20);

/// The hexadecimal number after `key`, with or without `0x`.
fn hex_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.split_once(key)?.1;
    let digits = rest.strip_prefix("0x").unwrap_or(rest);
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], 16).ok()
}

fn number_after<T: std::str::FromStr>(text: &str, key: &str) -> Option<T> {
    let rest = text.split_once(key)?.1;
    rest[..rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// `[first-last]` or `[mem first-last]`.
fn range(text: &str) -> Option<PhysRange> {
    let open = if text.contains("[mem ") { "[mem " } else { "[0x" };
    let inside = text.split_once(open)?.1;
    let (first, last) = inside.split_once(']')?.0.split_once('-')?;
    let number = |digits: &str| u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok();
    Some(PhysRange { start: PhysAddr(number(first)?), end: PhysAddr(number(last)? + 1) })
}

/// One region of a dump: list, range, node, flags.
type Listed = (MemblockType, PhysRange, NodeId, u64);

fn listed(line: &str) -> Option<Listed> {
    let kind = match line.trim_start() {
        rest if rest.starts_with("memory[") => MemblockType::Memory,
        rest if rest.starts_with("reserved[") => MemblockType::Reserved,
        _ => return None,
    };
    let nid = number_after(line, "on node ").map_or(NodeId::MAX_NUMNODES, NodeId);
    Some((kind, range(line.split_once('\t')?.1)?, nid, hex_after(line, "flags: ")?))
}

/// What a node consists of. Neighbouring blocks of a node are one, unless another node lies between them.
/// Source: `numa_cleanup_meminfo()`.
fn merge_blocks(blocks: &mut Vec<(PhysRange, NodeId)>) {
    let mut i = 0;
    while i < blocks.len() {
        let mut j = i + 1;
        while j < blocks.len() {
            let (a, b) = (blocks[i], blocks[j]);
            let union = PhysRange { start: a.0.start.min(b.0.start), end: a.0.end.max(b.0.end) };
            let between = |other: &(PhysRange, NodeId)| {
                other.1 != a.1 && other.0.start < union.end && union.start < other.0.end
            };
            if a.1 == b.1 && !blocks.iter().any(between) {
                blocks[i].0 = union;
                blocks.remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
}

struct Boot {
    mb: Memblock,
    old: bool,
    early: bool,
    blocks: Vec<(PhysRange, NodeId)>,
    nodes_set: bool,
    dumps: usize,
    second_dump: Vec<Listed>,
    requests: usize,
    given_back_kib: u64,
    /// KiB that the hand-over leaves reserved, and what the log says about it.
    kept_kib: u64,
    logged_kib: Option<u64>,
}

impl Boot {
    fn set_nodes(&mut self) {
        let Some(dram) = self.mb.dram_range() else { return };
        let lowest = if self.old { PhysAddr(0) } else { dram.start };
        for (block, _) in &mut self.blocks {
            *block = PhysRange { start: block.start.max(lowest), end: block.end.min(dram.end) };
        }
        self.blocks.retain(|(block, _)| block.start < block.end);
        merge_blocks(&mut self.blocks);
        for kind in [MemblockType::Memory, MemblockType::Reserved] {
            for (block, nid) in &self.blocks {
                assert_eq!(self.mb.set_node(block.start, block.size(), kind, *nid), Ok(()));
            }
        }
        self.nodes_set = true;
    }

    /// Predicts the answer to a request.
    fn request(&mut self, line: &str) -> Option<PhysRange> {
        let keeps_early = ["reserve_real_mode", "init_mem_mapping", "alloc_low_pages"];
        if self.early && !keeps_early.iter().any(|caller| line.contains(caller)) {
            self.early = false;
            self.mb.set_current_limit(self.mb.dram_range()?.end);
        }
        let size = number_after(line, "_range: ")
            .or_else(|| number_after(line, "_raw: "))
            .or_else(|| number_after(line, "_nid: "))?;
        let align = hex_after(line, "align=")?;
        let bounds =
            Bounds::between(PhysAddr(hex_after(line, " from=")?), PhysAddr(hex_after(line, "max_addr=")?));
        let nid = number_after(line, " nid=").map_or(NodeId::NO_NODE, NodeId);
        let found = if line.starts_with("memblock_phys_alloc_range") {
            self.mb.phys_alloc_range(size, align, bounds, OWNER)
        } else if line.starts_with("memblock_alloc_exact_nid_raw") {
            self.mb.alloc_exact_nid(size, align, bounds, nid, OWNER)
        } else {
            self.mb.alloc_try_nid(size, align, bounds, nid, OWNER)
        };
        self.requests += 1;
        found.ok().map(|start| PhysRange::new(start, size))
    }

    fn regions(&self) -> Vec<Listed> {
        let of = |kind| {
            let regions = self.mb.regions(kind).iter();
            regions.map(move |region| (kind, region.range(), region.nid, u64::from(region.flags.0)))
        };
        of(MemblockType::Memory).chain(of(MemblockType::Reserved)).collect()
    }

    /// The log gives all pages of memory, and how many of them the page allocator did not receive.
    fn hand_over(&mut self, line: &str) {
        let pages: u64 = self.mb.pfn_ranges(NodeId::MAX_NUMNODES).map(|run| run.end.0 - run.start.0).sum();
        assert_eq!(number_after(line, "K/"), Some(pages * 4), "{line}");
        let free = self.mb.free_all(Pfn(u64::MAX)).expect("the hand-over succeeds");
        self.kept_kib = (pages - free.iter().map(|run| run.pages()).sum::<u64>()) * 4 - self.given_back_kib;
        let before = line.split_once("K reserved").expect("the line has the reserved memory").0;
        self.logged_kib = before.rsplit(' ').next().and_then(|kib| kib.parse().ok());
    }

    fn compare_second_dump(&mut self) {
        if !self.second_dump.is_empty() {
            assert_eq!(self.regions(), std::mem::take(&mut self.second_dump), "second dump");
        }
    }

    fn line(&mut self, line: &str, next: Option<&str>) {
        if let Some(entry @ (kind, at, nid, flags)) = listed(line) {
            let flags = MemblockFlags(u32::try_from(flags).expect("flags have 32 bits"));
            match (self.dumps, kind) {
                (1, MemblockType::Memory) => {
                    assert_eq!(self.mb.add_node(at.start, at.size(), nid, flags), Ok(()));
                }
                (1, MemblockType::Reserved) => {
                    assert_eq!(self.mb.reserve(at.start, at.size(), OWNER), Ok(()));
                }
                _ => self.second_dump.push(entry),
            }
            return;
        }
        self.compare_second_dump();
        if line.starts_with("MEMBLOCK configuration") {
            self.dumps += 1;
        } else if let Some(rest) = line.strip_prefix("ACPI: SRAT: Node ") {
            let nid = number_after(line, "Node ").map(NodeId).expect("an SRAT line has a node");
            self.blocks.push((range(rest).expect("an SRAT line has a range"), nid));
        } else if line.starts_with("Faking a node") {
            self.blocks = vec![(range(line).expect("a faked node has a range"), NodeId(0))];
        } else if line.starts_with("Memory: ") {
            self.hand_over(line);
        } else if line.starts_with("Freeing SMP alternatives memory: ") {
            // Before its "Memory:" line 6.12 has given these pages back, too; 6.1 prints that line earlier.
            self.given_back_kib = number_after(line, "memory: ").expect("the line has a size");
        } else if self.dumps > 0 {
            self.memblock_line(line, next);
        }
    }

    /// A line of memblock's own; `next` is the log's next line.
    fn memblock_line(&mut self, line: &str, next: Option<&str>) {
        if line.starts_with("memblock_alloc") || line.starts_with("memblock_phys_alloc") {
            let got = self.request(line);
            let reserved = next.filter(|next| next.starts_with("memblock_reserve")).and_then(range);
            assert_eq!(got, reserved, "{line}");
        } else if line.starts_with("memblock_phys_free") {
            let freed = range(line).expect("a line about a range has one");
            assert_eq!(self.mb.free(freed.start, freed.size()), Ok(()));
        } else if line.starts_with("memblock_reserve") {
            let at = range(line).expect("a line about a range has one");
            if let Some(node_data) = next.filter(|next| next.starts_with("NODE_DATA(")) {
                if !self.nodes_set {
                    self.set_nodes();
                }
                let nid = number_after(node_data, "NODE_DATA(").map_or(NodeId::NO_NODE, NodeId);
                let got = self.mb.phys_alloc_try_nid(at.size(), 64, nid, OWNER);
                assert_eq!(got, Ok(at.start), "{node_data}");
                self.requests += 1;
            } else {
                assert_eq!(self.mb.reserve(at.start, at.size(), OWNER), Ok(()));
            }
        }
    }
}

/// Replays one log; returns how many addresses were predicted.
fn replay(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
    let mut raw = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut raw).expect("the log is compressed by gzip");
    } else {
        raw = bytes;
    }
    let text = String::from_utf8_lossy(&raw);
    let wanted = |line: &&str| {
        [
            "Linux version",
            "memblock_",
            "MEMBLOCK",
            " memory[",
            " reserved[",
            "ACPI: SRAT: Node",
            "Faking a node",
        ]
        .iter()
        .chain(&["NODE_DATA(", "Memory: ", "Freeing SMP alternatives memory: "])
        .any(|start| line.starts_with(start))
    };
    let lines: Vec<_> =
        text.lines().filter_map(|line| Some(line.split_once("] ")?.1)).filter(wanted).collect();
    let old = lines.first().is_some_and(|line| line.starts_with("Linux version 6.1."));
    let rules = if old { MemblockRules::v6_1() } else { MemblockRules::v6_12() }.with_resize();
    let mut mb = Memblock::new(rules);
    mb.set_current_limit(EARLY_LIMIT);
    let mut boot = Boot {
        mb,
        old,
        early: true,
        blocks: vec![],
        nodes_set: false,
        dumps: 0,
        second_dump: vec![],
        requests: 0,
        given_back_kib: 0,
        kept_kib: 0,
        logged_kib: None,
    };
    let mut index = 0;
    while index < lines.len() {
        let next = lines.get(index + 1).copied();
        boot.line(lines[index], next);
        // The answer to a request has been looked at.
        let is_request =
            lines[index].starts_with("memblock_alloc") || lines[index].starts_with("memblock_phys_alloc");
        index += if is_request && boot.dumps > 0 { 2 } else { 1 };
    }
    assert_eq!((boot.dumps, boot.mb.check()), (2, Ok(())), "{}", path.display());
    assert_eq!(boot.logged_kib, Some(boot.kept_kib), "reserved memory of {}", path.display());
    boot.requests
}

#[test]
fn sampled_boots_get_their_addresses() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let predicted = ["612_2G_plain", "61_5G_swforce", "612_9G_numa2_sw16384_4", "61_5G_swforce_eduonly"]
        .map(|boot| replay(&data.join(format!("memblock-boot-{boot}.log.gz"))));
    assert_eq!(predicted, SAMPLED);
}

#[test]
fn all_boots_get_their_addresses() {
    let folder = std::env::var_os("DMASIM_BOOTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/boots"), PathBuf::from);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: the boot logs are not there ({})", folder.display());
        return;
    };
    let mut logs: Vec<_> = entries
        .filter_map(Result::ok)
        .flat_map(|boot| ["console.log", "console.log.gz"].map(|name| boot.path().join(name)))
        .filter(|path| path.exists())
        .collect();
    logs.sort();
    let predicted: usize = logs.iter().map(|path| replay(path)).sum();
    eprintln!("{} boots, {predicted} addresses predicted", logs.len());
    assert!(predicted > logs.len() * 20);
}

/// Addresses predicted for each sample, so that a file cut short does not pass.
const SAMPLED: [usize; 4] = [52, 62, 63, 62];
