//! Names that live for ever.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How many bytes of names one process may keep.
const MAX_BYTES: usize = 16 << 20;

struct Names {
    known: BTreeSet<&'static str>,
    bytes: usize,
}

static NAMES: Mutex<Names> = Mutex::new(Names { known: BTreeSet::new(), bytes: 0 });

/// The room for names is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternerFull;

impl fmt::Display for InternerFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MAX_BYTES} bytes of names in one process")
    }
}

impl std::error::Error for InternerFull {}

/// `text` as a name that lives for ever; the same text always gives the same one. Each distinct text is kept once.
///
/// # Errors
///
/// When this process keeps too many names already.
pub fn intern(text: &str) -> Result<&'static str, InternerFull> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.known.get(text) {
        return Ok(known);
    }
    let bytes = names.bytes.saturating_add(text.len() + size_of::<&str>());
    if bytes > MAX_BYTES {
        return Err(InternerFull);
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.known.insert(kept);
    names.bytes = bytes;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        let first = intern("nvme_map_data").expect("room");
        let second = intern(&String::from("nvme_map_data")).expect("room");
        assert!(std::ptr::eq(first, second));
        assert_eq!(intern(&"x".repeat(MAX_BYTES)), Err(InternerFull));
    }
}
