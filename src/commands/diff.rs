//! `dmasim diff`.

use super::Exit;
use crate::args::DiffArgs;
use crate::input::Failure;
use crate::output::Out;

pub(super) fn diff(_args: &DiffArgs, _out: &mut Out) -> Result<Exit, Failure> {
    Err(Failure::text("not there yet"))
}
