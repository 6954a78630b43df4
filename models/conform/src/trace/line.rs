//! One line of a tracefs text file: who, where, when, and which event.

/// In which kind of context an event happened; the deeper one interrupts the others on its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Level {
    /// A task, or the idle loop.
    Task,
    /// A softirq.
    Soft,
    /// A hardirq.
    Hard,
    /// An NMI.
    Nmi,
}

/// A thread of execution: what begins in one ends in the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Context {
    level: Level,
    /// The task's id; for interrupts and the idle task, the CPU.
    id: u32,
}

/// An event line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The CPU.
    pub(super) cpu: u32,
    /// Where it ran.
    pub(super) context: Context,
    /// Nanoseconds on the trace's clock.
    pub(super) nanos: u64,
    /// Name of the event.
    pub(super) event: &'a str,
    /// What stands behind the name and a colon.
    pub(super) rest: &'a str,
}

/// What a line of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// An event.
    Event(Line<'a>),
    /// A comment; what stands behind the first `#`.
    Comment(&'a str),
    /// `CPU:n [LOST m EVENTS]`: the ring buffer was overrun while it was read.
    Lost(u64),
    /// `##### CPU n buffer started ####`: the older events of this CPU were overwritten.
    BufferStarted,
    /// Nothing in it.
    Empty,
    /// None of these.
    Foreign,
}

/// No kernel has more CPUs (`NR_CPUS` of the largest configurations).
const MAX_CPU: u32 = 8192;

/// Reads a line as `trace_print_context()` and `trace_print_lat_fmt()` write it, with or without the columns of
/// flags and of thread groups.
pub(super) fn parse(text: &str) -> Parsed<'_> {
    let line = text.trim();
    if line.is_empty() {
        return Parsed::Empty;
    }
    if line.starts_with("##### CPU ") && line.contains(" buffer started ") {
        return Parsed::BufferStarted;
    }
    if let Some(comment) = line.strip_prefix('#') {
        return Parsed::Comment(comment);
    }
    if let Some(count) = lost(line) {
        return Parsed::Lost(count);
    }
    event(line).map_or(Parsed::Foreign, Parsed::Event)
}

fn lost(line: &str) -> Option<u64> {
    let (cpu, rest) = line.strip_prefix("CPU:")?.split_once(' ')?;
    cpu.parse::<u32>().ok()?;
    let count = rest.trim().strip_prefix("[LOST ")?.strip_suffix("EVENTS]")?.trim();
    // The kernel leaves the number out where it does not know it.
    if count.is_empty() { Some(1) } else { count.parse().ok() }
}

fn event(line: &str) -> Option<Line<'_>> {
    // A command's name may hold anything, so the CPU is looked for from each bracket on.
    for (at, _) in line.match_indices('[') {
        let Some((cpu, after)) = line[at + 1..].split_once(']') else { continue };
        let Ok(cpu) = cpu.parse::<u32>() else { continue };
        let Some(pid) = pid(&line[..at]) else { continue };
        if cpu < MAX_CPU
            && let Some(found) = behind_cpu(pid, cpu, after)
        {
            return Some(found);
        }
    }
    None
}

/// The id at the end of `name-id`, a thread group in brackets behind it left out.
fn pid(before: &str) -> Option<u32> {
    let mut before = before.trim_end();
    if let Some(open) = before.strip_suffix(')').and_then(|inner| inner.rfind('(')) {
        before = before[..open].trim_end();
    }
    before.rsplit_once('-')?.1.parse().ok()
}

fn behind_cpu(pid: u32, cpu: u32, after: &str) -> Option<Line<'_>> {
    let (first, tail) = after.trim_start().split_once(' ')?;
    let (flags, stamp, tail) = match first.strip_suffix(':').and_then(nanos) {
        Some(stamp) => ("", stamp, tail),
        None => {
            let (second, tail) = tail.trim_start().split_once(' ')?;
            (first, nanos(second.strip_suffix(':')?)?, tail)
        }
    };
    let (event, rest) = tail.trim_start().split_once(':')?;
    if event.is_empty() || !event.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let level = match flags.as_bytes().get(2) {
        Some(b'z' | b'Z') => Level::Nmi,
        Some(b'h' | b'H') => Level::Hard,
        Some(b's') => Level::Soft,
        Some(_) | None => Level::Task,
    };
    let id = if level == Level::Task && pid != 0 { pid } else { cpu };
    // The idle tasks of all CPUs share one id; so that no other task is taken for one, they count as softirq's floor.
    let level = if level == Level::Task && pid == 0 { Level::Soft } else { level };
    Some(Line { cpu, context: Context { level, id }, nanos: stamp, event, rest: rest.trim() })
}

/// `seconds.fraction`, or a bare count of a clock without a unit.
pub(super) fn nanos(stamp: &str) -> Option<u64> {
    let Some((seconds, fraction)) = stamp.split_once('.') else {
        return stamp.parse().ok();
    };
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = u32::try_from(fraction.len()).ok()?;
    let fraction: u64 = fraction.parse().ok()?;
    let scale = 10_u64.pow(9 - digits);
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_of(text: &str) -> Line<'_> {
        match parse(text) {
            Parsed::Event(line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_may_hold_brackets_and_dashes() {
        let line = event_of("   a-[1] b-7-99   [003] d.h1.     1.000005: map: IOMMU: iova=0x0");
        assert_eq!((line.cpu, line.nanos, line.event), (3, 1_000_005_000, "map"));
        assert_eq!(line.rest, "IOMMU: iova=0x0");
    }

    #[test]
    fn columns_may_be_missing_or_more() {
        let bare = event_of("sh-5 [000] 12.5: unmap: x");
        assert_eq!(bare.nanos, 12_500_000_000);
        let grouped = event_of("sh-5 ( 4) [000] ..... 12.5: unmap: x");
        assert_eq!(grouped.context, bare.context);
    }

    #[test]
    fn interrupts_are_threads_of_their_own() {
        let task = event_of("sh-5 [001] d..1. 1.0: map: x");
        let irq = event_of("sh-5 [001] d.h1. 1.0: map: x");
        let other = event_of("<idle>-0 [001] d.H1. 1.0: map: x");
        assert_ne!(task.context, irq.context);
        assert_eq!(irq.context, other.context);
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        assert_eq!(parse("# tracer: nop"), Parsed::Comment(" tracer: nop"));
        assert_eq!(parse("CPU:1 [LOST 12 EVENTS]"), Parsed::Lost(12));
        assert_eq!(parse("CPU:1 [LOST EVENTS]"), Parsed::Lost(1));
        assert_eq!(parse("##### CPU 1 buffer started ####"), Parsed::BufferStarted);
        for text in [
            "x",
            "sh-5 [000]",
            "sh-5 [99999999999] . 1.0: map: x",
            "sh-5 [0] . 1.0000000001: map: x",
            "[",
            "-[1]",
        ] {
            assert_eq!(parse(text), Parsed::Foreign, "{text}");
        }
    }
}
