//! What a scenario is expected to find.

use serde::{Deserialize, Serialize};

/// What must come out of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Expect {
    /// No finding at all.
    Clean {
        /// Parts of lines that the modelled kernel's log must hold, all of them in one of the first 16 seeds.
        #[serde(default)]
        log: Vec<String>,
    },
    /// These findings.
    Findings {
        /// All of them must be found.
        all: Vec<FindingPattern>,
        /// Whether other findings are allowed too.
        #[serde(default)]
        others: bool,
        /// Parts of lines that the modelled kernel's log must hold, all of them in one of the first 16 seeds.
        #[serde(default)]
        log: Vec<String>,
    },
}

impl Expect {
    /// Parts of lines that the modelled kernel's log must hold.
    #[must_use]
    pub fn log(&self) -> &[String] {
        match self {
            Self::Clean { log } | Self::Findings { log, .. } => log,
        }
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self::Clean { log: Vec::new() }
    }
}

/// A finding, by what stays the same from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingPattern {
    /// Kind of finding: `"use-after-free"`.
    pub kind: String,
    /// A function among the innermost frames. Absent: any.
    #[serde(default)]
    pub function: Option<String>,
    /// C type of the object: `"struct io_tlb_mem"`. Absent: any.
    #[serde(default)]
    pub object: Option<String>,
    /// Text that the finding's message holds. Absent: any.
    #[serde(default)]
    pub text: Option<String>,
    /// In how many seeds.
    #[serde(default)]
    pub seeds: SeedCount,
}

impl FindingPattern {
    /// Whether `finding` is one of those that this describes.
    #[must_use]
    pub fn fits(&self, finding: &sim::Finding) -> bool {
        let fits = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(test);
        self.kind == finding.kind
            && fits(&self.function, &|function| finding.frames.contains(&function))
            && fits(&self.object, &|object| finding.object == object)
            && fits(&self.text, &|text| finding.title.contains(text))
    }
}

/// In how many seeds of a campaign a finding must come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeedCount {
    /// In every one.
    Every,
    /// In so many at least.
    AtLeast(u64),
}

impl Default for SeedCount {
    fn default() -> Self {
        Self::AtLeast(1)
    }
}
