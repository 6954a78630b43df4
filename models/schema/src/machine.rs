//! The machine: memory map, IOMMU and devices.

use serde::{Deserialize, Serialize};

/// A computer, as the firmware hands it to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name for reports.
    pub name: String,
    /// What this machine is, and where its data comes from.
    #[serde(default)]
    pub about: String,
    /// Who made the CPUs.
    pub cpu_vendor: CpuVendor,
    /// CPUs present at boot (1 to 32).
    pub cpus: u32,
    /// CPUs for which there are tables, those included that may be plugged in later (`nr_cpu_ids`). Absent: `cpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possible_cpus: Option<u32>,
    /// `CONFIG_NR_CPUS`: the length of tables such as `__per_cpu_offset`.
    #[serde(default = "default_nr_cpus")]
    pub nr_cpus: u32,
    /// The memory map, in ascending order.
    pub e820: Vec<E820Entry>,
    /// What the kernel changes in the map for this machine's sake, after what it does on every PC: memory without a cache,
    /// memory that graphics or firmware uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub e820_changes: Vec<E820Change>,
    /// NUMA nodes, with memory that may be plugged in later. Empty: the firmware names none, and the kernel fakes one of
    /// all memory.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// The IOMMU.
    #[serde(default)]
    pub iommu: Iommu,
    /// Memory encryption of the CPU.
    #[serde(default)]
    pub mem_encrypt: MemEncrypt,
    /// What a CPU sees of another's stores.
    #[serde(default)]
    pub memory_order: MemoryOrder,
    /// Whether the kernel is the first domain of a Xen host: it sets a bounce pool up a second time if boot did not.
    #[serde(default)]
    pub xen_dom0: bool,
    /// Where the boot loader put the kernel.
    #[serde(default = "default_kernel_image")]
    pub kernel_image: Region,
    /// The part of the image that only the boot needs (`__init_begin` to `__init_end`). Absent: it is not given back.
    #[serde(default)]
    pub init_sections: Option<Region>,
    /// Where the boot loader put the initial RAM disk.
    #[serde(default)]
    pub initrd: Option<Region>,
    /// Further memory that the kernel reserves early (ACPI tables, EFI runtime, a crash kernel).
    #[serde(default)]
    pub reserved: Vec<Reserved>,
    /// Where the memory lies that the kernel takes for itself before the bounce pool. Absent: the model allocates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<Early>,
    /// Where EFI firmware has left the log of what the TPM measured, in usable memory.
    #[serde(default)]
    pub tpm_log: Option<Region>,
    /// The memory windows of the PCI host bridge, in ascending order: no device behind an IOMMU gets a bus address in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bridge_windows: Vec<Region>,
    /// Bus addresses that the IOMMU says are no memory for devices, beyond the window of interrupt messages
    /// (`iommu_get_resv_regions`; what a paravirtual one answers to PROBE).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iommu_reserved: Vec<Region>,
    /// Devices, in the order in which the bus scan meets them.
    #[serde(default)]
    pub devices: Vec<Device>,
}

fn default_nr_cpus() -> u32 {
    320
}

fn default_kernel_image() -> Region {
    Region { start: 0x100_0000, size: 0x200_0000 }
}

/// Who made a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuVendor {
    /// Arm. What is modelled of the boot is that of x86 all the same, with the memory map of the machine's firmware.
    Arm,
    /// Advanced Micro Devices.
    Amd,
    /// Intel.
    Intel,
}

/// One line of the memory map; both ends belong to it, as the kernel prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct E820Entry {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// What is there.
    pub kind: E820Kind,
}

/// What the firmware says about a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum E820Kind {
    /// RAM.
    Usable,
    /// Not for the kernel.
    Reserved,
    /// ACPI tables, RAM once they are read.
    AcpiData,
    /// ACPI non-volatile storage.
    AcpiNvs,
    /// RAM with errors.
    Unusable,
    /// Persistent memory.
    Pmem,
    /// Persistent memory by an older standard, or by `memmap=nn!ss`.
    Pram,
    /// RAM with a special purpose (EFI).
    SoftReserved,
    /// Any other number of the firmware, such as 20; not for the kernel.
    Other(u32),
}

/// Early allocations as a real machine made them: they are among the `reserved` of the machine, and the model makes none
/// of its own (node data, memory map, per-CPU areas, hash tables).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Early {
    /// Where the per-CPU areas lie.
    pub per_cpu: u64,
    /// Bytes from one CPU's area to the next.
    pub per_cpu_unit: u64,
}

