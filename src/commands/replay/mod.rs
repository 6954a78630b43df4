//! `dmasim replay`.

mod machine;
mod step;

use models::run::{Request, Run, Simulation, Source};
use reports::json::{RunJson, line};
use reports::trace::{Level, header, log_line};
use reports::{Paint, case, trace};
use sim::explore::catching;
use sim::schedule::Strategy;

use super::Exit;
use crate::args::{Format, ReplayArgs, ReportKind, TraceLevel};
use crate::campaign::Tweaks;
use crate::input::{Failure, resolve};
use crate::output::Out;
use crate::report;
use crate::token;
use machine::Machine;

pub(super) fn replay(args: &ReplayArgs, out: &mut Out) -> Result<Exit, Failure> {
    if let (Some(from), Some(until)) = (args.from, args.until)
        && from > until
    {
        return Err(Failure::text(format!("there is nothing from step {from} until step {until}")));
    }
    if args.state.at.is_some() && args.state.show.is_empty() && !args.state.step {
        return Err(Failure::text("--at goes with --show or --step"));
    }
    report::check(&args.report, &[&ReportKind::OF_A_RUN])?;
    // A token that is none is told at once, whatever the scenario is like.
    let token = token::read(args.origin.token.as_deref(), args.origin.token_file.as_deref())?;
    let scenario = resolve(&args.subject.scenario, &args.subject.kernel, out)?;
    let seed = token.as_ref().map_or(args.origin.seed.unwrap_or(0), |token| token.seed);
    let simulation = Simulation::new(scenario);
    let tweaks = Tweaks::of(&args.subject.engine);
    let fitted = token
        .as_ref()
        .filter(|_| args.nearest)
        .map(|token| token::nearest(&simulation, &tweaks.on(Request::quick(token.seed)), &token.choices));
    let source = match (&fitted, &token) {
        (Some(fitted), _) => Source::Replay(fitted.choices.clone()),
        (None, Some(token)) => Source::Replay(token.choices.clone()),
        (None, None) => Source::Seed(seed),
    };
    let strategy = tweaks.strategy(simulation.scenario());
    if token.is_none() && strategy == Strategy::Rff && !out.quiet {
        out.error_line(super::run::ALONE);
    }
    let request = tweaks.on(Request::full(source));
    let run = match catching(|| simulation.worker().run(&request)) {
        Ok(run) => run,
        Err(message) => {
            out.line(&out.paint.bad(&format!("panic-in-model: the simulator itself panicked: {message}")));
            return Ok(Exit::Unexpected);
        }
    };
    if let Some(token) = &token {
        match &fitted {
            Some(fitted) if !fitted.changes.is_empty() => token::tell_changes(token, fitted, &run, out),
            _ => token::compare(token, simulation.scenario().digest.0, &run, out)?,
        }
    }
    if args.state.step || !args.state.show.is_empty() {
        let machine = Machine::new(&simulation, request, run, seed, token.is_some());
        return if args.state.step {
            step::session(&args.state, machine, out)
        } else {
            machine.show(args, out)
        };
    }
    let which = format!("{} {seed}", if token.is_some() { "token recorded from seed" } else { "seed" });
    for wanted in &args.report {
        let mail = || {
            let mut text = String::new();
            for finding in &run.end.findings {
                text.push_str(&case::finding(finding, Paint::PLAIN));
                text.push('\n');
            }
            if text.is_empty() { "no finding\n".to_owned() } else { text }
        };
        let text = report::of_run(wanted.kind, simulation.scenario(), &which, &run, mail)?;
        report::deliver(wanted, &text, out)?;
    }
    if report::takes_stdout(&args.report) {
        // Standard output is the report's.
    } else if args.log {
        for entry in run.log() {
            out.line(&log_line(entry.time, &entry.text));
        }
    } else if args.format == Format::Json {
        let name = (simulation.scenario().name.as_str(), simulation.scenario().digest.0);
        let json = RunJson::new(name, seed, &run.end);
        let text = line(&json).map_err(|error| Failure::text(error.to_string()))?;
        out.line(&text);
    } else {
        show(args, &run, seed, &simulation, out);
    }
    Ok(if run.end.findings.is_empty() { Exit::Expected } else { Exit::Unexpected })
}

fn show(args: &ReplayArgs, run: &Run, seed: u64, simulation: &Simulation, out: &mut Out) {
    let level = match args.trace {
        TraceLevel::Brief => Level::Brief,
        TraceLevel::Full => Level::Full,
    };
    let source = if args.origin.seed.is_some() { "seed" } else { "token recorded from seed" };
    out.line(&out.paint.heading(&format!("{}, {source} {seed}", simulation.scenario().name)));
    out.line(&header());
    let wanted = args.from.unwrap_or(0)..=args.until.unwrap_or(u64::MAX);
    let mut shown = 0_u64;
    for event in run.end.trace.events.iter().filter(|event| wanted.contains(&event.step)) {
        if out.is_closed() {
            break;
        }
        if let Some(text) = trace::line(&run.end.trace, event, level) {
            out.line(&text);
            shown += 1;
        }
    }
    if shown == 0 {
        out.line(&format!("(no event here; the run has {} steps)", run.end.steps));
    }
    if run.end.trace.truncated {
        out.line("(the run is longer than what is recorded of a run; its end is missing)");
    }
    for (n, finding) in run.end.findings.iter().enumerate() {
        let head = format!("\nFinding {} of {}: {}", n + 1, run.end.findings.len(), finding.kind);
        out.line(&out.paint.bad(&head));
        out.text(&case::finding(finding, out.paint));
    }
    let findings = match run.end.findings.len() {
        0 => "no finding".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    if let Some(debugfs) = run.facts.debugfs {
        let files: Vec<String> = debugfs.files().map(|(name, value)| format!("{name} {value}")).collect();
        out.line(&format!("\n/sys/kernel/debug/swiotlb at the end: {}", files.join(", ")));
    }
    out.line(&format!("\n{} steps, digest {:032x}, {findings}", run.end.steps, run.end.digest));
}
