//! What a file holds, by its looks.

use std::path::Path;

use crate::{Outcome, Source, boot, calls, trace, vectors};

/// Who looks at a file for longer than this many lines will not come to know it.
const LINES: usize = 4000;

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Operations on one data structure, with their results.
    Vectors,
    /// The console log of a boot.
    Boot,
    /// Calls of the DMA API, with their results.
    Calls,
    /// Trace events of a running system.
    Trace,
}

impl Kind {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::Boot => "boot",
            Self::Calls => "calls",
            Self::Trace => "trace",
        }
    }

    /// What the file holds, if it looks like any of them. The file is read from its beginning: a pipe would lose it.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let mut source = Source::open(path).ok()?;
        Self::of_lines((0..LINES).map_while(|_| source.next_line().ok().flatten()))
    }

    /// What a file with these lines holds: the first that tells decides.
    fn of_lines(lines: impl Iterator<Item = impl AsRef<str>>) -> Option<Self> {
        for line in lines {
            let line = line.as_ref().trim_start();
            // The account of a running system, which stands beside its log.
            if line.starts_with("@@@BEGIN ") {
                return None;
            }
            if line.starts_with('{') {
                return Some(Self::Vectors);
            }
            if line.starts_with("# tracer:") {
                return Some(Self::Trace);
            }
            if line.contains("Linux version ") {
                return Some(Self::Boot);
            }
            if line.contains("] dmat: ") {
                return Some(Self::Calls);
            }
        }
        None
    }

    /// Compares a file of this kind. `show` is how many differences are told in full; `go_on` gets the number of bytes
    /// that were read, and ends it with `false`. Only vectors can be left in the middle.
    pub fn compare(self, path: &Path, show: usize, go_on: &mut dyn FnMut(u64) -> bool) -> Outcome {
        match self {
            Self::Vectors => match Source::open(path) {
                Ok(mut source) => vectors::compare(&mut source, show, go_on),
                Err(error) => Err(error).into(),
            },
            Self::Boot => boot::compare_all(path),
            Self::Calls => calls::compare(path).into(),
            Self::Trace => trace::compare(path, None).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_first_telling_line() {
        let of = |text: &str| Kind::of_lines(text.lines());
        assert_eq!(of("\n{\"kind\": \"iova\"}"), Some(Kind::Vectors));
        assert_eq!(
            of("Probing EDD... ok\n[    0.000000] Linux version 6.12\n[ 3.0] dmat: A"),
            Some(Kind::Boot)
        );
        assert_eq!(of("[   37.98] dmat: loading out-of-tree module"), Some(Kind::Calls));
        assert_eq!(of("# tracer: nop\n#\n"), Some(Kind::Trace));
        assert_eq!(of("qemu-system-x86_64 -nodefaults\nstate"), None);
        assert_eq!(of("@@@BEGIN s1.version\nLinux version 6.12\n"), None);
    }
}
