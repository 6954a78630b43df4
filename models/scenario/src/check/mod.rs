//! What the types of the schema cannot say: names that must exist, numbers that must fit together.
//!
//! Each check sees one value and where it comes from, and reports everything it finds.

mod driver;
mod kernel;
mod machine;
mod process;
mod rest;

use std::sync::Arc;

use super::error::{Problem, SourceText};
use super::index::Seg;
use super::limits;
use super::load::{Layer, Origin, Sourced};
use super::nearest::nearest;
use crate::profile::Version;
use schema::{CpuChoice, Dist, Driver, Machine};

pub(super) use kernel::profile_of;

/// Checks a whole scenario. `root` is blamed for what is missing.
pub(super) fn check(root: &Arc<SourceText>, layer: &Layer) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (missing, field) in [(layer.kernel.is_none(), "kernel"), (layer.machine.is_none(), "machine")] {
        if missing {
            let message = format!("field `{field}` is missing");
            let help = "give it here, or in the file that this one extends";
            problems.push(Problem::at_span(root, 0..0, String::new(), message).with_help(help));
        }
    }
    if let Some(kernel) = &layer.kernel {
        kernel::check(&mut Checker::new(&mut problems, &kernel.origin), &kernel.value);
    }
    if let Some(cmdline) = &layer.cmdline {
        let version = layer.kernel.as_ref().and_then(|k| Version::from_name(&k.value.version));
        let mut checker = Checker::new(&mut problems, &cmdline.origin);
        kernel::command_line(&mut checker, &cmdline.value, version.unwrap_or(Version::V5_13));
    }
    let machine = layer.machine.as_deref();
    let drivers: &[Arc<Sourced<Driver>>] = layer.drivers.as_deref().unwrap_or_default();
    let world = World {
        machine: machine.map(|m| &m.value),
        drivers: drivers.iter().map(|d| d.value.name.as_str()).collect(),
    };
    if let Some(machine) = machine {
        machine::check(&mut Checker::new(&mut problems, &machine.origin), &machine.value, &world);
    }
    for (i, driver) in drivers.iter().enumerate() {
        let mut checker = Checker::new(&mut problems, &driver.origin);
        if drivers[..i].iter().any(|d| d.value.name == driver.value.name) {
            checker.error(&[Seg::Field("name")], format!("two drivers are called `{}`", driver.value.name));
        }
        driver::check(&mut checker, &driver.value, &world);
    }
    if let Some(processes) = &layer.processes {
        process::check(&mut Checker::new(&mut problems, &processes.origin), &processes.value, &world);
    }
    if let Some(inject) = &layer.inject {
        rest::inject(&mut Checker::new(&mut problems, &inject.origin), &inject.value, &world);
    }
    if let Some(explore) = &layer.explore {
        rest::explore(&mut Checker::new(&mut problems, &explore.origin), &explore.value);
    }
    if let Some(expect) = &layer.expect {
        rest::expect(&mut Checker::new(&mut problems, &expect.origin), &expect.value, &world);
    }
    problems
}

/// What names may refer to.
struct World<'a> {
    machine: Option<&'a Machine>,
    drivers: Vec<&'a str>,
}

impl World<'_> {
    fn has_device(&self, bdf: &str) -> bool {
        self.machine.is_none_or(|m| m.devices.iter().any(|d| d.bdf == bdf))
    }

    fn bdfs(&self) -> impl Iterator<Item = &str> {
        self.machine.into_iter().flat_map(|m| m.devices.iter().map(|d| d.bdf.as_str()))
    }
}

/// Collects problems about one value, and knows the path to the part that is looked at.
struct Checker<'a> {
    problems: &'a mut Vec<Problem>,
    source: &'a Arc<SourceText>,
    path: Vec<Seg>,
}

impl<'a> Checker<'a> {
    fn new(problems: &'a mut Vec<Problem>, origin: &'a Origin) -> Self {
        Self { problems, source: &origin.source, path: origin.prefix.clone() }
    }

    /// Does `what` with the path leading into `seg`.
    fn at<R>(&mut self, seg: Seg, what: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(seg);
        let result = what(self);
        self.path.pop();
        result
    }

    fn field<R>(&mut self, name: &'static str, what: impl FnOnce(&mut Self) -> R) -> R {
        self.at(Seg::Field(name), what)
    }

    fn problem(&self, inside: &[Seg], message: impl Into<String>) -> Problem {
        let path = [self.path.as_slice(), inside].concat();
        Problem::at_path(self.source, &path, message)
    }

    /// Whether there is room for another error. Errors have room left that warnings cannot take.
    fn may_err(&self) -> bool {
        self.problems.len() < 2 * limits::PROBLEMS
    }

    fn error(&mut self, inside: &[Seg], message: impl Into<String>) {
        self.error_help(inside, message, "");
    }

    fn error_help(&mut self, inside: &[Seg], message: impl Into<String>, help: impl Into<String>) {
        if self.may_err() {
            let problem = self.problem(inside, message).with_help(help);
            self.problems.push(problem);
        }
    }

