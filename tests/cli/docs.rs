//! The documentation against the code.

use std::path::{Path, PathBuf};

use models::oracle::FINDINGS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("the file is there")
}

#[test]
fn every_kind_of_finding_is_described_and_no_other() {
    let text = read("docs/findings.md");
    let mut described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    described.sort_unstable();
    let kinds: Vec<&str> = FINDINGS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(described, kinds);
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The kinds that a source reports by a literal name.
fn reported(text: &str) -> Vec<String> {
    let literal = |rest: &str| {
        let rest = rest.trim_start().strip_prefix('"')?;
        rest.split_once('"').map(|(kind, _)| kind.to_owned())
    };
    ["Draft::warning(", "Draft::fatal("]
        .iter()
        .flat_map(|call| text.split(call).skip(1).filter_map(literal))
        .collect()
}

#[test]
fn every_kind_that_the_sources_report_is_in_the_table() {
    let mut files = Vec::new();
    for folder in ["models/src", "sim/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut missing = Vec::new();
    let mut seen = 0;
    for file in files {
        // What stands behind the tests' mark reports kinds of its own.
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for kind in reported(code) {
            seen += 1;
            if !FINDINGS.iter().any(|(name, _)| *name == kind) {
                missing.push(format!("{}: {kind}", file.display()));
            }
        }
    }
    assert!(seen > 10, "only {seen} kinds were seen: is the search still right?");
    assert!(missing.is_empty(), "not in FINDINGS: {missing:?}");
}

#[test]
fn the_commands_of_the_readme_are_there() {
    assert!(read("README.md").contains("cargo run --release -- run scenarios/lkml-2021-07/hp-4300g.ron"));
    assert!(read("README.md").contains("cargo test --workspace"));
}

#[test]
fn the_output_in_the_page_on_sizes_is_real() {
    let text = read("docs/size.md");
    let mut examples = 0;
    for example in text.split("    $ dmasim ").skip(1) {
        let (command, rest) = example.split_once('\n').expect("output below the command");
        let printed = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let words: Vec<&str> = command.split_whitespace().chain(["--quiet"]).collect();
        let output = assert_cmd::Command::cargo_bin("dmasim")
            .expect("the command is built")
            .current_dir(root())
            .args(&words)
            .output()
            .expect("it starts");
        let output = String::from_utf8(output.stdout).expect("UTF-8");
        let mut real = output.lines();
        for line in printed.map(|line| line.get(4..).unwrap_or_default()).filter(|line| *line != "...") {
            assert!(
                line.is_empty() || real.any(|other| other == line),
                "{command}: no \"{line}\" in:\n{output}"
            );
        }
        examples += 1;
    }
    assert_eq!(examples, 6);
}

#[test]
fn the_keys_of_sizes_are_described() {
    let text = read("docs/size.md");
    let json = text.split("## JSON").nth(1).expect("a section");
    let output = assert_cmd::Command::cargo_bin("dmasim")
        .expect("the command is built")
        .current_dir(root())
        .args(["size", "scenarios/sizing/tdx-burst.ron", "--seeds", "0..1", "--quiet", "--format", "json"])
        .output()
        .expect("it starts");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let of = |name: &str| keys(&found[name]);
    let outcome = keys(&found["now"]["outcome"]);
    let all = [keys(&found), of("now"), of("recommended"), of("verified"), keys(&found["sizes"][0]), outcome];
    for key in all.into_iter().flatten() {
        assert!(json.contains(&format!("`{key}`")), "{key} is not described");
    }
}
