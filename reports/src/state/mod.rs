//! The state of the machine at one step of a run, in the formats that people know from debugfs, sysfs and lockdep.

mod contexts;
mod devices;
mod iommu;
mod json;
mod memblock;
mod object;
mod swiotlb;

use models::run::state::{MappingState, State};

use crate::layout::{Paint, ascii, instant, seconds};

pub use json::views as json;
pub use object::{object, object_lines};

/// What of the state is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// memblock's lists.
    Memblock,
    /// Bounce pools and who has their slots.
    Swiotlb,
    /// Groups, domains, I/O virtual addresses, flush queues.
    Iommu,
    /// Devices, their drivers, masks and pointers.
    Devices,
    /// Locks, who holds and who wants them.
    Locks,
    /// Contexts and their call stacks.
    Contexts,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Memblock, Self::Swiotlb, Self::Iommu, Self::Devices, Self::Locks, Self::Contexts];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memblock => "memblock",
            Self::Swiotlb => "swiotlb",
            Self::Iommu => "iommu",
            Self::Devices => "devices",
            Self::Locks => "locks",
            Self::Contexts => "contexts",
        }
    }

    /// The view of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.name() == name)
    }
}

/// Where a run stands: `step 497 of 1756, 2.360009780 s`.
#[must_use]
pub fn place(state: &State, steps: u64) -> String {
    format!("step {} of {steps}, {} s", state.step, seconds(state.time))
}

/// One view of a state, as lines.
#[must_use]
pub fn show(state: &State, view: View, paint: Paint) -> String {
    let lines = match view {
        View::Memblock => memblock::lines(&state.memblock),
        View::Swiotlb => swiotlb::lines(state),
        View::Iommu => iommu::lines(state),
        View::Devices => devices::lines(&state.devices),
        View::Locks => contexts::locks(&state.locks, &state.contexts),
        View::Contexts => contexts::lines(&state.contexts),
    };
    let mut text = paint.heading(view.name());
    text.push('\n');
    for line in lines {
        text.push_str(ascii(&line).trim_end());
        text.push('\n');
    }
    text
}

/// Addresses as the kernel's log prints a resource.
fn resource(start: u64, size: u64) -> String {
    format!("[mem {start:#010x}-{:#010x}]", start.wrapping_add(size).wrapping_sub(1))
}

/// Who made a mapping: function, context, time.
fn made(state: &MappingState) -> String {
    let since = &state.mapping.since;
    let leaving = if state.mapping.leaving { "; its unmap has begun" } else { "" };
    format!("{} by {} at {}, step {}{leaving}", since.func, state.by, instant(since.time_ns), since.step)
}

/// The call stack of a mapping, on lines of a list.
fn stack(state: &MappingState, indent: &str) -> Option<String> {
    let frames = &state.mapping.stack;
    (!frames.is_empty()).then(|| format!("{indent}{}", frames.join(" <- ")))
}
