//! What consoles and tools put in front of a line, and into it.

use std::borrow::Cow;

/// The time that a line bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// None.
    None,
    /// A date, or something else that is no time since the boot.
    Other,
    /// Microseconds since the boot.
    Micros(u64),
}

/// A boot does not take longer to say its version.
const LATEST_BEGIN: u64 = 5_000_000;

impl Stamp {
    /// Whether a boot can begin with a line of this time, in a log whose lines have times or not.
    pub(crate) const fn begins(self, stamped: bool) -> bool {
        match self {
            Self::None => !stamped,
            Self::Other => true,
            Self::Micros(time) => time < LATEST_BEGIN,
        }
    }
}

/// The lines in what the file has as one: without colours and other things that consoles understand, and cut where
/// another line begins in the middle.
pub(crate) fn pieces(line: &str) -> Vec<Cow<'_, str>> {
    let clean = clean(line);
    let inside = clean.match_indices('[').map(|(at, _)| at);
    let cuts: Vec<usize> = inside.filter(|at| *at > 0 && begins_inside(&clean, *at)).collect();
    if cuts.is_empty() {
        return vec![clean];
    }
    let edges = std::iter::once(0).chain(cuts.iter().copied()).zip(cuts.iter().copied().chain([clean.len()]));
    edges.map(|(from, to)| Cow::Owned(clean[from..to].trim_end().to_owned())).collect()
}

/// Whether a line of the kernel begins here, behind another one.
fn begins_inside(line: &str, at: usize) -> bool {
    let before = line[..at].trim_end();
    // `journalctl` and `dmesg -x` have their own words before the time.
    if before.ends_with(':') && before.len() < 80 {
        return false;
    }
    let Some((stamp, rest)) = line[at + 1..].split_once(']') else { return false };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (seconds, micros) = stamp.trim_start().split_once('.').unwrap_or_default();
    is_digits(seconds) && is_digits(micros) && micros.len() == 6 && rest.starts_with([' ', '['])
}

/// Without escape sequences and control characters.
fn clean(line: &str) -> Cow<'_, str> {
    if !line.contains(|c: char| c.is_control() && c != '\t') {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    // Parameters, then one letter.
                    while chars.next_if(|c| matches!(c, '0'..='?' | ' '..='/')).is_some() {}
                    chars.next_if(|c| matches!(c, '@'..='~'));
                }
                Some(']') => while chars.next_if(|c| *c != '\u{7}').is_some() {},
                _ => {}
            },
            '\t' => text.push(c),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// The text behind time stamp, log level and caller, and the time.
pub(crate) fn strip(line: &str) -> (&str, Stamp) {
    // `journalctl -k` puts its own words first.
    let line = match line.find(" kernel: ") {
        Some(at) if at < 60 && !line.starts_with('[') => &line[at + " kernel: ".len()..],
        _ => line,
    };
    let line = decoded(line).unwrap_or(line);
    let line = match line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((level, rest)) if level.len() <= 3 && level.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => line,
    };
    if let Some(rest) = iso(line) {
        return (rest, Stamp::Other);
    }
    let Some((stamp, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return (line, Stamp::None);
    };
    let seconds = |c: char| c.is_ascii_digit() || c == '.' || c == ' ';
    let date = |c: char| c.is_ascii_alphanumeric() || c == ':' || c == ' ';
    let stamp = if stamp.len() >= 4 && stamp.contains('.') && stamp.chars().all(seconds) {
        micros(stamp).map_or(Stamp::Other, Stamp::Micros)
    } else if stamp.len() >= 4 && stamp.matches(':').count() == 2 && stamp.chars().all(date) {
        Stamp::Other
    } else {
        return (line, Stamp::None);
    };
    // CONFIG_PRINTK_CALLER: `[    T0]`, `[   C12]`.
    let caller = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(caller, rest)| {
        let caller = caller.trim_start();
        let digits = caller.strip_prefix(['T', 'C'])?;
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
    });
    let rest = caller.unwrap_or(rest);
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    // `journalctl -o short-monotonic`: the host's name comes behind the time.
    let host = rest.split_once(" kernel: ").filter(|(host, _)| !host.is_empty() && !host.contains(' '));
    (host.map_or(rest, |(_, rest)| rest), stamp)
}

/// `   12.345678` in microseconds.
fn micros(stamp: &str) -> Option<u64> {
    let (seconds, part) = stamp.trim().split_once('.')?;
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part.parse().ok()?)
}

/// `dmesg -x`: `kern  :info  : text`.
fn decoded(line: &str) -> Option<&str> {
    let (facility, rest) = line.split_once(':')?;
    let (level, rest) = rest.split_once(':')?;
    let known = ["kern", "user", "daemon", "syslog"].contains(&facility.trim_end())
        && ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"].contains(&level.trim_end());
    known.then(|| rest.trim_start_matches(' '))
}

/// `dmesg --time-format iso`: `2026-11-22T14:05:16,123456+00:00 text`.
fn iso(line: &str) -> Option<&str> {
    let (word, rest) = line.split_once(' ')?;
    let bytes = word.as_bytes();
    let looks = bytes.len() >= 19 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':';
    (looks && bytes[..4].iter().all(u8::is_ascii_digit)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_put_first_is_taken_off() {
        for line in [
            "[    1.250000] text",
            "<6>[    1.250000] text",
            "[    1.250000][    T1] text",
            "[    1.250000] host kernel: text",
            "kern  :info  : [    1.250000] text",
            "Nov 22 14:05:16 host kernel: [    1.250000] text",
        ] {
            assert_eq!(strip(line), ("text", Stamp::Micros(1_250_000)), "{line}");
        }
        for line in ["[Sun Nov 22 14:05:16 2026] text", "2026-11-22T14:05:16,123456+00:00 text"] {
            assert_eq!(strip(line), ("text", Stamp::Other), "{line}");
        }
        assert_eq!(strip("Nov 22 14:05:16 host kernel: text"), ("text", Stamp::None));
        assert_eq!(strip("text"), ("text", Stamp::None));
    }

    #[test]
    fn colours_go_and_lines_that_run_into_each_other_are_parted() {
        assert_eq!(
            pieces("\u{1b}[32m[    0.000000] \u{1b}[0m\u{1b}[33mLinux\u{1b}[0m\r"),
            ["[    0.000000] Linux"]
        );
        let two = "[    0.100000] e820: something[    0.200000] RAMDISK: [mem 0x1-0x2]";
        assert_eq!(pieces(two), ["[    0.100000] e820: something", "[    0.200000] RAMDISK: [mem 0x1-0x2]"]);
        let one = "Nov 22 14:05:16 host kernel: [    1.250000] text";
        assert_eq!(pieces(one), [one]);
    }
}
