//! Widths, colours and numbers: what all reports share.

use sim::Nanos;

/// No line of a report is wider than this, unless a single word is: what is quoted once in a mail still fits.
pub const WIDTH: usize = 75;

/// No line of a listing on a terminal is wider than this.
pub const SCREEN: usize = 100;

/// Whether and how to colour. Colour never carries what the text does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    /// Whether escape sequences may be written.
    pub color: bool,
}

impl Paint {
    /// No colour.
    pub const PLAIN: Self = Self { color: false };

    fn with(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading.
    #[must_use]
    pub fn heading(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Something that failed.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Something that is as it should be.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something beside the point.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// The text in printable ASCII: what is not becomes `?`, so that neither a mail nor a terminal is upset by it.
#[must_use]
pub fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Virtual time as the kernel's log shows it: `[    2.340000]`.
#[must_use]
pub fn clock(time: Nanos) -> String {
    format!("[{:>5}.{:06}]", time / 1_000_000_000, time % 1_000_000_000 / 1_000)
}

/// Virtual time inside a sentence: `2.340000 s`.
pub(crate) fn instant(time: Nanos) -> String {
    format!("{}.{:06} s", time / 1_000_000_000, time % 1_000_000_000 / 1_000)
}

/// Virtual time in seconds with all nine digits: `2.340000120`.
pub(crate) fn seconds(time: Nanos) -> String {
    format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000)
}

/// A share in percent. What is not nothing is never shown as nothing, and what is not all never as all.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let hundredths = (u128::from(part) * 10_000 + u128::from(whole) / 2) / u128::from(whole);
    match hundredths {
        0 if part > 0 => "< 0.01 %".to_owned(),
        10_000 if part < whole => "> 99.99 %".to_owned(),
        _ => format!("{}.{:02} %", hundredths / 100, hundredths % 100),
    }
}

/// Breaks a text between words into lines of at most `width` columns. A word that is longer is cut in two,
/// between the parts of a name if it has some.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let room = width.saturating_sub(line.len() + usize::from(!line.is_empty()));
            if word.len() <= room {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
                break;
            }
            if line.is_empty() {
                let (head, tail) = word.split_at(cut(word, width));
                line.push_str(head);
                word = tail;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// Where to cut a word that is wider than a line: behind what joins the parts of a name, if one stands in its second half.
fn cut(word: &str, width: usize) -> usize {
    let most = word.floor_char_boundary(width).max(1);
    let joint = word[..most].rfind(['_', '.', '/', '-', ',']).map(|at| at + 1);
    joint.filter(|at| *at > most / 2).unwrap_or(most)
}

/// Appends `text`, wrapped, with `first` before its first line and as many blanks before the others.
pub(crate) fn paragraph(out: &mut String, first: &str, text: &str) {
    for (n, line) in wrap(&ascii(text), WIDTH.saturating_sub(first.len()).max(20)).iter().enumerate() {
        let lead = if n == 0 { first.to_owned() } else { " ".repeat(first.len()) };
        out.push_str(format!("{lead}{line}").trim_end());
        out.push('\n');
    }
}

/// Appends a line as it is, in ASCII. A line that is too wide goes on in the next one, a little further right than it
/// began.
pub(crate) fn verbatim(out: &mut String, lead: &str, line: &str) {
    let line = ascii(&line.replace('\t', "        "));
    if lead.len() + line.len() <= WIDTH {
        out.push_str(format!("{lead}{line}").trim_end());
        out.push('\n');
        return;
    }
    let depth = line.len() - line.trim_start().len();
    let inner = " ".repeat(lead.len() + depth + 4);
    for (n, part) in wrap(line.trim_start(), WIDTH - inner.len().min(WIDTH / 2)).iter().enumerate() {
        let first = format!("{lead}{}", " ".repeat(depth));
        out.push_str(if n == 0 { &first } else { &inner });
        out.push_str(part);
        out.push('\n');
    }
}

/// `1 seed`, `2 seeds`.
pub(crate) fn counted(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_asked_and_no_word_is_lost() {
        let text = "dma_map_page_attrs was asked for a mapping of averyveryverylongwordindeed by its driver";
        let lines = wrap(text, 12);
        assert!(lines.iter().all(|line| line.len() <= 12), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("a b", 0), ["a", "b"]);
    }

    #[test]
    fn shares_are_honest() {
        assert_eq!(percent(0, 10), "0.00 %");
        assert_eq!(percent(1, 100_000), "< 0.01 %");
        assert_eq!(percent(99_999, 100_000), "> 99.99 %");
        assert_eq!(percent(100, 100), "100.00 %");
        assert_eq!(percent(1, 3), "33.33 %");
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.00 %");
    }

    #[test]
    fn what_a_terminal_could_take_for_an_order_is_gone() {
        assert_eq!(ascii("a\x1b[31m\u{e9}\n"), "a?[31m??");
    }

    #[test]
    fn a_wide_line_goes_on_further_right() {
        let mut out = String::new();
        verbatim(&mut out, "  ", &format!("  first {}", "word ".repeat(20)));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("    first") && lines[1].starts_with("        word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn time_is_shown_as_in_the_kernel_log() {
        assert_eq!(clock(2_340_000_999), "[    2.340000]");
        assert_eq!(seconds(2_340_000_120), "2.340000120");
    }
}
