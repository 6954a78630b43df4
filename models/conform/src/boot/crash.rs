//! Compares the memory that is kept for the kernel that takes over after a crash: what the command line asks for, how the
//! kernel looks for it, and what it says then.

use models::boot::cmdline;
use models::mem::PhysRange;
use models::profile::Version;

use super::line::{CrashLine, Event, Function, Request, function_of, show, size_of};
use super::replay::{Answer, Replay};
use super::swiotlb::{Asked, asked, show_asked};
use super::zones::{compare_lists, compare_value};

/// Alignment of the memory (`CRASH_ALIGN`), and where it ends (`CRASH_ADDR_LOW_MAX`, `CRASH_ADDR_HIGH_MAX`).
///
/// Source: `arch/x86/include/asm/crash_reserve.h`, v6.12; `arch/x86/kernel/setup.c`, v6.1.
const ALIGN: u64 = 16 << 20;
const LOW_MAX: u64 = 1 << 32;
const HIGH_MAX: u64 = 64 << 40;
/// The least below 4 GiB where the rest lies above, and what is added to the bounce buffers' size.
const LOW_LEAST: u64 = 256 << 20;
const LOW_MORE: u64 = 8 << 20;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    size: u64,
    /// Where it must begin; 0 for anywhere.
    base: u64,
    /// It may lie above 4 GiB at once.
    high: bool,
    /// How much is kept below 4 GiB if the rest lies above.
    low: u64,
}

/// What a word on the command line says: `Err` for one that cannot be read.
type Parsed = Option<Result<(u64, u64), ()>>;

/// A number with a unit, and what follows; `None` if there is none.
fn size(text: &str) -> Option<(u64, &str)> {
    let (_, rest) = cmdline::number(text);
    if rest.len() == text.len() {
        return None;
    }
    let unit = rest.starts_with(|c: char| "kmgtpeKMGTPE".contains(c));
    Some((cmdline::memparse(text), &rest[usize::from(unit)..]))
}

/// The last value of `crashkernel=` that ends with the suffix, or for none, with neither.
///
/// Source: `kernel/crash_reserve.c: get_last_crashkernel()`, v6.12; `kernel/crash_core.c`, v6.1.
fn last<'a>(line: &'a str, suffix: Option<&str>) -> Option<&'a str> {
    const NAME: &str = "crashkernel=";
    let values = line.match_indices(NAME).map(|(at, _)| {
        let value = &line[at + NAME.len()..];
        &value[..value.find(' ').unwrap_or(value.len())]
    });
    let fits = |value: &&str| match suffix {
        Some(suffix) => value.ends_with(suffix),
        None => !value.ends_with(",high") && !value.ends_with(",low"),
    };
    values.filter(fits).last()
}

/// Size and place, where `ram` is the size of all memory.
///
/// Source: `__parse_crashkernel()`, `parse_crashkernel_mem()`, `parse_crashkernel_simple()`.
fn parse(line: &str, suffix: Option<&str>, ram: u64) -> Parsed {
    let value = last(line, suffix)?;
    let read = || {
        if let Some(suffix) = suffix {
            let (bytes, rest) = size(value)?;
            return (rest == suffix).then_some((bytes, 0));
        }
        if value.contains(':') {
            return by_ranges(value, ram);
        }
        let (bytes, rest) = size(value)?;
        match rest.strip_prefix('@') {
            Some(place) => Some((bytes, size(place).map_or(0, |(place, _)| place))),
            None => rest.is_empty().then_some((bytes, 0)),
        }
    };
    Some(read().ok_or(()))
}

/// `512M-2G:64M,2G-:128M@16M`: the size of the first range that the size of all memory lies in.
fn by_ranges(value: &str, ram: u64) -> Option<(u64, u64)> {
    let ram = ram.checked_next_multiple_of(128 << 20)?;
    let mut rest = value;
    loop {
        let (start, tail) = size(rest)?;
        let tail = tail.strip_prefix('-')?;
        let (end, tail) = if tail.starts_with(':') { (u64::MAX, tail) } else { size(tail)? };
        if end <= start {
            return None;
        }
        let (bytes, tail) = size(tail.strip_prefix(':')?)?;
        if bytes >= ram {
            return None;
        }
        if (start..end).contains(&ram) {
            let place = match (bytes, tail.split_once('@')) {
                (1.., Some((_, place))) => size(place)?.0,
                _ => 0,
            };
            return Some((bytes, place));
        }
        let Some(next) = tail.strip_prefix(',') else { return Some((0, 0)) };
        rest = next;
    }
}

