//! The faults, and the program that has them all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fault that can be planted.
pub(crate) struct Fault {
    /// Its number, which the environment names.
    pub(crate) number: u32,
    /// What it does, in short: the rest of the patch's name.
    pub(crate) slug: String,
    /// The same as a sentence: the first line of the patch.
    pub(crate) sentence: String,
    /// The file that it changes.
    pub(crate) file: String,
}

/// All patches, in the order in which they apply.
fn patches(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "patch"));
    files.sort();
    Ok(files)
}

/// What the patches plant. The one with the number 0 brings what the others ask, and is no fault.
pub(crate) fn read(folder: &Path) -> Result<Vec<Fault>, String> {
    let mut faults = Vec::new();
    for path in patches(folder)? {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let wrong = || format!("{} is not named NNN-what-it-does.patch", path.display());
        let (number, slug) = name.split_once('-').ok_or_else(wrong)?;
        let number: u32 = number.parse().map_err(|_| wrong())?;
        let text =
            fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if number == 0 {
            continue;
        }
        if !text.contains(&format!("planted({number})")) {
            return Err(format!("{} does not ask for planted({number})", path.display()));
        }
        let file = text.lines().find_map(|line| line.strip_prefix("+++ b/")).unwrap_or_default();
        let sentence = text.lines().next().unwrap_or_default().to_owned();
        faults.push(Fault { number, slug: slug.to_owned(), sentence, file: file.to_owned() });
    }
    if faults.is_empty() {
        return Err(format!("there are no patches in {}", folder.display()));
    }
    Ok(faults)
}

/// Copies the tree, applies all patches, and builds; the path of the program. What did not change since the last time
/// keeps its place in the work folder, so that little is built again.
pub(crate) fn build(folder: &Path, work: &Path, profile: &str) -> Result<PathBuf, String> {
    fs::create_dir_all(work).map_err(|error| format!("cannot make {}: {error}", work.display()))?;
    let work = work.canonicalize().map_err(|error| format!("cannot find {}: {error}", work.display()))?;
    let (fresh, tree) = (work.join("fresh"), work.join("tree"));
    let _ = fs::remove_dir_all(&fresh);
    let files = tracked()?;
    for file in &files {
        copy(Path::new(file), &fresh.join(file))?;
    }
    for patch in patches(folder)? {
        let input =
            fs::File::open(&patch).map_err(|error| format!("cannot read {}: {error}", patch.display()))?;
        let output = Command::new("patch")
            .args(["-p1", "--silent", "--no-backup-if-mismatch"])
            .current_dir(&fresh)
            .stdin(input)
            .output()
            .map_err(|error| format!("cannot run patch: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            return Err(format!("{} does not apply any more:\n{said}", patch.display()));
        }
    }
    let mut kept = BTreeSet::new();
    for file in &files {
        let (from, to) = (fresh.join(file), tree.join(file));
        if fs::read(&from).ok() != fs::read(&to).ok() {
            copy(&from, &to)?;
        }
        kept.insert(to);
    }
    remove_others(&tree, &kept);
    let target = work.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&tree).args(["build", "--quiet", "--bin", "dmasim", "--profile", profile]);
    cargo.env("CARGO_TARGET_DIR", &target).env_remove("RUSTC_WRAPPER");
    let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the patched tree in {} cannot be built", tree.display()));
    }
    Ok(target.join(if profile == "dev" { "debug" } else { profile }).join("dmasim"))
}

/// The files of the repository.
fn tracked() -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let files = text.split('\0').filter(|file| !file.is_empty() && Path::new(file).is_file());
    Ok(files.map(str::to_owned).collect())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let wrong = |error| format!("cannot copy {} to {}: {error}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    fs::copy(from, to).map(|_| ()).map_err(wrong)
}

/// Files that are no part of the repository any more would still be built.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_others(&path, kept);
        } else if !kept.contains(&path) {
            let _ = fs::remove_file(path);
        }
    }
}
