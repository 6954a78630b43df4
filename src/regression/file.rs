//! The file of a regression.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use models::scenario::{limits, read_text, read_value};
use serde::{Deserialize, Serialize};
use sim::schedule::Strategy;

use crate::args::{EngineArgs, KernelArgs, OnFinding};
use crate::input::Failure;

/// The word with which a regression begins; a scenario has none.
const NAME: &str = "Regression";
/// No line of recorded steps is longer.
const STEPS_WIDTH: usize = 96;

/// A regression as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Regression {
    /// The scenario, seen from this file, and behind `#` a variant of it.
    pub(crate) scenario: String,
    /// Why it is kept.
    #[serde(default)]
    pub(crate) why: String,
    #[serde(default)]
    cmdline: Option<String>,
    #[serde(default)]
    append: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    apply: Vec<String>,
    #[serde(default)]
    revert: Vec<String>,
    #[serde(default)]
    strategy: Option<String>,
    #[serde(default)]
    max_steps: Option<u64>,
    #[serde(default)]
    on_finding: Option<String>,
    /// The seed, if the run is that of a seed.
    #[serde(default)]
    pub(crate) seed: Option<u64>,
    /// The token, if it is that of a token.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The signature that it shows, in words; empty if the run is clean.
    pub(crate) signature: String,
    /// Hash of the signature, 16 hexadecimal digits; empty if the run is clean.
    pub(crate) signature_hash: String,
    /// Digest of the run, 32 hexadecimal digits.
    pub(crate) digest: String,
    /// Digest of the scenario, 32 hexadecimal digits.
    pub(crate) scenario_digest: String,
    /// Version of the engine.
    pub(crate) engine: u32,
    /// The steps of the run, so that a later one can be told where it parts from this one.
    pub(crate) steps: Vec<String>,
}

/// Whether the file holds a regression and no scenario. What cannot be read holds none.
pub(crate) fn is_regression(path: &Path) -> bool {
    let regular = std::fs::metadata(path).is_ok_and(|about| about.is_file());
    let mut text = Vec::new();
    let read = regular
        && std::fs::File::open(path)
            .is_ok_and(|file| file.take(limits::FILE_BYTES).read_to_end(&mut text).is_ok());
    read && begins_with_name(&String::from_utf8_lossy(&text))
}

/// Whether the first word behind comments is the name.
fn begins_with_name(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        } else if let Some(inside) = rest.strip_prefix("/*") {
            rest = inside.split_once("*/").map_or("", |(_, rest)| rest).trim_start();
        } else {
            return rest.strip_prefix(NAME).is_some_and(|rest| rest.trim_start().starts_with('('));
        }
    }
}

