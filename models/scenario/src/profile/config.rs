//! The kernel configuration, as far as it decides anything here.

/// What `CONFIG_IOMMU_DEFAULT_*` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IommuDefault {
    /// `CONFIG_IOMMU_DEFAULT_DMA_LAZY`, and every kernel that names none.
    #[default]
    DmaLazy,
    /// `CONFIG_IOMMU_DEFAULT_DMA_STRICT`.
    DmaStrict,
    /// `CONFIG_IOMMU_DEFAULT_PASSTHROUGH`.
    Passthrough,
}

/// A kernel configuration. The default is that of the usual x86 distributions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// `CONFIG_SWIOTLB`.
    pub swiotlb: bool,
    /// `CONFIG_SWIOTLB_DYNAMIC`: pools grow, where the kernel can do that (6.6). Debian's kernels have it not.
    pub swiotlb_dynamic: bool,
    /// `CONFIG_AMD_IOMMU`.
    pub amd_iommu: bool,
    /// `CONFIG_INTEL_IOMMU`.
    pub intel_iommu: bool,
    /// `CONFIG_INTEL_IOMMU_DEFAULT_ON`.
    pub intel_iommu_default_on: bool,
    /// `CONFIG_DMA_RESTRICTED_POOL`.
    pub dma_restricted_pool: bool,
    /// `CONFIG_IOMMU_DEFAULT_*`.
    pub iommu_default: IommuDefault,
    /// `CONFIG_INIT_ON_ALLOC_DEFAULT_ON`: pages and objects are zeroed when they are handed out.
    pub init_on_alloc: bool,
    /// `CONFIG_INIT_ON_FREE_DEFAULT_ON`: and when they come back.
    pub init_on_free: bool,
    /// `CONFIG_AMD_MEM_ENCRYPT_ACTIVE_BY_DEFAULT`.
    pub mem_encrypt_by_default: bool,
    /// `CONFIG_DEFERRED_STRUCT_PAGE_INIT`: page structures of the last zone are initialised late.
    pub deferred_struct_page_init: bool,
    /// `CONFIG_ARCH_KEEP_MEMBLOCK`: memblock's lists stay. No x86 has it.
    pub arch_keep_memblock: bool,
    /// `CONFIG_DMA_API_DEBUG`: the modelled kernel checks what drivers ask of the DMA API, and says so in its log.
    pub dma_api_debug: bool,
    /// `CONFIG_DMA_API_DEBUG_SG`: and segments of scatterlists.
    pub dma_api_debug_sg: bool,
    /// `CONFIG_DEBUG_KMEMLEAK`: boot memory of the core counts as lost, too, when nothing leads to it.
    pub debug_kmemleak: bool,
    /// `CONFIG_DMA_DECLARE_COHERENT`: devices may have coherent memory of their own.
    pub dma_declare_coherent: bool,
    /// `CONFIG_DMA_DIRECT_REMAP`: memory for devices that do not snoop caches is mapped a second time, without a cache. Arm
    /// has it, x86 has not.
    pub dma_direct_remap: bool,
    /// `CONFIG_VMAP_STACK`: stacks are `vmalloc` memory.
    pub vmap_stack: bool,
    /// `CONFIG_NR_CPUS`, if it is named; it then counts before the machine's.
    pub nr_cpus: Option<u32>,
    /// `CONFIG_HZ`: ticks a second. Timers of the kernel fire at ticks.
    pub hz: u32,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            swiotlb: true,
            swiotlb_dynamic: false,
            amd_iommu: true,
            intel_iommu: true,
            intel_iommu_default_on: false,
            dma_restricted_pool: false,
            iommu_default: IommuDefault::default(),
            init_on_alloc: false,
            init_on_free: false,
            mem_encrypt_by_default: false,
            deferred_struct_page_init: false,
            arch_keep_memblock: false,
            dma_api_debug: false,
            dma_api_debug_sg: false,
            debug_kmemleak: false,
            dma_declare_coherent: false,
            dma_direct_remap: false,
            vmap_stack: true,
            nr_cpus: None,
            hz: 250,
        }
    }
}

