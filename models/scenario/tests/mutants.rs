//! Scenarios with a mistake in them: each is refused with its place, or is still a scenario. Nothing panics.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use scenario::{LoadError, Overrides, limits};
use support::Memory;

/// Mutants of each file.
const MUTANTS: u64 = 60;

/// All files under `scenarios/`, by their path there.
fn scenarios() -> Memory {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut memory = Memory::default();
    add(&root, &root, &mut memory);
    memory
}

/// Adds all files below a folder, but for recorded runs.
fn add(root: &Path, folder: &Path, memory: &mut Memory) {
    for path in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        if !path.is_dir() {
            let name = path.strip_prefix(root).expect("inside").to_owned();
            memory.0.insert(name, fs::read_to_string(path).expect("text"));
        } else if !path.ends_with("regressions") {
            add(root, &path, memory);
        }
    }
}

/// Numbers that are the same every time (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).expect("below a usize")
    }
}

/// Words, numbers, strings and single other characters; comments and blanks stay with what precedes them.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '"' => string(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            _ if first.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        found.push(&rest[..length]);
        rest = &rest[length..];
    }
    found
}

/// The length of the string at the beginning.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    });
    end.map_or(text.len(), |n| n + 2)
}

/// Swaps two inner letters, or drops one.
fn misspelt(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    if letters.len() > 3 && letters[middle] != letters[middle - 1] {
        letters.swap(middle, middle - 1);
    } else {
        letters.remove(middle);
    }
    letters.into_iter().collect()
}

fn mutant(text: &str, draw: &mut Draw) -> String {
    let mut parts: Vec<String> = tokens(text).into_iter().map(str::to_owned).collect();
    let solid: Vec<usize> = (0..parts.len()).filter(|i| !parts[*i].trim().is_empty()).collect();
    let at = solid[draw.below(solid.len())];
    let other = solid[draw.below(solid.len())];
    let replacements = [
        "18446744073709551615",
        "18446744073709551616",
        "-1",
        "0",
        "1e9",
        "\"\"",
        "\"text\"",
        "[]",
        "()",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "None",
        "Some",
        "true",
        "é",
        "\"\\u{0}\"",
        "\"\\",
        "r#\"",
        "/*",
        "'",
        "{",
        "Fixed(0)",
        "0x",
        "#",
    ];
    match draw.below(9) {
        0 => parts[at].clear(),
        1 => parts.swap(at, other),
        2 => parts[at] = misspelt(&parts[at]),
        3 | 4 => parts[at] = replacements[draw.below(replacements.len())].to_owned(),
        5 => parts.truncate(at),
        6 => parts[at] = parts[other].clone(),
        7 => parts[at] = parts[at].repeat(2),
        _ => parts[at] = "((".repeat(draw.below(200)),
    }
    parts.concat()
}

/// Every problem names a file that exists and a place that lies in it.
fn has_place(error: &LoadError, files: &Memory, text: &str) {
    assert!(!error.problems().is_empty());
    for problem in error.problems() {
        let source = files.text(problem.file());
        let lines = source.lines().count().max(1);
        assert!((1..=lines + 1).contains(&problem.line()), "{problem}\n{text}");
        let longest = source.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        assert!((1..=longest + 1).contains(&problem.column()), "{problem}\n{text}");
        assert!(!problem.message().is_empty());
        assert!(problem.to_string().len() < 8_000, "nobody reads that");
    }
}

/// Loads a scenario and resolves it with all its variants.
fn exercise(files: &Memory, path: &Path) -> Result<(), LoadError> {
    let loaded = files.load(path.to_str().expect("UTF-8"))?;
    loaded.resolve(&Overrides::default())?;
    for (name, _) in loaded.variants() {
        loaded.resolve(&Overrides { variant: Some(name.to_owned()), ..Overrides::default() })?;
    }
    Ok(())
}

