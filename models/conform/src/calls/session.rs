//! The walk through a log: which line goes where, and what is counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::replay::DmaParams;
use crate::report::{Exception, Report};

use super::bytes::Bytes;
use super::coherent::Blocks;
use super::contents::Probe;
use super::guide::Guide;
use super::iova::RawIova;
use super::line::Line;
use super::lists::List;
use super::machine::Machine;
use super::path::Paths;
use super::raw::RawDomain;

/// How many contradictions are kept in full.
const MOST_EXCEPTIONS: usize = 1_000;

/// Everything that carries from line to line.
pub(super) struct Session<'a> {
    pub(super) machine: &'a Machine,
    pub(super) lines: &'a [Line],
    /// What was found.
    pub(super) report: Report,
    /// Pools and domains.
    pub(super) paths: Paths<'a>,
    /// The device's demands now.
    pub(super) params: DmaParams,
    /// Memory as far as it is known.
    pub(super) bytes: Bytes,
    /// Test D.
    pub(super) probe: Option<Probe>,
    /// Test E.
    pub(super) list: List,
    /// Test G.
    pub(super) blocks: Blocks,
    /// Test H.
    pub(super) iova: RawIova,
    /// Test I.
    pub(super) raw: RawDomain,
    /// Test J: how often something was filled.
    pub(super) fills: u32,
    /// How long no line was printed while all was unmapped, in microseconds, if the log has time stamps.
    pub(super) silent: Option<u64>,
    /// The test that the line before belonged to.
    test: char,
    tally: BTreeMap<String, (u64, u64)>,
    shown: BTreeSet<String>,
    left_out: u64,
    /// The state before the line, while no difference of its test was shown.
    before: Vec<String>,
}

