//! The scenario file.

use std::fmt::Write as _;

use models::mem::PhysRange;
use models::scenario::schema::E820Kind;

use super::Found;
use super::devices::{DeviceFound, class_words};
use super::memory::Change;
use super::words::{quoted, remark, wrapped};

/// The log's name, without the folders above it: two people have it in different places.
fn name_of(found: &Found) -> String {
    let parts: Vec<_> = found.path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let from = parts.len().saturating_sub(2);
    let name: Vec<&str> = parts[from..].iter().map(String::as_str).filter(|part| *part != "/").collect();
    remark(&name.join("/"))
}

/// The whole file.
pub(super) fn scenario(found: &Found) -> String {
    let mut out = String::new();
    head(found, &mut out);
    out.push_str("(\n");
    let _ = writeln!(out, "    about: {},", quoted(&format!("the machine of a boot of {}", found.release)));
    let _ = writeln!(out, "    source: {},\n", quoted(&format!("console log {}", name_of(found))));
    kernel(found, &mut out);
    out.push('\n');
    machine(found, &mut out);
    out.push('\n');
    drivers(found, &mut out);
    out.push_str("\n    // One run boots the machine once; many show what the order of things can change.\n");
    out.push_str("    explore: (seeds: 100),\n)\n");
    out
}

fn head(found: &Found, out: &mut String) {
    let (number, count, line) = found.boot;
    let which =
        if count > 1 { format!(" (boot {number} of {count}, from line {line})") } else { String::new() };
    out.push_str(&wrapped(
        &format!("Imported from the console log {}{which}.", name_of(found)),
        "// ",
        "// ",
    ));
    out.push_str(
        "//\n// What the log tells is written down as it is. What it does not tell, and what is assumed:\n",
    );
    if found.assumptions.is_empty() {
        out.push_str("// - nothing\n");
    }
    for assumption in &found.assumptions {
        out.push_str(&wrapped(assumption, "// - ", "//   "));
    }
}

fn kernel(found: &Found, out: &mut String) {
    let _ = writeln!(out, "    // {}", remark(&found.release));
    if found.config.is_empty() && found.apply.is_empty() && found.revert.is_empty() {
        let _ = writeln!(out, "    kernel: (version: {}),", quoted(found.version));
    } else {
        let _ = writeln!(out, "    kernel: (\n        version: {},", quoted(found.version));
        for (name, list) in [("apply", &found.apply), ("revert", &found.revert)] {
            if !list.is_empty() {
                let list: Vec<String> = list.iter().map(|behaviour| quoted(behaviour)).collect();
                let _ = writeln!(out, "        {name}: [{}],", list.join(", "));
            }
        }
        if !found.config.is_empty() {
            out.push_str("        config: [\n");
            for (option, why) in &found.config {
                let _ = writeln!(out, "            {}, // {}", quoted(option), remark(why));
            }
            out.push_str("        ],\n");
        }
        out.push_str("    ),\n");
    }
    let _ = writeln!(out, "    cmdline: {},", quoted(&found.cmdline));
}

fn machine(found: &Found, out: &mut String) {
    let cpus = &found.cpus;
    let _ = writeln!(
        out,
        "    machine: Inline(\n        name: {},",
        quoted(&format!("machine of {}", name_of(found)))
    );
    let _ = writeln!(out, "        cpu_vendor: {},\n        cpus: {},", cpus.vendor, cpus.cpus);
    if cpus.possible != cpus.cpus {
        let _ = writeln!(out, "        possible_cpus: {},", cpus.possible);
    }
    let _ = writeln!(out, "        nr_cpus: {},", cpus.nr_cpus);
    out.push_str("        e820: [\n");
    for entry in &found.memory.e820 {
        let (start, end, kind) = (entry.start, entry.end, entry.kind);
        let _ = writeln!(out, "            (start: {start:#x}, end: {end:#x}, kind: {kind:?}),");
    }
    out.push_str("        ],\n");
    if !found.memory.changes.is_empty() {
        out.push_str("        e820_changes: [\n");
        for (line, change) in &found.memory.changes {
            let _ = writeln!(out, "            {}, // line {line}", change_text(change));
        }
        out.push_str("        ],\n");
    }
    nodes(found, out);
    let _ = writeln!(out, "        // {}\n        iommu: {},", remark(&found.iommu.why), found.iommu.written);
    if !found.iommu.windows.is_empty() && found.iommu.written != "None" {
        out.push_str("        bridge_windows: [\n");
        for (first, last) in &found.iommu.windows {
            let _ = writeln!(out, "            (start: {first:#x}, size: {:#x}),", last - first + 1);
        }
        out.push_str("        ],\n");
    }
    if cpus.encrypted != "None" {
        let _ = writeln!(out, "        mem_encrypt: {},", cpus.encrypted);
    }
    reserved(found, out);
    devices(found, out);
    out.push_str("    ),\n");
}

