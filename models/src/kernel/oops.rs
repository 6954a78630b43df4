//! What the shadow oracle says: a bad pointer was followed; and the faults that the machine itself would raise.

use std::fmt::Write as _;

use sim::Draft;

use super::access::Spot;
use super::{Kernel, KernelImage, Kx};
use crate::mem::{Dangling, Fault, PageOwner, PhysAddr, Site};

type Details = Vec<(String, Vec<String>)>;

impl Kx {
    /// Reports that a pointer was followed which leads to no living object of its type. Once an object and sort: the
    /// first access is the cause, the rest follows from it.
    pub fn report_dangling(&self, spot: &Spot, dangling: Dangling, access: &'static str) {
        let (kind, what) = match dangling.fault {
            Fault::Freed => ("use-after-free", "KASAN: use-after-free"),
            Fault::Wild => ("wild-pointer", "KASAN: wild-memory-access"),
            Fault::WrongType => ("wrong-object", "KASAN: type confusion"),
            // The machine notices by itself.
            Fault::Null => return,
        };
        if !self.k.reported.borrow_mut().insert((spot.id, kind)) {
            return;
        }
        let freed_by = self.k.freed_by(spot.id);
        let title = format!(
            "BUG: {what} in {}: {access} of size {} at addr {:016x} by task {}",
            self.function(),
            spot.size,
            spot.addr(),
            self.name(),
        );
        let draft = Draft::warning(kind, title).object(spot.type_name).discriminator(freed_by);
        self.report(draft, || self.explain(spot, access));
    }

    fn explain(&self, spot: &Spot, access: &str) -> Details {
        let mut details: Details = Vec::new();
        details.push((
            "access".to_owned(),
            vec![format!(
                "{access} of size {} at {:016x} ({}.{}, offset {:#04x}) on CPU {} by {}",
                spot.size,
                spot.addr(),
                spot.type_name,
                spot.field,
                spot.offset,
                self.cpu(),
                self.name()
            )],
        ));
        self.k.explain_object(spot.id, self.sim(), &mut details);
        self.k.explain_memory(spot.addr(), self.sim(), &mut details);
        details
    }

    /// How the CPU faults on an address: kind of finding and the kernel's first line.
    pub(super) fn fault_of(addr: u64) -> (&'static str, String) {
        if addr < 4096 {
            ("null-pointer", format!("BUG: kernel NULL pointer dereference, address: {addr:016x}"))
        } else if KernelImage::canonical(addr) {
            ("page-fault", format!("BUG: unable to handle page fault for address: {addr:016x}"))
        } else {
            (
                "general-protection-fault",
                format!("general protection fault, probably for non-canonical address {addr:#x}: 0000"),
            )
        }
    }

    /// The CPU faults on an address. Ends the run.
    pub async fn page_fault(&self, addr: u64, access: &'static str) {
        let (kind, title) = Self::fault_of(addr);
        self.report(Draft::fatal(kind, title).discriminator(access).ending("oops"), || {
            let code = self.k.image.fault_code(addr, access == "write");
            let mut lines = vec![
                format!("#PF: supervisor {access} access in kernel mode"),
                format!("#PF: error_code({code}"),
            ];
            if kind == "general-protection-fault" {
                lines = vec![format!("supervisor {access} access in kernel mode")];
            }
            let mut details = vec![("fault".to_owned(), lines)];
            details.push(("registers".to_owned(), vec![format!("CR2: {addr:016x}")]));
            details
        });
        self.spin_forever("the machine has stopped").await;
    }
}

