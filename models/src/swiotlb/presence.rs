//! Whether x86 makes a default pool at boot.

/// First page frame that 32 bits cannot address. Source: `arch/x86/include/asm/dma.h: MAX_DMA32_PFN`.
const MAX_DMA32_PFN: u64 = 1 << 20;

/// What is known when the decision falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolReasons {
    /// End of RAM, or of what the firmware says may become RAM, in page frames (`max_possible_pfn`).
    pub max_possible_pfn: u64,
    /// `iommu=off`.
    pub no_iommu: bool,
    /// `iommu=soft`.
    pub soft: bool,
    /// Memory of this host is encrypted (AMD SME).
    pub host_encrypted: bool,
    /// This is a guest whose memory is encrypted (AMD SEV, Intel TDX): devices reach only what is shared with them.
    pub guest_encrypted: bool,
}

/// The architecture's decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolWish {
    /// A pool is wanted, and the kernel later says where it lies (`x86_swiotlb_enable`).
    pub enable: bool,
    /// Everything bounces (`SWIOTLB_FORCE`).
    pub force: bool,
}

impl PoolReasons {
    /// Whether memory reaches so high that some devices cannot, and nobody has said that this does not matter.
    #[must_use]
    pub const fn is_high(self) -> bool {
        !self.no_iommu && self.max_possible_pfn > MAX_DMA32_PFN
    }

    /// Source: `arch/x86/kernel/pci-dma.c: pci_swiotlb_detect(), iommu_setup()`, v6.1 and v6.12.
    #[must_use]
    pub const fn decide(self) -> PoolWish {
        let high = self.is_high();
        PoolWish {
            enable: self.soft || high || self.host_encrypted || self.guest_encrypted,
            force: self.guest_encrypted,
        }
    }
}

/// Bytes of the pool of an encrypted guest with `total` bytes of RAM: 6 in 100, from 64 MiB to 1 GiB.
///
/// Source: `arch/x86/mm/mem_encrypt.c: mem_encrypt_setup_arch()`; `mem_encrypt_amd.c: sev_setup_arch()`, v6.1.
#[must_use]
pub const fn encrypted_guest_bytes(total: u64) -> u64 {
    let part = (total / 100).saturating_mul(6).saturating_add(total % 100 * 6 / 100);
    if part < 64 << 20 {
        64 << 20
    } else if part > 1 << 30 {
        1 << 30
    } else {
        part
    }
}
