//! Kernel profiles: a version, plus and minus named behaviours.

mod behaviour;
mod config;
mod set;
mod version;

pub use behaviour::{Behaviour, Facts, Range};
pub use config::{CONFIG_NAMES, ConfigLine, IommuDefault, KernelConfig};
pub use set::{BehaviourSet, Place, Profile, ProfileProblem};
pub use version::Version;
