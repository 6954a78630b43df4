// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * dmat: makes calls of the DMA API, the IOVA allocator and the IOMMU core in a fixed order, and prints each call with
 * its result, in the form that `dmasim conform --calls` reads. It drives no hardware: it binds to QEMU's `edu` device
 * (1234:11e8) or to whatever `id=VENDOR:DEVICE` names, and no transfer is ever started.
 *
 *   insmod dmat.ko tests=ABCDEFGHI   then   rmmod dmat   then   insmod dmat.ko tests=J
 */
#include <linux/delay.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

static char *tests = "ABCDEFGHI";
module_param(tests, charp, 0444);
static char *id = "1234:11e8";
module_param(id, charp, 0444);
static unsigned int seed = 1;
module_param(seed, uint, 0444);

#define say(fmt, ...) pr_info("dmat: " fmt "\n", ##__VA_ARGS__)

static unsigned int errors;
static u32 state;

static u32 draw(u32 below)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % below;
}

static const char *dir_name(enum dma_data_direction dir)
{
	return dir == DMA_TO_DEVICE ? "TO_DEVICE" : dir == DMA_FROM_DEVICE ? "FROM_DEVICE" : "BIDIRECTIONAL";
}

/* Where an address leads. */
static phys_addr_t leads_to(struct device *dev, dma_addr_t dma)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	if (domain && domain->type != IOMMU_DOMAIN_IDENTITY)
		return iommu_iova_to_phys(domain, dma);
	return dma;
}

static void set_masks(struct device *dev, int bits)
{
	dma_set_mask(dev, DMA_BIT_MASK(bits));
	dma_set_coherent_mask(dev, DMA_BIT_MASK(bits));
}

static void test_a(struct device *dev)
{
	static const int bits[] = { 64, 52, 48, 40, 36, 33, 32, 31, 30, 28, 24, 20, 16, 12 };
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	int i;

	say("A dev=%s dma_ops=%s domain=%s type=%x dma_coherent=%d bus_dma_limit=%llx min_align=%x max_seg=%x seg_boundary=%lx",
	    dev_name(dev), get_dma_ops(dev) ? "set" : "NULL", domain ? "yes" : "no", domain ? domain->type : 0,
	    dev_is_dma_coherent(dev), dev->bus_dma_limit, dma_get_min_align_mask(dev), dma_get_max_seg_size(dev),
	    dma_get_seg_boundary(dev));
	if (domain)
		say("A domain pgsize_bitmap=%lx aperture=%llx-%llx force_aperture=%d", domain->pgsize_bitmap,
		    (u64)domain->geometry.aperture_start, (u64)domain->geometry.aperture_end,
		    domain->geometry.force_aperture);
	for (i = 0; i < ARRAY_SIZE(bits); i++) {
		int streaming = dma_set_mask(dev, DMA_BIT_MASK(bits[i]));
		int coherent = dma_set_coherent_mask(dev, DMA_BIT_MASK(bits[i]));

		say("A mask bits=%d set_mask=%d set_coherent_mask=%d dev_mask=%llx coherent=%llx required=%llx max_mapping=%zx opt_mapping=%zx merge_boundary=%lx",
		    bits[i], streaming, coherent, *dev->dma_mask, dev->coherent_dma_mask, dma_get_required_mask(dev),
		    dma_max_mapping_size(dev), dma_opt_mapping_size(dev), dma_get_merge_boundary(dev));
	}
	dma_set_min_align_mask(dev, 0xfff);
	say("A min_align=fff max_mapping=%zx", dma_max_mapping_size(dev));
	dma_set_min_align_mask(dev, 0);
}

static const size_t many[] = { 1, 8, 60, 511, 512, 513, 1522, 2047, 2048, 2049, 4096, 4097, 6144, 8192, 65536, 131072,
			       262143, 262144, 262145, 524288 };
static const size_t fewer[] = { 1, 8, 60, 511, 512, 513, 1522, 2047, 2048, 2049, 4096, 4097, 6144, 65536, 262144 };

