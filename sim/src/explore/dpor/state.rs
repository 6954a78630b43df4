//! A search as text, so that it can be taken up again in another process.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::node::{Counts, Node, Sleeper};
use super::options::Limits;
use super::search::Search;
use crate::ObjId;
use crate::probe::{Access, Op};

/// Why a text is no search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateError {
    /// Line, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for StateError {}

/// Lines with their numbers, for messages.
pub(super) struct Lines<'a> {
    lines: std::str::Lines<'a>,
    pub(super) number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { lines: text.lines(), number: 0 }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> StateError {
        StateError { line: self.number, what: what.into() }
    }

    /// The next line, which begins with this word; what follows it.
    pub(super) fn expect(&mut self, word: &str) -> Result<&'a str, StateError> {
        self.number += 1;
        let Some(line) = self.lines.next() else {
            return Err(self.error(format!("the file ends where \"{word}\" is expected")));
        };
        match line.strip_prefix(word) {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => Ok(rest.trim_start()),
            _ => {
                let found: String = line.chars().take(40).collect();
                Err(self.error(format!("\"{word}\" is expected, found \"{found}\"")))
            }
        }
    }

    /// The numbers of a line.
    pub(super) fn numbers(&mut self, word: &str) -> Result<Vec<u64>, StateError> {
        let text = self.expect(word)?;
        let number = |part: &str| part.parse().map_err(|_| self.error(format!("\"{part}\" is no number")));
        text.split_whitespace().map(number).collect()
    }

    /// Exactly so many numbers.
    pub(super) fn exactly<const N: usize>(&mut self, word: &str) -> Result<[u64; N], StateError> {
        let numbers = self.numbers(word)?;
        let found = numbers.len();
        numbers.try_into().map_err(|_| self.error(format!("{N} numbers are expected, found {found}")))
    }

    pub(super) fn small<T: TryFrom<u64>>(&self, number: u64) -> Result<T, StateError> {
        T::try_from(number).map_err(|_| self.error(format!("{number} is too large here")))
    }
}

pub(super) fn numbers<T: fmt::Display>(word: &str, list: impl IntoIterator<Item = T>, out: &mut String) {
    out.push_str(word);
    for number in list {
        let _ = write!(out, " {number}");
    }
    out.push('\n');
}

const fn op_code(op: Op) -> u64 {
    match op {
        Op::Read => 0,
        Op::Write => 1,
        Op::Acquire => 2,
        Op::Try => 3,
        Op::Release => 4,
        Op::ReleaseShared => 5,
        Op::Same(what) => 6 + what as u64,
    }
}

fn op_of(code: u64) -> Option<Op> {
    Some(match code {
        0 => Op::Read,
        1 => Op::Write,
        2 => Op::Acquire,
        3 => Op::Try,
        4 => Op::Release,
        5 => Op::ReleaseShared,
        _ => Op::Same(u32::try_from(code - 6).ok()?),
    })
}

fn accesses(list: &[Access]) -> impl Iterator<Item = u64> + '_ {
    list.iter().flat_map(|access| [u64::from(access.obj.0), op_code(access.op)])
}

fn read_accesses(lines: &Lines<'_>, list: &[u64]) -> Result<Vec<Access>, StateError> {
    let (pairs, []) = list.as_chunks::<2>() else {
        return Err(lines.error("an object without what was done to it"));
    };
    let access = |[obj, code]: &[u64; 2]| {
        let op = op_of(*code).ok_or_else(|| lines.error(format!("{code} is nothing that is done")))?;
        Ok(Access { obj: ObjId(lines.small(*obj)?), op })
    };
    pairs.iter().map(access).collect()
}

pub(super) fn write_sleepers(list: &[Sleeper], out: &mut String) {
    let _ = writeln!(out, "asleep {}", list.len());
    for one in list {
        let cpu = one.cpu.map_or(256, u64::from);
        let head = [u64::from(one.ctx), cpu, u64::from(one.barrier), u64::from(one.mask)];
        numbers("sleeper", head.into_iter().chain(accesses(&one.accesses)), out);
    }
}

