//! The kernel command line, read as the kernel reads it.
//!
//! Words are split as `next_arg` does (quotes keep blanks, `-` and `_` are the same in names), early parameters come
//! before the others, the last of two contradicting words counts, sub-options are matched by their beginning, and
//! what the kernel rejects it ignores. Sources: `lib/cmdline.c`, `arch/x86/kernel/pci-dma.c`,
//! `kernel/dma/swiotlb.c`, `drivers/iommu/{iommu.c,amd/init.c,intel/iommu.c}`.

use std::fmt;

use crate::profile::Version;

/// `COMMAND_LINE_SIZE` on x86; one byte of it ends the string.
const MAX_BYTES: usize = 2048;
/// `IO_TLB_SEGSIZE`: a number of slots is rounded up to a multiple of it.
const SEGMENT_SLOTS: u64 = 128;

/// `swiotlb=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwiotlbParam {
    /// Slots, rounded up to whole segments.
    pub nslabs: Option<u64>,
    /// Areas (6.0 and later).
    pub areas: Option<u64>,
    /// `force`: everything bounces.
    pub force: bool,
    /// `noforce`: there is no pool.
    pub noforce: bool,
}

/// `iommu=` on x86.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X86IommuParam {
    /// `off`: no IOMMU is looked for, and RAM above 4 GiB is no reason for a bounce pool.
    pub off: bool,
    /// `force`.
    pub force: bool,
    /// `soft`: bounce buffers even if nothing else asks for them.
    pub soft: bool,
    /// `usedac`.
    pub usedac: bool,
}

/// `amd_iommu=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AmdIommuParam {
    /// `off`.
    pub off: bool,
    /// `fullflush`: flush at every unmap.
    pub fullflush: bool,
    /// `force_enable`.
    pub force_enable: bool,
    /// `force_isolation`.
    pub force_isolation: bool,
}

/// `intel_iommu=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntelIommuParam {
    /// `on` or `off`, whichever came last.
    pub enable: Option<bool>,
    /// `strict`: flush at every unmap.
    pub strict: bool,
    /// `igfx_off`: the integrated graphics is not translated.
    pub igfx_off: bool,
    /// `sm_on` or `sm_off`: scalable mode.
    pub scalable: Option<bool>,
}

/// Whether the driver core makes links of what the firmware says (`fw_devlink=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FwDevlink {
    /// No links.
    Off,
    /// Links that keep nobody from being probed.
    Permissive,
    /// Links that do; with `rpm` they also keep the supplier awake, which is not modelled.
    #[default]
    On,
}

/// Something about a word that its author may not expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The word.
    pub word: String,
    /// What the kernel does with it.
    pub what: &'static str,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.word, self.what)
    }
}

/// What a command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `swiotlb=`.
    pub swiotlb: SwiotlbParam,
    /// `iommu=`.
    pub iommu: X86IommuParam,
    /// The last of `iommu=pt`, `iommu=nopt` and `iommu.passthrough=`: whether the default domain is identity.
    pub passthrough: Option<bool>,
    /// `iommu.strict=`.
    pub strict: Option<bool>,
    /// `iommu.forcedac=`.
    pub forcedac: Option<bool>,
    /// `amd_iommu=`.
    pub amd_iommu: AmdIommuParam,
    /// `intel_iommu=`.
    pub intel_iommu: IntelIommuParam,
    /// `mem=`: RAM above this address is taken out of the memory map.
    pub mem_limit: Option<u64>,
    /// `mem_encrypt=`.
    pub mem_encrypt: Option<bool>,
    /// `nr_cpus=`.
    pub nr_cpus: Option<u32>,
    /// `memblock=debug`.
    pub memblock_debug: bool,
    /// `dma_debug=off`.
    pub dma_debug_off: bool,
    /// `init_on_alloc=`.
    pub init_on_alloc: Option<bool>,
    /// `init_on_free=`.
    pub init_on_free: Option<bool>,
    /// `fw_devlink=`: what becomes of the suppliers that the firmware names.
    pub fw_devlink: FwDevlink,
    /// `fw_devlink.strict=`: also of those that drivers may do without.
    pub fw_devlink_strict: bool,
    /// Words that the kernel rejects, ignores or takes otherwise than they look.
    pub notes: Vec<Note>,
    /// Words that are known and decide nothing here (`quiet`, `root=`, `crashkernel=`).
    pub ignored: Vec<String>,
    /// Words that nothing here knows; the kernel hands such words to user space.
    pub unknown: Vec<String>,
}