static void map_once(struct device *dev, void *block, int bits, const char *zone, u32 align, u32 off, size_t size)
{
	dma_addr_t dma = dma_map_single(dev, block + off, size, DMA_TO_DEVICE);

	if (dma_mapping_error(dev, dma)) {
		errors++;
		say("B mask=%d zone=%s min_align=%x off=%x phys=%llx size=%zu -> ERROR", bits, zone, align, off,
		    (u64)virt_to_phys(block) + off, size);
		return;
	}
	say("B mask=%d zone=%s min_align=%x off=%x phys=%llx size=%zu -> %llx i2p=%llx", bits, zone, align, off,
	    (u64)virt_to_phys(block) + off, size, (u64)dma, (u64)leads_to(dev, dma));
	dma_unmap_single(dev, dma, size, DMA_TO_DEVICE);
}

static void test_b(struct device *dev)
{
	static const struct { const char *name; gfp_t gfp; } zones[] = {
		{ "normal", GFP_KERNEL }, { "dma32", GFP_KERNEL | GFP_DMA32 }, { "dma", GFP_KERNEL | GFP_DMA },
	};
	static const int bits[] = { 64, 32, 24 };
	static const u32 aligns[] = { 0, 0xfff, 0x7ff, 0xffff };
	static const u32 offs[] = { 0, 4, 0x200, 0x600, 0x804, 0xe00 };
	int z, m, a, o, s;

	for (z = 0; z < ARRAY_SIZE(zones); z++) {
		void *block = (void *)__get_free_pages(zones[z].gfp | __GFP_NOWARN, 8);

		if (!block) {
			say("B zone=%s no memory", zones[z].name);
			continue;
		}
		say("B zone=%s block=%llx", zones[z].name, (u64)virt_to_phys(block));
		for (m = 0; m < ARRAY_SIZE(bits); m++) {
			set_masks(dev, bits[m]);
			for (a = 0; a < ARRAY_SIZE(aligns); a++) {
				int count = aligns[a] ? 3 : ARRAY_SIZE(offs);

				dma_set_min_align_mask(dev, aligns[a]);
				for (o = 0; o < count; o++) {
					bool all = !aligns[a] && !o;
					const size_t *sizes = all ? many : fewer;
					int n = all ? ARRAY_SIZE(many) : ARRAY_SIZE(fewer);

					for (s = 0; s < n; s++)
						map_once(dev, block, bits[m], zones[z].name, aligns[a], offs[o], sizes[s]);
				}
			}
			dma_set_min_align_mask(dev, 0);
		}
		free_pages((unsigned long)block, 8);
	}
}

#define FILL 48

static dma_addr_t c_map(struct device *dev, const char *what, void *buf, size_t size, enum dma_data_direction dir)
{
	dma_addr_t dma = dma_map_single(dev, buf, size, dir);
	phys_addr_t phys = virt_to_phys(buf);

	if (dma_mapping_error(dev, dma)) {
		errors++;
		say("C %s map phys=%llx size=%zu dir=%s attrs=0 -> ERROR", what, (u64)phys, size, dir_name(dir));
		return DMA_MAPPING_ERROR;
	}
	say("C %s map phys=%llx size=%zu dir=%s attrs=0 -> dma=%llx bounced_or_mapped=%d iova_to_phys=%llx", what,
	    (u64)phys, size, dir_name(dir), (u64)dma, dma != phys, (u64)leads_to(dev, dma));
	return dma;
}

static void c_unmap(struct device *dev, const char *what, dma_addr_t dma, size_t size, enum dma_data_direction dir)
{
	if (dma == DMA_MAPPING_ERROR)
		return;
	say("C %s unmap dma=%llx size=%zu dir=%s attrs=0", what, (u64)dma, size, dir_name(dir));
	dma_unmap_single(dev, dma, size, dir);
}

