//! The slot allocator under every interleaving of a few threads.
//!
//! Each model has broken twins that the same check must catch. A model that ran once has tried no interleaving, so it
//! fails. A name says the bounds: threads beside the one that sets up and checks, and, after `bound`, the
//! preemptions of an execution; without `bound`, every execution is tried.

mod engine;
mod explore;
mod growing;
mod hiwater;
mod naive;
mod one_pool;
mod outcomes;
mod platform;
