//! What an oracle says: a finding, and the signature by which two findings are the same.

use crate::trace::Digest;
use crate::{Name, Nanos};

/// How bad a finding is for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is wrong, the modelled machine goes on.
    Warning,
    /// The modelled machine cannot go on: an oops, a panic, a lock-up.
    Fatal,
}

/// One thing that an oracle found wrong in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind, a stable kebab-case word: `use-after-free`, `deadlock`, ….
    pub kind: &'static str,
    /// One line in the words of the kernel.
    pub title: String,
    /// Whether the machine goes on.
    pub severity: Severity,
    /// Call stack, innermost first.
    pub frames: Vec<&'static str>,
    /// Type of the object concerned, in the kernel's spelling; empty if there is none.
    pub object: &'static str,
    /// What else belongs to the signature (for a freed object the freeing function). Must not vary with addresses.
    pub discriminator: &'static str,
    /// The context in which it happened.
    pub context: Name,
    /// CPU, if the context runs on one.
    pub cpu: Option<u8>,
    /// Virtual time.
    pub time: Nanos,
    /// Step number.
    pub step: u64,
    /// How this finding shows at the end of the run, as a row of the campaign's summary; empty if it does not.
    pub ending: &'static str,
    /// Facts in order: (heading, lines). Filled in only when details were asked for.
    pub details: Vec<(String, Vec<String>)>,
}

/// How many innermost frames belong to a signature: enough to tell callers apart, few enough to join them.
pub const SIGNATURE_FRAMES: usize = 4;

impl Finding {
    /// The signature as a number: equal for findings that are the same bug.
    #[must_use]
    pub fn signature_hash(&self) -> u64 {
        let mut digest = Digest::new();
        digest.mix_str(self.kind);
        for frame in self.frames.iter().take(SIGNATURE_FRAMES) {
            digest.mix_str(frame);
        }
        digest.mix_str(self.object);
        digest.mix_str(self.discriminator);
        let value = digest.value();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half of a digest is a hash as good as the whole"
        )]
        let low = value as u64;
        low
    }

    /// The signature in words: kind, innermost frames, object and discriminator.
    #[must_use]
    pub fn signature(&self) -> String {
        let mut text = self.kind.to_owned();
        let frames: Vec<_> = self.frames.iter().take(SIGNATURE_FRAMES).copied().collect();
        if !frames.is_empty() {
            text.push_str(" in ");
            text.push_str(&frames.join(" <- "));
        }
        if !self.object.is_empty() {
            text.push_str(" of ");
            text.push_str(self.object);
        }
        if !self.discriminator.is_empty() {
            text.push_str(", ");
            text.push_str(self.discriminator);
        }
        text
    }
}
