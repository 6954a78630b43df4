//! `dmasim conform`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use conform::{Outcome, Source};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Exit;
use super::test::similar;
use crate::args::{ConformArgs, Format};
use crate::input::Failure;
use crate::interrupt;
use crate::output::{Out, progress_visible};
use crate::pipe;

/// What the files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Vectors,
    Boot,
    Calls,
    Trace,
}

impl Mode {
    /// Its name in JSON.
    const fn name(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::Boot => "boot",
            Self::Calls => "calls",
            Self::Trace => "trace",
        }
    }

    /// What was asked for, and the files.
    fn of(args: &ConformArgs) -> (Self, &[PathBuf]) {
        let modes = [(Self::Boot, &args.boot), (Self::Calls, &args.calls), (Self::Trace, &args.trace)];
        let asked = modes.into_iter().find(|(_, files)| !files.is_empty());
        asked.map_or((Self::Vectors, &args.files), |(mode, files)| (mode, files))
    }

    /// Compares one file. `go_on` takes the number of bytes read so far.
    fn compare(self, path: &Path, show: usize, go_on: &mut dyn FnMut(u64) -> bool) -> Outcome {
        match self {
            Self::Vectors => match Source::open(path) {
                Ok(mut source) => conform::vectors::compare(&mut source, show, go_on),
                Err(error) => Err(error).into(),
            },
            Self::Boot => conform::boot::compare_all(path),
            Self::Calls => conform::calls::compare(path).into(),
            Self::Trace => conform::trace::compare(path, None).into(),
        }
    }
}

pub(super) fn conform(args: &ConformArgs, out: &mut Out) -> Result<Exit, Failure> {
    let (mode, files) = Mode::of(args);
    for file in files {
        if !file.exists() {
            return Err(Failure::text(format!("there is no {}{}", file.display(), similar(file))));
        }
    }
    let _watch = pipe::watch(files);
    // The other kinds cannot be left in the middle of a file: there Ctrl-C ends everything at once, and the files that are
    // done have been shown.
    static NEVER: AtomicBool = AtomicBool::new(false);
    let stop = if mode == Mode::Vectors { interrupt::flag() } else { &NEVER };
    let mut outcomes: Vec<(&Path, Outcome)> = Vec::new();
    all(mode, args, files, stop, out.quiet, |path, outcome| {
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
        Format::Json => out.line(&conform::line(mode.name(), &borrowed)),
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
    mode: Mode,
    args: &ConformArgs,
    files: &'a [PathBuf],
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
                    let Some(path) = files.get(at) else { return };
                    let mut before = 0;
                    let outcome = mode.compare(path, args.show, &mut |bytes| {
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
                bar.suspend(|| done(&files[shown], outcome));
                shown += 1;
            }
        }
    });
    bar.finish_and_clear();
}

/// Progress over the bytes of all files.
fn bar(files: &[PathBuf], quiet: bool) -> ProgressBar {
    if !progress_visible(quiet) {
        return ProgressBar::hidden();
    }
    let length = files.iter().filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum();
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
