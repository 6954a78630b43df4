//! `dmasim scenario`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Exit;
use crate::args::ScenarioCommand;
use crate::input::{Failure, Wanted, variant, warn, warn_kinds};
use crate::output::Out;

/// What `scenario new` writes.
const STARTER: &str = include_str!("starter.ron");

pub(super) fn scenario(command: &ScenarioCommand, out: &mut Out) -> Result<Exit, Failure> {
    match command {
        ScenarioCommand::Check { files } => Ok(check(files, out)),
        ScenarioCommand::New { name } => new(name.as_deref(), out),
    }
}

fn check(files: &[PathBuf], out: &mut Out) -> Exit {
    let mut exit = Exit::Expected;
    for file in files {
        match check_one(file, out) {
            Ok(text) => out.line(&text),
            Err(failure) => {
                failure.show(out);
                exit = Exit::Unusable;
            }
        }
    }
    exit
}

fn check_one(file: &Path, out: &mut Out) -> Result<String, Failure> {
    let wanted = Wanted::of(file);
    let loaded = wanted.load()?;
    warn(loaded.warnings(), out);
    // Loading checks the file and its variants; resolving also finds what is missing in the end.
    let names: Vec<String> = loaded.variants().map(|(name, _)| name.to_owned()).collect();
    let only = wanted.variant.as_deref();
    let resolved = variant(&loaded, only)?;
    warn_kinds(&resolved, out);
    for name in names.iter().filter(|_| only.is_none()) {
        let resolved = variant(&loaded, Some(name))?;
        warn_kinds(&resolved, out);
    }
    let variants = match names.len() {
        _ if only.is_some() => String::new(),
        0 => String::new(),
        1 => ", 1 variant".to_owned(),
        n => format!(", {n} variants"),
    };
    Ok(format!("{}: ok{variants} (digest {})", resolved.name, resolved.digest))
}

fn new(name: Option<&Path>, out: &mut Out) -> Result<Exit, Failure> {
    let Some(name) = name else {
        out.text(STARTER);
        return Ok(Exit::Expected);
    };
    let file = if name.extension().is_some() { name.to_owned() } else { name.with_extension("ron") };
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::text(format!("{} exists already; it is left as it is", file.display()))
        }
        _ => Failure::text(format!("cannot write {}: {error}", file.display())),
    };
    let mut handle = std::fs::OpenOptions::new().write(true).create_new(true).open(&file).map_err(failed)?;
    handle.write_all(STARTER.as_bytes()).map_err(failed)?;
    out.line(&format!("wrote {}; next: dmasim run {}", file.display(), file.display()));
    Ok(Exit::Expected)
}

#[cfg(test)]
mod tests {
    use super::STARTER;

    #[test]
    fn the_starter_is_short_and_plain() {
        assert!(STARTER.is_ascii() && STARTER.lines().all(|line| line.len() <= 100));
    }
}