static void test_c(struct device *dev)
{
	static const size_t sizes[] = { 512, 1024, 2048, 4096, 8192, 16384 };
	static const size_t refills[] = { 512, 4096, 2048, 1024 };
	dma_addr_t dma[FILL];
	size_t size[FILL];
	void *block = (void *)__get_free_pages(GFP_KERNEL, 6);
	int i, n = 0;

	if (!block)
		return;
	say("C block=%llx", (u64)virt_to_phys(block));
	dma_set_mask(dev, DMA_BIT_MASK(32));
	for (i = 0; i < FILL; i++) {
		size[i] = sizes[i % ARRAY_SIZE(sizes)];
		dma[i] = c_map(dev, "fill", block + i * PAGE_SIZE, size[i], DMA_TO_DEVICE);
	}
	for (i = 0; i < FILL; i += 3)
		c_unmap(dev, "hole", dma[i], size[i], DMA_TO_DEVICE);
	for (i = 0; i < FILL; i += 3) {
		size[i] = refills[n++ % ARRAY_SIZE(refills)];
		dma[i] = c_map(dev, "refill", block + i * PAGE_SIZE, size[i], DMA_TO_DEVICE);
	}
	for (i = FILL - 1; i >= 0; i--)
		c_unmap(dev, "drain", dma[i], size[i], DMA_TO_DEVICE);
	for (i = 0; i < 8; i++)
		dma[i] = c_map(dev, "again", block + i * PAGE_SIZE, 4096, DMA_FROM_DEVICE);
	for (i = 0; i < 8; i++)
		c_unmap(dev, "again", dma[i], 4096, DMA_FROM_DEVICE);
	free_pages((unsigned long)block, 6);
}

static void contents(struct device *dev, u8 *orig, enum dma_data_direction dir, int variant)
{
	unsigned long map = variant == 1 ? DMA_ATTR_SKIP_CPU_SYNC : 0;
	unsigned long unmap = variant == 1 || variant == 2 ? DMA_ATTR_SKIP_CPU_SYNC : 0;
	phys_addr_t to;
	dma_addr_t dma;
	u8 *buf;

	memset(orig - 256, 'O', 4096 + 512);
	dma = dma_map_single_attrs(dev, orig, 4096, dir, map);
	if (dma_mapping_error(dev, dma)) {
		errors++;
		say("D dir=%s variant=%d ERROR", dir_name(dir), variant);
		return;
	}
	to = leads_to(dev, dma);
	buf = phys_to_virt(to);
	say("D dir=%s variant=%d bounced=%d at_map: buf[0]=%02x buf[4095]=%02x buf[-1]=%02x", dir_name(dir), variant,
	    to != virt_to_phys(orig), buf[0], buf[4095], buf[-1]);
	memset(buf, 'D', 4096);
	say("D   dev_wrote: orig[0]=%02x orig[4095]=%02x", orig[0], orig[4095]);
	switch (variant) {
	case 3:
		dma_sync_single_for_cpu(dev, dma, 4096, dir);
		say("D   sync_for_cpu: orig[0]=%02x orig[4095]=%02x", orig[0], orig[4095]);
		break;
	case 4:
		dma_sync_single_range_for_cpu(dev, dma, 1000, 24, dir);
		say("D   sync_range_for_cpu(1000,24): orig[0]=%02x [999]=%02x [1000]=%02x [1023]=%02x [1024]=%02x", orig[0],
		    orig[999], orig[1000], orig[1023], orig[1024]);
		break;
	case 5:
		orig[0] = 'X';
		orig[2000] = 'Y';
		dma_sync_single_for_device(dev, dma, 4096, dir);
		say("D   cpu_wrote+sync_for_device: buf[0]=%02x buf[2000]=%02x buf[1]=%02x", buf[0], buf[2000], buf[1]);
		break;
	}
	dma_unmap_single_attrs(dev, dma, 4096, dir, unmap);
	say("D   unmapped: orig[0]=%02x orig[2000]=%02x orig[4095]=%02x orig[-1]=%02x orig[4096]=%02x", orig[0], orig[2000],
	    orig[4095], orig[-1], orig[4096]);
}