/// A change of the map of memory; both ends belong to the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct E820Change {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// What is changed there. Absent: everything.
    #[serde(default)]
    pub from: Option<E820Kind>,
    /// What it becomes. Absent: it is taken out of the map.
    #[serde(default)]
    pub to: Option<E820Kind>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Number of the node.
    pub id: u32,
    /// Its memory; both ends of a range belong to it.
    pub ranges: Vec<AddrRange>,
}

/// A range of addresses; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddrRange {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

/// A range of memory by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Region {
    /// The first byte after the region, or `None` past the end of the address space.
    #[must_use]
    pub const fn end(self) -> Option<u64> {
        self.start.checked_add(self.size)
    }
}

/// Memory that is reserved for somebody, early in the boot unless `at` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// Name for reports.
    pub name: String,
    /// Where it lies.
    pub region: Region,
    /// How many regions of this length there are, as firmware scatters what it leaves behind.
    #[serde(default = "default_times")]
    pub times: u32,
    /// How far each lies behind the one before, in bytes.
    #[serde(default)]
    pub stride: u64,
    /// When it is reserved.
    #[serde(default)]
    pub at: ReservedAt,
    /// When and how it is given back, in this order at each point of the boot. Empty: never.
    #[serde(default)]
    pub freed: Vec<Freed>,
}

impl Reserved {
    /// All regions, in ascending order.
    pub fn regions(&self) -> impl Iterator<Item = Region> + use<> {
        let (first, stride) = (self.region, self.stride);
        let nth = move |n: u32| Region {
            start: first.start.saturating_add(stride.saturating_mul(n.into())),
            size: first.size,
        };
        (0..self.times).map(nth)
    }
}

const fn default_times() -> u32 {
    1
}

/// When memory is reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReservedAt {
    /// Early in `setup_arch`, before memblock gives anything away.
    #[default]
    SetupArch,
    /// In `start_kernel`, when the page allocator and slab have taken over: as tables are that are found late.
    StartKernel,
}

/// How reserved memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freed {
    /// Through which function.
    pub by: FreedBy,
    /// At which point of the boot.
    pub at: FreedAt,
}

/// A function that gives boot memory back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreedBy {
    /// `memblock_phys_free`: to memblock. Right before the hand-over.
    MemblockFree,
    /// `memblock_free_late`: to the page allocator. Right after the hand-over.
    MemblockFreeLate,
}

/// A point of the boot at which reserved memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreedAt {
    /// At the end of `setup_arch`: memblock is the allocator.
    SetupArch,
    /// In `start_kernel`, after `memblock_free_all`: as EFI boot services are.
    StartKernel,
    /// Among the initcalls: memblock's lists are discarded, all page structures are initialised.
    Initcalls,
}

