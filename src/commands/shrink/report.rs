//! What shrinking gave: the file, and the words about it.

use models::shrink::{Measure, Pair, PairChange};
use reports::pair::Difference;
use reports::{WIDTH, ascii, wrap};
use serde_json::json;
use sim::choices::{Answer, Record};
use sim::explore::shrink::Halt;

use super::Done;
use super::start::Start;
use crate::args::ShrinkArgs;
use crate::input::{Failure, quoted};
use crate::output::Out;

/// At most so many choices are listed.
const MAX_CHOICES: usize = 12;

fn choice(record: &Record) -> String {
    let answer = match record.answer {
        Answer::Switch(to) => format!("{to} goes on instead"),
        Answer::Value { taken, of } => format!("{taken} of {of}"),
    };
    format!("{}: {answer}", record.site)
}

/// The scenario as a file that explains itself.
pub(super) fn scenario(
    done: &Done,
    start: &Start,
    before: &Measure,
    halt: Option<Halt>,
    args: &ShrinkArgs,
) -> String {
    let mut text = String::new();
    let mut comment = |first: &str, line: &str| {
        for (n, part) in wrap(&ascii(line), WIDTH - 3 - first.len()).iter().enumerate() {
            let lead = if n == 0 { first.to_owned() } else { " ".repeat(first.len()) };
            text.push_str(format!("// {lead}{part}").trim_end());
            text.push('\n');
        }
    };
    let finding = &start.finding;
    comment("", &finding.signature());
    comment("", &finding.title);
    comment("", "");
    let from = args.subject.scenario.display();
    let reached = match halt {
        None => "nothing can be left out",
        Some(Halt::Interrupted) => "interrupted, so more may be superfluous",
        Some(Halt::Budget | Halt::Journal) => "the budget was used up, so more may be superfluous",
    };
    comment("", &format!("What `dmasim shrink` left of {from}, seed {}: {reached}.", start.seed));
    let sizes: Vec<String> = before
        .rows()
        .iter()
        .zip(done.measure.rows())
        .filter(|((_, was), (_, is))| was != is)
        .map(|((word, was), (_, is))| format!("{} {was} -> {is}", word.trim()))
        .collect();
    if !sizes.is_empty() {
        comment("", &format!("{}.", sizes.join(", ")));
    }
    comment("", "");
    let records = &done.token.choices.records;
    if records.is_empty() {
        comment("", "Every choice of the run has its default. To repeat it:");
    } else {
        comment("", "Choices of the run that do not have their default:");
        for record in records.iter().take(MAX_CHOICES) {
            comment("  ", &choice(record));
        }
        if let Some(more @ 1..) = records.len().checked_sub(MAX_CHOICES) {
            comment("  ", &format!("and {more} more"));
        }
        comment("", "To repeat it:");
    }
    let file = args.output.as_ref().map_or_else(|| "FILE".to_owned(), |path| path.display().to_string());
    // A command is one line, however long, so that it can be pasted.
    text.push_str(&format!("//   dmasim replay {} --token {}\n", quoted(&file), done.token.encode()));
    text.push_str(&done.tree.text());
    text
}

/// The words about it.
pub(super) fn human(
    done: &Done,
    start: &Start,
    before: &Measure,
    tried: (u64, u64),
    halt: Option<Halt>,
    args: &ShrinkArgs,
    out: &mut Out,
) {
    let finding = &start.finding;
    for (n, line) in wrap(&ascii(&finding.signature()), WIDTH - 10).iter().enumerate() {
        out.line(&format!("{} {line}", if n == 0 { "signature" } else { "         " }));
    }
    out.line(&format!("{} candidates tried, {} of them showed it\n", tried.0, tried.1));
    out.line(&format!("  {:<28} {:>9} {:>9}", "", "before", "after"));
    for ((word, was), (_, is)) in before.rows().iter().zip(done.measure.rows()) {
        out.line(&format!("  {word:<28} {was:>9} {is:>9}"));
    }
    out.line("");
    match halt {
        None => {}
        Some(Halt::Interrupted) => out.line(&out.paint.bad("Interrupted: this is the smallest so far.")),
        Some(Halt::Budget | Halt::Journal) => {
            out.line(&out.paint.bad("The budget is used up: this is the smallest so far."));
        }
    }
    for record in done.token.choices.records.iter().take(MAX_CHOICES) {
        for (n, line) in wrap(&ascii(&choice(record)), WIDTH - 4).iter().enumerate() {
            out.line(&format!("  {}{line}", if n == 0 { "" } else { "  " }));
        }
    }
    if let Some(file) = &args.output {
        out.line(&format!(
            "wrote {}; next: dmasim run {}",
            file.display(),
            quoted(&file.display().to_string())
        ));
    }
}

/// The failing run beside the nearest clean one.
pub(super) fn pair(pair: Option<&Pair>, out: &mut Out) {
    let Some(pair) = pair else {
        let text = "No single switch, more or less, and no single other choice makes the finding go away: it is no \
                    race of two steps.";
        out.line("");
        for line in wrap(text, WIDTH) {
            out.line(&line);
        }
        return;
    };
    let (record, difference, clean) = match &pair.change {
        PairChange::Without(record) => (record, Difference::LessSwitch, None),
        PairChange::With(record) => (record, Difference::MoreSwitch, None),
        PairChange::Lower(record, clean) => (record, Difference::Answer, Some(clean)),
    };
    let site = &record.site;
    let words = match (record.answer, clean) {
        (Answer::Switch(to), _) => {
            format!("when {} is about to {} {}, {to} goes on", site.who, site.what, site.object)
        }
        (Answer::Value { .. }, Some(clean)) => format!("{}; {clean} in the clean run", choice(record)),
        (Answer::Value { .. }, None) => choice(record),
    };
    let side = |run: &models::run::Run| (run.end.steps, run.end.findings.clone());
    let ((failing_steps, failing), (clean_steps, clean)) = (side(&pair.failing), side(&pair.clean));
    let report = reports::pair::Pair {
        failing: reports::pair::Side {
            trace: &pair.failing.end.trace,
            findings: &failing,
            steps: failing_steps,
        },
        clean: reports::pair::Side { trace: &pair.clean.end.trace, findings: &clean, steps: clean_steps },
        difference,
        choice: &words,
    };
    out.line("");
    let text = report.render(out.paint);
    out.text(&text);
}

/// One JSON object.
pub(super) fn json(
    done: &Done,
    start: &Start,
    before: &Measure,
    tried: (u64, u64),
    halt: Option<Halt>,
) -> Result<String, Failure> {
    let sizes = |measure: &Measure| {
        let rows = measure.rows().map(|(word, n)| (word.trim().replace(' ', "_"), json!(n)));
        serde_json::Value::Object(rows.into_iter().collect())
    };
    let value = json!({
        "scenario": done.scenario.name,
        "scenario_digest": done.scenario.digest.to_string(),
        "engine": sim::ENGINE_VERSION,
        "seed": start.seed,
        "kind": start.finding.kind,
        "signature": start.finding.signature(),
        "signature_hash": format!("{:016x}", start.finding.signature_hash()),
        "digest": format!("{:032x}", done.run.end.digest),
        "before": sizes(before),
        "after": sizes(&done.measure),
        "tried": tried.0,
        "shown": tried.1,
        "complete": halt.is_none(),
        "interrupted": halt == Some(Halt::Interrupted),
        "token": done.token.encode(),
        "text": done.tree.text(),
    });
    serde_json::to_string(&value).map_err(|error| Failure::text(error.to_string()))
}
