//! The dmasim command.
fn main() {}
