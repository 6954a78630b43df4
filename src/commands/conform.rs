//! `dmasim conform`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use conform::{Kind, Outcome};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Exit;
use super::test::similar;
use crate::args::{ConformArgs, Format};
use crate::input::Failure;
use crate::interrupt;
use crate::output::{Out, progress_visible};
use crate::pipe;

/// A file, and what it holds.
type Recording = (Kind, PathBuf);

/// What is to be compared: what the user says that it is, or what it looks like. Of a folder all files that look like any.
fn recordings(args: &ConformArgs, out: &mut Out) -> Result<Vec<Recording>, Failure> {
    let named = [(Kind::Boot, &args.boot), (Kind::Calls, &args.calls), (Kind::Trace, &args.trace)];
    let of = |(kind, files): (Kind, &Vec<PathBuf>)| -> Vec<Recording> {
        files.iter().map(|file| (kind, file.clone())).collect()
    };
    let mut all: Vec<Recording> = named.into_iter().flat_map(of).collect();
    for path in &args.files {
        if path.is_dir() {
            all.extend(folder(path, out)?);
        } else {
            // What is no recording is told as what it ought to be in the first place, and so is what can be read but once.
            let kind = path.is_file().then(|| Kind::of(path)).flatten();
            all.push((kind.unwrap_or(Kind::Vectors), path.clone()));
        }
    }
    for (_, file) in &all {
        if !file.exists() {
            return Err(Failure::text(format!("there is no {}{}", file.display(), similar(file))));
        }
    }
    Ok(all)
}

/// The recordings in a folder, by name.
fn folder(path: &Path, out: &mut Out) -> Result<Vec<Recording>, Failure> {
    let unread = |error: std::io::Error| Failure::text(format!("{}: {error}", path.display()));
    let entries = path.read_dir().map_err(unread)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unread)?;
    files.retain(|file| file.is_file());
    files.sort();
    let (known, others): (Vec<_>, Vec<_>) =
        files.into_iter().map(|file| (Kind::of(&file), file)).partition(|(kind, _)| kind.is_some());
    let known: Vec<Recording> = known.into_iter().filter_map(|(kind, file)| Some((kind?, file))).collect();
    let others: Vec<String> = others.iter().map(|(_, file)| file.display().to_string()).collect();
    if known.is_empty() {
        return Err(Failure::text(format!(
            "{}: no file in it looks like operation vectors, the log of a boot, a log of calls or a trace",
            path.display()
        )));
    }
    if !others.is_empty() && !out.quiet {
        out.error_line(&format!("warning: no recordings, and left out: {}", others.join(", ")));
    }
    Ok(known)
}

pub(super) fn conform(args: &ConformArgs, out: &mut Out) -> Result<Exit, Failure> {
    let files = recordings(args, out)?;
    let _watch = pipe::watch(files.iter().map(|(_, file)| file));
    // The other kinds cannot be left in the middle of a file: there Ctrl-C ends everything at once, and the files that are
    // done have been shown.
    static NEVER: AtomicBool = AtomicBool::new(false);
    let one = |kind| files.iter().all(|(other, _)| *other == kind);
    let stop = if one(Kind::Vectors) { interrupt::flag() } else { &NEVER };
    let mut outcomes: Vec<(&Path, Outcome)> = Vec::new();
    all(args, &files, stop, out.quiet, |path, outcome| {
        if args.format == Format::Human {
            show(path, &outcome, args, out);
        }
        if let Some(error) = &outcome.error {
            Failure::text(error.to_string()).show(out);
        }
        outcomes.push((path, outcome));
    });
    let borrowed: Vec<(&Path, &Outcome)> = outcomes.iter().map(|(path, outcome)| (*path, outcome)).collect();
    match args.format {
        Format::Human if files.len() > 1 => summary(&borrowed, out),
        Format::Human => {}
        Format::Json => {
            let first = files.first().map(|(kind, _)| *kind).filter(|kind| one(*kind));
            out.line(&conform::line(first.map_or("several", Kind::name), &borrowed));
        }
    }
    Ok(if interrupt::pressed() {
        Exit::Interrupted
    } else if borrowed.iter().any(|(_, outcome)| outcome.error.is_some()) {
        Exit::Unusable
    } else if borrowed.iter().all(|(_, outcome)| outcome.agrees()) {
        Exit::Expected
    } else {
        Exit::Unexpected
    })
}

/// Compares all files, on several threads; `done` gets each outcome in the order of the files.
fn all<'a>(
    args: &ConformArgs,
    files: &'a [Recording],
    stop: &AtomicBool,
    quiet: bool,
    mut done: impl FnMut(&'a Path, Outcome),
) {
    let bar = bar(files, quiet);
    let next = AtomicUsize::new(0);
    let available = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(available).min(files.len());
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, next, bar) = (sender.clone(), &next, &bar);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((kind, path)) = files.get(at) else { return };
                    let mut before = 0;
                    let outcome = kind.compare(path, args.show, &mut |bytes| {
                        bar.inc(bytes - before);
                        before = bytes;
                        !stop.load(Ordering::Relaxed)
                    });
                    if sender.send((at, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<Outcome>> = files.iter().map(|_| None).collect();
        let mut shown = 0;
        for (at, outcome) in receiver {
            waiting[at] = Some(outcome);
            while let Some(outcome) = waiting.get_mut(shown).and_then(Option::take) {
                bar.suspend(|| done(&files[shown].1, outcome));
                shown += 1;
            }
        }
    });
    bar.finish_and_clear();
}

/// Progress over the bytes of all files.
fn bar(files: &[Recording], quiet: bool) -> ProgressBar {
    if !progress_visible(quiet) {
        return ProgressBar::hidden();
    }
    let length = files.iter().filter_map(|(_, file)| file.metadata().ok()).map(|data| data.len()).sum();
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(8));
    let style = "{bar:30} {bytes}/{total_bytes}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Prints what became of one file.
fn show(path: &Path, outcome: &Outcome, args: &ConformArgs, out: &mut Out) {
    for report in &outcome.reports {
        let text = report.text(&path.display().to_string(), args.show);
        // The verdict is the last line, and the only one that is coloured.
        let (body, verdict) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
        out.line(body);
        let paint = out.paint;
        out.line(&if report.agrees() { paint.good(verdict) } else { paint.bad(verdict) });
        out.line("");
    }
    out.flush();
}

/// Prints what became of all files.
fn summary(outcomes: &[(&Path, &Outcome)], out: &mut Out) {
    let agree = outcomes.iter().filter(|(_, outcome)| outcome.agrees()).count();
    let unusable = outcomes.iter().filter(|(_, outcome)| outcome.error.is_some()).count();
    let differ = outcomes.len() - agree - unusable;
    let more = if unusable > 0 { format!(", {unusable} unusable") } else { String::new() };
    out.line(&format!("{agree} files agree, {differ} differ{more}"));
}