impl Kernel {
    /// The function that freed an object; empty if it lives or never was.
    #[must_use]
    pub fn freed_by(&self, id: u32) -> &'static str {
        let mem = self.mem.borrow();
        let free = mem.heap.record(id).and_then(|record| record.free);
        free.map_or("", |site| site.func)
    }

    /// Who did something, where and when, in words.
    #[must_use]
    pub fn describe_site(&self, site: &Site, sim: &sim::Sim) -> String {
        format!("{} by {} at {}", site.func, sim.context_name(site.ctx), seconds(site.time_ns))
    }

    /// An object's life: what it is, who allocated and freed it, who holds pointers to it.
    pub fn explain_object(&self, id: u32, sim: &sim::Sim, details: &mut Details) {
        let mem = self.mem.borrow();
        let Some(record) = mem.heap.record(id) else { return };
        let range = record.range;
        let aligned = if range.start.page_offset() == 0 { ", page aligned" } else { "" };
        let size = range.size();
        let mut lines = vec![format!(
            "{} of {size} bytes{} at {:016x} (phys {:#x}{aligned})",
            record.type_name,
            if size > 4096 { format!(" = {} pages", size.div_ceil(4096)) } else { String::new() },
            range.start.virt(),
            range.start.0
        )];
        let fields: Vec<String> = self
            .fields_of(record.type_name)
            .into_iter()
            .map(|(name, offset)| format!("{name} {offset:#04x}"))
            .collect();
        if !fields.is_empty() {
            lines.push(format!("  fields at {}", fields.join(", ")));
        }
        details.push(("object".to_owned(), lines));
        let stacks = self.stacks.borrow();
        let stacks = stacks.get(&id);
        let section = |what: &str, site: &Site, stack: Option<&Vec<&'static str>>| {
            let mut lines = vec![self.describe_site(site, sim)];
            lines.extend(stack.into_iter().flatten().map(|frame| format!("  {frame}")));
            (what.to_owned(), lines)
        };
        details.push(section("allocated by", &record.alloc, stacks.map(|stacks| &stacks.alloc)));
        if let Some(free) = &record.free {
            let mut freed = section("freed by", free, stacks.map(|stacks| &stacks.free));
            for decision in
                self.globals.decisions.borrow().iter().filter(|decision| decision.at <= free.time_ns)
            {
                freed.1.push(format!(
                    "because: {} ({} at {})",
                    decision.text,
                    decision.by,
                    seconds(decision.at)
                ));
            }
            details.push(freed);
        }
        let mut holders = self.holders_of(id);
        // Devices that a driver uses are the ones to look at first.
        let used = |object: u32| {
            self.devices.borrow().iter().any(|node| node.ptr.get().id == object && node.bound.get().is_some())
        };
        holders.sort_by_key(|holder| !used(holder.object));
        if !holders.is_empty() {
            let mut lines: Vec<String> = holders
                .iter()
                .take(12)
                .map(|holder| {
                    let who = self
                        .device_name(holder.object)
                        .map_or_else(String::new, |name| format!(" of {name}"));
                    let field =
                        if holder.field.is_empty() { String::new() } else { format!(".{}", holder.field) };
                    format!("{}{field}{who}, since {}", holder.holder, self.describe_site(&holder.since, sim))
                })
                .collect();
            if holders.len() > 12 {
                lines.push(format!("and {} more", holders.len() - 12));
            }
            details.push(("pointers that still lead there".to_owned(), lines));
        }
    }

    /// Who owns the memory at an address now, and what lies there.
    pub fn explain_memory(&self, virt: u64, sim: &sim::Sim, details: &mut Details) {
        let Some(phys) = self.image.mapped(virt) else {
            details.push(("memory there".to_owned(), vec![format!("{virt:016x} is not mapped")]));
            return;
        };
        let mem = self.mem.borrow();
        let object = mem.heap.shadow().object_at(phys);
        let mut lines = Vec::new();
        match mem.heap.record(object) {
            Some(record) => lines.push(format!(
                "owned by {}, allocated in {}",
                record.type_name,
                self.describe_site(&record.alloc, sim)
            )),
            None => lines.push(match mem.heap.shadow().page_owner(phys) {
                PageOwner::Free { .. } => {
                    "free, in the page allocator; nobody has taken the page yet".to_owned()
                }
                owner => match mem.memblock.owner_of(phys) {
                    Some(reserved) => reserved_by(&reserved),
                    None => format!("{owner:?}"),
                },
            }),
        }
        let base = PhysAddr(phys.0 & !0xf);
        for row in 0..4 {
            let at = PhysAddr(base.0 + row * 16);
            let mut bytes = [0; 16];
            mem.heap.read_bytes(at, &mut bytes);
            // As `print_hex_dump` with groups of eight: pointers can be read, and the line fits a mail.
            let mut line = format!("{:016x}:", at.virt());
            for group in bytes.as_chunks().0 {
                let _ = write!(line, " {:016x}", u64::from_le_bytes(*group));
            }
            line.push_str("  ");
            line.extend(
                bytes.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' }),
            );
            lines.push(line);
        }
        details.push(("memory there now".to_owned(), lines));
    }

    /// Fields worth naming in a report, with their offsets in this kernel.
    fn fields_of(&self, type_name: &str) -> Vec<(&'static str, u64)> {
        use crate::mem::Kobject;
        use crate::swiotlb::IoTlbMem;
        if type_name != IoTlbMem::TYPE_NAME {
            return Vec::new();
        }
        let layout = IoTlbMem::layout(self.layout_variant());
        let fields = IoTlbMem::FIELDS.iter().zip(layout.offsets);
        fields.map(|(field, offset)| (field.name, u64::from(*offset))).collect()
    }
}

/// Who reserved a piece of boot memory, and when.
#[must_use]
pub fn reserved_by(owner: &crate::memblock::Owner) -> String {
    format!("reserved by {} at {}", owner.site, seconds(owner.at_ns))
}

/// A time as the kernel's log prints it.
#[must_use]
pub fn seconds(time: u64) -> String {
    format!("{}.{:06} s", time / 1_000_000_000, time % 1_000_000_000 / 1000)
}
