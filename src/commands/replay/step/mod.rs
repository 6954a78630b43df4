//! `dmasim replay --step`: through a run, forwards and backwards, with commands on standard input.
//!
//! The run was recorded as a whole; where somebody stands in it is a number of steps. What the machine is like there is
//! found by repeating the run up to that step, so that backwards costs no more than forwards.

mod command;
mod find;

use std::io::{BufRead, IsTerminal};

use models::run::state::ObjectState;
use reports::state::{View, object, show};
use reports::trace::{Level, header, line};
use reports::{SCREEN, ascii, wrap};
use sim::trace::EventKind;

use super::machine::Machine;
use crate::args::StateArgs;
use crate::commands::Exit;
use crate::input::Failure;
use crate::output::Out;
use command::{Command, Place};
use find::{Found, Index};

/// At most this many events of one step are shown.
const MAX_EVENTS: usize = 30;
/// So many accesses of an object are shown by `history`.
const MAX_HISTORY: usize = 20;

/// Reads commands until there are no more.
pub(super) fn session(args: &StateArgs, machine: Machine<'_>, out: &mut Out) -> Result<Exit, Failure> {
    let at = match args.at {
        None => 0,
        at => machine.step_of(at)?,
    };
    let index = Index::new(machine.trace());
    let mut session = Session { machine, index, at };
    let stdin = std::io::stdin();
    let terminal = stdin.is_terminal();
    out.line(&out.paint.heading(&session.machine.title()));
    let findings = session.machine.findings();
    for finding in findings {
        let text = format!("finding at step {}: {}", finding.step, finding.title);
        for (n, part) in wrap(&ascii(&text), SCREEN - 2).iter().enumerate() {
            out.line(&format!("{}{part}", if n == 0 { "" } else { "  " }));
        }
    }
    if findings.is_empty() {
        out.line("no finding");
    }
    if session.machine.trace().truncated {
        out.line("the run is longer than what is recorded of a run; its end is missing");
    }
    session.tell(out);
    let mut input = stdin.lock().lines();
    loop {
        if terminal {
            out.text("(dmasim) ");
        }
        out.flush();
        if out.is_closed() {
            return Ok(Exit::Expected);
        }
        let text = match input.next() {
            None => break,
            Some(Ok(text)) => text,
            Some(Err(error)) => {
                return Err(Failure::text(format!("cannot read commands from standard input: {error}")));
            }
        };
        let text = text.trim();
        if !terminal {
            // What was asked stands before the answer, as on a terminal.
            out.line(format!("(dmasim) {}", ascii(text)).trim_end());
        }
        let command = match Command::parse(text) {
            Ok(None) => continue,
            Ok(Some(Command::Quit)) => return Ok(Exit::Expected),
            Ok(Some(command)) => command,
            Err(why) => {
                say(&why, out);
                continue;
            }
        };
        if let Err(failure) = session.obey(&command, out) {
            failure.show(out);
        }
    }
    if terminal {
        out.line("");
    }
    Ok(Exit::Expected)
}

/// A remark, wrapped.
fn say(text: &str, out: &mut Out) {
    for part in wrap(&ascii(text), SCREEN) {
        out.line(&part);
    }
}

struct Session<'a> {
    machine: Machine<'a>,
    index: Index,
    /// Steps taken.
    at: u64,
}

