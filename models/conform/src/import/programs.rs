//! What the drivers do: programs from the collection where there is one, others made up.

use std::collections::BTreeMap;

use models::scenario::limits;

use super::devices::DeviceFound;
use super::{Found, Source};

/// The collection, by the driver's name.
const KNOWN: [(&str, &str); 9] = [
    ("ahci", include_str!("../../../../scenarios/drivers/ahci.ron")),
    ("amdgpu", include_str!("../../../../scenarios/drivers/amdgpu.ron")),
    ("e1000e", include_str!("../../../../scenarios/drivers/e1000e.ron")),
    ("i915", include_str!("../../../../scenarios/drivers/i915.ron")),
    ("nvme", include_str!("../../../../scenarios/drivers/nvme.ron")),
    ("r8169", include_str!("../../../../scenarios/drivers/r8169.ron")),
    ("snd_hda_intel", include_str!("../../../../scenarios/drivers/snd_hda_intel.ron")),
    ("virtio-pci", include_str!("../../../../scenarios/drivers/virtio-blk.ron")),
    ("xhci_hcd", include_str!("../../../../scenarios/drivers/xhci_hcd.ron")),
];

/// A driver's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Remarks, then the driver in parentheses.
    pub(crate) text: String,
}

/// What sort of work a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Network,
    Storage,
    Other,
}

fn sort_of(device: &DeviceFound) -> Sort {
    match device.class >> 16 {
        0x01 => Sort::Storage,
        0x02 => Sort::Network,
        _ => Sort::Other,
    }
}

/// The name of the program for a bound device: the driver's, but virtio devices behind one driver differ.
fn program_of(device: &DeviceFound) -> Option<String> {
    let driver = &device.bound.as_ref()?.driver;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if driver.len() > 60 || !driver.chars().all(is_name) {
        return None;
    }
    let is_virtio = ["virtio-pci", "virtio_pci"].contains(&driver.as_str());
    Some(match sort_of(device) {
        Sort::Storage if is_virtio => "virtio-pci".to_owned(),
        Sort::Network if is_virtio => "virtio-net".to_owned(),
        Sort::Other if is_virtio => "virtio-other".to_owned(),
        _ => driver.clone(),
    })
}

pub(super) fn gather(_: &Source<'_>, found: &mut Found) {
    let mut users: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    for (index, device) in found.devices.iter_mut().enumerate() {
        let Some(name) = program_of(device) else { continue };
        if !users.contains_key(&name) {
            if order.len() >= limits::DRIVERS {
                left_out.push(name);
                continue;
            }
            order.push(name.clone());
        }
        users.entry(name.clone()).or_default().push(index);
        device.program = Some(name);
    }
    if !left_out.is_empty() {
        found.assumptions.push(format!(
            "a scenario has at most {} drivers: without {}",
            limits::DRIVERS,
            left_out.join(", ")
        ));
    }
    let mut made_up = Vec::new();
    for name in order {
        let devices: Vec<&DeviceFound> = users[&name].iter().map(|index| &found.devices[*index]).collect();
        let registers = registers(&devices);
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let text = match known {
            Some((_, text)) => with_registers(text, &registers),
            None => {
                made_up.push(name.clone());
                generic(&name, devices[0], &registers)
            }
        };
        found.programs.push(Program { name, text });
    }
    if !found.programs.is_empty() {
        let made_up = match made_up.len() {
            0 => String::new(),
            _ => format!("; for {} it is made up altogether", made_up.join(", ")),
        };
        found.assumptions.push(format!(
            "what the drivers do is not in a log: each does a little of what such drivers usually do{made_up}"
        ));
    }
}

/// When the driver registers: as a built-in one, or when user space loads it.
fn registers(devices: &[&DeviceFound]) -> String {
    let times: Option<Vec<u64>> =
        devices.iter().map(|device| device.bound.as_ref().and_then(|bound| bound.after_ms)).collect();
    match times.and_then(|times| times.into_iter().min()) {
        Some(ms) => format!("Module(after_ms: Fixed({ms}))"),
        None => "Device".to_owned(),
    }
}