fn change_text(change: &Change) -> String {
    let kind =
        |name: &str, kind: Option<E820Kind>| kind.map_or(String::new(), |k| format!(", {name}: {k:?}"));
    let Change { start, end, from, to } = *change;
    format!("(start: {start:#x}, end: {end:#x}{}{})", kind("from", from), kind("to", to))
}

fn nodes(found: &Found, out: &mut String) {
    if found.memory.nodes.is_empty() {
        return;
    }
    if found.memory.fake_nodes {
        out.push_str("        // Made up by the kernel (numa=fake=).\n");
    }
    out.push_str("        nodes: [\n");
    for node in &found.memory.nodes {
        let range = |part: &models::scenario::schema::AddrRange| {
            format!("(start: {:#x}, end: {:#x})", part.start, part.end)
        };
        let ranges: Vec<String> = node.ranges.iter().map(range).collect();
        let _ = writeln!(out, "            (id: {}, ranges: [{}]),", node.id, ranges.join(", "));
    }
    out.push_str("        ],\n");
}

fn region(range: PhysRange) -> String {
    format!("(start: {:#x}, size: {:#x})", range.start.0, range.size())
}

fn reserved(found: &Found, out: &mut String) {
    let reserved = &found.reserved;
    let _ = writeln!(out, "        kernel_image: {},", region(reserved.kernel_image));
    if let Some(initrd) = reserved.initrd {
        let _ = writeln!(out, "        initrd: {},", region(initrd));
    }
    if !reserved.regions.is_empty() {
        if reserved.early.is_some() && !reserved.from_pool {
            out.push_str(
                "        // All that is taken when the bounce buffers are asked for, by who asked for it.\n",
            );
        }
        out.push_str("        reserved: [\n");
        for (name, range) in &reserved.regions {
            let _ = writeln!(out, "            (name: {}, region: {}),", quoted(name), region(*range));
        }
        out.push_str("        ],\n");
    }
    if let Some((place, unit)) = reserved.early {
        let _ = writeln!(out, "        early: (per_cpu: {place:#x}, per_cpu_unit: {unit:#x}),");
    }
}

fn devices(found: &Found, out: &mut String) {
    if found.devices.is_empty() {
        return;
    }
    if found.iommu.translates {
        out.push_str("        // In the order in which the bus scan met them; devices of one group have the same `isolation`.\n");
    } else {
        out.push_str("        // In the order in which the bus scan met them.\n");
    }
    out.push_str("        devices: [\n");
    for device in &found.devices {
        let _ = writeln!(out, "            {},{}", one(device, found), comment(device));
    }
    out.push_str("        ],\n");
}

fn one(device: &DeviceFound, found: &Found) -> String {
    let class = class_words(device.class);
    let mut text = format!("(bdf: {}, name: {}", quoted(&device.bdf), quoted(&class));
    if let Some((vendor, id)) = device.ids {
        let _ = write!(text, ", vendor_id: {vendor:#06x}, device_id: {id:#06x}");
    }
    let _ = write!(text, ", class: {}", quoted(&class));
    if device.identity && found.iommu.written.starts_with("AmdVi") {
        text.push_str(", caps: [Ats, Pri, Pasid]");
    }
    if let Some(isolation) = device.isolation {
        let _ = write!(text, ", isolation: {isolation}");
    }
    if device.outside_iommu {
        text.push_str(", outside_iommu: true");
    }
    if let Some(program) = &device.program {
        let _ = write!(text, ", driver: {}", quoted(program));
    }
    if let Some(ms) = device.plugged_ms {
        let _ = write!(text, ", plugged: After(ms: {ms})");
    }
    text.push(')');
    text
}

fn comment(device: &DeviceFound) -> String {
    let mut parts = Vec::new();
    if device.line > 0 {
        parts.push(format!("line {}", device.line));
    }
    if !device.kind.is_empty() {
        parts.push(remark(&device.kind));
    }
    if let Some(group) = device.group {
        parts.push(format!("group {group}"));
    }
    if let Some(bound) = &device.bound {
        let from = if bound.line > 0 { format!("line {}", bound.line) } else { "the state file".to_owned() };
        parts.push(format!("{} bound ({from})", remark(&bound.driver)));
    }
    if parts.is_empty() { String::new() } else { format!(" // {}", parts.join("; ")) }
}

fn drivers(found: &Found, out: &mut String) {
    if found.programs.is_empty() {
        out.push_str(
            "    // No driver is known to have bound: add drivers here, and name them in their devices.\n",
        );
        out.push_str("    drivers: [],\n");
        return;
    }
    out.push_str("    drivers: [\n");
    for program in &found.programs {
        let mut begun = false;
        for line in program.text.lines() {
            let line = match line {
                "(" if !begun => {
                    begun = true;
                    "Inline("
                }
                ")" => "),",
                line => line,
            };
            let _ = writeln!(out, "        {line}");
        }
    }
    out.push_str("    ],\n");
}