static void test_d(struct device *dev)
{
	static const enum dma_data_direction dirs[] = { DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE };
	void *block = (void *)__get_free_pages(GFP_KERNEL, 2);
	int d, v;

	if (!block)
		return;
	dma_set_mask(dev, DMA_BIT_MASK(32));
	for (d = 0; d < ARRAY_SIZE(dirs); d++)
		for (v = 0; v < 6; v++)
			contents(dev, block + 0x100, dirs[d], v);
	free_pages((unsigned long)block, 2);
}

struct piece { u32 off, len; };

static void list(struct device *dev, void *block, const char *name, const struct piece *pieces, int n)
{
	struct scatterlist sgl[8], *sg;
	phys_addr_t base = virt_to_phys(block);
	int i, mapped;

	sg_init_table(sgl, n);
	for (i = 0; i < n; i++) {
		sg_set_buf(&sgl[i], block + pieces[i].off, pieces[i].len);
		say("E %s in[%d] phys=%llx len=%x", name, i, (u64)base + pieces[i].off, pieces[i].len);
	}
	mapped = dma_map_sg(dev, sgl, n, DMA_BIDIRECTIONAL);
	say("E %s maxseg=%x boundary=%lx nents=%d -> %d", name, dma_get_max_seg_size(dev), dma_get_seg_boundary(dev), n,
	    mapped);
	if (!mapped) {
		errors++;
		return;
	}
	for_each_sg(sgl, sg, mapped, i)
		say("E %s out[%d] dma=%llx len=%x i2p=%llx", name, i, (u64)sg_dma_address(sg), sg_dma_len(sg),
		    (u64)leads_to(dev, sg_dma_address(sg)));
	dma_unmap_sg(dev, sgl, n, DMA_BIDIRECTIONAL);
}

#define LIST(name, ...) do { \
	static const struct piece pieces[] = { __VA_ARGS__ }; \
	list(dev, block, name, pieces, ARRAY_SIZE(pieces)); } while (0)

static void test_e(struct device *dev)
{
	static const u32 segments[] = { 0x10000, 0xffffffff, 0x2000 };
	static const int bits[] = { 64, 32 };
	void *block = (void *)__get_free_pages(GFP_KERNEL, 7);
	int m, s;

	if (!block)
		return;
	for (m = 0; m < ARRAY_SIZE(bits); m++) {
		set_masks(dev, bits[m]);
		say("E mask bits=%d", bits[m]);
		for (s = 0; s < ARRAY_SIZE(segments); s++) {
			u32 most = segments[s];

			dma_set_max_seg_size(dev, most);
			LIST("contig", { 0, 0x1000 }, { 0x1000, 0x1000 }, { 0x2000, 0x1000 }, { 0x3000, 0x1000 });
			LIST("pages", { 0, 0x1000 }, { 0x3000, 0x1000 }, { 0x8000, 0x2000 }, { 0x1000, 0x1000 });
			LIST("endalign", { 0x200, 0xe00 }, { 0x2000, 0x1000 }, { 0x4000, 0x400 }, { 0x5000, 0x1000 });
			LIST("small", { 0x800, 0x800 }, { 0x2400, 0x200 }, { 0x2600, 0x200 }, { 0x4000, 0x10 });
			if (most >= 0x10000) {
				LIST("big", { 0, 0x10000 }, { 0x10000, 0x10000 }, { 0x20000, 0x10000 });
				dma_set_seg_boundary(dev, 0xffff);
				LIST("big64kb", { 0, 0x10000 }, { 0x10000, 0x10000 }, { 0x20000, 0x10000 });
				LIST("odd64kb", { 0x3000, 0xa000 }, { 0xe000, 0x9000 }, { 0x20000, 0x3000 }, { 0x30400, 0xc00 });
				dma_set_seg_boundary(dev, 0xffffffff);
			}
			if (most == 0xffffffff)
				LIST("off", { 0, 0x20000 }, { 0x20800, 0x20000 });
			LIST("one", { 0x10, 0x20 });
		}
		dma_set_max_seg_size(dev, 0x10000);
	}
	free_pages((unsigned long)block, 7);
}