/// A program of the collection, registering when the log says.
fn with_registers(text: &str, registers: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with("    registers: ") {
            out.push_str(&format!("    registers: {registers},\n"));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn generic(name: &str, device: &DeviceFound, registers: &str) -> String {
    let function: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let bits = device.mask_bits.filter(|bits| (20..=64).contains(bits)).unwrap_or(match name {
        "e1000" | "ata_piix" => 32,
        _ => 64,
    });
    let (what, about, workload) = match sort_of(device) {
        Sort::Network => ("Network card", "buffers are mapped for each packet", NETWORK),
        Sort::Storage => ("Storage", "each command is a scatter list", STORAGE),
        Sort::Other => ("Some device", "a few small transfers", OTHER),
    };
    let text = GENERIC
        .replace("@WHAT", what)
        .replace("@ABOUT", about)
        .replace("@WORKLOAD", workload)
        .replace("@REGISTERS", registers)
        .replace("@BITS", &bits.to_string());
    text.replace("@NAME", name).replace("@FUNCTION", &function)
}

const GENERIC: &str = "\
// @WHAT, made up: @ABOUT.
(
    name: \"@NAME\",
    about: \"made up: @ABOUT\",
    registers: @REGISTERS,
    probe: [
        Call(function: \"@FUNCTION_probe\", body: [
            SetMask(bits: @BITS),
            AllocCoherent(name: \"ring\", size: Fixed(4096)),
        ]),
    ],
    workload: [
@WORKLOAD    ],
    remove: [Call(function: \"@FUNCTION_remove\", body: [FreeCoherent(name: \"ring\")])],
)
";

const NETWORK: &str = "        (
            name: \"receive\",
            body: [
                Repeat(times: Uniform(8, 16), body: [
                    Map(name: \"rx\", size: Fixed(2048), dir: FromDevice, on_error: Skip),
                    Submit(name: \"rx\", dma: Write, latency_us: Uniform(10, 300), irq: [Unmap(name: \"rx\")]),
                    WaitAll,
                ]),
            ],
        ),
        (
            name: \"transmit\",
            start_ms: Uniform(5, 50),
            body: [
                Repeat(times: Uniform(8, 16), body: [
                    AllocBuffer(name: \"skb\", size: Uniform(60, 1514), from: Slab, fill: Text),
                    Map(name: \"tx\", buffer: \"skb\", dir: ToDevice, on_error: Skip),
                    Submit(name: \"tx\", dma: Read, latency_us: Uniform(5, 50), irq: [Unmap(name: \"tx\")]),
                    WaitAll,
                    FreeBuffer(name: \"skb\"),
                ]),
            ],
        ),
";

const STORAGE: &str = "        (
            name: \"read\",
            body: [
                Repeat(times: Uniform(4, 8), body: [
                    MapSg(name: \"command\", entries: Uniform(1, 4), size: OneOf([512, 4096]), dir: FromDevice,
                        on_error: Retry(times: 3, delay_us: 100)),
                    Submit(name: \"command\", dma: Write, latency_us: Uniform(50, 500), irq: [
                        UnmapSg(name: \"command\"),
                    ]),
                    WaitAll,
                ]),
            ],
        ),
";

const OTHER: &str = "        (
            name: \"transfer\",
            body: [
                Repeat(times: Uniform(2, 4), body: [
                    AllocBuffer(name: \"data\", size: Uniform(64, 4096), from: Pages, fill: Random),
                    Map(name: \"transfer\", buffer: \"data\", dir: Bidirectional, on_error: Skip),
                    Submit(name: \"transfer\", dma: Write, latency_us: Uniform(10, 200), irq: [
                        Unmap(name: \"transfer\"),
                    ]),
                    WaitAll,
                    FreeBuffer(name: \"data\"),
                ]),
            ],
        ),
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_of_the_collection_says_once_when_it_registers() {
        for (name, text) in KNOWN {
            let lines = text.lines().filter(|line| line.starts_with("    registers: ")).count();
            assert_eq!(lines, 1, "{name}");
            assert!(text.contains(&format!("    name: \"{name}\",")), "{name}");
            assert!(with_registers(text, "Subsys").contains("    registers: Subsys,\n"), "{name}");
        }
    }
}
