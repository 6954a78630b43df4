//! User space and the page cache: those who take memory, fill it and give it back.

use serde::{Deserialize, Serialize};

use super::dist::{CpuChoice, Dist, WeightedFill};

/// Activity outside any driver, in a context of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Name for reports.
    pub name: String,
    /// Where it runs.
    #[serde(default)]
    pub cpu: CpuChoice,
    /// Milliseconds after the first initcall at device level.
    #[serde(default)]
    pub start_ms: Dist,
    /// What it does.
    pub body: Vec<ProcStmt>,
}

/// One thing that a process does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ProcStmt {
    /// Takes pages and fills them.
    AllocPages {
        /// log2 of the pages in one block (0 to 10).
        #[serde(default)]
        order: Dist,
        /// Blocks.
        count: Dist,
        /// What is written into each block. Empty: nothing.
        #[serde(default)]
        fill: Vec<WeightedFill>,
    },
    /// Gives back a part of what it holds.
    FreePages {
        /// How much of it.
        percent: u32,
    },
    /// Takes objects of the kernel's slab caches, as whoever opens files and sockets does.
    AllocObjects {
        /// Bytes of each.
        size: Dist,
        /// How many.
        count: Dist,
    },
    /// Gives back a part of these, the oldest first.
    FreeObjects {
        /// How much of them.
        percent: u32,
    },
    /// Sleeps.
    Sleep {
        /// Microseconds.
        us: Dist,
    },
    /// Does the body several times.
    Repeat {
        /// How often.
        times: Dist,
        /// What.
        body: Vec<Self>,
    },
    /// Plugs a device in.
    Plug {
        /// Its address.
        bdf: String,
    },
    /// Pulls a device out.
    Unplug {
        /// Its address.
        bdf: String,
    },
    /// Binds a driver to a device, as through sysfs.
    Bind {
        /// Address of the device.
        bdf: String,
        /// Name of the driver.
        driver: String,
    },
    /// Unbinds the driver of a device, as through sysfs.
    Unbind {
        /// Address of the device.
        bdf: String,
    },
    /// Opens the IOMMU group of a device for a virtual machine, as VFIO does: the group gets a domain of the process. If it
    /// cannot, what follows about it does nothing.
    VfioAttach {
        /// Address of a device of the group.
        bdf: String,
    },
    /// Gives memory of the process to the devices of its group.
    VfioMap {
        /// Bus address, a multiple of 4096.
        iova: u64,
        /// Pages of 4 KiB, each from anywhere in memory.
        pages: u32,
    },
    /// Takes it back. Pages that are neighbours in memory and in bus addresses are unmapped with one call.
    VfioUnmap {
        /// Bus address.
        iova: u64,
        /// Pages of 4 KiB.
        pages: u32,
    },
    /// The virtual machine has the device write its memory.
    VfioDma {
        /// Address of the device.
        bdf: String,
        /// Bus address.
        iova: u64,
        /// Pages of 4 KiB.
        pages: u32,
    },
    /// Closes the group.
    VfioDetach,
    /// Suspends the machine to memory and wakes it up: tasks are frozen, devices are suspended in their order, the IOMMU is
    /// saved and restored.
    Suspend,
    /// Takes the machine down, and nothing goes on after that.
    Reboot {
        /// What comes after.
        how: Reboot,
    },
}

/// What comes after the machine has gone down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reboot {
    /// The firmware, which stops all devices.
    Restart,
    /// Nothing.
    PowerOff,
    /// Another kernel, at once (`kexec -e`): all memory is its own, and nobody has told the devices.
    Kexec,
}