impl Session<'_> {
    fn obey(&mut self, command: &Command, out: &mut Out) -> Result<(), Failure> {
        match command {
            Command::Forward(count) => self.go(self.at.saturating_add(*count), out),
            Command::Back(count) => self.go(self.at.saturating_sub(*count), out),
            Command::Goto(place) => self.go_to(*place, out),
            Command::Context { name, back } => match self.index.context(self.machine.trace(), name) {
                Err(why) => say(&why, out),
                Ok(serial) => {
                    let step = self.index.step_of_context(serial, self.at, *back);
                    self.go_if_any(step, &format!("{name} takes no"), *back, out);
                }
            },
            Command::Access { object, back } => match self.find(object)? {
                Err(why) => say(&why, out),
                Ok(found) => {
                    let step = self.index.access(&found, self.at, *back);
                    self.go_if_any(step, &format!("nobody touches {object} in any"), *back, out);
                }
            },
            Command::Show(views) => self.show(views, out)?,
            Command::Object(name) => self.object(name, out)?,
            Command::History(name) => self.history(name, out)?,
            Command::Where => self.tell(out),
            Command::Help(topic) => out.text(&command::help(topic.as_deref())),
            Command::Quit => {}
        }
        Ok(())
    }

    fn go_if_any(&mut self, step: Option<u64>, nothing: &str, back: bool, out: &mut Out) {
        match step {
            Some(step) => self.go(step, out),
            None => {
                let side = if back { "before" } else { "after" };
                say(&format!("{nothing} step {side} step {}", self.at), out);
            }
        }
    }

    fn go_to(&mut self, place: Place, out: &mut Out) {
        match place {
            Place::Step(step) => self.go(step, out),
            Place::Start => self.go(0, out),
            Place::End => self.go(u64::MAX, out),
            Place::Finding(nth) => {
                let findings = self.machine.findings();
                let step = match nth {
                    // The next one from here, and from the last one on the first again.
                    None => findings.iter().find(|f| f.step > self.at).or(findings.first()).map(|f| f.step),
                    Some(nth) => nth.checked_sub(1).and_then(|nth| findings.get(nth)).map(|f| f.step),
                };
                match step {
                    Some(step) => self.go(step, out),
                    None => say(&format!("there is no such finding: the run has {}", findings.len()), out),
                }
            }
        }
    }

    /// Stands at a step, or at the nearest that there is, and tells what is there.
    fn go(&mut self, step: u64, out: &mut Out) {
        let last = self.index.last().min(self.machine.steps());
        if step > last {
            say(&format!("the run ends with step {last}"), out);
        }
        self.at = step.min(last);
        self.tell(out);
    }

    /// Where it stands, what happened in this step, and what comes next.
    fn tell(&self, out: &mut Out) {
        let trace = self.machine.trace();
        out.line(&format!("step {} of {}", self.at, self.machine.steps()));
        let events = self.index.events(trace, self.at);
        let lines: Vec<String> = events.iter().filter_map(|event| line(trace, event, Level::Full)).collect();
        if !lines.is_empty() {
            out.line(&out.paint.dim(&header()));
        }
        for line in lines.iter().take(MAX_EVENTS) {
            out.line(line);
        }
        if let Some(more @ 1..) = lines.len().checked_sub(MAX_EVENTS) {
            out.line(&format!("and {more} more events"));
        }
        for finding in self.machine.findings().iter().filter(|finding| finding.step == self.at) {
            let text = format!("*** finding: {}", ascii(&finding.signature()));
            for (n, part) in wrap(&text, SCREEN - 4).iter().enumerate() {
                let lead = if n == 0 { "" } else { "    " };
                out.line(&out.paint.bad(&format!("{lead}{part}")));
            }
        }
        let next = self.index.events(trace, self.at + 1);
        match next.iter().find(|event| matches!(event.kind, EventKind::Step { .. })) {
            Some(event) => {
                let text = line(trace, event, Level::Full).unwrap_or_default();
                out.line(&out.paint.dim(&format!("next: {}", text.trim_start())));
            }
            None => out.line("the run ends here"),
        }
    }

    fn show(&mut self, views: &[View], out: &mut Out) -> Result<(), Failure> {
        let state = self.machine.state(self.at)?;
        for view in views {
            out.text(&show(&state, *view, out.paint));
        }
        Ok(())
    }

    /// The object that is meant: by address, or by name.
    fn find(&mut self, name: &str) -> Result<Result<Found, String>, Failure> {
        let Some(addr) = find::address(name) else {
            return Ok(self.index.named(name));
        };
        let found = self.machine.look(self.at, move |kx| ObjectState::at(kx, addr))?;
        Ok(found.as_ref().map(Found::of).ok_or_else(|| {
            format!("no object lies at {addr:#x} at step {}, and none ever lay there before", self.at)
        }))
    }

    fn object(&mut self, name: &str, out: &mut Out) -> Result<(), Failure> {
        if let Some(addr) = find::address(name) {
            match self.machine.look(self.at, move |kx| (ObjectState::at(kx, addr), memory(kx, addr)))? {
                (Some(state), _) => out.text(&object(&state, out.paint)),
                (None, lines) => {
                    say(&format!("no object lies at {addr:#x}, and none ever lay there before"), out);
                    lines.iter().for_each(|line| out.line(&ascii(line)));
                }
            }
            return Ok(());
        }
        let found = match self.index.named(name) {
            Ok(found) => found,
            Err(why) => {
                say(&why, out);
                return Ok(());
            }
        };
        // Of several the one that was touched last, or else the one that will be first.
        let step = self
            .index
            .access(&found, self.at + 1, true)
            .or_else(|| self.index.access(&found, self.at, false));
        let label = step.and_then(|step| self.index.label(step));
        let count = found.objects();
        let state = match label {
            Some(label) => self.machine.look(self.at, move |kx| ObjectState::labelled(kx, label))?,
            None => None,
        };
        match state {
            Some(state) => {
                out.text(&object(&state, out.paint));
                if count > 1 {
                    say(
                        &format!("{count} objects have this name; this is the one that was touched last"),
                        out,
                    );
                }
            }
            None => {
                say(
                    &format!(
                        "{name} has no fields at step {}: it is a lock, an event, or does not exist yet",
                        self.at
                    ),
                    out,
                );
            }
        }
        self.lock(&found, out)
    }

    /// Who holds and wants what is found, if it is a lock.
    fn lock(&mut self, found: &Found, out: &mut Out) -> Result<(), Failure> {
        let names = self.index.names(found);
        let state = self.machine.state(self.at)?;
        for lock in state.locks.locks.iter().filter(|lock| names.contains(&lock.lock)) {
            let list = |list: &[(sim::Name, bool)]| match list {
                [] => "nobody".to_owned(),
                list => list.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", "),
            };
            let text =
                format!("{}: held by {}, wanted by {}", lock.lock, list(&lock.holders), list(&lock.waiters));
            say(&text, out);
        }
        Ok(())
    }

    fn history(&mut self, name: &str, out: &mut Out) -> Result<(), Failure> {
        let found = match self.find(name)? {
            Ok(found) => found,
            Err(why) => {
                say(&why, out);
                return Ok(());
            }
        };
        let trace = self.machine.trace();
        let all = self.index.accesses(&found);
        let before = all.partition_point(|step| *step <= self.at);
        let from = before.saturating_sub(MAX_HISTORY);
        let until = all.len().min(before + MAX_HISTORY);
        say(&format!("{} steps touch {}, {before} of them up to here", all.len(), found.what), out);
        if from > 0 {
            out.line(&format!("  {from} before these"));
        }
        for (n, step) in all.iter().enumerate().take(until).skip(from) {
            if n == before {
                out.line(&format!("  ---- here, after step {}", self.at));
            }
            let events = self.index.events(trace, *step);
            let event = events.iter().find(|event| matches!(event.kind, EventKind::Step { .. }));
            if let Some(text) = event.and_then(|event| line(trace, event, Level::Full)) {
                out.line(&text);
            }
        }
        if let Some(more @ 1..) = all.len().checked_sub(until) {
            out.line(&format!("  {more} after these"));
        }
        Ok(())
    }
}

/// Who owns the memory at an address, and what lies there.
fn memory(kx: &models::kernel::Kx, addr: u64) -> Vec<String> {
    let virt = models::mem::PhysAddr::from_virt(addr)
        .map_or_else(|| models::mem::PhysAddr(addr).virt(), models::mem::PhysAddr::virt);
    let mut sections = Vec::new();
    kx.k.explain_memory(virt, kx.sim(), &mut sections);
    sections.into_iter().flat_map(|(_, lines)| lines).map(|line| format!("  {line}")).collect()
}
