//! The engine as its users see it, a module per theme.

mod accesses;
mod common;
mod determinism;
mod executor;
mod locks;
mod look;
mod masking;
mod minimise;
mod oracles;
mod progress;
mod races;
mod random_programs;
mod replay;
mod sampling;
mod settle;
mod strategies;
mod waits;