/// Parameters that are known and decide nothing here.
const IGNORED: &str = "BOOT_IMAGE acpi apparmor audit console crashkernel debug earlycon earlyprintk fsck.mode \
                       ignore_loglevel init initcall_debug initrd kaslr log_buf_len loglevel mitigations nokaslr \
                       noresume nosplash nowatchdog panic pci printk.time quiet rd.luks.uuid rdinit resume ro root \
                       rootflags rootfstype rootwait rw security selinux splash video";
/// Parameters of the early pass.
const EARLY: &str = "swiotlb iommu iommu.passthrough iommu.strict iommu.forcedac mem mem_encrypt nr_cpus memblock \
                     init_on_alloc init_on_free fw_devlink fw_devlink.strict";
/// Parameters of the pass after it.
const LATE: &str = "amd_iommu dma_debug intel_iommu";

/// Sub-options of `iommu=` that are known and decide nothing here.
const OTHER_X86_OPTIONS: &str = "nomerge panic nopanic forcesac allowdac nodac";

/// The parameters that decide something here.
pub fn parameters() -> impl Iterator<Item = &'static str> {
    EARLY.split(' ').chain(LATE.split(' '))
}

impl CommandLine {
    /// Reads `text` as a kernel of `version` does.
    #[must_use]
    pub fn parse(text: &str, version: Version) -> Self {
        let mut line = Self::default();
        let text = if text.len() < MAX_BYTES {
            text
        } else {
            line.note("", "the line is longer than 2047 bytes, and the kernel drops the rest");
            let whole = (0..MAX_BYTES).rev().find(|i| text.is_char_boundary(*i));
            &text[..whole.unwrap_or(0)]
        };
        let words: Vec<Word> = Words(text).take_while(|w| w.name != "--" || w.value.is_some()).collect();
        for word in words.iter().filter(|w| w.is_one_of(EARLY)) {
            line.early(word, version);
        }
        for word in words.iter().filter(|w| !w.is_one_of(EARLY)) {
            line.late(word);
        }
        line
    }

    fn note(&mut self, word: &str, what: &'static str) {
        self.notes.push(Note { word: word.to_owned(), what });
    }

    fn early(&mut self, word: &Word, version: Version) {
        let Some(value) = word.value.as_deref() else {
            let crashes = word.name == "swiotlb";
            let crash =
                "the kernel takes the missing value for a string and crashes; it counts as absent here";
            self.note(&word.name, if crashes { crash } else { "it needs a value and is ignored" });
            return;
        };
        let text = format!("{}={value}", word.name);
        match word.canonical().as_str() {
            "swiotlb" => self.swiotlb(&text, value, version),
            "iommu" => self.iommu(&text, value),
            "iommu.passthrough" => self.passthrough = self.flag(&text, value).or(self.passthrough),
            "iommu.strict" => self.strict = self.flag(&text, value).or(self.strict),
            "iommu.forcedac" => self.forcedac = self.flag(&text, value).or(self.forcedac),
            "fw_devlink" => match value {
                "off" => self.fw_devlink = FwDevlink::Off,
                "permissive" => self.fw_devlink = FwDevlink::Permissive,
                "on" | "rpm" => self.fw_devlink = FwDevlink::On,
                _ => self.note(&text, "neither `off`, `permissive`, `on` nor `rpm`: ignored"),
            },
            "fw_devlink.strict" => {
                self.fw_devlink_strict = self.flag(&text, value).unwrap_or(self.fw_devlink_strict);
            }
            "init_on_alloc" => self.init_on_alloc = self.flag(&text, value).or(self.init_on_alloc),
            "init_on_free" => self.init_on_free = self.flag(&text, value).or(self.init_on_free),
            "memblock" => self.memblock_debug |= value.contains("debug"),
            "mem" => match memparse(value) {
                0 => self.note(&text, "a limit of nothing is ignored"),
                limit => self.mem_limit = Some(limit),
            },
            // Not a parameter like the others: the boot code looks for exactly these two values.
            "mem_encrypt" => match value {
                "on" => self.mem_encrypt = Some(true),
                "off" => self.mem_encrypt = Some(false),
                _ => self.note(&text, "neither `on` nor `off`: ignored"),
            },
            "nr_cpus" => {
                let (count, _) = number(value);
                match u32::try_from(count) {
                    Ok(count @ 1..) => self.nr_cpus = Some(count),
                    _ => self.note(&text, "no positive number: ignored"),
                }
            }
            _ => self.unknown.push(text),
        }
    }

