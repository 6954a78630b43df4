//! A comparison as text.

use std::fmt::Write as _;

use crate::report::{Exception, Report};

/// No line is wider.
const WIDTH: usize = 100;

impl Report {
    /// The report as plain text: a headline, a table, the first `show` exceptions in full, and notes. `name` is that
    /// of the recording.
    #[must_use]
    pub fn text(&self, name: &str, show: usize) -> String {
        let mut text = String::new();
        let (agreed, total) = self.totals();
        fold(&mut text, "", &format!("{name}: {}, kernel {}", self.kind, self.version));
        let counts: Vec<String> =
            self.counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        if !counts.is_empty() {
            fold(&mut text, "  ", &counts.join(", "));
        }
        self.table(&mut text);
        for exception in self.exceptions.iter().take(show) {
            text.push('\n');
            show_one(&mut text, exception);
        }
        if let Some(more @ 1..) = self.exceptions.len().checked_sub(show) {
            fold(&mut text, "  ", &format!("and {more} more that differ (--show N shows N of them)"));
        }
        for note in &self.notes {
            fold(&mut text, "  note: ", note);
        }
        let verdict = match (agreed, total) {
            (_, 0) => "nothing was compared".to_owned(),
            (a, b) if a == b => format!("all {total} results agree"),
            _ => format!("{} of {total} results differ", total - agreed),
        };
        fold(&mut text, "  ", &verdict);
        text
    }

    fn table(&self, text: &mut String) {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(9);
        let _ = writeln!(text, "    {:width$} {:>9} {:>9}", "", "compared", "agree");
        for row in &self.rows {
            let mark = if row.agreed == row.total { "" } else { "  differs" };
            let _ =
                writeln!(text, "    {:width$} {:>9} {:>9}{mark}", plain(&row.name), row.total, row.agreed);
        }
    }
}

fn show_one(text: &mut String, exception: &Exception) {
    fold(text, "  ", &format!("line {}: {}", exception.line, exception.what));
    fold(text, "    recorded: ", &exception.recorded);
    fold(text, "    modelled: ", &exception.modelled);
    if let Some(why) = &exception.why {
        fold(text, "    ", why);
    }
    for line in &exception.detail {
        fold(text, "    ", line);
    }
}

/// Only what a terminal shows as it is.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Appends a text behind `lead`, in lines that are not too wide; later ones are indented by two columns more. Lines are
/// broken at spaces, or behind commas, or anywhere if there are none.
fn fold(text: &mut String, lead: &str, what: &str) {
    let what = plain(what);
    let indent = " ".repeat(lead.len() - lead.trim_start().len() + 2);
    let mut rest = what.as_str();
    let mut start = lead.to_owned();
    loop {
        let room = WIDTH - start.len();
        if rest.len() <= room {
            let _ = writeln!(text, "{start}{rest}");
            return;
        }
        let head = &rest[..room];
        let far = |at: &usize| *at > room / 3;
        let at = head
            .rfind(' ')
            .filter(far)
            .or_else(|| head.rfind(',').map(|at| at + 1).filter(far))
            .unwrap_or(room);
        let _ = writeln!(text, "{start}{}", rest[..at].trim_end());
        rest = rest[at..].trim_start();
        start.clone_from(&indent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_and_nothing_is_lost() {
        for sample in ["x".repeat(1000), "word ".repeat(300), "1,".repeat(700), String::new()] {
            let mut text = String::new();
            fold(&mut text, "    recorded: ", &sample);
            assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(letters(&text), format!("recorded:{}", letters(&sample)));
        }
    }
}
