//! A scenario that can be run: everything merged, checked, and named by a digest.

use std::fmt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::check::{check, profile_of};
use super::error::{LoadError, Problem, SourceText};
use super::limits;
use super::load::{Disk, Layer, Layers, Origin, ReadFile, read};
use super::parse::allowed;
use crate::cmdline::CommandLine;
use crate::e820::MemoryMap;
use crate::profile::Profile;
use schema::{Content, Driver, Expect, Explore, Inject, Kernel, Machine, Process};

/// What a user asks for on top of a scenario file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Run this variant.
    pub variant: Option<String>,
    /// Replace the command line.
    pub cmdline: Option<String>,
    /// Add these words to the command line.
    pub append: Option<String>,
    /// Replace the version; the file's `apply` and `revert` then no longer count.
    pub version: Option<String>,
    /// Apply these behaviours too.
    pub apply: Vec<String>,
    /// Revert these behaviours too.
    pub revert: Vec<String>,
}

/// The 128-bit name of what a run depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A scenario file and everything that it names, read and checked.
#[derive(Debug)]
pub struct Loaded {
    name: String,
    layers: Layers,
    warnings: Vec<Problem>,
}

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The file's path as given, and behind `#` the variant.
    pub name: String,
    /// What the scenario shows.
    pub about: String,
    /// Where the case comes from.
    pub source: String,
    /// The kernel as written.
    pub kernel: Kernel,
    /// What that kernel does.
    pub profile: Profile,
    /// The command line as written.
    pub cmdline: String,
    /// What the command line says to this kernel.
    pub command_line: CommandLine,
    /// The machine.
    pub machine: Machine,
    /// Its memory, as the command line leaves it.
    pub map: MemoryMap,
    /// The drivers, in the order in which they are listed.
    pub drivers: Vec<Driver>,
    /// What goes on besides.
    pub processes: Vec<Process>,
    /// What widens windows.
    pub inject: Inject,
    /// How many runs, and how they are scheduled.
    pub explore: Explore,
    /// What must come out.
    pub expect: Expect,
    /// Names everything that one run with given choices depends on. Comments, formatting, the order of fields,
    /// descriptions, the number of seeds, the strategy and the expectation do not count.
    pub digest: Digest,
    /// What is doubtful.
    pub warnings: Vec<Problem>,
}

/// Reads a scenario file from disk, with everything that it names, and checks it and all its variants.
///
/// # Errors
///
/// Everything that one stage (reading, then checking) finds wrong.
pub fn load(path: impl AsRef<Path>) -> Result<Loaded, LoadError> {
    load_from(path.as_ref(), &Disk)
}

/// Reads a scenario file from wherever `files` has it; see [`load`].
///
/// # Errors
///
/// Everything that one stage finds wrong.
pub fn load_from(path: &Path, files: &dyn ReadFile) -> Result<Loaded, LoadError> {
    let layers = read(path, files)?;
    let mut found = check(&layers.root, &layers.base);
    for variant in &layers.variants {
        for problem in check(&layers.root, &layers.base.clone().under(variant.layer.clone())) {
            let room = !problem.is_warning() || found.len() < limits::PROBLEMS;
            if room && !found.iter().any(|p| p.same(&problem)) {
                found.push(problem);
            }
        }
        if found.len() > 2 * limits::PROBLEMS {
            break;
        }
    }
    let warnings = errors_first(found)?;
    Ok(Loaded { name: path.display().to_string(), layers, warnings })
}

/// The warnings, or the errors if there are any.
fn errors_first(found: Vec<Problem>) -> Result<Vec<Problem>, LoadError> {
    let (warnings, errors): (Vec<_>, Vec<_>) = found.into_iter().partition(Problem::is_warning);
    if errors.is_empty() { Ok(warnings) } else { Err(LoadError::new(errors)) }
}

impl Loaded {
    /// The file's path as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the scenario shows.
    #[must_use]
    pub fn about(&self) -> &str {
        self.layers.base.about.as_deref().unwrap_or_default()
    }

