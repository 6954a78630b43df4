//! Which signatures of a campaign belong together, as far as the order in its runs tells.

use sim::Finding;
use sim::explore::SignatureStats;

/// The place of what came first in the run of the first seed, if this signature was never first itself.
pub(crate) fn follows(list: &[&SignatureStats], stats: &SignatureStats) -> Option<usize> {
    let leads = |other: &&SignatureStats| other.finding.signature_hash() == stats.leader;
    stats.follows().then(|| list.iter().position(leads)).flatten()
}

/// What the signature at place `n` of a list ordered by cause has to do with one further up, in words.
pub(crate) fn remark(list: &[&SignatureStats], n: usize) -> Option<String> {
    let stats = list[n];
    if stats.follows() {
        let at = follows(list, stats)?;
        return Some(format!("after no. {} in seed {}", at + 1, stats.first_seed));
    }
    let same = |other: &Finding| {
        let finding = &stats.finding;
        !finding.object.is_empty()
            && !finding.discriminator.is_empty()
            && (other.object, other.discriminator) == (finding.object, finding.discriminator)
    };
    let at = list[..n].iter().position(|other| !other.follows() && same(&other.finding))?;
    Some(format!("as no. {}: {}, {}", at + 1, stats.finding.object, stats.finding.discriminator))
}

/// How many were the first finding of no run, if any.
pub(crate) fn following(list: &[&SignatureStats]) -> Option<String> {
    let following = list.iter().filter(|stats| stats.follows()).count();
    (following > 0).then(|| format!("{following} of them came only after another finding in the same run"))
}
