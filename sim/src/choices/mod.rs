//! The one door through which everything undetermined enters a run.
//!
//! A choice is labelled with what it decides, by whom it is asked, and how many alternatives there were. It is
//! answered from a seed, from a recorded list, or by enumeration; the asking code cannot tell which.

mod door;
mod enumerate;
mod nearest;
mod record;
mod stream;
mod token;

pub(crate) use door::Decision;
pub use door::{Choices, Mode};
pub use enumerate::Enumeration;
pub use nearest::{Change, Fitted, fit};
pub use record::{Answer, Asked, ChoiceList, Divergence, Misfit, Offer, Record, Site};
pub use stream::{Rng, Stream, Streams};
pub use token::{Token, TokenError};
