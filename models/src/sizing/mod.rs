//! How large must the bounce pool be? What a workload asks of it, and what pools of other sizes would have made of that.
//!
//! A [`Workload`] is the list of bounces that somebody made: a scenario's, recorded while it ran with a pool that was
//! never full, or those of a trace of a real system. It is replayed through the pool's own state machine
//! ([`crate::swiotlb::Pool`]), once for each size and number of areas. Nothing is estimated: the same slots are searched
//! in the same way as the kernel of that version would. What a replay cannot know is how callers would have reacted to a
//! failure; so a recommendation for a scenario is tried in real runs afterwards.

mod demand;
mod diagnose;
mod sweep;
mod workload;

pub use demand::{Demand, DeviceDemand, demand};
pub use diagnose::{Diagnosis, LeakSign, Recommendation, diagnose, leaks, recommend};
pub use sweep::{FirstFull, Outcome, PoolRules, Trial, trial};
pub use workload::{DeviceNeeds, Event, MAX_EVENTS, MapId, What, Workload};
