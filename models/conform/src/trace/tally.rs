//! Counting what was compared, what was not, and why.

use std::collections::BTreeMap;

use crate::{Exception, Report};

/// Misses that are listed; more are only counted.
const MAX_EXCEPTIONS: usize = 10_000;

/// The report in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// The report.
    pub(super) report: Report,
    /// Results that were not compared, by subject and cause, with the first line.
    open: BTreeMap<(&'static str, &'static str), (u64, u64)>,
    /// Misses by subject and explanation; none: unexplained.
    misses: BTreeMap<(&'static str, Option<&'static str>), u64>,
    /// Results seen and compared, by subject.
    results: BTreeMap<&'static str, (u64, u64)>,
    /// Hits and misses by subject and by whether the trace determines them.
    sure: BTreeMap<(&'static str, bool), (u64, u64)>,
    unlisted: u64,
}

/// One comparison.
#[derive(Clone, Debug)]
pub(super) struct Compared<'a> {
    /// What it is about, such as `bounce addresses`.
    pub(super) subject: &'static str,
    /// The row it counts in.
    pub(super) row: &'a str,
    /// Whether the trace determines the result.
    pub(super) sure: bool,
    /// Whether model and recording agree.
    pub(super) agreed: bool,
}

impl Tally {
    /// A result that is not compared.
    pub(super) fn open(&mut self, subject: &'static str, cause: &'static str, line: u64) {
        self.results.entry(subject).or_default().0 += 1;
        let entry = self.open.entry((subject, cause)).or_insert((0, line));
        entry.0 += 1;
    }

    /// A result that is compared; for a miss, `exception` says what differs. Returns where the exception is listed.
    pub(super) fn compare(
        &mut self,
        compared: &Compared<'_>,
        why: Option<&'static str>,
        exception: impl FnOnce() -> Exception,
    ) -> Option<usize> {
        let results = self.results.entry(compared.subject).or_default();
        results.0 += 1;
        results.1 += 1;
        self.report.count(compared.row, compared.agreed);
        let sure = self.sure.entry((compared.subject, compared.sure)).or_default();
        sure.0 += u64::from(compared.agreed);
        sure.1 += 1;
        if compared.agreed {
            return None;
        }
        *self.misses.entry((compared.subject, why)).or_default() += 1;
        if self.report.exceptions.len() >= MAX_EXCEPTIONS {
            self.unlisted += 1;
            return None;
        }
        let mut exception = exception();
        exception.why = why.map(str::to_owned);
        self.report.exceptions.push(exception);
        Some(self.report.exceptions.len() - 1)
    }

    /// An explanation that came later, for a miss that is listed and unexplained.
    pub(super) fn explain(&mut self, listed: usize, subject: &'static str, why: &'static str) {
        let Some(exception) =
            self.report.exceptions.get_mut(listed).filter(|exception| exception.why.is_none())
        else {
            return;
        };
        exception.why = Some(why.to_owned());
        if let Some(count) = self.misses.get_mut(&(subject, None)) {
            *count -= 1;
        }
        *self.misses.entry((subject, Some(why))).or_default() += 1;
    }

    /// A remark for the reader.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }

    /// The report, with the shares that the trace determines.
    pub(super) fn finish(mut self) -> Report {
        for (subject, (seen, compared)) in std::mem::take(&mut self.results) {
            let (sure_hits, sure) = self.sure.get(&(subject, true)).copied().unwrap_or_default();
            self.note(format!(
                "{subject}: the trace shows {seen} results; {compared} were compared; it determines {sure} ({}), of \
                 which {sure_hits} agree",
                percent(sure, seen)
            ));
            let causes: Vec<_> = self
                .open
                .iter()
                .filter(|((of, _), _)| *of == subject)
                .map(|((_, cause), count)| (*cause, *count))
                .collect();
            for (cause, (count, line)) in causes {
                self.note(format!("{subject}: {count} not compared, from line {line}: {cause}"));
            }
            let misses: Vec<_> = self
                .misses
                .iter()
                .filter(|((of, _), _)| *of == subject)
                .map(|((_, why), count)| (*why, *count))
                .collect();
            for (why, count) in misses.into_iter().filter(|(_, count)| *count > 0) {
                self.note(format!("{subject}: {count} missed: {}", why.unwrap_or("unexplained")));
            }
        }
        if self.unlisted > 0 {
            let unlisted = self.unlisted;
            self.note(format!("{unlisted} more misses are counted but not listed"));
        }
        self.report
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_round_up() {
        assert_eq!(percent(999, 1000), "99.9 %");
        assert_eq!(percent(9999, 10_000), "99.9 %");
        assert_eq!(percent(0, 0), "none");
    }
}
