//! Reading scenario files, following what they name, and laying one over the other.

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::error::{LoadError, Problem, SourceText};
use super::index::Seg;
use super::limits;
use super::nearest::nearest;
use super::parse::parse;
use schema::{
    Driver, DriverRef, Expect, Explore, Inject, Kernel, Machine, MachineRef, Process, ScenarioFile, Text,
    Variant,
};

/// Where scenario files come from.
pub trait ReadFile {
    /// The text of a file.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it is no text, or too large.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Names of the files next to `path`, for "did you mean".
    fn neighbours(&self, path: &Path) -> Vec<String> {
        let _ = path;
        Vec::new()
    }
}

/// Files on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl ReadFile for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        // Anything but a regular file might never end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        read_text(path, limits::FILE_BYTES)
    }

    fn neighbours(&self, path: &Path) -> Vec<String> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.take(1_000).filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }
}

/// The text of a file, of which not much more than `most` bytes are read: some files have no end. A byte order mark in front
/// of it is dropped.
///
/// # Errors
/// When the file cannot be read, is larger, or holds something else than UTF-8: then it says where.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("the file is larger than {most} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (good, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&good[start..]).chars().count() + 1;
        let found = rest.first().copied().unwrap_or_default();
        io::Error::other(format!("line {line}, column {column}: the byte {found:#04x} is no UTF-8 text"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Which part of which text a value comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) source: Arc<SourceText>,
    pub(super) prefix: Vec<Seg>,
}

impl Origin {
    /// The origin of a part.
    pub(super) fn inside(&self, seg: Seg) -> Self {
        let mut prefix = self.prefix.clone();
        prefix.push(seg);
        Self { source: Arc::clone(&self.source), prefix }
    }

    /// `value`, which comes from here.
    pub(super) fn of<T>(self, value: T) -> Sourced<T> {
        Sourced { value, origin: self }
    }
}

/// A value that remembers its origin.
#[derive(Clone, Debug)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// Fields of a scenario, as far as they are given. One layer lies over another; what it gives replaces what is below.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) about: Option<String>,
    pub(super) source: Option<String>,
    pub(super) kernel: Option<Sourced<Kernel>>,
    pub(super) cmdline: Option<Sourced<String>>,
    pub(super) machine: Option<Arc<Sourced<Machine>>>,
    pub(super) drivers: Option<Vec<Arc<Sourced<Driver>>>>,
    pub(super) processes: Option<Arc<Sourced<Vec<Process>>>>,
    pub(super) inject: Option<Sourced<Inject>>,
    pub(super) explore: Option<Sourced<Explore>>,
    pub(super) expect: Option<Sourced<Expect>>,
}

impl Layer {
    /// This layer with `upper` over it.
    pub(super) fn under(self, upper: Self) -> Self {
        Self {
            about: upper.about.or(self.about),
            source: upper.source.or(self.source),
            kernel: upper.kernel.or(self.kernel),
            cmdline: upper.cmdline.or(self.cmdline),
            machine: upper.machine.or(self.machine),
            drivers: upper.drivers.or(self.drivers),
            processes: upper.processes.or(self.processes),
            inject: upper.inject.or(self.inject),
            explore: upper.explore.or(self.explore),
            expect: upper.expect.or(self.expect),
        }
    }
}

/// A variant: a layer with a name.
#[derive(Clone, Debug)]
pub(super) struct NamedLayer {
    pub(super) name: String,
    pub(super) layer: Layer,
}

/// What was read of one scenario.
#[derive(Debug)]
pub(super) struct Layers {
    /// The file that was asked for.
    pub(super) root: Arc<SourceText>,
    pub(super) base: Layer,
    pub(super) variants: Vec<NamedLayer>,
}