/// The scenario through which a machine or a driver is read.
fn user_of(files: &Memory, name: &Path) -> PathBuf {
    if name.starts_with("machines") || name.starts_with("drivers") {
        let wanted = format!("../{}", name.display());
        let user = files.0.iter().find(|(_, text)| text.contains(&wanted)).map(|(p, _)| p.clone());
        return user.unwrap_or_else(|| panic!("{} is used nowhere", name.display()));
    }
    name.to_owned()
}

#[test]
fn mutants_are_refused_with_their_place_or_still_valid() {
    let original = scenarios();
    let mut draw = Draw(2021);
    let (mut refused, mut valid) = (0, 0);
    for (name, text) in &original.0 {
        let user = user_of(&original, name);
        for _ in 0..MUTANTS {
            let mut files = original.clone();
            let changed = mutant(text, &mut draw);
            files.0.insert(name.clone(), changed.clone());
            match exercise(&files, &user) {
                Ok(()) => valid += 1,
                Err(error) => {
                    has_place(&error, &files, &changed);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused + valid >= 100 && refused > valid, "{refused} refused, {valid} valid");
    assert!(valid > 0, "some changes only touch a number, or a comment");
}

/// A misspelt field or variant is always answered with the right name.
#[test]
fn every_misspelt_name_of_the_schema_is_recognised() {
    let original = scenarios();
    let mut tried = std::collections::BTreeSet::new();
    for (name, text) in &original.0 {
        let user = user_of(&original, name);
        let parts = tokens(text);
        for (i, word) in parts.iter().enumerate() {
            let starts_name = word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.len() > 3;
            let is_value = matches!(*word, "true" | "false");
            if !starts_name || is_value || !tried.insert(word.to_string()) {
                continue;
            }
            let wrong = misspelt(word);
            let mut changed: Vec<&str> = parts.clone();
            changed[i] = &wrong;
            let mut files = original.clone();
            files.0.insert(name.clone(), changed.concat());
            let error = exercise(&files, &user).expect_err(word).to_string();
            assert!(error.contains(&format!("did you mean `{word}`?")), "{word} as {wrong}:\n{error}");
            assert!(error.starts_with(&format!("{}:", name.display())), "{word} as {wrong}:\n{error}");
        }
    }
    assert!(tried.len() > 60, "only {} names", tried.len());
}

/// Large counts are refused by number, before anything is done as often.
#[test]
fn floods_are_refused() {
    let device = "(bdf: \"0000:00:00.0\"),".repeat(limits::DEVICES + 1);
    let entry = "(start: 0, end: 1, kind: Usable),".repeat(limits::E820 + 1);
    let many = "WaitAll,".repeat(limits::STATEMENTS + 1);
    for (from, to, what) in [
        ("    devices: [", format!("    devices: [{device}"), "more than 256"),
        ("    e820: [", format!("    e820: [{entry}"), "more than 256"),
        ("    probe: [", format!("    probe: [{many}"), "more than 4096 statements"),
        (
            "    workload: [(\n        name",
            format!("    workload: [{}(\n        name", "(name: \"q\", body: []),".repeat(32)),
            "more than 32",
        ),
    ] {
        let error = support::complaint(from, &to);
        assert!(error.contains(what), "{error}");
        assert!(error.len() < 20_000, "{} bytes of complaint", error.len());
    }
}

/// A file full of mistakes is answered soon, and in a text that can be read.
#[test]
fn swarms_of_mistakes_are_cut_short() {
    let variants: String =
        (0..60).map(|i| format!("(name: \"v{i}\", cmdline: \"amd_iommu=x{i}\"),")).collect();
    let stray = "Unmap(name: \"dat\"), Map(name: \"data\", dir: ToDevice),".repeat(2_000);
    let files = support::edited("    probe: [", &format!("    probe: [{stray}"));
    let main =
        support::SCENARIO.replace("(name: \"passthrough\"", &format!("{variants}(name: \"passthrough\""));
    let error = files.with("s/main.ron", &main).load("s/main.ron").expect_err("mistakes");
    assert!((100..2_000).contains(&error.problems().len()), "{} problems", error.problems().len());
    let text = error.to_string();
    assert!(text.len() < 20_000 && text.ends_with(" more"), "{} bytes", text.len());
}
