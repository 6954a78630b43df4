//! The command as a user types it: outcomes, exit codes, JSON, and what it says to mistakes.

mod bisect;
mod bugs;
mod check;
mod conform;
mod docs;
mod fuzz;
mod hostile;
mod import;
mod input;
mod mail;
mod pipes;
mod replay;
mod resume;
mod run;
mod save;
mod shrink;
mod size;
mod support;