/// The IOMMU of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Iommu {
    /// There is none.
    #[default]
    None,
    /// AMD's. With `ppr` and `gt`, devices with ATS, PRI and PASID get identity domains from
    /// `amd_iommu_def_domain_type`.
    AmdVi {
        /// Peripheral page requests are supported.
        #[serde(default)]
        ppr: bool,
        /// Guest translation is supported.
        #[serde(default)]
        gt: bool,
        /// Nanoseconds that it takes for one command of its queue. 0: a command is done as soon as it is written.
        #[serde(default)]
        command_ns: u64,
        /// The IOMMU is emulated and wants to be told of every mapping (`IOMMU_CAP_NPCACHE`): flushing is strict.
        #[serde(default, skip_serializing_if = "is_false")]
        np_cache: bool,
    },
    /// Intel's.
    Vtd {
        /// The unit can snoop caches.
        #[serde(default = "default_true")]
        snoop: bool,
        /// The unit needs its write buffer flushed.
        #[serde(default)]
        write_buffer_flush: bool,
        /// The firmware asks for DMA protection (`DMAR_PLATFORM_OPT_IN`), which turns the IOMMU on.
        #[serde(default)]
        platform_opt_in: bool,
        /// The unit is emulated and wants to be told of every mapping (caching mode): flushing is strict.
        #[serde(default, skip_serializing_if = "is_false")]
        caching_mode: bool,
        /// The unit can pass addresses through as they are. If it cannot, an identity domain maps all memory to itself.
        #[serde(default = "default_true")]
        pass_through: bool,
        /// It is run in scalable mode; so the kernel before left it, if that crashed.
        #[serde(default, skip_serializing_if = "is_false")]
        scalable: bool,
    },
    /// Paravirtual ones (virtio-iommu). The firmware names them (VIOT), their driver is a module, and until it has them
    /// devices reach memory as it is.
    Virtio {
        /// Milliseconds from the start of user space until the first one is probed.
        #[serde(default)]
        first_ms: u64,
        /// The same for a second one. Absent: there is none.
        #[serde(default)]
        second_ms: Option<u64>,
        /// Bus addresses that devices behind it can use (`input_range` of its configuration); both ends belong to it. Absent:
        /// 48 bits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input_range: Option<AddrRange>,
        /// Numbers that it takes for domains (`domain_range`): so many groups can be translated at one time. Absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        domain_range: Option<DomainRange>,
        /// Sizes of pages that it maps, a bit for each (`page_size_mask`). Absent: all from 4096 bytes up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page_size_mask: Option<u64>,
    },
    /// Arm's SMMUs. The firmware names them (device tree, IORT), and their driver is a module here. One that was reset
    /// refuses what belongs to no domain.
    Smmu {
        /// Milliseconds from the start of user space until the first one is probed.
        #[serde(default)]
        first_ms: u64,
        /// The same for a second one. Absent: there is none.
        #[serde(default)]
        second_ms: Option<u64>,
        /// Bits of the bus addresses that they translate (`ias`), 32 to 48. Absent: 48.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address_bits: Option<u32>,
        /// They are SMMUv3s: tables in memory say what becomes of a device's accesses, and commands of a queue what is to be
        /// forgotten. Absent: they are SMMUv2s, which have registers for both.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        v3: Option<SmmuV3>,
    },
}

/// What an SMMUv3 is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmmuV3 {
    /// Nanoseconds that it takes for one command of its queue. 0: a command is done as soon as the hardware is told of it.
    #[serde(default)]
    pub command_ns: u64,
    /// One command can drop the translations of many pages (`RIL`). Without it each page needs one.
    #[serde(default)]
    pub range_invalidation: bool,
}

/// Numbers of domains; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

/// Fields that came later are not written where they say nothing: scenarios without them keep their digest.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(super) const fn is_false(flag: &bool) -> bool {
    !*flag
}

fn default_true() -> bool {
    true
}

/// In which order a CPU sees another's stores. Only what the kernel orders with barriers by itself depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryOrder {
    /// In the order in which they were made, as on x86.
    #[default]
    Tso,
    /// In any order that no barrier forbids, as on Arm: the hypothesis that this machine were such a one.
    Weak,
}

/// Memory encryption of the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemEncrypt {
    /// Off.
    #[default]
    None,
    /// The host encrypts its memory (`mem_encrypt=on`).
    Sme,
    /// This machine is a guest whose memory is encrypted from the host.
    Sev,
    /// This machine is a realm of an Arm host (CCA): a guest whose memory the host cannot read.
    Realm,
    /// It is a secure guest of a POWER host (Protected Execution Facility): the host sees only what the guest shares with
    /// it, and its bounce pool may lie anywhere.
    Pef,
    /// It is a protected guest of an s390 host (Secure Execution): the host sees only what the guest shares with it.
    Pv,
}

