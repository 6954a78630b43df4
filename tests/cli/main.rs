//! The command as a user types it: outcomes, exit codes, JSON, and what it says to mistakes.

mod bugs;
mod conform;
mod docs;
mod input;
mod run;
mod size;
mod support;
