//! What a scenario expects against what came out.

use std::collections::BTreeMap;

use models::run::LogLine;
use models::scenario::{Expect, FindingPattern, SeedCount};
use serde::{Deserialize, Serialize};
use sim::Finding;
use sim::explore::Summary;

/// Kinds that are mistakes of the simulator: never expected.
const OF_THE_TOOL: [&str; 2] = ["panic-in-model", "nondeterminism"];

/// In how many seeds each pattern was met, and what met none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    patterns: Vec<u64>,
    /// By hash of the signature: seeds, lowest seed, the signature in words.
    others: BTreeMap<u64, (u64, u64, String)>,
}

/// Whether the outcome is the expected one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What was expected and did not come, or came and was not expected.
    pub(crate) against: Vec<String>,
    /// What too few seeds were run for.
    pub(crate) undecided: Vec<String>,
}

impl Verdict {
    pub(crate) fn met(&self) -> bool {
        self.against.is_empty()
    }

    /// Whether more seeds could still decide it.
    pub(crate) fn open(&self) -> bool {
        self.met() && !self.undecided.is_empty()
    }

    /// All that there is to say.
    pub(crate) fn remarks(&self) -> Vec<String> {
        self.against.iter().chain(&self.undecided).cloned().collect()
    }
}

const fn patterns(expect: &Expect) -> &[FindingPattern] {
    match expect {
        Expect::Clean { .. } => &[],
        Expect::Findings { all, .. } => all.as_slice(),
    }
}

impl Tally {
    pub(crate) fn new(expect: &Expect) -> Self {
        Self { patterns: vec![0; patterns(expect).len()], others: BTreeMap::new() }
    }

    /// Whether both count the same patterns.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.patterns.len() == other.patterns.len()
    }

    /// Adds what was counted in other seeds.
    pub(crate) fn merge(&mut self, other: Self) {
        for (mine, more) in self.patterns.iter_mut().zip(other.patterns) {
            *mine += more;
        }
        for (hash, (count, first, signature)) in other.others {
            let mine = self.others.entry(hash).or_insert((0, first, signature));
            mine.0 += count;
            mine.1 = mine.1.min(first);
        }
    }

    /// Adds the findings of one seed.
    pub(crate) fn add(&mut self, expect: &Expect, seed: u64, findings: &[Finding]) {
        let patterns = patterns(expect);
        for (count, pattern) in self.patterns.iter_mut().zip(patterns) {
            *count += u64::from(findings.iter().any(|finding| matches(pattern, finding)));
        }
        for finding in findings {
            if patterns.iter().any(|pattern| matches(pattern, finding)) {
                continue;
            }
            match self.others.get_mut(&finding.signature_hash()) {
                Some((count, first, _)) => {
                    *count += 1;
                    *first = seed.min(*first);
                }
                None => {
                    self.others.insert(finding.signature_hash(), (1, seed, finding.signature()));
                }
            }
        }
    }

    /// Compares. `wanted` is how many seeds the scenario asks for, `log` the log of the first seed if it matters.
    pub(crate) fn judge(
        &self,
        expect: &Expect,
        summary: &Summary,
        wanted: u64,
        log: Option<&[LogLine]>,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let ran = summary.ran;
        for (pattern, &count) in patterns(expect).iter().zip(&self.patterns) {
            let text = describe(pattern);
            match pattern.seeds {
                SeedCount::Every if count < ran => {
                    verdict.against.push(format!("expected in every seed, found in {count} of {ran}: {text}"));
                }
                SeedCount::AtLeast(n) if count < n && ran < wanted => verdict.undecided.push(format!(
                    "not decided by {ran} of {wanted} seeds: expected in {n} at least, found in {count}: {text}"
                )),
                SeedCount::AtLeast(n) if count < n => verdict
                    .against
                    .push(format!("expected in {n} at least of {ran} seeds, found in {count}: {text}")),
                SeedCount::Every | SeedCount::AtLeast(_) => {}
            }
        }
        let others_allowed = matches!(expect, Expect::Findings { others: true, .. });
        if !others_allowed {
            let mut others: Vec<_> = self.others.values().collect();
            others.sort_by_key(|(_, first, _)| *first);
            for (count, first, signature) in others {
                verdict.against.push(format!(
                    "not expected, found in {count} of {ran} seeds, first in seed {first}: {signature}"
                ));
            }
        }
        for stats in summary.by_first_seed() {
            if OF_THE_TOOL.contains(&stats.finding.kind) {
                verdict.against.push(format!(
                    "a mistake of the simulator itself, in {} of {ran} seeds, first in seed {}: {}",
                    stats.count, stats.first_seed, stats.finding.title
                ));
            }
        }
        if let Some(log) = log {
            for text in expect.log() {
                if !log.iter().any(|line| line.text.contains(text.as_str())) {
                    verdict.against.push(format!("expected in the kernel's log, and not there: \"{text}\""));
                }
            }
        }
        verdict
    }
}

/// Whether the finding is one of those that the pattern describes.
pub(crate) fn matches(pattern: &FindingPattern, finding: &Finding) -> bool {
    pattern.fits(finding)
}

/// The pattern in words.
pub(crate) fn describe(pattern: &FindingPattern) -> String {
    let mut text = pattern.kind.clone();
    if let Some(function) = &pattern.function {
        text.push_str(&format!(" in {function}"));
    }
    if let Some(object) = &pattern.object {
        text.push_str(&format!(" of {object}"));
    }
    if let Some(part) = &pattern.text {
        text.push_str(&format!(" with \"{part}\""));
    }
    text
}