/// The bus that a device is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bus {
    /// PCI: drivers are matched once the bus has finished with the device.
    #[default]
    Pci,
    /// The platform bus, for devices that the firmware names: drivers are matched as soon as the device is on the bus's
    /// list.
    Platform,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Segment, bus, device and function: `"0000:0c:00.0"`.
    pub bdf: String,
    /// What it is, for reports.
    #[serde(default)]
    pub name: String,
    /// The bus that it is on.
    #[serde(default)]
    pub bus: Bus,
    /// PCI vendor.
    #[serde(default)]
    pub vendor_id: u16,
    /// PCI device.
    #[serde(default)]
    pub device_id: u16,
    /// What sort of device it is, for reports: `"nvme"`, `"display"`.
    #[serde(default)]
    pub class: String,
    /// PCI capabilities that matter for DMA.
    #[serde(default)]
    pub caps: Vec<Cap>,
    /// The firmware keeps memory for it (RMRR): it cannot be given to a domain of a user.
    #[serde(default)]
    pub rmrr: bool,
    /// Which of the machine's IOMMUs it is behind, where there are two: 0 or 1.
    #[serde(default)]
    pub iommu_instance: u32,
    /// Devices with the same number are not isolated from one another and share an IOMMU group.
    #[serde(default)]
    pub isolation: Option<u32>,
    /// The firmware marks its port as external-facing: it is not trusted.
    #[serde(default)]
    pub untrusted: bool,
    /// No IOMMU has it in its scope: it joins no group, and its DMA is not translated. So it is with an IOMMU's own
    /// function, and with what the firmware's tables leave out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outside_iommu: bool,
    /// How many address bits the hardware can drive. Bits above do not reach the bus.
    #[serde(default = "default_dma_bits")]
    pub dma_bits: u32,
    /// The highest address that the bus above it carries.
    #[serde(default)]
    pub bus_dma_limit: Option<u64>,
    /// Its bus has not given it a DMA mask (`dev->dma_mask` is NULL), as with devices that a driver makes by hand.
    #[serde(default)]
    pub no_dma_mask: bool,
    /// It does not snoop the caches of the CPUs (`dma_coherent` is not set), as devices of Arm boards.
    #[serde(default, skip_serializing_if = "is_false")]
    pub non_coherent: bool,
    /// The memory that the bus above it reaches, as the firmware tells (`dma-ranges`); it lies at the same place for the
    /// device. The map of it is made at each probe; `bus_dma_limit` is what mappings are held against.
    #[serde(default)]
    pub dma_range: Option<Region>,
    /// A bounce pool of its own (`restricted-dma-pool` in the device tree).
    #[serde(default)]
    pub restricted_pool: Option<Region>,
    /// What it was at when the kernel before crashed: this one is started to save that one's memory (with `elfcorehdr=`), and
    /// finds an IOMMU that translates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// What the firmware says that it cannot work without, as properties of a device tree do: the driver core makes links of
    /// them (`fw_devlink`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppliers: Vec<Supplier>,
    /// It is the machine's IOMMU of this number, 0 or 1, as a device of its own: the IOMMU is probed when a driver binds to
    /// it, and goes when that is unbound. Absent for all devices: the IOMMU's driver finds it without the driver core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_iommu: Option<u32>,
    /// The driver that binds to it.
    #[serde(default)]
    pub driver: Option<String>,
    /// When it appears.
    #[serde(default)]
    pub plugged: Plugged,
    /// When it goes away.
    #[serde(default)]
    pub unplugged: Unplugged,
}

fn default_dma_bits() -> u32 {
    64
}

/// A device that another one cannot work without, as the firmware names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supplier {
    /// The property that names it.
    pub property: Property,
    /// Its address.
    pub bdf: String,
}

/// A property of a device tree that names a supplier. Source: `drivers/of/property.c: of_supplier_bindings`, v6.1, v6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Property {
    /// `clocks`.
    Clocks,
    /// `power-domains`.
    PowerDomains,
    /// `resets`.
    Resets,
    /// `phys`.
    Phys,
    /// `interconnects`.
    Interconnects,
    /// `iommus`: a link is made with `fw_devlink.strict=1` only, as drivers go without.
    Iommus,
    /// `dmas`: the same.
    Dmas,
}

impl Property {
    /// Whether drivers are taken to do without, so that no link is made unless `fw_devlink.strict=1`.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::Iommus | Self::Dmas)
    }
}

/// DMA that a crashed kernel's device goes on with until its driver resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFlight {
    /// Number of the domain that the device was attached to.
    pub domain: u16,
    /// The device's first address.
    pub iova: u64,
    /// Where that leads: memory of the kernel before.
    pub phys: u64,
    /// Bytes that it writes, page by page, in any order.
    pub size: u64,
    /// Microseconds from one page to the next.
    pub every_us: u64,
}

/// A PCI capability that matters for DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cap {
    /// Address translation services: the device caches translations.
    Ats,
    /// Page request interface.
    Pri,
    /// Process address space identifiers.
    Pasid,
    /// Access control services.
    Acs,
    /// Message-signalled interrupts.
    Msi,
}

/// When a device appears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Plugged {
    /// The first bus scan finds it.
    #[default]
    AtBoot,
    /// It is plugged in this long after the first bus scan.
    After {
        /// Milliseconds.
        ms: u64,
    },
}

/// When a device goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Unplugged {
    /// It stays.
    #[default]
    Never,
    /// It is pulled out this long after the first bus scan.
    After {
        /// Milliseconds.
        ms: u64,
    },
}
