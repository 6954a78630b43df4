//! Kernel command lines.

use super::dice::Dice;
use crate::scenario::{CpuVendor, Iommu, Machine, MemEncrypt};

/// Whether this kernel's bounce pools grow.
pub(super) fn grows(config: &[String]) -> bool {
    config.iter().any(|name| name.contains("SWIOTLB_DYNAMIC"))
}

pub(super) fn cmdline(dice: &mut Dice, machine: &Machine, grows: bool) -> String {
    let mut words = vec!["quiet".to_owned()];
    let mut add = |dice: &mut Dice, percent, make: &dyn Fn(&mut Dice) -> String| {
        if dice.chance(percent) {
            words.push(make(dice));
        }
    };
    // A pool that can grow does so when it is full, so that it is small.
    if grows {
        add(dice, 75, &small_pool);
    } else {
        add(dice, 45, &swiotlb);
    }
    add(dice, 15, &|dice| format!("iommu={}", dice.pick(&["pt", "nopt", "soft", "force"])));
    add(dice, 30, &|dice| format!("iommu.strict={}", dice.range(0, 1)));
    add(dice, 25, &|dice| format!("iommu.passthrough={}", dice.range(0, 1)));
    add(dice, 10, &|_| "iommu.forcedac=1".to_owned());
    add(dice, 15, &|_| "init_on_alloc=1".to_owned());
    add(dice, 10, &|_| "init_on_free=1".to_owned());
    if machine.iommu != Iommu::None {
        match machine.cpu_vendor {
            CpuVendor::Intel => {
                add(dice, 70, &|dice| {
                    format!("intel_iommu={}", dice.pick(&["on", "on", "on,strict", "on,sm_off"]))
                });
            }
            CpuVendor::Amd | CpuVendor::Arm => {
                add(dice, 20, &|dice| {
                    format!("amd_iommu={}", dice.pick(&["fullflush", "force_isolation", "off"]))
                });
            }
        }
    }
    if machine.mem_encrypt == MemEncrypt::Sme {
        words.push("mem_encrypt=on".to_owned());
    }
    words.join(" ")
}

/// What this kernel was built with, besides the usual.
pub(super) fn config(dice: &mut Dice, machine: &Machine) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |dice: &mut Dice, percent, name: &'static str| {
        if dice.chance(percent) {
            names.push(format!("CONFIG_{name}=y"));
        }
    };
    // On a host that encrypts its memory a growing pool sleeps where it may not: `docs/findings-open.md`.
    add(dice, if machine.mem_encrypt == MemEncrypt::Sme { 0 } else { 35 }, "SWIOTLB_DYNAMIC");
    let restricted = machine.devices.iter().any(|device| device.restricted_pool.is_some());
    add(dice, if restricted { 75 } else { 0 }, "DMA_RESTRICTED_POOL");
    add(dice, 20, "DEFERRED_STRUCT_PAGE_INIT");
    let default =
        dice.pick(&["IOMMU_DEFAULT_DMA_LAZY", "IOMMU_DEFAULT_DMA_STRICT", "IOMMU_DEFAULT_PASSTHROUGH"]);
    add(dice, 20, default);
    names.push("CONFIG_DEBUG_KMEMLEAK=y".to_owned());
    names
}

fn swiotlb(dice: &mut Dice) -> String {
    let slots = dice.pick(&[128, 512, 1024, 2048, 4096, 16384, 32768]);
    match dice.range(0, 6) {
        0 => "swiotlb=force".to_owned(),
        1 => "swiotlb=noforce".to_owned(),
        2 => format!("swiotlb={slots}"),
        3 => format!("swiotlb={slots},{}", dice.pick(&[1, 2, 4, 8])),
        4 => format!("swiotlb={slots},{},force", dice.pick(&[1, 2, 4])),
        _ => format!("swiotlb={slots},force"),
    }
}

fn small_pool(dice: &mut Dice) -> String {
    let slots = dice.pick(&[128, 128, 256, 512]);
    let force = if dice.chance(80) { ",force" } else { "" };
    format!("swiotlb={slots},{}{force}", dice.pick(&[1, 2]))
}
