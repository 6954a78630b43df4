//! What a report says of bounce buffers.

use super::bounces::Pending;
use super::guess::{Basis, Verdict, Why};
use super::names::Names;
use super::tally::{Compared, Tally};
use crate::Exception;

pub(super) const SUBJECT: &str = "bounce addresses";

const fn row(basis: Basis) -> &'static str {
    match basis {
        Basis::Seen => SUBJECT,
        Basis::Unseen => "bounce addresses, slots not seen yet taken for free",
        Basis::Interleaved => "bounce addresses, while another thread took or freed slots",
    }
}

pub(super) const fn text(why: Why) -> &'static str {
    match why {
        Why::Older => "not determined: slots that the trace never shows were in use since before it",
        Why::Order => {
            "not determined: two threads searched one area at once; the other order gives this address"
        }
        Why::FreedEarlier => "another thread reported the release of these slots only after the search",
        Why::FreedLater => "another thread had only announced the release of the slots that the model takes",
    }
}

/// Counts what became of a guess; where it is listed, if it was wrong.
pub(super) fn report(
    at: u64,
    pending: &Pending,
    recorded: Option<u64>,
    verdict: &Verdict,
    names: &Names,
    tally: &mut Tally,
) -> Option<usize> {
    if verdict.undetermined {
        tally.open(
            SUBJECT,
            "where the search of an area begins is not known before its first map",
            pending.line,
        );
        return None;
    }
    if !pending.sure {
        tally.open(SUBJECT, "nobody says which driver the device has, and so what it demands", pending.line);
        return None;
    }
    let compared = Compared {
        subject: SUBJECT,
        row: row(verdict.basis),
        sure: verdict.basis == Basis::Seen,
        agreed: verdict.agreed,
    };
    tally.compare(&compared, verdict.why.map(text), || Exception {
        line: pending.line,
        what: format!("{} bounces {} bytes at {:#x}", names.name(pending.dev), pending.size, pending.orig),
        recorded: recorded.map_or_else(|| "no place".to_owned(), |tlb| format!("{tlb:#x}")),
        modelled: verdict.modelled.to_string(),
        why: None,
        detail: vec![format!("the result is in line {at}")],
    })
}