    fn warn(&mut self, inside: &[Seg], message: impl Into<String>, help: impl Into<String>) {
        if self.problems.len() < limits::PROBLEMS {
            let problem = self.problem(inside, message).with_help(help).into_warning();
            self.problems.push(problem);
        }
    }

    /// The list is no longer than `limit`; says whether it is worth looking into.
    fn count(&mut self, field: &'static str, count: usize, limit: usize) -> bool {
        if count > limit {
            self.error(&[Seg::Field(field)], format!("{count} entries, more than {limit}"));
        }
        count <= limit
    }

    fn name(&mut self, field: &'static str, name: &str) {
        if name.is_empty() {
            self.error(&[Seg::Field(field)], "an empty name");
        } else if name.chars().any(char::is_control) {
            self.error(&[Seg::Field(field)], "a name with control characters");
        }
    }

    fn range(&mut self, field: &'static str, value: u64, low: u64, high: u64) {
        if value < low || value > high {
            let message = format!("{value} is out of range");
            self.error_help(&[Seg::Field(field)], message, format!("allowed: {low} to {high}"));
        }
    }

    fn percent(&mut self, value: u32) {
        self.range("percent", value.into(), 0, 100);
    }

    fn dist(&mut self, field: &'static str, dist: &Dist, low: u64, high: u64) {
        let at = [Seg::Field(field)];
        match dist {
            Dist::Uniform(from, to) if from > to => {
                self.error_help(
                    &at,
                    format!("the range {from} to {to} is empty"),
                    format!("`Uniform({to}, {from})`?"),
                );
            }
            Dist::OneOf(values) if values.is_empty() => self.error(&at, "there is nothing to choose from"),
            Dist::Weighted(pairs) if pairs.iter().all(|p| p.0 == 0) => {
                self.error_help(
                    &at,
                    "there is nothing to choose from",
                    "at least one weight must be above 0",
                );
            }
            _ => {
                let bad = [dist.min(), dist.max()].into_iter().flatten().find(|v| *v < low || *v > high);
                if let Some(bad) = bad {
                    let message = format!("{bad} is out of range");
                    self.error_help(&at, message, format!("allowed: {low} to {high}"));
                }
            }
        }
    }

    /// `bdf` is the address of a device of the machine.
    fn device(&mut self, inside: &[Seg], bdf: &str, world: &World<'_>) {
        if !is_bdf(bdf) {
            self.bad_bdf(inside, bdf);
        } else if !world.has_device(bdf) {
            let message = format!("no device `{bdf}` in the machine");
            let help = did_you_mean(bdf, world.bdfs());
            self.error_help(inside, message, help);
        }
    }

    fn bad_bdf(&mut self, inside: &[Seg], bdf: &str) {
        let message = format!("`{bdf}` is no PCI address");
        let help = "segment:bus:device.function in lower-case hexadecimal, as in `0000:0c:00.0`";
        self.error_help(inside, message, help);
    }

    fn cpu(&mut self, cpu: CpuChoice, world: &World<'_>) {
        if let (CpuChoice::Cpu(n), Some(machine)) = (cpu, world.machine)
            && n >= machine.cpus
        {
            let message = format!("no CPU {n} in the machine");
            let help = format!("allowed: 0 to {}", machine.cpus.saturating_sub(1));
            self.error_help(&[Seg::Field("cpu")], message, help);
        }
    }
}

/// Whether this is `ssss:bb:dd.f`.
fn is_bdf(text: &str) -> bool {
    let hex = |part: &str, digits, max| {
        part.len() == digits
            && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && u32::from_str_radix(part, 16).is_ok_and(|n| n <= max)
    };
    let mut parts = text.split([':', '.']);
    text.len() == 12
        && text.as_bytes().get(4) == Some(&b':')
        && text.as_bytes().get(7) == Some(&b':')
        && text.as_bytes().get(10) == Some(&b'.')
        && parts.next().is_some_and(|p| hex(p, 4, 0xffff))
        && parts.next().is_some_and(|p| hex(p, 2, 0xff))
        && parts.next().is_some_and(|p| hex(p, 2, 0x1f))
        && parts.next().is_some_and(|p| hex(p, 1, 7))
        && parts.next().is_none()
}

/// "did you mean ...? there is: ...", with a bounded list.
fn did_you_mean<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    const COMPARED: usize = 500;
    let names: Vec<&str> = names.take(COMPARED).collect();
    let mut list = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list.push_str(", ...");
    }
    let list = if names.is_empty() { "there is none".to_owned() } else { format!("there is: {list}") };
    match nearest(found, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}

/// The most that a chain of repetitions multiplies to, or the limit's successor.
fn multiplied(outer: u64, times: &Dist) -> u64 {
    outer.saturating_mul(times.max().unwrap_or(0)).min(limits::EXECUTED + 1)
}