/// Options that this crate knows.
pub const CONFIG_NAMES: &[&str] = &[
    "CONFIG_SWIOTLB",
    "CONFIG_SWIOTLB_DYNAMIC",
    "CONFIG_AMD_IOMMU",
    "CONFIG_INTEL_IOMMU",
    "CONFIG_INTEL_IOMMU_DEFAULT_ON",
    "CONFIG_DMA_RESTRICTED_POOL",
    "CONFIG_IOMMU_DEFAULT_DMA_LAZY",
    "CONFIG_IOMMU_DEFAULT_DMA_STRICT",
    "CONFIG_IOMMU_DEFAULT_PASSTHROUGH",
    "CONFIG_INIT_ON_ALLOC_DEFAULT_ON",
    "CONFIG_INIT_ON_FREE_DEFAULT_ON",
    "CONFIG_AMD_MEM_ENCRYPT_ACTIVE_BY_DEFAULT",
    "CONFIG_DEFERRED_STRUCT_PAGE_INIT",
    "CONFIG_ARCH_KEEP_MEMBLOCK",
    "CONFIG_DMA_API_DEBUG",
    "CONFIG_DMA_API_DEBUG_SG",
    "CONFIG_DEBUG_KMEMLEAK",
    "CONFIG_DMA_DECLARE_COHERENT",
    "CONFIG_DMA_DIRECT_REMAP",
    "CONFIG_VMAP_STACK",
    "CONFIG_NR_CPUS",
    "CONFIG_HZ",
];

/// What came of one line of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigLine {
    /// It was understood.
    Taken,
    /// It is a proper line, about an option that decides nothing here.
    Unknown,
    /// It is no line of a `.config`, or has a value that the option cannot have.
    Malformed,
}

impl KernelConfig {
    /// Takes one line of a `.config`: `CONFIG_X=y`, or `# CONFIG_X is not set`.
    pub fn set(&mut self, line: &str) -> ConfigLine {
        let unset = line.strip_prefix("# ").and_then(|l| l.strip_suffix(" is not set"));
        let Some((name, value)) = unset.map(|name| (name, "n")).or_else(|| line.split_once('=')) else {
            return ConfigLine::Malformed;
        };
        if !name.strip_prefix("CONFIG_").is_some_and(is_option_name) || value.is_empty() {
            return ConfigLine::Malformed;
        }
        if name == "CONFIG_NR_CPUS" {
            return match value.parse() {
                Ok(count @ 1..=8192) => {
                    self.nr_cpus = Some(count);
                    ConfigLine::Taken
                }
                _ => ConfigLine::Malformed,
            };
        }
        if name == "CONFIG_HZ" {
            return match value.parse() {
                // What Kconfig offers on any of the architectures.
                Ok(hz @ (24 | 48 | 100 | 128 | 250 | 256 | 300 | 1000 | 1024)) => {
                    self.hz = hz;
                    ConfigLine::Taken
                }
                _ => ConfigLine::Malformed,
            };
        }
        let Some(flag) = self.flag(name) else {
            return if CONFIG_NAMES.contains(&name) {
                self.set_default(name, value)
            } else {
                ConfigLine::Unknown
            };
        };
        match value {
            "y" => *flag = true,
            "n" => *flag = false,
            _ => return ConfigLine::Malformed,
        }
        ConfigLine::Taken
    }