impl Regression {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::text(format!("cannot read {}: {why}", path.display()));
        let text = read_text(path, limits::FILE_BYTES).map_err(|error| failed(error.to_string()))?;
        let read: Self = read_value(&path.display().to_string(), &text)?;
        let wrong = |field: &str, why: &str| Failure::text(format!("{}: `{field}` {why}", path.display()));
        if read.seed.is_some() == read.token.is_some() {
            return Err(wrong("seed", "or `token` must be given, and not both"));
        }
        let hexadecimal =
            |text: &str, digits: usize| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
        for (field, text) in [("digest", &read.digest), ("scenario_digest", &read.scenario_digest)] {
            if !hexadecimal(text, 32) {
                return Err(wrong(field, "has 32 hexadecimal digits"));
            }
        }
        if !(read.signature_hash.is_empty() && read.signature.is_empty()
            || hexadecimal(&read.signature_hash, 16))
        {
            return Err(wrong("signature_hash", "has 16 hexadecimal digits, or is empty with `signature`"));
        }
        read.engine_args().map_err(|why| wrong("strategy", &why))?;
        Ok(read)
    }

    /// A new one, without what comes of its run.
    pub(crate) fn new(scenario: String, kernel: &KernelArgs, engine: &EngineArgs, why: String) -> Self {
        Self {
            scenario,
            why,
            cmdline: kernel.cmdline.clone(),
            append: kernel.append.clone(),
            version: kernel.version.clone(),
            apply: kernel.apply.clone(),
            revert: kernel.revert.clone(),
            strategy: engine.strategy.map(|strategy| strategy.to_string()),
            max_steps: engine.max_steps,
            on_finding: engine.on_finding.map(|what| match what {
                OnFinding::Stop => "stop".to_owned(),
                OnFinding::Continue => "continue".to_owned(),
            }),
            seed: None,
            token: None,
            signature: String::new(),
            signature_hash: String::new(),
            digest: String::new(),
            scenario_digest: String::new(),
            engine: sim::ENGINE_VERSION,
            steps: Vec::new(),
        }
    }

    /// The scenario's file, seen from here.
    pub(crate) fn scenario_path(&self, path: &Path) -> PathBuf {
        path.parent().unwrap_or(Path::new("")).join(&self.scenario)
    }

    /// What was changed in the kernel.
    pub(crate) fn kernel_args(&self) -> KernelArgs {
        KernelArgs {
            variant: None,
            cmdline: self.cmdline.clone(),
            append: self.append.clone(),
            version: self.version.clone(),
            apply: self.apply.clone(),
            revert: self.revert.clone(),
        }
    }

    /// How the run goes.
    pub(crate) fn engine_args(&self) -> Result<EngineArgs, String> {
        Ok(EngineArgs {
            strategy: self.strategy.as_deref().map(Strategy::parse).transpose()?,
            max_steps: self.max_steps,
            on_finding: match self.on_finding.as_deref() {
                None => None,
                Some("stop") => Some(OnFinding::Stop),
                Some("continue") => Some(OnFinding::Continue),
                Some(other) => {
                    return Err(format!("... `on_finding` is \"stop\" or \"continue\", and not \"{other}\""));
                }
            },
        })
    }

    /// Hash of the signature; `None` if the run is clean.
    pub(crate) fn signature_hash(&self) -> Option<u64> {
        u64::from_str_radix(&self.signature_hash, 16).ok()
    }

    /// The recorded steps, as one line.
    pub(crate) fn steps_line(&self) -> String {
        self.steps.concat()
    }

    /// Cuts recorded steps into lines.
    pub(crate) fn set_steps(&mut self, line: &str) {
        let bytes: Vec<char> = line.chars().collect();
        self.steps = bytes.chunks(STEPS_WIDTH).map(|chunk| chunk.iter().collect()).collect();
    }

    /// The file. `comment` stands before it, a line each.
    pub(crate) fn text(&self, comment: &str) -> String {
        let quote = |text: &str| ron::to_string(text).unwrap_or_default();
        let mut out = comment.to_owned();
        out.push_str(&format!("{NAME}(\n"));
        let mut field = |name: &str, value: String| out.push_str(&format!("    {name}: {value},\n"));
        field("scenario", quote(&self.scenario));
        if !self.why.is_empty() {
            field("why", quote(&self.why));
        }
        let texts = [
            ("cmdline", &self.cmdline),
            ("append", &self.append),
            ("version", &self.version),
            ("strategy", &self.strategy),
            ("on_finding", &self.on_finding),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                field(name, quote(value));
            }
        }
        for (name, list) in [("apply", &self.apply), ("revert", &self.revert)] {
            if !list.is_empty() {
                field(name, format!("[{}]", list.iter().map(|n| quote(n)).collect::<Vec<_>>().join(", ")));
            }
        }
        if let Some(steps) = self.max_steps {
            field("max_steps", steps.to_string());
        }
        if let Some(seed) = self.seed {
            field("seed", seed.to_string());
        }
        if let Some(token) = &self.token {
            field("token", quote(token));
        }
        field("signature", quote(&self.signature));
        field("signature_hash", quote(&self.signature_hash));
        field("digest", quote(&self.digest));
        field("scenario_digest", quote(&self.scenario_digest));
        field("engine", self.engine.to_string());
        out.push_str("    // What the run did, step by step, packed: it says where a later run parts from it.\n    steps: [\n");
        for line in &self.steps {
            out.push_str(&format!("        {},\n", quote(line)));
        }
        out.push_str("    ],\n)\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regression_is_told_from_a_scenario_by_its_name() {
        assert!(begins_with_name("// why\n/* and */ Regression(\n"));
        assert!(begins_with_name("Regression ("));
        for other in
            ["", "(", "// Regression(\n(", "Regressions(", "/* Regression( */ (about: \"Regression(\")", "/*"]
        {
            assert!(!begins_with_name(other), "{other}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let kernel = KernelArgs {
            append: Some("a \"b\"".to_owned()),
            revert: vec!["x".to_owned()],
            ..KernelArgs::default()
        };
        let mut regression =
            Regression::new("../s.ron#v".to_owned(), &kernel, &EngineArgs::default(), "why\nnot".to_owned());
        regression.seed = Some(7);
        regression.digest = "0".repeat(32);
        regression.scenario_digest = "1".repeat(32);
        regression.set_steps(&"x".repeat(500));
        let text = regression.text("// a comment\n");
        let read: Regression = read_value("r.ron", &text).expect("it is read");
        assert_eq!(read, regression);
        assert!(begins_with_name(&text) && text.lines().all(|line| line.len() <= 110));
    }
}
