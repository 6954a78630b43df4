//! Kernel command lines.

use super::dice::Dice;
use crate::scenario::{CpuVendor, Iommu, Machine, MemEncrypt};

pub(super) fn cmdline(dice: &mut Dice, machine: &Machine) -> String {
    let mut words = vec!["quiet".to_owned()];
    let mut add = |dice: &mut Dice, percent, make: &dyn Fn(&mut Dice) -> String| {
        if dice.chance(percent) {
            words.push(make(dice));
        }
    };
    add(dice, 45, &swiotlb);
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

fn swiotlb(dice: &mut Dice) -> String {
    let slots = dice.pick(&[512, 1024, 2048, 4096, 16384, 32768]);
    match dice.range(0, 6) {
        0 => "swiotlb=force".to_owned(),
        1 => "swiotlb=noforce".to_owned(),
        2 => format!("swiotlb={slots}"),
        3 => format!("swiotlb={slots},{}", dice.pick(&[1, 2, 4, 8])),
        4 => format!("swiotlb={slots},{},force", dice.pick(&[1, 2, 4])),
        _ => format!("swiotlb={slots},force"),
    }
}