/// What is expected, in a few words.
pub(crate) fn in_words(expect: &Expect) -> String {
    match expect {
        Expect::Clean { .. } => "no finding".to_owned(),
        Expect::Findings { all, others, .. } => {
            let list: Vec<String> = all
                .iter()
                .map(|pattern| match pattern.seeds {
                    SeedCount::Every => format!("{} in every seed", describe(pattern)),
                    SeedCount::AtLeast(1) => describe(pattern),
                    SeedCount::AtLeast(n) => format!("{} in {n} seeds at least", describe(pattern)),
                })
                .collect();
            format!("{}{}", list.join("; "), if *others { "; others too" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::explore::Outcome;
    use sim::{Name, Severity};

    fn finding(kind: &'static str, frame: &'static str) -> Finding {
        Finding {
            kind,
            title: format!("BUG: KASAN: {kind} in {frame}"),
            severity: Severity::Warning,
            frames: vec![frame, "dma_unmap_page_attrs"],
            object: "struct io_tlb_mem",
            discriminator: "swiotlb_exit",
            context: Name::new("swapper"),
            cpu: Some(0),
            time: 0,
            step: 0,
            ending: "",
            details: Vec::new(),
        }
    }

    fn pattern(kind: &str) -> FindingPattern {
        FindingPattern {
            kind: kind.to_owned(),
            function: None,
            object: None,
            text: None,
            seeds: SeedCount::default(),
        }
    }

    /// Judges seeds 0.., each with the findings given.
    fn judge(expect: &Expect, wanted: u64, seeds: &[Vec<Finding>]) -> Verdict {
        let mut tally = Tally::new(expect);
        let mut summary = Summary::default();
        for (seed, findings) in seeds.iter().enumerate() {
            tally.add(expect, seed as u64, findings);
            summary.add(seed as u64, Outcome { digest: 1, steps: 1, findings: findings.clone() });
        }
        tally.judge(
            expect,
            &summary,
            wanted,
            Some(&[LogLine { time: 0, text: "buffer is full (sz: 8)".to_owned() }]),
        )
    }

    fn findings(all: Vec<FindingPattern>, others: bool) -> Expect {
        Expect::Findings { all, others, log: Vec::new() }
    }

    #[test]
    fn each_part_of_a_pattern_must_fit() {
        let found = finding("use-after-free", "is_swiotlb_buffer");
        let fits = |change: &dyn Fn(&mut FindingPattern)| {
            let mut pattern = pattern("use-after-free");
            change(&mut pattern);
            matches(&pattern, &found)
        };
        assert!(fits(&|_| {}));
        assert!(fits(&|p| p.function = Some("dma_unmap_page_attrs".to_owned())));
        assert!(fits(&|p| p.object = Some("struct io_tlb_mem".to_owned())));
        assert!(fits(&|p| p.text = Some("KASAN".to_owned())));
        assert!(!fits(&|p| p.kind = "double-free".to_owned()));
        assert!(!fits(&|p| p.function = Some("is_swiotlb".to_owned())));
        assert!(!fits(&|p| p.object = Some("io_tlb_mem".to_owned())));
        assert!(!fits(&|p| p.text = Some("UBSAN".to_owned())));
    }

    #[test]
    fn clean_is_clean() {
        let clean = Expect::default();
        assert!(judge(&clean, 2, &[vec![], vec![]]).met());
        let verdict = judge(&clean, 2, &[vec![], vec![finding("double-free", "kfree")]]);
        assert_eq!(
            verdict.against,
            ["not expected, found in 1 of 2 seeds, first in seed 1: double-free in kfree <- \
              dma_unmap_page_attrs of struct io_tlb_mem, swiotlb_exit"]
        );
    }

    #[test]
    fn every_means_every() {
        let expect =
            findings(vec![FindingPattern { seeds: SeedCount::Every, ..pattern("use-after-free") }], false);
        // Two signatures that fit one pattern in one seed are one seed.
        let twice = vec![finding("use-after-free", "a"), finding("use-after-free", "b")];
        assert!(judge(&expect, 2, &[twice.clone(), vec![finding("use-after-free", "b")]]).met());
        assert!(!judge(&expect, 2, &[twice, vec![]]).met());
    }

    #[test]
    fn too_few_seeds_decide_nothing_about_what_is_rare() {
        let rare =
            findings(vec![FindingPattern { seeds: SeedCount::AtLeast(2), ..pattern("page-fault") }], true);
        let verdict = judge(&rare, 1000, &[vec![finding("page-fault", "a")]]);
        assert!(verdict.met() && verdict.open(), "{verdict:?}");
        let verdict = judge(&rare, 1, &[vec![finding("page-fault", "a")]]);
        assert!(!verdict.met(), "{verdict:?}");
    }

    #[test]
    fn others_count_only_if_they_are_not_allowed() {
        let run = vec![finding("page-fault", "a"), finding("data-race", "b")];
        assert!(judge(&findings(vec![pattern("page-fault")], true), 1, std::slice::from_ref(&run)).met());
        assert!(!judge(&findings(vec![pattern("page-fault")], false), 1, &[run]).met());
    }

    #[test]
    fn mistakes_of_the_simulator_are_never_expected() {
        let run = vec![finding("page-fault", "a"), finding("panic-in-model", "")];
        assert!(!judge(&findings(vec![pattern("page-fault")], true), 1, &[run]).met());
    }

    #[test]
    fn the_log_must_hold_what_is_expected() {
        let expect = |text: &str| Expect::Clean { log: vec![text.to_owned()] };
        assert!(judge(&expect("buffer is full"), 1, &[vec![]]).met());
        let verdict = judge(&expect("no such line"), 1, &[vec![]]);
        assert_eq!(verdict.against, ["expected in the kernel's log, and not there: \"no such line\""]);
    }
}