static void test_f(struct device *dev)
{
	static const size_t kernel[] = { 8, 4096, 4097, 8192, 12288, 65536, 1048576, 2097152, 4194304 };
	static const int bits[] = { 64, 32, 31, 24 };
	static struct { void *cpu; dma_addr_t dma; size_t size; } got[16];
	int g, m, s, n = 0;

	for (g = 0; g < 2; g++) {
		gfp_t gfp = g ? GFP_ATOMIC : GFP_KERNEL;

		for (m = 0; m < ARRAY_SIZE(bits); m++) {
			set_masks(dev, bits[m]);
			n = 0;
			for (s = 0; s < (g ? 6 : ARRAY_SIZE(kernel)); s++) {
				dma_addr_t dma = 0;
				void *cpu = dma_alloc_coherent(dev, kernel[s], &dma, gfp | __GFP_NOWARN);
				bool far = cpu && is_vmalloc_addr(cpu);
				phys_addr_t phys = !cpu ? 0 : far ? page_to_phys(vmalloc_to_page(cpu)) : virt_to_phys(cpu);

				say("F alloc mask=%d gfp=%s size=%zu -> %s dma=%llx vmalloc=%d phys=%llx", bits[m],
				    g ? "ATOMIC" : "KERNEL", kernel[s], cpu ? "ok" : "FAIL", (u64)dma, far, (u64)phys);
				if (cpu) {
					got[n].cpu = cpu;
					got[n].dma = dma;
					got[n++].size = kernel[s];
				}
			}
			for (s = 0; s < n; s++)
				dma_free_coherent(dev, got[s].size, got[s].cpu, got[s].dma);
		}
	}
}

#define BLOCKS 24

static void test_g(struct device *dev)
{
	static const struct { size_t size, align, boundary; } pools[] = {
		{ 64, 64, 0 }, { 192, 64, 0 }, { 192, 64, 1024 }, { 256, 256, 4096 }, { 1000, 8, 0 }, { 4096, 4096, 0 },
		{ 16, 16, 0 }, { 96, 1, 512 }, { 512, 512, 0 }, { 2048, 1024, 0 },
	};
	int p, i;

	dma_set_coherent_mask(dev, DMA_BIT_MASK(64));
	for (p = 0; p < ARRAY_SIZE(pools); p++) {
		struct dma_pool *pool = dma_pool_create("dmat", dev, pools[p].size, pools[p].align, pools[p].boundary);
		dma_addr_t dma[BLOCKS];
		void *cpu[BLOCKS];

		say("G pool size=%zu align=%zu boundary=%zu -> %s", pools[p].size, pools[p].align, pools[p].boundary,
		    pool ? "ok" : "NULL");
		if (!pool)
			continue;
		for (i = 0; i < BLOCKS; i++) {
			cpu[i] = dma_pool_alloc(pool, GFP_KERNEL, &dma[i]);
			say("G alloc[%d] -> %llx", i, cpu[i] ? (u64)dma[i] : 0);
		}
		for (i = 0; i < BLOCKS; i += 5) {
			say("G free[%d] %llx", i, (u64)dma[i]);
			dma_pool_free(pool, cpu[i], dma[i]);
		}
		for (i = 20; i >= 0; i -= 5) {
			cpu[i] = dma_pool_alloc(pool, GFP_KERNEL, &dma[i]);
			say("G realloc[%d] -> %llx", i, cpu[i] ? (u64)dma[i] : 0);
		}
		for (i = 0; i < BLOCKS; i++)
			dma_pool_free(pool, cpu[i], dma[i]);
		dma_pool_destroy(pool);
	}
}

#define RANGES 64

static void nodes(struct iova_domain *iovad)
{
	say("H   cached32=%lx cached=%lx", iovad->cached32_node ? container_of(iovad->cached32_node, struct iova, node)->pfn_lo : 0,
	    iovad->cached_node ? container_of(iovad->cached_node, struct iova, node)->pfn_lo : 0);
}

static void reserve(struct iova_domain *iovad, unsigned long lo, unsigned long hi, const char *note)
{
	struct iova *got = reserve_iova(iovad, lo, hi);

	say("H reserve %lx-%lx%s -> %lx-%lx", lo, hi, note, got ? got->pfn_lo : 0, got ? got->pfn_hi : 0);
}