    /// Its variants: name, and what each shows.
    pub fn variants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.layers.variants.iter().map(|v| (v.name.as_str(), v.layer.about.as_deref().unwrap_or_default()))
    }

    /// What is doubtful in it and its variants.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The scenario, or a variant of it, with what the user asks for on top.
    ///
    /// # Errors
    ///
    /// When the variant, the version or a behaviour does not exist.
    pub fn resolve(&self, overrides: &Overrides) -> Result<Resolved, LoadError> {
        let mut layer = self.layers.base.clone();
        let mut name = self.name.clone();
        if let Some(wanted) = &overrides.variant {
            let Some(variant) = self.layers.variants.iter().find(|v| v.name == *wanted) else {
                let names: Vec<&str> = self.layers.variants.iter().map(|v| v.name.as_str()).collect();
                let origin = option("variant", wanted);
                let message = format!("no variant `{wanted}` in {}", self.name);
                let help = match names.as_slice() {
                    [] => "this scenario has no variants".to_owned(),
                    names => allowed(wanted, names),
                };
                return Err(Problem::at_path(&origin.source, &origin.prefix, message).with_help(help).into());
            };
            layer = layer.under(variant.layer.clone());
            name = format!("{name}#{wanted}");
        }
        let mut problems = Vec::new();
        lay_overrides(&mut layer, overrides, &mut problems);
        if problems.is_empty() {
            problems = check(&self.layers.root, &layer);
        }
        let warnings = errors_first(problems)?;
        finish(name, layer, warnings).ok_or_else(|| {
            // The checks above say what is missing; this is for a check that was forgotten.
            Problem::at_span(&self.layers.root, 0..0, String::new(), "the scenario is not complete").into()
        })
    }
}

/// A value that came from the user and not from a file.
fn option(name: &str, value: &str) -> Origin {
    Origin { source: SourceText::new(format!("<option {name}>"), value.to_owned()), prefix: Vec::new() }
}

fn lay_overrides(layer: &mut Layer, overrides: &Overrides, problems: &mut Vec<Problem>) {
    if let Some(cmdline) = &overrides.cmdline {
        layer.cmdline = Some(option("cmdline", cmdline).of(cmdline.clone()));
    }
    if let Some(more) = &overrides.append {
        let old = layer.cmdline.as_ref().map_or("", |c| c.value.as_str());
        let all = [old, more].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join(" ");
        layer.cmdline = Some(option("append", more).of(all));
    }
    let Some(kernel) = &layer.kernel else { return };
    let mut kernel = kernel.clone();
    if let Some(version) = &overrides.version {
        kernel.value.version.clone_from(version);
        kernel.value.apply.clear();
        kernel.value.revert.clear();
    }
    kernel.value.apply.extend(overrides.apply.iter().cloned());
    kernel.value.revert.extend(overrides.revert.iter().cloned());
    if overrides.version.is_some() || !overrides.apply.is_empty() || !overrides.revert.is_empty() {
        // What the user wrote has no place in the file: blame a text that looks like what was asked for.
        let text = kernel.value.line().unwrap_or_default();
        kernel.origin = option("kernel", &text);
        if text.is_empty() {
            problems.push(Problem::at_path(&kernel.origin.source, &[], "the kernel cannot be written down"));
        }
    }
    layer.kernel = Some(kernel);
}

fn finish(name: String, layer: Layer, warnings: Vec<Problem>) -> Option<Resolved> {
    let kernel = layer.kernel?.value;
    let profile = profile_of(&kernel).ok()?;
    let machine = layer.machine?.value.clone();
    let drivers = layer.drivers.iter().flatten().map(|d| d.value.clone()).collect();
    let cmdline = layer.cmdline.map(|c| c.value).unwrap_or_default();
    let mut resolved = Resolved {
        name,
        about: layer.about.unwrap_or_default(),
        source: layer.source.unwrap_or_default(),
        kernel,
        command_line: CommandLine::parse(&cmdline, profile.version),
        map: MemoryMap::new(&machine, &cmdline),
        cmdline,
        profile,
        machine,
        drivers,
        processes: layer.processes.map(|p| p.value.clone()).unwrap_or_default(),
        inject: layer.inject.map(|i| i.value).unwrap_or_default(),
        explore: layer.explore.map(|e| e.value).unwrap_or_default(),
        expect: layer.expect.map(|e| e.value).unwrap_or_default(),
        digest: Digest(0),
        warnings,
    };
    resolved.digest = digest(&resolved)?;
    Some(resolved)
}

/// The digest of everything that one run depends on, in the order below, written as compact RON.
fn digest(scenario: &Resolved) -> Option<Digest> {
    let mut machine = scenario.machine.clone();
    machine.about.clear();
    let mut drivers = scenario.drivers.clone();
    for driver in &mut drivers {
        driver.about.clear();
    }
    let content = Content {
        version: scenario.profile.version.name(),
        behaviours: scenario.profile.set.iter().map(crate::profile::Behaviour::name).collect(),
        config: &scenario.kernel.config,
        cmdline: &scenario.cmdline,
        machine: &machine,
        drivers: &drivers,
        processes: &scenario.processes,
        inject: &scenario.inject,
        max_steps: scenario.explore.max_steps,
        on_finding: scenario.explore.on_finding,
    };
    content.text().ok().map(|text| Digest(xxh3_128(text.as_bytes())))
}
