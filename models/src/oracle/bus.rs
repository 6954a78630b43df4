//! The bus: a device may reach the memory it was given, in the direction it was given for, and nothing else.

use sim::{Class, Draft, Kind};

use super::content::check_read;
use super::ledger::{MapKind, Mapping, Piece, owner_changed};
use super::ought::Ought;
use super::suppliers::check_suppliers_awake;
use crate::device::DeviceNode;
use crate::device::power::Stage;
use crate::dma::phys_to_dma;
use crate::iommu::core::{DeviceEntry, DmaTarget, device_access, fault_lines};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr, PhysRange, Source};
use crate::scenario::schema::E820Kind;

/// A device reads or writes `size` bytes at `dma`. What it writes carries `tag`. Returns whether all of it went
/// through.
pub async fn device_dma(kx: &Kx, node: &DeviceNode, dma: DmaAddr, size: u64, write: bool, tag: u32) -> bool {
    kx.step(Kind::Io, kx.memory_label()).await;
    while !node.power.can_do_dma(kx) {
        // A device at work of its own goes on when it may; a driver that waits finds that nothing was done.
        if kx.class() != Class::Device || kx.k.power.is_over() {
            return false;
        }
        node.power.wait_for_master(kx).await;
        kx.step(Kind::Io, kx.memory_label()).await;
    }
    match kx.k.power.stage() {
        Stage::Up | Stage::GoingDown => {}
        Stage::NextKernel => return next_kernels(kx, node, dma, write),
        Stage::Over => return true,
    }
    check_suppliers_awake(kx, node);
    let mapping = kx.k.ledger.covering(node.index, dma, size);
    // What the device has no lines for does not reach the bus.
    let bits = node.spec(&kx.k).dma_bits;
    let wired = if bits < u64::BITS { (1 << bits) - 1 } else { u64::MAX };
    let last = dma.0.wrapping_add(size.max(1) - 1);
    if last > wired {
        let title = format!("{} drives {bits} address bits, and was told to access {dma}", node.bdf);
        kx.report(Draft::warning("dma-beyond-mask", title).discriminator("address lines"), Vec::new);
    }
    check_given(kx, node, mapping.as_deref(), dma, size, write);
    let mut done = 0;
    while done < size {
        let at = dma.wrapping_add(done);
        let mut len = (PAGE_SIZE - at.page_offset()).min(size - done);
        if let Some(piece) = mapping.as_ref().and_then(|mapping| mapping.piece_at(at)) {
            len = len.min(piece.len - (at.0 - piece.dma.0));
        }
        match device_access(kx, node, DmaAddr(at.0 & wired), write) {
            DmaTarget::Memory(phys) => {
                check_encryption(kx, node, mapping.as_deref(), at, phys, write);
                let piece = mapping.as_ref().and_then(|mapping| mapping.piece_at(at));
                if let Some(piece) = piece {
                    check_target(kx, node, piece, at, phys, write);
                }
                if write {
                    store(kx, node, phys, len, tag, done);
                } else if let Some(piece) = piece {
                    check_read(kx, node, piece, at, phys, len);
                }
            }
            DmaTarget::Fault(why) => {
                dma_refused(kx, node, at, write, why);
                return false;
            }
        }
        done += len;
    }
    if write && let Some(mapping) = mapping {
        let id = mapping.id;
        drop(mapping);
        kx.k.ledger.change(id, |mapping| {
            mapping.written = true;
            for piece in &mut mapping.pieces {
                let (from, to) = piece.part(dma, size);
                let into = (piece.dma.0 + from).saturating_sub(dma.0);
                piece.ought.set(from, to, Ought::Device(tag, into));
            }
        });
    }
    true
}

/// A device goes on with what a kernel has told it that is gone: all memory belongs to the next one, which has not come to its
/// drivers. What it reads does no harm.
fn next_kernels(kx: &Kx, node: &DeviceNode, dma: DmaAddr, write: bool) -> bool {
    match device_access(kx, node, dma, write) {
        DmaTarget::Memory(phys) if write && is_ram(kx, phys) => {
            let title = format!(
                "{} writes at {dma}, which is {phys}: that memory is the next kernel's, and nobody has stopped the device",
                node.bdf
            );
            kx.report(Draft::warning("dma-after-kexec", title).object("struct device"), Vec::new);
            true
        }
        DmaTarget::Memory(_) => true,
        DmaTarget::Fault(_) => false,
    }
}

fn is_ram(kx: &Kx, phys: PhysAddr) -> bool {
    let map = kx.k.scenario.machine.e820.iter();
    map.filter(|entry| entry.kind == E820Kind::Usable)
        .any(|entry| (entry.start..=entry.end).contains(&phys.0))
}

/// The IOMMU refuses an access: its driver's message, and a finding.
pub fn dma_refused(kx: &Kx, node: &DeviceNode, at: DmaAddr, write: bool, why: &'static str) {
    let lines = fault_lines(kx, node, at, write);
    for line in &lines {
        kx.log(|| line.clone());
    }
    let access = if write { "write" } else { "read" };
    let refused = format!("a DMA {access} of {} is refused: {why}", node.bdf);
    let title = match lines.as_slice() {
        [] => format!("{refused} (at {at}; no event tells of it)"),
        [line] => format!("{line}: {refused}"),
        [line, ..] => format!("{line} {refused} (at {at})"),
    };
    kx.report(Draft::warning("iommu-fault", title).object("struct device").discriminator(why), Vec::new);
}