static void test_h(void)
{
	struct iova_domain *iovad = kzalloc(sizeof(*iovad), GFP_KERNEL);
	static struct iova *got[RANGES];
	static struct { unsigned long pfn; unsigned int n; } live[200];
	unsigned long first = 0, last = 0, *fast;
	int i, count = 0, err;

	if (!iovad || iova_cache_get())
		goto out;
	init_iova_domain(iovad, SZ_4K, 1);
	say("H init granule=%lu start_pfn=%lx dma_32bit_pfn=%lx max32_alloc_size=%lx anchor=%lx-%lx", iovad->granule,
	    iovad->start_pfn, iovad->dma_32bit_pfn, iovad->max32_alloc_size, iovad->anchor.pfn_lo, iovad->anchor.pfn_hi);
	reserve(iovad, 0xfee00, 0xfeeff, "");
	reserve(iovad, 0xfef00, 0xfef0f, " (adjacent)");
	reserve(iovad, 0xfeef0, 0xfef20, " (overlap)");
	for (i = 0; i < RANGES; i++) {
		unsigned long n = i % 4 == 3 ? 50 + draw(220) : 1 + draw(20);
		unsigned long limit = i % 8 == 7 ? 0xfffffffff : 0xfffff;
		bool aligned = draw(2);

		got[i] = alloc_iova(iovad, n, limit, aligned);
		say("H alloc_iova[%d] n=%lu limit=%lx aligned=%d -> %lx-%lx cached32=%lx cached=%lx", i, n, limit, aligned,
		    got[i] ? got[i]->pfn_lo : 0, got[i] ? got[i]->pfn_hi : 0,
		    container_of(iovad->cached32_node, struct iova, node)->pfn_lo,
		    container_of(iovad->cached_node, struct iova, node)->pfn_lo);
	}
	for (i = 0; i < RANGES; i += 2) {
		if (!got[i])
			continue;
		say("H free_iova[%d] %lx", i, got[i]->pfn_lo);
		free_iova(iovad, got[i]->pfn_lo);
		got[i] = NULL;
		nodes(iovad);
	}
	for (i = 0; i < 36; i += 2) {
		unsigned long n = 1 + draw(16);

		got[i] = alloc_iova(iovad, n, 0xfffff, true);
		say("H realloc_iova[%d] n=%lu limit=fffff aligned=1 -> %lx-%lx", i, n, got[i] ? got[i]->pfn_lo : 0,
		    got[i] ? got[i]->pfn_hi : 0);
	}
	put_iova_domain(iovad);

	memset(iovad, 0, sizeof(*iovad));
	init_iova_domain(iovad, SZ_4K, 1);
	err = iova_domain_init_rcaches(iovad);
	say("H2 rcaches init -> %d", err);
	for (i = 0; !err && i < 400; i++) {
		if (count < ARRAY_SIZE(live) && (count < 8 || draw(100) < 52)) {
			unsigned int n = 1u << draw(8);

			if (draw(8) == 0)
				n += draw(n) + 1;
			live[count].n = n;
			live[count].pfn = alloc_iova_fast(iovad, n, 0xfffff, true);
			say("H2 alloc_fast n=%u -> %lx", n, live[count].pfn);
			count++;
		} else {
			int k = draw(count);

			say("H2 free_fast pfn=%lx n=%u", live[k].pfn, live[k].n);
			free_iova_fast(iovad, live[k].pfn, live[k].n);
			live[k] = live[--count];
		}
	}
	fast = kcalloc(300, sizeof(*fast), GFP_KERNEL);
	if (!err && fast) {
		for (i = 0; i < 300; i++)
			fast[i] = alloc_iova_fast(iovad, 1, 0xfffff, true);
		first = fast[0];
		last = fast[299];
		say("H2 300x n=1 first=%lx last=%lx", first, last);
		for (i = 0; i < 300; i++)
			free_iova_fast(iovad, fast[i], 1);
		for (i = 0; i < 300; i++) {
			fast[i] = alloc_iova_fast(iovad, 1, 0xfffff, true);
			if (i < 8 || (i > 120 && i < 136) || i > 290)
				say("H2 again[%d] -> %lx", i, fast[i]);
		}
	}
	kfree(fast);
	put_iova_domain(iovad);
	iova_cache_put();
out:
	kfree(iovad);
}

