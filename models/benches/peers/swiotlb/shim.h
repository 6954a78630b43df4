/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The little of the kernel that kernel/dma/swiotlb.c of Linux 6.12 needs to run as a part of a program. Every header
 * that it includes, but for three, is this one; compare.sh sees to that. Nothing here was copied from the kernel.
 *
 * With -DPEER_THREADS locks and counters are atomic, else they cost nothing.
 */
#ifndef PEER_SHIM_H
#define PEER_SHIM_H

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_SWIOTLB 1
#define CONFIG_DEBUG_FS 1

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint64_t phys_addr_t;
typedef uint64_t dma_addr_t;
typedef unsigned int gfp_t;

/* Annotations and messages. */
#define __init
#define __ro_after_init
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define early_param(name, fn) static void *const peer_param_##fn __attribute__((unused)) = (void *)fn
#define late_initcall(fn) static void *const peer_init_##fn __attribute__((unused)) = (void *)fn
#define pr_info(...) do { } while (0)
#define pr_warn(...) do { } while (0)
#define pr_warn_once(...) do { } while (0)
#define dev_warn_ratelimited(...) do { } while (0)
#define dev_err(...) do { } while (0)
#define dev_WARN_ONCE(dev, cond, ...) do { if (unlikely(cond)) peer_warnings++; } while (0)
#define BUG_ON(cond) do { if (unlikely(cond)) abort(); } while (0)
static unsigned long peer_warnings;

/* Arithmetic. */
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define SMP_CACHE_BYTES 64
#define ALIGN(x, to) (((x) + ((__typeof__(x))(to) - 1)) & ~((__typeof__(x))(to) - 1))
#define PAGE_ALIGN(x) ALIGN(x, PAGE_SIZE)
#define DIV_ROUND_UP(n, by) (((n) + (by) - 1) / (by))
#define PFN_DOWN(x) ((x) >> PAGE_SHIFT)
#define PFN_UP(x) (((x) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define roundup(x, to) (((x) + (to) - 1) / (to) * (to))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min_t(type, a, b) min((type)(a), (type)(b))
#define array_size(size, count) ((size_t)(size) * (count))
#define is_power_of_2(x) ((x) && !((x) & ((x) - 1)))
#define DMA_BIT_MASK(n) ((n) == 64 ? ~0ULL : (1ULL << (n)) - 1)
#define DMA_MAPPING_ERROR (~(dma_addr_t)0)

static inline unsigned long roundup_pow_of_two(unsigned long x)
{
	unsigned long power = 1;

	while (power < x)
		power <<= 1;
	return power;
}

static inline unsigned int get_order(unsigned long bytes)
{
	unsigned int order = 0;

	while ((PAGE_SIZE << order) < bytes)
		order++;
	return order;
}

static inline unsigned long simple_strtoul(const char *text, char **end, unsigned int base)
{
	return strtoul(text, end, (int)base);
}

/* Locks and counters. */
typedef struct {
	char taken;
} spinlock_t;

typedef struct {
	long value;
} atomic_long_t;

#ifdef PEER_THREADS
static inline void spin_lock_init(spinlock_t *lock)
{
	__atomic_clear(&lock->taken, __ATOMIC_RELEASE);
}

static inline void peer_lock(spinlock_t *lock)
{
	while (__atomic_test_and_set(&lock->taken, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&lock->taken, __ATOMIC_RELAXED))
			__builtin_ia32_pause();
}

static inline void peer_unlock(spinlock_t *lock)
{
	__atomic_clear(&lock->taken, __ATOMIC_RELEASE);
}

#define PEER_ATOMIC_ADD(at, n) __atomic_add_fetch(at, n, __ATOMIC_SEQ_CST)
#else
#define spin_lock_init(lock) do { } while (0)
#define peer_lock(lock) do { } while (0)
#define peer_unlock(lock) do { } while (0)
#define PEER_ATOMIC_ADD(at, n) (*(at) += (n))
#endif
#define spin_lock_irqsave(lock, flags) do { (flags) = 0; peer_lock(lock); } while (0)
#define spin_unlock_irqrestore(lock, flags) do { (void)(flags); peer_unlock(lock); } while (0)

static inline long atomic_long_add_return(long n, atomic_long_t *counter)
{
	return PEER_ATOMIC_ADD(&counter->value, n);
}

static inline void atomic_long_sub(long n, atomic_long_t *counter)
{
	PEER_ATOMIC_ADD(&counter->value, -n);
}

static inline long atomic_long_read(const atomic_long_t *counter)
{
	return __atomic_load_n(&counter->value, __ATOMIC_RELAXED);
}