/// One comparison.
pub(super) struct Check<'b> {
    pub(super) row: &'b str,
    pub(super) line: &'b Line,
    pub(super) recorded: String,
    pub(super) modelled: String,
    pub(super) why: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(machine: &'a Machine, guide: Guide, lines: &'a [Line]) -> Self {
        let mut report = Report::new("call log", machine.rules.version.name());
        report.counts.push(("lines".to_owned(), u64::try_from(lines.len()).unwrap_or(u64::MAX)));
        report.notes.clone_from(&machine.notes);
        Self {
            machine,
            lines,
            report,
            paths: Paths::new(machine, guide, lines),
            params: DmaParams::default(),
            bytes: Bytes::default(),
            probe: None,
            list: List::default(),
            blocks: Blocks::default(),
            iova: RawIova::default(),
            raw: RawDomain::default(),
            fills: 0,
            silent: None,
            test: ' ',
            tally: BTreeMap::new(),
            shown: BTreeSet::new(),
            left_out: 0,
            before: Vec::new(),
        }
    }

    /// Goes through all lines.
    pub(super) fn run(&mut self) {
        let mut at = 0;
        while at < self.lines.len() {
            at += self.step(at).max(1);
        }
        self.settle();
    }

    /// Handles the line at `at`; how many lines that took.
    fn step(&mut self, at: usize) -> usize {
        let line = &self.lines[at];
        if line.text.contains("left out") {
            self.tally(line, "calls that the driver left out");
            return 1;
        }
        let first = line.words().next().unwrap_or_default();
        let test = match first {
            "A" | "B" | "C" | "D" | "E" | "F" | "G" | "H" | "I" | "J" => first.chars().next().unwrap_or(' '),
            "H2" => 'H',
            _ => ' ',
        };
        if test != 'E' || !line.text.contains(" out[") {
            self.unmap_list();
        }
        if test != self.test {
            self.leave(self.test);
            self.enter(test);
            self.test = test;
        }
        // What was still open came before this line.
        self.paths.earlier = self.paths.now;
        self.paths.now = line.time.or(self.paths.now);
        self.paths.later = self.lines.get(at + 1).and_then(|line| line.time);
        let shown = self.shown.iter().any(|row| row.starts_with(test));
        self.before = if shown { Vec::new() } else { self.paths.describe() };
        let known = match first {
            "A" => self.masks(line),
            "B" => self.single(line),
            "C" => self.order(line),
            "D" => self.contents(line),
            "E" => self.lists(line),
            "F" => self.coherent(line),
            "G" => self.blocks(line),
            "H" => self.iova_domain(line),
            "H2" => self.iova_caches(line),
            "I" => self.raw_domain(line),
            "J" => return self.exhaustion(at),
            "probe" => self.probe_line(line),
            "done" | "remove" | "loading" => {
                self.tally(line, "lines about the driver itself");
                Some(())
            }
            _ => None,
        };
        if known.is_none() {
            self.tally(line, "lines that are cut, garbled or of an unknown kind");
        }
        1
    }

    /// What the driver sets at the start of a test.
    fn enter(&mut self, test: char) {
        self.params.min_align_mask = 0;
        match test {
            'C' | 'D' | 'J' => self.params.mask = models::dma::rules::DMA_BIT_MASK_32,
            'G' => self.params.coherent_mask = u64::MAX,
            _ => {}
        }
    }

    /// What is still open at the end of a test.
    fn leave(&mut self, test: char) {
        match test {
            'D' => self.unmap_probe(),
            'F' => self.free_coherent(),
            'G' => self.destroy_blocks(),
            _ => {}
        }
    }

    fn settle(&mut self) {
        self.unmap_list();
        self.leave(self.test);
    }

    /// `probe 0000:00:01.0 enable=0 cpu=0 tests=ABC`
    fn probe_line(&mut self, line: &Line) -> Option<()> {
        let device = line.words().nth(1)?.to_owned();
        let cpu = line.dec("cpu").and_then(|cpu| u32::try_from(cpu).ok()).filter(|cpu| *cpu < 8192)?;
        self.paths.cpu = cpu;
        if device != self.paths.device {
            self.params = DmaParams::default();
        }
        self.paths.device = device;
        self.params.max_segment = DmaParams::default().max_segment;
        self.params.boundary = DmaParams::default().boundary;
        self.tally(line, "lines about the driver itself");
        Some(())
    }

    /// Counts a line that is not compared, under what it is.
    pub(super) fn tally(&mut self, line: &Line, what: &str) {
        let entry = self.tally.entry(what.to_owned()).or_insert((0, line.number));
        entry.0 += 1;
    }

    /// Counts a comparison, and keeps it if it differs.
    pub(super) fn check(&mut self, check: Check<'_>) -> bool {
        let agrees = check.recorded == check.modelled;
        self.report.count(check.row, agrees);
        if agrees {
            return true;
        }
        let first = self.shown.insert(check.row.to_owned());
        if self.report.exceptions.len() >= MOST_EXCEPTIONS {
            self.left_out += 1;
            return false;
        }
        let detail = if first { std::mem::take(&mut self.before) } else { Vec::new() };
        self.report.exceptions.push(Exception {
            line: check.line.number,
            what: check.line.question().trim_end().to_owned(),
            recorded: check.recorded,
            modelled: check.modelled,
            why: check.why,
            detail,
        });
        false
    }

    /// The report, with what was not compared.
    pub(super) fn finish(mut self, others: u64) -> Report {
        for (what, (count, first)) in &self.tally {
            let lines = if *count == 1 { "line" } else { "lines" };
            self.report.notes.push(format!("{count} {lines} not compared: {what} (first: line {first})"));
        }
        if others > 0 {
            self.report.notes.push(format!("{others} lines are not the driver's"));
        }
        if self.left_out > 0 {
            self.report.notes.push(format!("{} more exceptions are counted, but not listed", self.left_out));
        }
        self.report.notes.extend(self.paths.notes());
        self.report
    }
}

/// `X` or `ERROR`, as the driver prints an address.
pub(super) fn shown(addr: Option<u64>) -> String {
    addr.map_or_else(|| "ERROR".to_owned(), |addr| format!("{addr:x}"))
}