fn check_given(kx: &Kx, node: &DeviceNode, mapping: Option<&Mapping>, dma: DmaAddr, size: u64, write: bool) {
    let access = if write { "writes" } else { "reads" };
    match mapping {
        None => {
            let past = kx.k.ledger.was_mapped(node.index, dma);
            let (what, tail) = match past {
                Some(site) => (
                    "after unmap",
                    format!("; it was unmapped in {} at {}", site.func, crate::kernel::seconds(site.time_ns)),
                ),
                None => ("never mapped", String::new()),
            };
            let title =
                format!("{} {access} {size} bytes at {dma}, which is in no mapping of it{tail}", node.bdf);
            kx.report(Draft::warning("dma-outside-mapping", title).discriminator(what), Vec::new);
        }
        Some(mapping) => {
            let allowed =
                if write { mapping.new.dir.reaches_cpu() } else { mapping.new.dir.reaches_device() };
            if !allowed {
                let title =
                    format!("{} {access} at {dma}, which is mapped for the other direction only", node.bdf);
                kx.report(Draft::warning("dma-wrong-direction", title), Vec::new);
            }
            check_shared(kx, node, mapping, dma, size, access);
            if let Some(owner) = mapping.pieces.iter().find_map(|piece| owner_changed(kx, piece)) {
                let title = format!(
                    "{} {access} at {dma}: the buffer was freed while it is mapped; the memory belongs to {owner} now",
                    node.bdf
                );
                kx.report(Draft::warning("dma-use-after-free", title).discriminator(owner), Vec::new);
            }
        }
    }
}

/// The host of a guest with memory of its own, and with it each device, reads what the guest shares: bounce pools and
/// coherent memory. Anything else it finds encrypted, or is denied.
fn check_shared(kx: &Kx, node: &DeviceNode, mapping: &Mapping, dma: DmaAddr, size: u64, access: &str) {
    let globals = &kx.k.globals;
    let private = |piece: &Piece| {
        let (from, to) = piece.part(dma, size);
        if from >= to {
            return None;
        }
        if globals.sev_active.get() {
            // Each page is known to be shared or not.
            let range = PhysRange::new(piece.target.wrapping_add(from), to - from);
            return kx.k.mem.borrow().heap.shadow().first_private(range);
        }
        let shared = mapping.new.kind == MapKind::Coherent || piece.bounced();
        (globals.secure_guest.get() && !shared).then_some(piece.phys)
    };
    if let Some(at) = mapping.pieces.iter().find_map(private) {
        let title = format!(
            "{} {access} {size} bytes at {dma}: the memory at {at} is not shared with the host",
            node.bdf
        );
        kx.report(Draft::warning("private-memory", title), Vec::new);
    }
}

/// Where memory is encrypted, a device that sees it as it is says by a bit of the address whether its bytes are to be
/// decrypted on the way: private pages need that, and pages that are shared must not be. Coherent memory is not looked at.
fn check_encryption(
    kx: &Kx,
    node: &DeviceNode,
    mapping: Option<&Mapping>,
    at: DmaAddr,
    phys: PhysAddr,
    write: bool,
) {
    let streaming = mapping.is_some_and(|mapping| mapping.new.kind != MapKind::Coherent);
    if !kx.memory_encrypted() || !streaming || kx.k.iommu.entry(node.index) != DeviceEntry::Off {
        return;
    }
    let decrypts = at != phys_to_dma(kx, phys, true);
    let page = PhysRange::new(PhysAddr(phys.0 - phys.page_offset()), PAGE_SIZE);
    let shared = kx.k.mem.borrow().heap.shadow().first_shared(page).is_some();
    if decrypts == shared {
        let access = if write { "writes" } else { "reads" };
        let (page, wrong) =
            if shared { ("shared with the host", "decrypted") } else { ("private", "taken as it is") };
        let title = format!(
            "{} {access} at {at}: the memory at {phys} is {page}, and is {wrong} on the way",
            node.bdf
        );
        kx.report(Draft::warning("private-memory", title).discriminator(wrong), Vec::new);
    }
}

/// A translation that leads elsewhere than the mapping does is a stale one.
fn check_target(kx: &Kx, node: &DeviceNode, piece: &Piece, at: DmaAddr, phys: PhysAddr, write: bool) {
    let wanted = piece.target.wrapping_add(at.0 - piece.dma.0);
    if phys != wanted {
        let access = if write { "write" } else { "read" };
        let title = format!(
            "{}: a DMA {access} at {at} reaches {phys} and not {wanted}: a stale translation",
            node.bdf
        );
        kx.report(Draft::warning("stale-translation", title), Vec::new);
    }
}

fn store(kx: &Kx, node: &DeviceNode, phys: PhysAddr, len: u64, tag: u32, offset: u64) {
    let trampled = kx.k.mem.borrow_mut().heap.write_at(phys, len, Source::Data { tag }, offset).unwrap_or(0);
    if trampled == 0 {
        return;
    }
    let victim = kx.k.mem.borrow().heap.record(trampled).map_or("", |record| record.type_name);
    let title = format!("{} writes over a living {victim} at {phys}", node.bdf);
    kx.report(Draft::warning("dma-corrupts-object", title).object(victim), || {
        let mut details = Vec::new();
        kx.k.explain_object(trampled, kx.sim(), &mut details);
        details
    });
}