impl Wish {
    /// `pool` is the size of the bounce buffers.
    ///
    /// Source: `arch/x86/kernel/setup.c: reserve_crashkernel()`, v6.1; `arch_reserve_crashkernel()` and
    /// `kernel/crash_reserve.c: parse_crashkernel()`, v6.12.
    fn of(line: &str, version: Version, ram: u64, pool: u64) -> Option<Self> {
        let usual = (pool + LOW_MORE).max(LOW_LEAST);
        let plain = parse(line, None, ram);
        let low = parse(line, Some(",low"), ram);
        let high = || match parse(line, Some(",high"), ram) {
            Some(Ok((size @ 1.., _))) => Some(size),
            _ => None,
        };
        if version.base() < Version::V6_12 {
            let low = low.and_then(Result::ok).map_or(usual, |(low, _)| low);
            return match plain {
                Some(Ok((size @ 1.., base))) => Some(Self { size, base, high: false, low }),
                _ => high().map(|size| Self { size, base: 0, high: true, low }),
            };
        }
        let wish = match plain {
            Some(Ok((size @ 1.., base))) => Self { size, base, high: false, low: 0 },
            Some(_) => return None,
            None => {
                let low = low.map_or(Ok(usual), |low| low.map(|(low, _)| low)).ok()?;
                Self { size: high()?, base: 0, high: true, low }
            }
        };
        (wish.size < ram).then_some(wish)
    }
}

/// What the kernel does about a wish: its requests, each answered by the log, and what it says.
#[derive(Debug, Default)]
struct Search<'a> {
    answers: std::slice::Iter<'a, Answer>,
    requests: Vec<Asked>,
    lines: Vec<CrashLine>,
    /// What is kept at the end.
    kept: Vec<PhysRange>,
}

impl Search<'_> {
    fn ask(&mut self, size: u64, align: u64, min: u64, max: u64) -> Option<PhysRange> {
        self.requests.push((Function::PhysRange, size, align, min, max));
        self.answers.next()?.recorded
    }

    fn failed(&mut self) {
        self.lines.push(CrashLine::Failed);
        self.kept.clear();
    }

    /// Source: `arch/x86/kernel/setup.c: reserve_crashkernel()`, v6.1.
    fn before_generic(&mut self, wish: Wish) {
        let Wish { size, base, high, low } = wish;
        let place = if base != 0 {
            self.ask(size, 1 << 20, base, base.saturating_add(size))
        } else {
            let first = if high { None } else { self.ask(size, ALIGN, ALIGN, LOW_MAX) };
            first.or_else(|| self.ask(size, ALIGN, ALIGN, HIGH_MAX))
        };
        let Some(place) = place else { return self.failed() };
        self.keep(place, low, |range| CrashLine::Mib(size_of(range) >> 20, range.start.0 >> 20));
    }

    /// Source: `kernel/crash_reserve.c: reserve_crashkernel_generic()`, v6.12.
    fn generic(&mut self, wish: Wish, usual: u64) {
        let Wish { size, base, high, mut low } = wish;
        let (below, above) = ((0, LOW_MAX), (LOW_MAX, HIGH_MAX));
        let place = if base != 0 {
            self.ask(size, ALIGN, base, base.saturating_add(size))
        } else {
            let (first, second) = if high { (above, below) } else { (below, above) };
            self.ask(size, ALIGN, first.0, first.1).or_else(|| {
                if !high {
                    low = usual;
                }
                self.ask(size, ALIGN, second.0, second.1)
            })
        };
        let Some(place) = place else { return self.failed() };
        self.keep(place, low, |range| CrashLine::Range(range.start.0, range.end.0));
    }

    /// Where the memory lies above 4 GiB, some is kept below.
    fn keep(&mut self, place: PhysRange, low: u64, line: impl Fn(PhysRange) -> CrashLine) {
        if place.start.0 >= LOW_MAX && low > 0 {
            let Some(below) = self.ask(low, ALIGN, 0, LOW_MAX) else { return self.failed() };
            self.lines.push(line(below));
            self.kept.push(below);
        }
        self.lines.push(line(place));
        self.kept.push(place);
    }
}

/// Whether a request is for a crash kernel. Where the compiler has put the function into `setup_arch()`, its alignment
/// tells: nothing else there asks for so much.
pub(super) fn is_for_crash_kernel(request: &Request) -> bool {
    let function = function_of(&request.caller);
    let shaped = request.function == Function::PhysRange && [ALIGN, 1 << 20].contains(&request.align);
    function.contains("crashkernel") || function == "setup_arch" && shaped
}

