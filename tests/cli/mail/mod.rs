//! The report for a mailing list: its form for all scenarios, and what it says of each kind of finding.

mod kinds;

use std::path::{Path, PathBuf};
use std::process::Command as Plain;
use std::sync::Mutex;

use assert_cmd::cargo::CommandCargoExt as _;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the command prints as a mail, started in the repository: paths in it are those that a reader would type.
fn mail(words: &[&str]) -> String {
    mail_in(root(), words)
}

fn mail_in(folder: &Path, words: &[&str]) -> String {
    printed(folder, &[words, &["--report", "lkml", "--quiet"]].concat())
}

/// What the command prints.
fn printed(folder: &Path, words: &[&str]) -> String {
    let output = Plain::cargo_bin("dmasim")
        .expect("the command is built")
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .args(words)
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// No line is wider than a mail quotes without breaking it, and all is plain ASCII. What is to be pasted into a shell is
/// one line, however long.
fn check_form(who: &str, mail: &str) {
    for (n, line) in mail.lines().enumerate() {
        let pasted = line.trim_start().starts_with("dmasim ");
        assert!(pasted || line.len() <= 75, "{who}, line {}: {} columns: {line}", n + 1, line.len());
        assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{who}, line {}: {line:?}", n + 1);
        assert_eq!(line.trim_end(), line, "{who}, line {}: blanks at the end", n + 1);
    }
}

/// Works on all items, on as many threads as there are CPUs.
fn on_all_cpus<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(items);
    let next = || queue.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

fn scenarios(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // Parts of scenarios, and recorded runs.
            if !["machines", "drivers", "regressions"].iter().any(|name| path.ends_with(name)) {
                scenarios(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "ron") {
            files.push(path);
        }
    }
}

/// Seen to fail: how to repeat a run whose token is too long stood in a line of 80 columns.
#[test]
fn every_scenario_gives_a_mail_that_can_be_sent() {
    let mut files = Vec::new();
    scenarios(&root().join("scenarios"), &mut files);
    assert!(files.len() > 80, "only {} scenarios were found", files.len());
    let told = Mutex::new(0);
    on_all_cpus(files, |file| {
        let name = file.strip_prefix(root()).expect("it is in the repository").to_string_lossy().into_owned();
        let mail = mail(&["run", &name, "--seeds", "2"]);
        check_form(&name, &mail);
        let found = mail.lines().filter(|line| line.starts_with("  signature: ")).count();
        *told.lock().expect("nobody panics with it") += found;
        assert!(found > 0 || mail == "no finding in 2 seeds\n", "{name}:\n{mail}");
    });
    assert!(told.into_inner().expect("nobody panicked") > 60);
}
