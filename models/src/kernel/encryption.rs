//! Memory encryption: pages that are shared with the host, and private ones.

use sim::choices::Stream;
use sim::{Draft, Kind};

use super::{GfpFlags, Kx, NoMemory};
use crate::mem::{PAGE_SIZE, PhysAddr, PhysRange};

impl Kx {
    /// Whether this kernel's memory is encrypted (`cc_platform_has(CC_ATTR_MEM_ENCRYPT)`).
    #[must_use]
    pub fn memory_encrypted(&self) -> bool {
        self.k.globals.sme_active.get() || self.k.globals.sev_active.get()
    }

    /// Shares pages with the host (`set_memory_decrypted`). Does nothing where memory is not encrypted.
    ///
    /// Pages are changed one after the other, and a large page has to be split first. If there is no memory for that,
    /// those before it stay changed.
    ///
    /// Source: `arch/x86/mm/pat/set_memory.c: __set_memory_enc_pgtable(), __change_page_attr_set_clr()`, v6.12.
    ///
    /// # Errors
    /// No memory to split a page; some pages may be shared.
    pub async fn set_memory_decrypted(&self, addr: PhysAddr, pages: u64) -> Result<(), NoMemory> {
        self.set_memory_shared(addr, pages, true).await
    }

    /// Makes pages private again (`set_memory_encrypted`).
    ///
    /// # Errors
    /// As [`set_memory_decrypted`](Self::set_memory_decrypted); some pages may still be shared.
    pub async fn set_memory_encrypted(&self, addr: PhysAddr, pages: u64) -> Result<(), NoMemory> {
        self.set_memory_shared(addr, pages, false).await
    }

    /// Gives pages up for ever that the host may read: they go back to no allocator, and are nobody's from now on.
    pub fn leak_pages(&self, addr: PhysAddr, pages: u64, id: u32) {
        let site = self.site();
        let _ = self.k.mem.borrow_mut().heap.free_object(id, site);
        self.note(|| format!("{pages} pages at {addr} cannot be made private again, and are leaked"));
    }

    async fn set_memory_shared(&self, addr: PhysAddr, pages: u64, shared: bool) -> Result<(), NoMemory> {
        if !self.memory_encrypted() {
            return Ok(());
        }
        let _frame = self.enter(if shared { "set_memory_decrypted" } else { "set_memory_encrypted" });
        self.might_sleep();
        self.step(Kind::Write, self.memory_label()).await;
        let range = PhysRange::new(addr, pages * PAGE_SIZE);
        if self.allocation_fails(GfpFlags::KERNEL) {
            let done = self.choose(Stream::Injection, "pages changed before it failed", pages.max(1));
            self.mark_shared(PhysRange::new(addr, done * PAGE_SIZE), shared);
            self.note(|| format!("{done} of {pages} pages at {addr} changed, then no memory"));
            return Err(NoMemory);
        }
        self.mark_shared(range, shared);
        self.note(|| format!("{pages} pages at {addr} are {}", if shared { "shared" } else { "private" }));
        Ok(())
    }

    /// Says what pages are, in boot, when nobody can interfere and nothing fails.
    pub fn mark_shared(&self, range: PhysRange, shared: bool) {
        self.k.mem.borrow_mut().heap.shadow_mut().set_shared(range, shared);
    }

    /// Pages that go back to an allocator must be private: whoever gets them next puts his secrets there.
    pub(super) fn check_private(&self, range: PhysRange) {
        let shared = self.k.mem.borrow().heap.shadow().first_shared(range);
        let Some(page) = shared else { return };
        let title = format!(
            "{} bytes at {} are given back in {} while the page at {page} is shared with the host",
            range.size(),
            range.start,
            self.function()
        );
        self.report(Draft::warning("freed-while-shared", title), Vec::new);
        // Told once: the next owner is not to blame.
        self.mark_shared(range, false);
    }
}