/// Reads `path` and everything it names.
pub(super) fn read(path: &Path, files: &dyn ReadFile) -> Result<Layers, LoadError> {
    let mut reader =
        Reader { files, known: Vec::new(), machines: Vec::new(), drivers: Vec::new(), problems: Vec::new() };
    let root = match reader.text(path) {
        Ok(source) => source,
        Err(why) => {
            let shown = shown(path);
            let nothing = SourceText::new(shown.clone(), String::new());
            let problem =
                Problem::at_span(&nothing, 0..0, String::new(), format!("cannot read the file: {why}"));
            return Err(problem.with_help(reader.similar(path)).into());
        }
    };
    let layers = reader.scenario(path, root, &mut Vec::new());
    match layers {
        Some(layers) if reader.problems.is_empty() => Ok(layers),
        _ => Err(LoadError::new(reader.problems)),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

struct Reader<'a> {
    files: &'a dyn ReadFile,
    known: Vec<(PathBuf, Arc<SourceText>)>,
    machines: Vec<(PathBuf, Option<Arc<Sourced<Machine>>>)>,
    drivers: Vec<(PathBuf, Option<Arc<Sourced<Driver>>>)>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn text(&mut self, path: &Path) -> Result<Arc<SourceText>, String> {
        if let Some((_, source)) = self.known.iter().find(|(p, _)| p == path) {
            return Ok(Arc::clone(source));
        }
        if self.known.len() >= limits::FILES {
            return Err(format!("a scenario may consist of {} files at most", limits::FILES));
        }
        let text = self.files.read(path).map_err(|e| e.to_string())?;
        if text.len() as u64 > limits::FILE_BYTES {
            return Err(format!("the file is larger than {} bytes", limits::FILE_BYTES));
        }
        if text.trim().is_empty() {
            return Err("the file is empty; `dmasim scenario new` writes one that can be run".to_owned());
        }
        let read: usize = self.known.iter().map(|(_, source)| source.text.len()).sum();
        if (read + text.len()) as u64 > limits::TOTAL_BYTES {
            return Err(format!("the files of one scenario may hold {} bytes at most", limits::TOTAL_BYTES));
        }
        let source = SourceText::new(shown(path), text);
        self.known.push((path.to_owned(), Arc::clone(&source)));
        Ok(source)
    }

    fn similar(&self, path: &Path) -> String {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let names = self.files.neighbours(path);
        if names.iter().any(|other| other == name) {
            // It is there; the trouble is another.
            return String::new();
        }
        match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{}`?", shown(&path.with_file_name(near))),
            None => "a path is seen from the file that names it".to_owned(),
        }
    }

    /// The text of the file that a reference names.
    fn referenced(&mut self, from: &Path, name: &str, at: &Origin) -> Option<(PathBuf, Arc<SourceText>)> {
        let path = from.parent().unwrap_or(Path::new("")).join(name);
        // `a/../b` is `b`, so that a file that is named twice is read once.
        let path = normal(&path);
        match self.text(&path) {
            Ok(source) => Some((path, source)),
            Err(why) => {
                let message = format!("cannot read `{}`: {why}", shown(&path));
                let help = self.similar(&path);
                self.problems.push(Problem::at_path(&at.source, &at.prefix, message).with_help(help));
                None
            }
        }
    }

    fn parsed<T: Text>(&mut self, source: &Arc<SourceText>) -> Option<T> {
        parse(source, T::read).map_err(|problem| self.problems.push(problem)).ok()
    }

    fn scenario(&mut self, path: &Path, source: Arc<SourceText>, chain: &mut Vec<PathBuf>) -> Option<Layers> {
        let file: ScenarioFile = self.parsed(&source)?;
        let here = Origin { source: Arc::clone(&source), prefix: Vec::new() };
        let below = match &file.extends {
            None => None,
            Some(name) => Some(self.extended(path, name, &here.inside(Seg::Field("extends")), chain)?),
        };
        let fields = Fields {
            about: file.about,
            source: file.source,
            kernel: file.kernel,
            cmdline: file.cmdline,
            machine: file.machine,
            drivers: file.drivers,
            processes: file.processes,
            inject: file.inject,
            explore: file.explore,
            expect: file.expect,
        };
        let layer = self.layer(fields, path, &here);
        // Variants are not inherited: each replaces fields of the file that it was written for.
        let variants = file.variants.map_or_else(Vec::new, |variants| self.variants(variants, path, &here));
        let base = below.map_or_else(Default::default, |l| l.base);
        Some(Layers { root: source, base: base.under(layer), variants })
    }

    fn extended(&mut self, from: &Path, name: &str, at: &Origin, chain: &mut Vec<PathBuf>) -> Option<Layers> {
        chain.push(normal(from));
        let (path, source) = self.referenced(from, name, at)?;
        let why = if chain.contains(&path) {
            Some(format!("`{}` extends itself", shown(&path)))
        } else if chain.len() > limits::EXTENDS {
            Some(format!("a chain of more than {} files", limits::EXTENDS))
        } else {
            None
        };
        if let Some(why) = why {
            self.problems.push(Problem::at_path(&at.source, &at.prefix, why));
            return None;
        }
        self.scenario(&path, source, chain)
    }

    fn variants(&mut self, variants: Vec<Variant>, path: &Path, here: &Origin) -> Vec<NamedLayer> {
        let here = here.inside(Seg::Field("variants"));
        if variants.len() > limits::VARIANTS {
            let message = format!("{} variants, more than {}", variants.len(), limits::VARIANTS);
            self.problems.push(Problem::at_path(&here.source, &here.prefix, message));
            return Vec::new();
        }
        let mut named: Vec<NamedLayer> = Vec::with_capacity(variants.len());
        for (i, variant) in variants.into_iter().enumerate() {
            let origin = here.inside(Seg::Index(i));
            if variant.name.is_empty() || named.iter().any(|v| v.name == variant.name) {
                let what =
                    if variant.name.is_empty() { "an empty name" } else { "another variant has this name" };
                let at = origin.inside(Seg::Field("name"));
                self.problems.push(Problem::at_path(&at.source, &at.prefix, what));
            }
            let fields = Fields {
                about: variant.about,
                source: None,
                kernel: variant.kernel,
                cmdline: variant.cmdline,
                machine: variant.machine,
                drivers: variant.drivers,
                processes: variant.processes,
                inject: variant.inject,
                explore: variant.explore,
                expect: variant.expect,
            };
            let layer = self.layer(fields, path, &origin);
            named.push(NamedLayer { name: variant.name, layer });
        }
        named
    }

    /// Fields as written, with the files that they name read.
    fn layer(&mut self, fields: Fields, path: &Path, here: &Origin) -> Layer {
        let at = |field| here.inside(Seg::Field(field));
        Layer {
            about: fields.about,
            source: fields.source,
            kernel: fields.kernel.map(|v| at("kernel").of(v)),
            cmdline: fields.cmdline.map(|v| at("cmdline").of(v)),
            machine: fields.machine.and_then(|machine| self.machine(machine, path, &at("machine"))),
            drivers: fields.drivers.map(|drivers| self.drivers(drivers, path, &at("drivers"))),
            processes: fields.processes.map(|v| Arc::new(at("processes").of(v))),
            inject: fields.inject.map(|v| at("inject").of(v)),
            explore: fields.explore.map(|v| at("explore").of(v)),
            expect: fields.expect.map(|v| at("expect").of(v)),
        }
    }

    fn machine(&mut self, machine: MachineRef, from: &Path, at: &Origin) -> Option<Arc<Sourced<Machine>>> {
        let name = match machine {
            MachineRef::Inline(machine) => return Some(Arc::new(at.clone().of(*machine))),
            MachineRef::File(name) => name,
        };
        let (path, source) = self.referenced(from, &name, at)?;
        if let Some((_, known)) = self.machines.iter().find(|(p, _)| *p == path) {
            return known.clone();
        }
        let origin = Origin { source: Arc::clone(&source), prefix: Vec::new() };
        let machine = self.parsed(&source).map(|machine| Arc::new(origin.of(machine)));
        self.machines.push((path, machine.clone()));
        machine
    }

    fn drivers(&mut self, list: Vec<DriverRef>, from: &Path, origin: &Origin) -> Vec<Arc<Sourced<Driver>>> {
        let mut drivers = Vec::new();
        if list.len() > limits::DRIVERS {
            let message = format!("{} drivers, more than {}", list.len(), limits::DRIVERS);
            self.problems.push(Problem::at_path(&origin.source, &origin.prefix, message));
            return drivers;
        }
        for (i, driver) in list.into_iter().enumerate() {
            drivers.extend(self.driver(driver, from, &origin.inside(Seg::Index(i))));
        }
        drivers
    }

    fn driver(&mut self, driver: DriverRef, from: &Path, at: &Origin) -> Option<Arc<Sourced<Driver>>> {
        let name = match driver {
            DriverRef::Inline(driver) => return Some(Arc::new(at.clone().of(driver))),
            DriverRef::File(name) => name,
        };
        let (path, source) = self.referenced(from, &name, at)?;
        if let Some((_, known)) = self.drivers.iter().find(|(p, _)| *p == path) {
            return known.clone();
        }
        let origin = Origin { source: Arc::clone(&source), prefix: Vec::new() };
        let driver = self.parsed(&source).map(|driver| Arc::new(origin.of(driver)));
        self.drivers.push((path, driver.clone()));
        driver
    }
}

/// What a scenario file and a variant have in common.
struct Fields {
    about: Option<String>,
    source: Option<String>,
    kernel: Option<Kernel>,
    cmdline: Option<String>,
    machine: Option<MachineRef>,
    drivers: Option<Vec<DriverRef>>,
    processes: Option<Vec<Process>>,
    inject: Option<Inject>,
    explore: Option<Explore>,
    expect: Option<Expect>,
}

/// `a/./b/../c` as `a/c`, without asking the disk.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
