//! `--report KIND[=FILE]`.

use std::path::PathBuf;

use models::scenario::nearest;

/// What a report is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportKind {
    Lkml,
    Dmesg,
    Html,
    Perfetto,
    Campaign,
    Junit,
    Ktap,
    Sarif,
    Github,
    Jsonl,
}

impl ReportKind {
    /// All of them, and what each is.
    pub(crate) const ALL: [(&'static str, Self, &'static str); 10] = [
        ("lkml", Self::Lkml, "text for a mail to a list"),
        ("dmesg", Self::Dmesg, "the modelled kernel's log"),
        ("html", Self::Html, "a page to step through the run"),
        ("perfetto", Self::Perfetto, "a trace for ui.perfetto.dev"),
        ("campaign", Self::Campaign, "a page about all seeds"),
        ("junit", Self::Junit, "JUnit XML"),
        ("ktap", Self::Ktap, "KTAP, as the kernel's test tools read it"),
        ("sarif", Self::Sarif, "SARIF 2.1.0"),
        ("github", Self::Github, "annotations of a workflow run"),
        ("jsonl", Self::Jsonl, "one JSON object a scenario"),
    ];

    /// Those that show one recorded run.
    pub(crate) const OF_A_RUN: [Self; 4] = [Self::Lkml, Self::Dmesg, Self::Html, Self::Perfetto];

    /// Those that tell of many seeds.
    pub(crate) const OF_A_CAMPAIGN: [Self; 1] = [Self::Campaign];

    /// Those that tell results.
    pub(crate) const OF_RESULTS: [Self; 5] =
        [Self::Junit, Self::Ktap, Self::Sarif, Self::Github, Self::Jsonl];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, ..)| name)
    }
}

/// A report that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) kind: ReportKind,
    /// Where it goes; to standard output if nowhere else.
    pub(crate) file: Option<PathBuf>,
}

/// Reads `KIND` or `KIND=FILE`.
pub(super) fn parse_report(text: &str) -> Result<Report, String> {
    let (name, file) = match text.split_once('=') {
        Some((_, "")) => return Err(format!("`{text}` names no file behind `=`")),
        Some((name, file)) => (name, Some(PathBuf::from(file))),
        None => (text, None),
    };
    match ReportKind::ALL.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, _)) => Ok(Report { kind: *kind, file }),
        None => {
            let names: Vec<&str> = ReportKind::ALL.iter().map(|(name, ..)| *name).collect();
            let near = nearest(name, names.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(format!("there is no report `{name}`, but {}{near}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_kind_and_perhaps_a_file() {
        assert_eq!(parse_report("lkml"), Ok(Report { kind: ReportKind::Lkml, file: None }));
        let page = Report { kind: ReportKind::Html, file: Some(PathBuf::from("a=b.html")) };
        assert_eq!(parse_report("html=a=b.html"), Ok(page));
        assert!(parse_report("html=").is_err());
        let error = parse_report("junitt").expect_err("no such report");
        assert!(error.contains("did you mean `junit`?"), "{error}");
    }
}
