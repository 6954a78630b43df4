//! Contexts and locks, in the manner of sysrq-t and lockdep.

use models::run::state::LocksState;
use sim::{Class, ContextState, Doing};

use crate::layout::{counted, seconds};

fn cpu(context: &ContextState) -> String {
    context.cpu.map_or_else(|| "device".to_owned(), |cpu| format!("cpu{cpu}"))
}

const fn class(context: &ContextState) -> &'static str {
    match context.class {
        Class::Task => "task",
        Class::Softirq => "softirq",
        Class::Hardirq => "hardirq",
        Class::Device => "device",
    }
}

/// What a context does, in words.
fn doing(context: &ContextState) -> String {
    let next = match &context.next {
        Some((kind, object)) if object.text.is_empty() => kind.word().to_owned(),
        Some((kind, object)) => format!("{} {object}", kind.word()),
        None => String::new(),
    };
    let text = match &context.doing {
        Doing::Next => format!("runs next: {next}"),
        Doing::Ready => format!("could run: {next}"),
        Doing::Barred { by } => format!("its CPU is kept by {by}; then: {next}"),
        Doing::Waits { object, spinning, holders } => {
            let how = if *spinning { "spins on" } else { "waits for" };
            let holders: Vec<String> = holders.iter().map(ToString::to_string).collect();
            let held =
                if holders.is_empty() { String::new() } else { format!(", held by {}", holders.join(", ")) };
            format!("{how} {object}{held}")
        }
        Doing::Sleeps { until } => format!("sleeps until {} s", seconds(*until)),
        Doing::Spins { on } => format!("spins for ever: {on}"),
    };
    if context.deadlocked { format!("{text} (in a wait-for cycle)") } else { text }
}

pub(super) fn lines(contexts: &[ContextState]) -> Vec<String> {
    let mut lines = Vec::new();
    if contexts.is_empty() {
        lines.push("no context is left".to_owned());
    }
    for context in contexts {
        lines.push(format!(
            "{} ({} on {}), {} taken",
            context.name,
            class(context),
            cpu(context),
            counted(context.steps, "step")
        ));
        lines.push(format!("    {}", doing(context)));
        let off = &context.off;
        let depths: Vec<String> = [
            ("interrupts off", off.irqs),
            ("softirqs off", off.softirqs),
            ("preemption off", off.preemption),
            ("RCU read sides", off.rcu),
        ]
        .into_iter()
        .filter(|(_, depth)| *depth > 0)
        .map(|(word, depth)| format!("{word} {depth}"))
        .collect();
        if !depths.is_empty() {
            lines.push(format!("    {}", depths.join(", ")));
        }
        held(context, "    ", &mut lines);
        if !context.frames.is_empty() {
            lines.push("    Call Trace:".to_owned());
            lines.extend(context.frames.iter().map(|frame| format!("     {frame}")));
        }
    }
    lines
}

/// Source: `kernel/locking/lockdep.c: lockdep_print_held_locks()`, v6.12.
fn held(context: &ContextState, indent: &str, lines: &mut Vec<String>) {
    if context.held.is_empty() {
        return;
    }
    let count = counted(context.held.len() as u64, "lock");
    lines.push(format!("{indent}{count} held by {}:", context.name));
    for (n, held) in context.held.iter().enumerate() {
        let read = if held.read { ", to read" } else { "" };
        lines.push(format!("{indent} #{n}: {} ({}){read}", held.lock, held.class));
    }
}

pub(super) fn locks(locks: &LocksState, contexts: &[ContextState]) -> Vec<String> {
    let mut lines = vec!["Showing all locks held in the system:".to_owned()];
    let before = lines.len();
    for context in contexts {
        held(context, "", &mut lines);
    }
    if lines.len() == before {
        lines.push("none".to_owned());
    }
    lines.push(String::new());
    lines.push("Who waits for what:".to_owned());
    let before = lines.len();
    for lock in locks.locks.iter().filter(|lock| !lock.waiters.is_empty()) {
        let names = |list: &[(sim::Name, bool)]| {
            list.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let holders = if lock.holders.is_empty() { "nobody".to_owned() } else { names(&lock.holders) };
        lines.push(format!("{}: held by {holders}; wanted by {}", lock.lock, names(&lock.waiters)));
    }
    if lines.len() == before {
        lines.push("nobody waits".to_owned());
    }
    for chain in &locks.chains {
        let mut text = String::new();
        for (n, (name, what)) in chain.links.iter().enumerate() {
            if n > 0 {
                text.push_str(" -> ");
            }
            text.push_str(&name.to_string());
            if !what.is_empty() {
                text.push_str(&format!(" waits for {what}"));
            }
        }
        let end = if chain.closed { " (a cycle)" } else { " (can go on)" };
        lines.push(format!("  {text}{end}"));
    }
    lines.push(String::new());
    lines.push("Order in which classes were taken:".to_owned());
    for order in &locks.order {
        lines.push(format!(
            "  {} --> {}, first in {} by {}",
            order.held, order.taken, order.function, order.context
        ));
    }
    if locks.order.is_empty() {
        lines.push("none was taken while another was held".to_owned());
    }
    lines
}
