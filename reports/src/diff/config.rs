//! How two scenarios differ as written.

use std::collections::BTreeSet;
use std::fmt::Debug;

use models::profile::Behaviour;
use models::scenario::{CpuVendor, Device, E820Kind, Iommu, Machine, MemEncrypt, Plugged, Resolved};

use super::Row;

pub(super) fn rows(a: &Resolved, b: &Resolved) -> Vec<Row> {
    let mut rows = vec![Row::new("kernel", &a.kernel.version, &b.kernel.version)];
    rows.push(behaviours(a, b));
    rows.push(Row::new("config", a.kernel.config.join(" "), b.kernel.config.join(" ")));
    rows.push(Row::new("command line", &a.cmdline, &b.cmdline));
    machine(&a.machine, &b.machine, &mut rows);
    devices(&a.machine, &b.machine, &mut rows);
    let drivers = |s: &Resolved| s.drivers.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(" ");
    rows.push(Row::new("drivers", drivers(a), drivers(b)));
    rows.push(content("driver code", &a.drivers, &b.drivers));
    rows.push(content("processes", &a.processes, &b.processes));
    rows.push(content("injection", &a.inject, &b.inject));
    // Drivers that have other names have other code; that needs no second line.
    if rows.iter().any(|row| row.word == "drivers" && row.differs()) {
        rows.retain(|row| row.word != "driver code");
    }
    rows
}

/// Behaviours that only one of them has.
fn behaviours(a: &Resolved, b: &Resolved) -> Row {
    let only = |this: &Resolved, that: &Resolved| {
        let list: Vec<&str> =
            this.profile.set.iter().filter(|x| !that.profile.set.has(*x)).map(Behaviour::name).collect();
        if list.is_empty() { String::new() } else { format!("only here: {}", list.join(" ")) }
    };
    Row::new("behaviours", only(a, b), only(b, a))
}

/// Things too long to show: whether they are the same.
fn content<T: Debug + PartialEq>(word: &str, a: &T, b: &T) -> Row {
    if a == b { Row::new(word, "same", "same") } else { Row::new(word, "one thing", "another") }
}

fn machine(a: &Machine, b: &Machine, rows: &mut Vec<Row>) {
    rows.push(Row::new("machine", &a.name, &b.name));
    rows.push(Row::new("CPU vendor", vendor(a.cpu_vendor), vendor(b.cpu_vendor)));
    rows.push(Row::new("CPUs", a.cpus.to_string(), b.cpus.to_string()));
    rows.push(Row::new("RAM", ram(a), ram(b)));
    rows.push(Row::new("nodes", a.nodes.len().to_string(), b.nodes.len().to_string()));
    rows.push(Row::new("IOMMU", iommu(a.iommu), iommu(b.iommu)));
    rows.push(Row::new("encryption", encryption(a.mem_encrypt), encryption(b.mem_encrypt)));
}

const fn vendor(vendor: CpuVendor) -> &'static str {
    match vendor {
        CpuVendor::Amd => "AMD",
        CpuVendor::Intel => "Intel",
        CpuVendor::Arm => "Arm",
    }
}

const fn encryption(encryption: MemEncrypt) -> &'static str {
    match encryption {
        MemEncrypt::None => "none",
        MemEncrypt::Sme => "SME",
        MemEncrypt::Sev => "SEV",
        MemEncrypt::Realm => "CCA",
        MemEncrypt::Pef => "PEF",
        MemEncrypt::Pv => "Secure Execution",
    }
}

fn iommu(iommu: Iommu) -> String {
    let list = |name: &str, flags: &[(bool, &str)]| {
        let set: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if set.is_empty() { name.to_owned() } else { format!("{name} with {}", set.join(", ")) }
    };
    match iommu {
        Iommu::None => "none".to_owned(),
        Iommu::AmdVi { ppr, gt, np_cache, .. } => {
            list("AMD-Vi", &[(ppr, "PPR"), (gt, "GT"), (np_cache, "NpCache")])
        }
        Iommu::Vtd { snoop, write_buffer_flush, platform_opt_in, caching_mode, pass_through, scalable } => {
            list(
                "VT-d",
                &[
                    (snoop, "snooping"),
                    (write_buffer_flush, "write buffer flush"),
                    (platform_opt_in, "opt-in"),
                    (caching_mode, "caching mode"),
                    (!pass_through, "no pass-through"),
                    (scalable, "scalable mode"),
                ],
            )
        }
        Iommu::Virtio { second_ms, input_range, domain_range, page_size_mask, .. } => list(
            "virtio-iommu",
            &[
                (second_ms.is_some(), "a second one"),
                (input_range.is_some(), "addresses of its own"),
                (domain_range.is_some(), "numbers of domains of its own"),
                (page_size_mask.is_some(), "page sizes of its own"),
            ],
        ),
        Iommu::Smmu { second_ms, address_bits, v3, .. } => list(
            if v3.is_some() { "SMMUv3" } else { "SMMU" },
            &[
                (second_ms.is_some(), "a second one"),
                (address_bits.is_some(), "addresses of its own"),
                (v3.is_some_and(|v3| v3.command_ns > 0), "commands that take time"),
                (v3.is_some_and(|v3| v3.range_invalidation), "range invalidation"),
            ],
        ),
    }
}

/// How much RAM, and how much of it above 4 GiB: that decides whether a bounce pool is set up.
fn ram(machine: &Machine) -> String {
    let limit = 1_u64 << 32;
    let usable = || machine.e820.iter().filter(|entry| entry.kind == E820Kind::Usable);
    let length = |start: u64, end: u64| u128::from(end.saturating_sub(start)) + 1;
    let all: u128 = usable().map(|entry| length(entry.start, entry.end)).sum();
    let high: u128 = usable().filter(|e| e.end >= limit).map(|e| length(e.start.max(limit), e.end)).sum();
    format!("{} MiB, {} MiB of it above 4 GiB", all >> 20, high >> 20)
}

fn devices(a: &Machine, b: &Machine, rows: &mut Vec<Row>) {
    let addresses: BTreeSet<&str> =
        a.devices.iter().chain(&b.devices).map(|device| device.bdf.as_str()).collect();
    for bdf in addresses {
        let of = |machine: &Machine| {
            machine.devices.iter().find(|device| device.bdf == bdf).map(device).unwrap_or_default()
        };
        rows.push(Row::new(bdf, of(a), of(b)));
    }
}

fn device(device: &Device) -> String {
    let mut text = device.name.clone();
    let mut add = |part: String| {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&part);
    };
    if !device.caps.is_empty() {
        let caps: Vec<String> = device.caps.iter().map(|cap| format!("{cap:?}").to_uppercase()).collect();
        add(caps.join("+"));
    }
    if let Some(group) = device.isolation {
        add(format!("isolation {group}"));
    }
    if device.dma_bits != 64 {
        add(format!("{} address bits", device.dma_bits));
    }
    if device.untrusted {
        add("untrusted".to_owned());
    }
    if let Some(limit) = device.bus_dma_limit {
        add(format!("bus limit {limit:#x}"));
    }
    if device.restricted_pool.is_some() {
        add("pool of its own".to_owned());
    }
    if let Plugged::After { ms } = device.plugged {
        add(format!("plugged after {ms} ms"));
    }
    add(device.driver.as_ref().map_or("no driver".to_owned(), |driver| format!("driver {driver}")));
    text
}
