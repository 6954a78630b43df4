//! Groups of devices that the IOMMU cannot tell apart: who is in them, who uses them, and what their devices reach.

use sim::Draft;

use crate::device::DeviceNode;
use crate::iommu::core::{DeviceEntry, IommuDomain, IommuGroup};
use crate::kernel::{Kx, seconds};
use crate::mem::{Kobject, Ptr};
use crate::profile::Behaviour;

/// A driver is refused its device since the device's group is somebody else's: there must be somebody who has claimed it.
pub fn check_refused(kx: &Kx, node: &DeviceNode, claimed: bool) {
    if !claimed {
        let title = format!(
            "{} is refused to its driver at {}, and nobody has claimed its IOMMU group",
            node.bdf,
            seconds(kx.now())
        );
        kx.report(Draft::warning("refused-without-owner", title).object(IommuGroup::TYPE_NAME), Vec::new);
    }
}

/// Somebody was given a group: drivers of the kernel and a user who has it for himself exclude one another.
pub fn check_shared(kx: &Kx, group: Ptr<IommuGroup>) {
    let Ok(object) = kx.k.mem.object(group) else { return };
    if !object.owner.get() {
        return;
    }
    let uses = |index: &usize| kx.k.node(*index).filter(|node| node.owns_dma.get());
    let driven = object.members.borrow().iter().find_map(uses);
    if let Some(node) = driven {
        let title = format!(
            "IOMMU group {} belongs to a user at {}, and the driver of {} uses it",
            object.id.get(),
            seconds(kx.now()),
            node.bdf
        );
        kx.report(Draft::warning("group-with-two-users", title).object(IommuGroup::TYPE_NAME), Vec::new);
    }
}

/// A domain is about to be freed: no device may reach memory through it any more.
pub fn check_detached(kx: &Kx, domain: Ptr<IommuDomain>) {
    let devices = kx.k.scenario.machine.devices.len();
    let attached = |index: &usize| kx.k.iommu.entry(*index) == DeviceEntry::Domain(domain);
    if let Some(index) = (0..devices).find(attached) {
        let title = format!(
            "a domain is freed at {}, and {} is attached to it",
            seconds(kx.now()),
            kx.k.scenario.machine.devices[index].bdf
        );
        kx.report(Draft::warning("domain-in-use", title).object(IommuDomain::TYPE_NAME), Vec::new);
    }
}

/// When everything has settled: groups, devices and the hardware's entries agree.
pub(super) fn check_groups(kx: &Kx) {
    for group in kx.k.iommu.groups.borrow().iter() {
        check_group(kx, *group);
    }
    for (index, spec) in kx.k.scenario.machine.devices.iter().enumerate() {
        let node = kx.k.node(index);
        let reaches = matches!(kx.k.iommu.entry(index), DeviceEntry::Domain(_) | DeviceEntry::Identity);
        if reaches && !spec.outside_iommu && node.is_none() && kx.k.iommu.registered.get().is_some() {
            report(kx, format!("{} is gone, and the IOMMU lets it reach memory still", spec.bdf), "entry");
        }
        let Some(group) = node.map(|node| node.group.get()).filter(|group| !group.is_null()) else {
            continue;
        };
        let listed = kx.k.mem.object(group).is_ok_and(|object| object.members.borrow().contains(&index));
        if !listed {
            report(kx, format!("the IOMMU group of {} does not know it", spec.bdf), "stranger");
        }
    }
}

fn check_group(kx: &Kx, group: Ptr<IommuGroup>) {
    let Ok(object) = kx.k.mem.object(group) else { return };
    let (id, members) = (object.id.get(), object.members.borrow());
    if members.is_empty() {
        report(kx, format!("IOMMU group {id} has no device, and is there still"), "empty");
    }
    let mut users = 0;
    for index in members.iter() {
        match kx.k.node(*index).filter(|node| node.group.get() == group) {
            Some(node) => users += u32::from(node.owns_dma.get() && node.bound.get().is_some()),
            None => {
                let bdf = &kx.k.scenario.machine.devices[*index].bdf;
                report(kx, format!("IOMMU group {id} lists {bdf}, which is not there"), "member");
            }
        }
    }
    let users = if object.owner.get() { 1 } else { users };
    if kx.k.has(Behaviour::DmaOwnership) && object.owners.get() != users {
        let counted = object.owners.get();
        report(kx, format!("IOMMU group {id} counts {counted} users, and has {users}"), "users");
    }
}

fn report(kx: &Kx, title: String, what: &'static str) {
    let draft = Draft::warning("group-inconsistent", title).object(IommuGroup::TYPE_NAME).discriminator(what);
    kx.report(draft, Vec::new);
}