static int i_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t phys, size_t size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	int err = iommu_map(domain, iova, phys, size, IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
#else
	int err = iommu_map(domain, iova, phys, size, IOMMU_READ | IOMMU_WRITE);
#endif
	say("I map iova=%lx phys=%llx size=%zx -> %d", iova, (u64)phys, size, err);
	return err;
}

static void i_unmap(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	say("I unmap iova=%lx size=%zx -> %zx", iova, size, iommu_unmap(domain, iova, size));
}

static void look_up(struct iommu_domain *domain, const char *when)
{
	static const unsigned long iovas[] = { 0x10000000, 0x10000123, 0x10001fff, 0x10003fff, 0x10004000, 0x20000000, 0x201fffff,
		0x20600000, 0x40000000, 0x7fffffff, 0x30001000, 0x7fffff000, 0x3600abc, 0x0, 0x50003010, 0x50200000 };
	int i;

	for (i = 0; i < ARRAY_SIZE(iovas); i++)
		say("I %siova_to_phys %lx -> %llx", when, iovas[i], (u64)iommu_iova_to_phys(domain, iovas[i]));
}

static void test_i(struct device *dev)
{
	struct iommu_domain *domain;

	if (!iommu_get_domain_for_dev(dev)) {
		say("I no iommu domain");
		return;
	}
	domain = iommu_domain_alloc(&pci_bus_type);
	if (!domain) {
		say("I no domain");
		return;
	}
	say("I domain type=%x pgsize_bitmap=%lx aperture=%llx-%llx force=%d", domain->type, domain->pgsize_bitmap,
	    (u64)domain->geometry.aperture_start, (u64)domain->geometry.aperture_end, domain->geometry.force_aperture);
	say("I attach -> %d", iommu_attach_device(domain, dev));
	i_map(domain, 0x10000000, 0x10000000, 0x1000);
	i_map(domain, 0x10001000, 0x20000000, 0x3000);
	i_map(domain, 0x20000000, 0x40000000, 0x200000);
	i_map(domain, 0x20200000, 0x40200000, 0x400000);
	i_map(domain, 0x40000000, 0x80000000, 0x40000000);
	i_map(domain, 0x10000800, 0x10000000, 0x1000);
	i_map(domain, 0x10010000, 0x10000000, 0x800);
	i_map(domain, 0x30000000, 0x50001000, 0x200000);
	i_map(domain, 0x7fffff000, 0x3000, 0x1000);
	i_map(domain, 0x3000000, 0x40000000, 0x601000);
	/* Not in the driver's first version: pages that only some drivers join. */
	i_map(domain, 0x80000000, 0x60000000, 0x8000);
	i_map(domain, 0x80010000, 0x60010000, 0x10000);
	i_map(domain, 0x90000000, 0x61000000, 0x3ff000);
	look_up(domain, "");
	i_unmap(domain, 0x10000000, 0x1000);
	i_unmap(domain, 0x10001000, 0x1000);
	i_unmap(domain, 0x10002000, 0x2000);
	i_unmap(domain, 0x10000000, 0x1000);
	i_unmap(domain, 0x20001000, 0x1000);
	i_unmap(domain, 0x20000000, 0x200000);
	i_unmap(domain, 0x20200000, 0x600000);
	i_unmap(domain, 0x40000000, 0x1000);
	i_unmap(domain, 0x40000000, 0x40000000);
	i_unmap(domain, 0x30000000, 0x400000);
	i_unmap(domain, 0x3000000, 0x601000);
	i_unmap(domain, 0x7fffff800, 0x1000);
	i_unmap(domain, 0x7fffff000, 0x1000);
	i_unmap(domain, 0x80001000, 0x1000);
	i_unmap(domain, 0x80000000, 0x8000);
	i_unmap(domain, 0x80014000, 0x4000);
	i_unmap(domain, 0x80010000, 0x10000);
	i_unmap(domain, 0x90100000, 0x200000);
	i_unmap(domain, 0x90000000, 0x400000);
	look_up(domain, "after: ");
	iommu_detach_device(domain, dev);
	say("I detached");
	iommu_domain_free(domain);
}