    fn set_default(&mut self, name: &str, value: &str) -> ConfigLine {
        let chosen = match name {
            "CONFIG_IOMMU_DEFAULT_DMA_STRICT" => IommuDefault::DmaStrict,
            "CONFIG_IOMMU_DEFAULT_PASSTHROUGH" => IommuDefault::Passthrough,
            _ => IommuDefault::DmaLazy,
        };
        match value {
            "y" => self.iommu_default = chosen,
            "n" if self.iommu_default == chosen => self.iommu_default = IommuDefault::default(),
            "n" => {}
            _ => return ConfigLine::Malformed,
        }
        ConfigLine::Taken
    }

    fn flag(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "CONFIG_SWIOTLB" => &mut self.swiotlb,
            "CONFIG_SWIOTLB_DYNAMIC" => &mut self.swiotlb_dynamic,
            "CONFIG_AMD_IOMMU" => &mut self.amd_iommu,
            "CONFIG_INTEL_IOMMU" => &mut self.intel_iommu,
            "CONFIG_INTEL_IOMMU_DEFAULT_ON" => &mut self.intel_iommu_default_on,
            "CONFIG_DMA_RESTRICTED_POOL" => &mut self.dma_restricted_pool,
            "CONFIG_INIT_ON_ALLOC_DEFAULT_ON" => &mut self.init_on_alloc,
            "CONFIG_INIT_ON_FREE_DEFAULT_ON" => &mut self.init_on_free,
            "CONFIG_AMD_MEM_ENCRYPT_ACTIVE_BY_DEFAULT" => &mut self.mem_encrypt_by_default,
            "CONFIG_DEFERRED_STRUCT_PAGE_INIT" => &mut self.deferred_struct_page_init,
            "CONFIG_ARCH_KEEP_MEMBLOCK" => &mut self.arch_keep_memblock,
            "CONFIG_DMA_API_DEBUG" => &mut self.dma_api_debug,
            "CONFIG_DMA_API_DEBUG_SG" => &mut self.dma_api_debug_sg,
            "CONFIG_DEBUG_KMEMLEAK" => &mut self.debug_kmemleak,
            "CONFIG_DMA_DECLARE_COHERENT" => &mut self.dma_declare_coherent,
            "CONFIG_DMA_DIRECT_REMAP" => &mut self.dma_direct_remap,
            "CONFIG_VMAP_STACK" => &mut self.vmap_stack,
            _ => return None,
        })
    }
}

fn is_option_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_kconfig_writes_them() {
        let mut config = KernelConfig::default();
        assert_eq!(config.set("CONFIG_SWIOTLB=n"), ConfigLine::Taken);
        assert_eq!(config.set("# CONFIG_AMD_IOMMU is not set"), ConfigLine::Taken);
        assert_eq!(config.set("CONFIG_IOMMU_DEFAULT_PASSTHROUGH=y"), ConfigLine::Taken);
        assert_eq!(config.set("CONFIG_NR_CPUS=64"), ConfigLine::Taken);
        assert!(!config.swiotlb && !config.amd_iommu);
        assert_eq!(config.iommu_default, IommuDefault::Passthrough);
        assert_eq!(config.nr_cpus, Some(64));
        assert_eq!(config.set("CONFIG_HZ=1000"), ConfigLine::Taken);
        assert_eq!(config.hz, 1000);
        assert_eq!(config.set("CONFIG_KASAN=y"), ConfigLine::Unknown);
        for bad in [
            "SWIOTLB=y",
            "CONFIG_SWIOTLB",
            "CONFIG_=y",
            "CONFIG_SWIOTLB=maybe",
            "CONFIG_NR_CPUS=0",
            "CONFIG_HZ=7",
            "",
        ] {
            assert_eq!(config.set(bad), ConfigLine::Malformed, "{bad}");
        }
    }

    #[test]
    fn every_known_name_is_taken() {
        for name in CONFIG_NAMES {
            let value = match *name {
                "CONFIG_NR_CPUS" => "8",
                "CONFIG_HZ" => "100",
                _ => "y",
            };
            assert_eq!(KernelConfig::default().set(&format!("{name}={value}")), ConfigLine::Taken, "{name}");
        }
    }
}