static inline void atomic_long_set(atomic_long_t *counter, long value)
{
	__atomic_store_n(&counter->value, value, __ATOMIC_RELAXED);
}

static inline bool atomic_long_try_cmpxchg(atomic_long_t *counter, unsigned long *old, long value)
{
#ifdef PEER_THREADS
	return __atomic_compare_exchange_n(&counter->value, (long *)old, value, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
#else
	(void)old;
	counter->value = value;
	return true;
#endif
}

static __thread int peer_cpu;
#define raw_smp_processor_id() peer_cpu
#define num_possible_cpus() 1

/* Memory: the pool's bytes and the buffers lie at addresses of a modelled machine. */
struct page;
static char *peer_pool, *peer_buffers;
static phys_addr_t peer_pool_start, peer_buffers_start;
/* Whether bounces copy. */
static bool peer_copies;

static inline void *phys_to_virt(phys_addr_t addr)
{
	return peer_buffers + (addr - peer_buffers_start);
}

static inline phys_addr_t virt_to_phys(const void *at)
{
	return peer_pool_start + (phys_addr_t)((const char *)at - peer_pool);
}

#define __pa(at) virt_to_phys((const void *)(at))
#define high_memory ((void *)(~0UL))
#define pfn_to_page(pfn) ((struct page *)(uintptr_t)(pfn))
#define PageHighMem(page) ((void)(page), false)
#define memcpy_from_page(to, page, offset, bytes) abort()
#define memcpy_to_page(page, offset, from, bytes) abort()
#define local_irq_save(flags) ((flags) = 0)
#define local_irq_restore(flags) ((void)(flags))
#define kmsan_unpoison_memory(at, bytes) do { } while (0)
#define set_memory_decrypted(at, pages) ((void)(at), (void)(pages))
#define set_memory_encrypted(at, pages) ((void)(at), (void)(pages))
#define cc_platform_has(what) false
#define GFP_KERNEL 0
#define __GFP_ZERO 0
#define __GFP_NOWARN 0
#define ARCH_LOW_ADDRESS_LIMIT 0xffffffffUL

/* Pools are made by the program itself, so nothing of this is ever called. */
#define memblock_alloc(bytes, align) ((void)(bytes), (void *)NULL)
#define memblock_alloc_low(bytes, align) ((void)(bytes), (void *)NULL)
#define memblock_free(at, bytes) ((void)(at))
#define memblock_free_late(at, bytes) ((void)(at))
#define __get_free_pages(gfp, order) ((void)(gfp), (void)(order), 0UL)
#define free_pages(at, order) ((void)(at), (void)(order))

static inline void *peer_memcpy(void *to, const void *from, size_t bytes)
{
	return peer_copies ? memcpy(to, from, bytes) : to;
}

/* A new pool is cleared by the program, once. */
#define memset(at, byte, bytes) peer_memset(at, byte, bytes)
static inline void *peer_memset(void *at, int byte, size_t bytes)
{
	(void)byte;
	(void)bytes;
	return at;
}
#define memcpy(to, from, bytes) peer_memcpy(to, from, bytes)

/* Devices. */
struct io_tlb_mem;
struct device {
	struct io_tlb_mem *dma_io_tlb_mem;
	u64 *dma_mask;
	u64 bus_dma_limit;
	unsigned int min_align_mask;
	unsigned long boundary_mask;
};

#define dma_get_seg_boundary(dev) ((dev)->boundary_mask)
#define dma_get_min_align_mask(dev) ((dev)->min_align_mask)
#define phys_to_dma(dev, addr) (addr)
#define phys_to_dma_unencrypted(dev, addr) (addr)
#define dma_capable(dev, addr, size, ram) true
#define dev_is_dma_coherent(dev) true
#define arch_sync_dma_for_device(addr, size, dir) do { } while (0)
#define dma_reset_need_sync(dev) do { } while (0)
#define DMA_ATTR_SKIP_CPU_SYNC (1UL << 5)
#define DMA_ATTR_NO_WARN (1UL << 8)
#define trace_swiotlb_bounced(dev, addr, size) do { } while (0)

/* Files for looking at counters. */
struct dentry;
#define DEFINE_DEBUGFS_ATTRIBUTE(name, get, set, format) \
	static void *const name[] __attribute__((unused)) = { (void *)get, (void *)set }
#define debugfs_create_dir(name, parent) ((struct dentry *)(parent))
#define debugfs_create_ulong(name, mode, parent, value) ((void)(value))
#define debugfs_create_file(name, mode, parent, data, files) ((void)(data))

#endif