pub(super) fn read_sleepers(lines: &mut Lines<'_>) -> Result<Vec<Sleeper>, StateError> {
    let [count] = lines.exactly("asleep")?;
    let mut list = Vec::new();
    for _ in 0..count {
        let numbers = lines.numbers("sleeper")?;
        let [ctx, cpu, barrier, mask, rest @ ..] = numbers.as_slice() else {
            return Err(lines.error("4 numbers at least are expected"));
        };
        list.push(Sleeper {
            ctx: slot(lines, *ctx)?,
            cpu: u8::try_from(*cpu).ok(),
            barrier: *barrier != 0,
            mask: *mask != 0,
            accesses: Arc::from(read_accesses(lines, rest)?),
        });
    }
    Ok(list)
}

fn slot(lines: &Lines<'_>, number: u64) -> Result<u8, StateError> {
    match u8::try_from(number) {
        Ok(slot) if usize::from(slot) < crate::MAX_CONTEXTS => Ok(slot),
        _ => Err(lines.error(format!("{number} is no context"))),
    }
}

impl Counts {
    pub(super) const fn numbers(&self) -> [u64; 4] {
        [self.complete, self.blocked, self.cut, self.fixed]
    }

    pub(super) const fn of([complete, blocked, cut, fixed]: [u64; 4]) -> Self {
        Self { complete, blocked, cut, fixed }
    }
}

impl Search {
    /// Writes the search between two runs.
    pub(super) fn write(&self, out: &mut String) {
        numbers("counts", self.counts.numbers(), out);
        numbers("nodes", [self.nodes.len() as u64, u64::from(self.finished)], out);
        for node in &self.nodes {
            let staying = node.staying.map_or(256, u64::from);
            let flags = u64::from(node.partial_flags.0) | u64::from(node.partial_flags.1) << 1;
            let head = [
                node.event as u64,
                u64::from(node.choice),
                u64::from(node.of),
                node.eligible,
                node.barred,
                node.backtrack,
                node.done,
                u64::from(node.preemptions),
                staying,
                flags,
            ];
            numbers("node", head.into_iter().chain(accesses(&node.partial)), out);
            write_sleepers(&node.sleepers, out);
        }
    }

    /// Reads one that explores the subtree below `prefix`.
    pub(super) fn read(
        lines: &mut Lines<'_>,
        limits: Limits,
        prefix: Vec<u32>,
        prefix_sleepers: Vec<Sleeper>,
    ) -> Result<Self, StateError> {
        let counts = Counts::of(lines.exactly("counts")?);
        let [count, finished] = lines.exactly("nodes")?;
        let mut nodes = Vec::new();
        for _ in 0..count {
            let numbers = lines.numbers("node")?;
            let [
                event,
                choice,
                of,
                eligible,
                barred,
                backtrack,
                done,
                preemptions,
                staying,
                flags,
                rest @ ..,
            ] = numbers.as_slice()
            else {
                return Err(lines.error("10 numbers at least are expected"));
            };
            let partial = read_accesses(lines, rest)?;
            let choice = lines.small(*choice)?;
            if *of == 0 {
                slot(lines, u64::from(choice))?;
            }
            nodes.push(Node {
                event: lines.small(*event)?,
                choice,
                of: lines.small(*of)?,
                eligible: *eligible,
                barred: *barred,
                backtrack: *backtrack,
                done: *done,
                sleepers: Vec::new(),
                partial,
                partial_flags: (flags & 1 != 0, flags & 2 != 0),
                preemptions: lines.small(*preemptions)?,
                staying: u8::try_from(*staying).ok(),
            });
            let sleepers = read_sleepers(lines)?;
            if let Some(node) = nodes.last_mut() {
                node.sleepers = sleepers;
            }
        }
        let mut search = Self::new(limits);
        search.nodes = nodes;
        search.prefix = prefix;
        search.prefix_sleepers = prefix_sleepers;
        search.counts = counts;
        search.finished = finished != 0;
        Ok(search)
    }
}
