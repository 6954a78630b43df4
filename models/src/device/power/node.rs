//! What the driver core and the hardware keep of one device.

use sim::cell::{Cell, OnceCell};
use sim::sync::WaitQueue;

use crate::device::DeviceNode;
use crate::kernel::Kx;

/// Whether a device has been told to rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quiet {
    /// It has not.
    #[default]
    Awake,
    /// It is suspended.
    Suspended,
    /// It is shut down.
    ShutDown,
}

impl Quiet {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Suspended => "suspended",
            Self::ShutDown => "shut down",
        }
    }
}

/// A device's share of power management (`struct dev_pm_info`), and its bus mastering.
#[derive(Debug, Default)]
pub struct NodePower {
    /// Bus mastering is off: it can do no DMA.
    no_master: Cell<bool>,
    quiet: Cell<Quiet>,
    /// How many phases of a suspend it has been through.
    pub(super) depth: Cell<u8>,
    /// An operation goes on (`power.completion`).
    busy: Cell<bool>,
    /// That operation goes on in a context of its own (`power.async_in_progress`).
    pub(super) async_in_progress: Cell<bool>,
    done: OnceCell<WaitQueue>,
    granted: OnceCell<WaitQueue>,
}

impl NodePower {
    fn done(&self, kx: &Kx) -> &WaitQueue {
        self.done.get_or_init(|| WaitQueue::new(kx.cx(), "power.completion"))
    }

    fn granted(&self, kx: &Kx) -> &WaitQueue {
        self.granted.get_or_init(|| WaitQueue::new(kx.cx(), "bus mastering"))
    }

    /// What it was told.
    #[must_use]
    pub fn quiet(&self) -> Quiet {
        self.quiet.get()
    }

    pub(super) fn set_quiet(&self, kx: &Kx, quiet: Quiet) {
        let old = self.quiet.replace(quiet);
        kx.k.power.count_quiet(old != Quiet::Awake, quiet != Quiet::Awake);
    }

    /// Turns bus mastering on or off (`pci_set_master`, `pci_clear_master`).
    pub(super) fn set_master(&self, kx: &Kx, on: bool) {
        self.no_master.set(!on);
        if on {
            self.wake(kx);
        }
    }

    /// Whether the device can do DMA.
    #[must_use]
    pub fn can_do_dma(&self, kx: &Kx) -> bool {
        !self.no_master.get() && !kx.k.power.is_asleep()
    }

    /// The device waits until it can do DMA, or until that is of no use any more.
    pub async fn wait_for_master(&self, kx: &Kx) {
        while !self.can_do_dma(kx) && !kx.k.power.is_over() {
            self.granted(kx).wait(kx.cx()).await;
        }
    }

    /// Who waits looks again.
    pub(super) fn wake(&self, kx: &Kx) {
        if let Some(granted) = self.granted.get() {
            granted.wake_all(kx.cx());
        }
    }

    /// `reinit_completion()`.
    pub(super) fn begin(&self) {
        self.busy.set(true);
    }

    /// `complete_all()`.
    pub(super) fn complete(&self, kx: &Kx) {
        self.busy.set(false);
        self.done(kx).wake_all(kx.cx());
    }

    /// `wait_for_completion()`.
    async fn wait(&self, kx: &Kx) {
        while self.busy.get() {
            self.done(kx).wait(kx.cx()).await;
        }
        self.done(kx).see(kx.cx());
    }
}

/// Whether an operation of a device may go on beside those of others: PCI devices say so of themselves.
///
/// Source: `drivers/pci/pci.c: pci_pm_init()`, `drivers/base/power/main.c: is_async()`, v6.1, v6.12.
pub(super) fn is_async(kx: &Kx, node: &DeviceNode) -> bool {
    node.spec(&kx.k).bus == crate::scenario::schema::Bus::Pci
}

/// Waits for another device's operation, unless all are in turn anyway.
///
/// Source: `drivers/base/power/main.c: dpm_wait()`, v6.1, v6.12.
pub(in crate::device) async fn dpm_wait(kx: &Kx, node: &DeviceNode, asynchronous: bool) {
    if asynchronous || is_async(kx, node) {
        node.power.wait(kx).await;
    }
}