#define MOST_MAPS 60000

static void test_j(struct device *dev)
{
	static const size_t sizes[] = { 262144, 2048, 131072 };
	dma_addr_t *dma = vmalloc(MOST_MAPS * sizeof(*dma));
	void *block = (void *)__get_free_pages(GFP_KERNEL, 6);
	int s, n, i;

	if (!dma || !block)
		goto out;
	dma_set_mask(dev, DMA_BIT_MASK(32));
	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		int jumps = 0, descents = 0;

		for (n = 0; n < MOST_MAPS; n++) {
			dma[n] = dma_map_single_attrs(dev, block, sizes[s], DMA_TO_DEVICE, DMA_ATTR_NO_WARN);
			if (dma_mapping_error(dev, dma[n]))
				break;
			if (n && dma[n] != dma[n - 1] + sizes[s]) {
				if (++jumps < 40)
					say("J size=%zu n=%d jump %llx -> %llx", sizes[s], n, (u64)dma[n - 1], (u64)dma[n]);
				descents += dma[n] < dma[n - 1];
			}
			if (n < 4)
				say("J size=%zu n=%d dma=%llx", sizes[s], n, (u64)dma[n]);
		}
		say("J size=%zu mapped=%d first=%llx last=%llx jumps=%d descents=%d", sizes[s], n, n ? (u64)dma[0] : 0,
		    n ? (u64)dma[n - 1] : 0, jumps, descents);
		for (i = 0; i < n; i++) {
			dma_unmap_single(dev, dma[i], sizes[s], DMA_TO_DEVICE);
			if (i % 4096 == 0)
				cond_resched();
		}
	}
out:
	free_pages((unsigned long)block, 6);
	vfree(dma);
}

static int dmat_probe(struct pci_dev *pdev, const struct pci_device_id *unused)
{
	struct device *dev = &pdev->dev;
	const char *t;

	errors = 0;
	state = seed;
	say("probe %s enable=%d cpu=%d tests=%s", dev_name(dev), atomic_read(&pdev->enable_cnt), raw_smp_processor_id(), tests);
	for (t = tests; *t; t++) {
		switch (*t) {
		case 'A': test_a(dev); break;
		case 'B': test_b(dev); break;
		case 'C': test_c(dev); break;
		case 'D': test_d(dev); break;
		case 'E': test_e(dev); break;
		case 'F': test_f(dev); break;
		case 'G': test_g(dev); break;
		case 'H': test_h(); break;
		case 'I': test_i(dev); break;
		case 'J': test_j(dev); break;
		}
	}
	say("done map_errors=%u", errors);
	return 0;
}

static void dmat_remove(struct pci_dev *pdev)
{
	say("remove");
}

static struct pci_device_id dmat_ids[] = { { PCI_DEVICE(0x1234, 0x11e8) }, { } };

static struct pci_driver dmat_driver = {
	.name = "dmat",
	.id_table = dmat_ids,
	.probe = dmat_probe,
	.remove = dmat_remove,
	.driver_managed_dma = false,
};

static int __init dmat_init(void)
{
	unsigned int vendor, device;

	if (sscanf(id, "%x:%x", &vendor, &device) != 2)
		return -EINVAL;
	dmat_ids[0].vendor = vendor;
	dmat_ids[0].device = device;
	return pci_register_driver(&dmat_driver);
}
module_init(dmat_init);

static void __exit dmat_exit(void)
{
	pci_unregister_driver(&dmat_driver);
}
module_exit(dmat_exit);

MODULE_DESCRIPTION("Calls of the DMA API in a fixed order, with their results");
MODULE_LICENSE("Dual MIT/GPL");