    fn late(&mut self, word: &Word) {
        let name = word.canonical();
        let text = word.to_string();
        match (name.as_str(), word.value.as_deref()) {
            ("dma_debug", Some(value)) => self.dma_debug_off |= value.starts_with("off"),
            ("amd_iommu", Some(value)) => self.amd(&text, value),
            ("intel_iommu", Some(value)) => self.intel(&text, value),
            // Without `=` the word does not match the handler's name and goes to user space.
            _ if word.is_one_of(IGNORED) => self.ignored.push(text),
            _ => self.unknown.push(text),
        }
    }

    /// `kstrtobool`.
    fn flag(&mut self, text: &str, value: &str) -> Option<bool> {
        let bytes = value.as_bytes();
        let flag = match (bytes.first().map(u8::to_ascii_lowercase), bytes.get(1).map(u8::to_ascii_lowercase))
        {
            (Some(b'y' | b't' | b'1'), _) | (Some(b'o'), Some(b'n')) => Some(true),
            (Some(b'n' | b'f' | b'0'), _) | (Some(b'o'), Some(b'f')) => Some(false),
            _ => None,
        };
        if flag.is_none() {
            self.note(text, "neither yes nor no: ignored");
        }
        flag
    }

    fn swiotlb(&mut self, text: &str, value: &str, version: Version) {
        let mut rest = value;
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let (slots, tail) = number(rest);
            self.swiotlb.nslabs = Some(slots.wrapping_add(SEGMENT_SLOTS - 1) & !(SEGMENT_SLOTS - 1));
            if slots % SEGMENT_SLOTS != 0 {
                self.note(text, "the number of slots is rounded up to a multiple of 128");
            }
            rest = tail;
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if version >= Version::V6_0 {
            if rest.starts_with(|c: char| c.is_ascii_digit()) {
                let (areas, tail) = number(rest);
                self.swiotlb.areas = Some(areas);
                rest = tail;
            }
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        match rest {
            "" => {}
            "force" => self.swiotlb.force = true,
            "noforce" => self.swiotlb.noforce = true,
            _ => self.note(text, "what follows the number is neither `force` nor `noforce`, and is ignored"),
        }
    }

    fn iommu(&mut self, text: &str, value: &str) {
        for part in value.split(',') {
            let starts = |what: &str| part.starts_with(what);
            let mut known = true;
            match part {
                _ if starts("off") => self.iommu.off = true,
                _ if starts("force") && !starts("forcesac") => self.iommu.force = true,
                _ if starts("noforce") => self.iommu.force = false,
                _ if starts("biomerge") || starts("merge") => self.iommu.force = true,
                _ if starts("soft") => self.iommu.soft = true,
                _ if starts("pt") => self.passthrough = Some(true),
                _ if starts("nopt") => self.passthrough = Some(false),
                _ if starts("usedac") => {
                    // The kernel leaves the option here, whatever follows.
                    self.iommu.usedac = true;
                    return;
                }
                _ => known = OTHER_X86_OPTIONS.split(' ').any(starts),
            }
            if !known && !part.is_empty() {
                self.note(text, "a sub-option that x86 does not know is ignored silently");
            }
        }
    }

    fn amd(&mut self, text: &str, value: &str) {
        for part in value.split(',').filter(|p| !p.is_empty()) {
            match part {
                _ if part.starts_with("fullflush") => self.amd_iommu.fullflush = true,
                _ if part.starts_with("force_enable") => self.amd_iommu.force_enable = true,
                _ if part.starts_with("force_isolation") => self.amd_iommu.force_isolation = true,
                _ if part.starts_with("off") => self.amd_iommu.off = true,
                _ => self.note(text, "the kernel logs an unknown option and ignores it"),
            }
        }
    }

    fn intel(&mut self, text: &str, value: &str) {
        for part in value.split(',').filter(|p| !p.is_empty()) {
            match part {
                _ if part.starts_with("on") => self.intel_iommu.enable = Some(true),
                _ if part.starts_with("off") => self.intel_iommu.enable = Some(false),
                _ if part.starts_with("igfx_off") => self.intel_iommu.igfx_off = true,
                _ if part.starts_with("strict") => self.intel_iommu.strict = true,
                _ if part.starts_with("sm_on") => self.intel_iommu.scalable = Some(true),
                _ if part.starts_with("sm_off") => self.intel_iommu.scalable = Some(false),
                _ if part.starts_with("forcedac") => self.forcedac = Some(true),
                _ if ["sp_off", "tboot_noforce", "nobounce"].iter().any(|k| part.starts_with(k)) => {}
                _ => self.note(text, "the kernel logs an unknown option and ignores it"),
            }
        }
    }
}

/// A word, split at its first `=`.
struct Word {
    name: String,
    value: Option<String>,
}

impl Word {
    /// The name with `-` as `_`, since the kernel takes them for the same.
    fn canonical(&self) -> String {
        self.name.replace('-', "_")
    }

