//! What a campaign gave, in one screen.

use sim::explore::{SignatureStats, Summary};

use crate::causes;
use crate::layout::{Paint, ascii, counted, paragraph, percent};

/// At most this many signatures are listed.
const MAX_SIGNATURES: usize = 40;

/// What stands over the numbers of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Name of the scenario.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// The kernel, the command line and what else was asked for, as (word, value).
    pub settings: Vec<(String, String)>,
}

impl Head {
    /// The head of a report.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let mut out = format!("{}\n", paint.heading(&ascii(&self.scenario)));
        if !self.about.is_empty() {
            paragraph(&mut out, "  ", &self.about);
        }
        for (word, value) in &self.settings {
            paragraph(&mut out, &format!("  {:<9} ", format!("{word}:")), value);
        }
        out
    }
}

/// The numbers of a campaign: seeds, endings, signatures. `per_second` is how fast it went, if that is to be told.
#[must_use]
pub fn summary(summary: &Summary, per_second: Option<u64>, paint: Paint) -> String {
    let mut out = String::new();
    let rate = per_second.map_or_else(String::new, |rate| format!(", {rate} a second"));
    let failed = format!("{} with findings ({})", summary.failed, percent(summary.failed, summary.ran));
    let failed = if summary.failed > 0 { paint.bad(&failed) } else { paint.good(&failed) };
    out.push_str(&format!("{} run{rate}; {failed}\n", counted(summary.ran, "seed")));
    if summary.interrupted {
        out.push_str(&paint.bad("Interrupted: this is what was found so far."));
        out.push('\n');
    }
    if summary.flat {
        out.push_str("Ended early: nothing new came any more.\n");
    }
    if let Some(mean) = summary.steps.checked_div(summary.ran) {
        out.push_str(&format!("steps of a run: {mean} on average, {} at most\n", summary.max_steps));
        if summary.rechecked > 0 {
            out.push_str(&format!("{} run twice to compare\n", counted(summary.rechecked, "seed")));
        }
    }
    out.push_str(&format!("digest {:032x}\n", summary.digest));
    if !summary.endings.is_empty() {
        out.push_str(&format!("\n{}\n", paint.heading("How the runs ended")));
        let mut endings: Vec<_> = summary.endings.iter().collect();
        endings.sort_by_key(|(ending, count)| (std::cmp::Reverse(**count), *ending));
        for (ending, count) in endings {
            let share = percent(*count, summary.ran);
            paragraph(&mut out, &format!("  {count:>9}  {share:>9}  "), ending);
        }
    }
    signatures(&mut out, summary, paint);
    out
}

fn signatures(out: &mut String, summary: &Summary, paint: Paint) {
    let list = summary.by_cause();
    if list.is_empty() {
        return;
    }
    let heading = format!("What was found: {}", counted(list.len() as u64, "signature"));
    out.push_str(&format!("\n{}\n", paint.heading(&heading)));
    if let Some(text) = causes::following(&list) {
        paragraph(out, "  ", &text);
    }
    out.push_str("   no.  first seed      seeds      share\n");
    for (n, SignatureStats { finding, count, first_seed, .. }) in list.iter().take(MAX_SIGNATURES).enumerate()
    {
        let share = percent(*count, summary.ran);
        out.push_str(&format!("  {:>4}  {first_seed:>10}  {count:>9}  {share:>9}\n", n + 1));
        paragraph(out, "        ", &finding.signature());
        paragraph(out, "        ", &finding.title);
        if let Some(remark) = causes::remark(&list, n) {
            paragraph(out, "        ", &format!("({remark})"));
        }
    }
    if let Some(more @ 1..) = list.len().checked_sub(MAX_SIGNATURES) {
        out.push_str(&format!("  ... and {more} more; --format json lists all\n"));
    }
}