impl Replay<'_> {
    /// Compares requests and lines; returns what is kept, if the log tells.
    pub(super) fn compare_crash_kernel(&mut self) -> Option<Vec<PhysRange>> {
        let lines: Vec<(u64, CrashLine)> = self
            .entries
            .iter()
            .filter_map(|entry| match entry.event {
                Event::CrashKernel(line) => Some((entry.line, line)),
                _ => None,
            })
            .collect();
        let text = self.facts.command_line.clone().unwrap_or_default();
        let (pool, ram) = (self.pool_bytes()?, self.mb.as_ref()?.phys_mem_size());
        let version = self.rules.version;
        let wish = Wish::of(&text, version, ram, pool);
        if wish.is_none() && lines.is_empty() && self.crash.is_empty() {
            return Some(Vec::new());
        }
        if !self.reserved_known {
            let note =
                "the place of the memory for a crash kernel is not determined without the lines of memblock";
            self.report.notes.push(note.to_owned());
            if let (Some(wish), Some((line, said))) = (wish, lines.last())
                && let Some(bytes) = said.bytes()
            {
                compare_value(
                    self.report,
                    "memory for a crash kernel",
                    *line,
                    &(bytes >> 20),
                    &(wish.size >> 20),
                );
            }
            return None;
        }
        let answers = self.crash.clone();
        let mut search = Search { answers: answers.iter(), ..Search::default() };
        match wish {
            Some(wish) if version.base() < Version::V6_12 => search.before_generic(wish),
            Some(wish) => search.generic(wish, (pool + LOW_MORE).max(LOW_LEAST)),
            None => {}
        }
        // The log may end before.
        let past = self.facts.memory.is_some();
        let recorded: Vec<_> = answers.iter().map(|answer| (answer.line, asked(&answer.request))).collect();
        let name = "memory for a crash kernel: requests";
        compare_lists(self.report, name, &recorded, &search.requests, past, show_asked);
        let shown = |line: &CrashLine| line.show();
        compare_lists(self.report, "memory for a crash kernel", &lines, &search.lines, past, shown);
        past.then_some(search.kept)
    }
}

impl CrashLine {
    /// How much memory it tells of.
    const fn bytes(self) -> Option<u64> {
        match self {
            Self::Range(start, end) => Some(end.wrapping_sub(start)),
            Self::Mib(size, _) => Some(size.saturating_mul(1 << 20)),
            Self::Failed => None,
        }
    }

    fn show(self) -> String {
        match self {
            Self::Range(start, end) if start <= end => {
                show(PhysRange { start: models::mem::PhysAddr(start), end: models::mem::PhysAddr(end) })
            }
            Self::Range(start, end) => format!("{start:#x} to {end:#x}"),
            Self::Mib(size, at) => format!("{size} MiB at {at} MiB"),
            Self::Failed => "none can be had".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    fn wish(line: &str, version: Version, ram: u64) -> Option<(u64, u64, bool, u64)> {
        let wish = Wish::of(line, version, ram, 64 * MIB)?;
        Some((wish.size / MIB, wish.base / MIB, wish.high, wish.low / MIB))
    }

    #[test]
    fn the_command_line_is_read_as_each_version_does() {
        for (line, old, new) in [
            ("crashkernel=256M", Some((256, 0, false, 256)), Some((256, 0, false, 0))),
            ("crashkernel=64M@128M", Some((64, 128, false, 256)), Some((64, 128, false, 0))),
            ("crashkernel=1G-4G:128M,4G-:256M", Some((256, 0, false, 256)), Some((256, 0, false, 0))),
            ("crashkernel=512M,high", Some((512, 0, true, 256)), Some((512, 0, true, 256))),
            ("crashkernel=512M,high crashkernel=72M,low", Some((512, 0, true, 72)), Some((512, 0, true, 72))),
            ("crashkernel=512M,high crashkernel=0,low", Some((512, 0, true, 0)), Some((512, 0, true, 0))),
            // The last plain one wins over the others; what cannot be read counts in the newer kernel only.
            (
                "crashkernel=1G,high crashkernel=64M crashkernel=96M",
                Some((96, 0, false, 256)),
                Some((96, 0, false, 0)),
            ),
            ("crashkernel=auto crashkernel=1G,high", Some((1024, 0, true, 256)), None),
            ("crashkernel=12G", Some((12 * 1024, 0, false, 256)), None),
            ("crashkernel=8G-16G:64M", None, None),
            ("crashkernel=2G-1G:64M crash_kexec_post_notifiers", None, None),
            ("quiet", None, None),
        ] {
            assert_eq!(wish(line, Version::V6_1, 5 * GIB), old, "v6.1: {line}");
            assert_eq!(wish(line, Version::V6_12, 5 * GIB), new, "v6.12: {line}");
        }
    }

    #[test]
    fn requests_without_an_answer_are_followed_by_others() {
        let wish = Wish { size: GIB, base: 0, high: false, low: 0 };
        let mut search = Search::default();
        search.generic(wish, 256 * MIB);
        let asked: Vec<_> = search.requests.iter().map(|(.., min, max)| (*min, *max)).collect();
        assert_eq!(asked, [(0, LOW_MAX), (LOW_MAX, HIGH_MAX)]);
        assert_eq!(search.lines, [CrashLine::Failed]);
        let mut search = Search::default();
        search.before_generic(Wish { high: true, ..wish });
        assert_eq!(search.requests.len(), 1);
    }
}