    fn is_one_of(&self, names: &str) -> bool {
        names.split(' ').any(|name| name == self.canonical())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Names and values of all words up to `--`, in order, for parameters that need more than the last of them.
pub fn words(text: &str) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    Words(text).take_while(|w| w.name != "--" || w.value.is_some()).map(|w| (w.name, w.value))
}

/// The words of a line; see `next_arg`.
struct Words<'a>(&'a str);

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let text = self.0.trim_start_matches(is_blank);
        if text.is_empty() {
            return None;
        }
        let (text, quoted) = text.strip_prefix('"').map_or((text, false), |rest| (rest, true));
        let mut in_quote = quoted;
        let mut equals = None;
        let mut end = text.len();
        for (i, c) in text.char_indices() {
            match c {
                _ if is_blank(c) && !in_quote => {
                    end = i;
                    break;
                }
                // A word that begins with `=` has no name.
                '=' if i > 0 => equals = equals.or(Some(i)),
                '"' => in_quote = !in_quote,
                _ => {}
            }
        }
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        let word = if quoted { word.strip_suffix('"').unwrap_or(word) } else { word };
        let Some(equals) = equals else { return Some(Word { name: word.to_owned(), value: None }) };
        let value = word.get(equals + 1..).unwrap_or_default();
        let value = value.strip_prefix('"').map_or(value, |v| v.strip_suffix('"').unwrap_or(v));
        Some(Word { name: word[..equals].to_owned(), value: Some(value.to_owned()) })
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// `simple_strtoull` with base 0: the number at the beginning, and what follows it. It wraps round silently.
#[must_use]
pub fn number(text: &str) -> (u64, &str) {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, base) = match hex {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_hexdigit()) => (rest, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    let digit = |c: char| u64::from(c.to_digit(base).unwrap_or(0));
    let value = digits[..end].chars().fold(0_u64, |n, c| n.wrapping_mul(base.into()).wrapping_add(digit(c)));
    (value, &digits[end..])
}

/// `memparse`: a number with K, M, G, T, P or E behind it.
#[must_use]
pub fn memparse(text: &str) -> u64 {
    let (value, rest) = number(text);
    let power = match rest.bytes().next().map(|b| b.to_ascii_uppercase()) {
        Some(b'K') => 1,
        Some(b'M') => 2,
        Some(b'G') => 3,
        Some(b'T') => 4,
        Some(b'P') => 5,
        Some(b'E') => 6,
        _ => 0,
    };
    value << (10 * power)
}

#[cfg(test)]
#[path = "cmdline_tests.rs"]
mod tests;
