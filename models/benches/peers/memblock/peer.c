// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Runs sequences of memblock operations, as written by the example `memblock_peer`, on the kernel's own memblock, and
 * times them. Reads the form that models/benches/memblock_ops/text.rs writes.
 *
 * The kernel's file is included here, and not linked, since a sequence begins with flags that only it can reset. It
 * is not part of this repository: compare.sh finds it in an installed linux-source and sets MEMBLOCK_C.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/mm.h>

/*
 * A grown list is written to. The harness takes a physical address for a pointer; here the memory is that of a
 * modelled machine, so the few arrays that exist at one time get memory of their own.
 */
struct backing {
	uint64_t phys;
	void *memory;
};
static struct backing backings[64];
static unsigned int backing_count;
#define BACKING_BYTES ((size_t)8 << 20)

static void *peer_va(uint64_t phys)
{
	struct backing *slot = &backings[backing_count++ % 64];

	free(slot->memory);
	slot->phys = phys;
	slot->memory = malloc(BACKING_BYTES);
	return slot->memory;
}

static uint64_t peer_pa(const void *pointer)
{
	for (unsigned int i = 0; i < 64; i++)
		if (backings[i].memory == pointer)
			return backings[i].phys;
	return (uint64_t)(uintptr_t)pointer;
}

/* As on x86; the harness has lines of 32 bytes, and a request without an alignment gets that of a line. */
#include <linux/cache.h>
#undef SMP_CACHE_BYTES
#define SMP_CACHE_BYTES 64

#undef __va
#undef __pa
#define __va(phys) peer_va(phys)
#define __pa(pointer) peer_pa(pointer)

#include MEMBLOCK_C

bool movable_node_enabled;

static uint64_t mix(uint64_t sum, uint64_t number)
{
	return sum * 31 + number;
}

static uint64_t nid_bits(int nid)
{
	return (uint64_t)(int64_t)nid;
}

static void reset(const uint64_t *arg)
{
	memset(memblock_memory_init_regions, 0, sizeof(memblock_memory_init_regions));
	memset(memblock_reserved_init_regions, 0, sizeof(memblock_reserved_init_regions));
	memblock.memory.regions = memblock_memory_init_regions;
	memblock.memory.cnt = 0;
	memblock.memory.max = INIT_MEMBLOCK_MEMORY_REGIONS;
	memblock.memory.total_size = 0;
	memblock.reserved.regions = memblock_reserved_init_regions;
	memblock.reserved.cnt = 0;
	memblock.reserved.max = INIT_MEMBLOCK_RESERVED_REGIONS;
	memblock.reserved.total_size = 0;
	memblock_memory_in_slab = 0;
	memblock_reserved_in_slab = 0;
	system_has_some_mirror = false;
	memblock_can_resize = arg[0];
	movable_node_enabled = arg[1];
	mirrored_kernelcore = arg[2];
	memblock.bottom_up = arg[3];
	memblock.current_limit = arg[4];
}

/* The names, in this order, are those of models/benches/memblock_ops/mod.rs. */
#define OPERATIONS(X) \
	X(config) X(set_bottom_up) X(set_current_limit) X(add) X(add_node) X(remove) X(reserve) X(free) \
	X(mark_hotplug) X(clear_hotplug) X(mark_nomap) X(clear_nomap) X(mark_mirror) X(reserved_mark_noinit) \
	X(set_node) X(phys_alloc_range) X(phys_alloc_try_nid) X(alloc_range_nid) X(alloc_try_nid) \
	X(alloc_exact_nid) X(cap_memory_range) X(enforce_memory_limit) X(mem_limit_remove_map) X(trim_memory) \
	X(is_memory) X(is_map_memory) X(is_reserved) X(is_region_memory) X(is_region_reserved) \
	X(overlaps_region) X(search_pfn_nid) X(totals) X(free_ranges) X(pfn_ranges)

enum code {
#define CODE(name) OP_##name,
	OPERATIONS(CODE)
	OP_COUNT
};

static const char *const names[] = {
#define NAME(name) #name,
	OPERATIONS(NAME)
};

struct op {
	enum code code;
	uint64_t arg[6];
	uint64_t answer;
};

static uint64_t status(int result)
{
	return nid_bits(result);
}

static uint64_t apply(const struct op *op)
{
	const uint64_t *a = op->arg;
	phys_addr_t start, end;
	unsigned long start_pfn = 0, end_pfn = 0;
	uint64_t sum = 0, i;
	int nid, index;

	switch (op->code) {
	case OP_config:
		reset(a);
		return 0;
	case OP_set_bottom_up:
		memblock_set_bottom_up(a[0]);
		return 0;
	case OP_set_current_limit:
		memblock_set_current_limit(a[0]);
		return 0;
	case OP_add:
		return status(memblock_add(a[0], a[1]));
	case OP_add_node:
		return status(memblock_add_node(a[0], a[1], (int)a[2], (enum memblock_flags)a[3]));
	case OP_remove:
		return status(memblock_remove(a[0], a[1]));
	case OP_reserve:
		return status(memblock_reserve(a[0], a[1]));
	case OP_free:
		return status(memblock_phys_free(a[0], a[1]));
	case OP_mark_hotplug:
		return status(memblock_mark_hotplug(a[0], a[1]));
	case OP_clear_hotplug:
		return status(memblock_clear_hotplug(a[0], a[1]));
	case OP_mark_nomap:
		return status(memblock_mark_nomap(a[0], a[1]));
	case OP_clear_nomap:
		return status(memblock_clear_nomap(a[0], a[1]));
	case OP_mark_mirror:
		return status(memblock_mark_mirror(a[0], a[1]));
	case OP_reserved_mark_noinit:
		return status(memblock_reserved_mark_noinit(a[0], a[1]));
	case OP_set_node:
		return status(memblock_set_node(a[0], a[1], a[2] ? &memblock.reserved : &memblock.memory,
						(int)a[3]));
	case OP_phys_alloc_range:
		return memblock_phys_alloc_range(a[0], a[1], a[2], a[3]);
	case OP_phys_alloc_try_nid:
		return memblock_phys_alloc_try_nid(a[0], a[1], (int)a[2]);
	case OP_alloc_range_nid:
		return memblock_alloc_range_nid(a[0], a[1], a[2], a[3], (int)a[4], a[5]);
	case OP_alloc_try_nid:
		return (uint64_t)(uintptr_t)memblock_alloc_try_nid_raw(a[0], a[1], a[2], a[3], (int)a[4]);
	case OP_alloc_exact_nid:
		return (uint64_t)(uintptr_t)memblock_alloc_exact_nid_raw(a[0], a[1], a[2], a[3], (int)a[4]);
	case OP_cap_memory_range:
		memblock_cap_memory_range(a[0], a[1]);
		return 0;
	case OP_enforce_memory_limit:
		memblock_enforce_memory_limit(a[0]);
		return 0;
	case OP_mem_limit_remove_map:
		memblock_mem_limit_remove_map(a[0]);
		return 0;
	case OP_trim_memory:
		memblock_trim_memory(a[0]);
		return 0;
	case OP_is_memory:
		return memblock_is_memory(a[0]);
	case OP_is_map_memory:
		return memblock_is_map_memory(a[0]);
	case OP_is_reserved:
		return memblock_is_reserved(a[0]);
	case OP_is_region_memory:
		return memblock_is_region_memory(a[0], a[1]);
	case OP_is_region_reserved:
		return memblock_is_region_reserved(a[0], a[1]);
	case OP_overlaps_region:
		/* The callers cap the size. */
		end = a[1];
		memblock_cap_size(a[0], &end);
		return memblock_overlaps_region(a[2] ? &memblock.reserved : &memblock.memory, a[0], end);
	case OP_search_pfn_nid:
		nid = memblock_search_pfn_nid(a[0], &start_pfn, &end_pfn);
		return nid == -1 && !end_pfn ? nid_bits(nid) : mix(mix(nid_bits(nid), start_pfn), end_pfn);
	case OP_totals:
		return mix(memblock_phys_mem_size(), memblock_reserved_size());
	case OP_free_ranges:
		if (a[2])
			for_each_free_mem_range_reverse(i, (int)a[0], (enum memblock_flags)a[1], &start, &end, &nid)
				sum = mix(mix(mix(sum, start), end), nid_bits(nid));
		else
			for_each_free_mem_range(i, (int)a[0], (enum memblock_flags)a[1], &start, &end, &nid)
				sum = mix(mix(mix(sum, start), end), nid_bits(nid));
		return sum;
	case OP_pfn_ranges:
		for_each_mem_pfn_range(index, (int)a[0], &start_pfn, &end_pfn, &nid)
			sum = mix(mix(mix(sum, start_pfn), end_pfn), nid_bits(nid));
		return sum;
	case OP_COUNT:
		break;
	}
	abort();
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

struct sequence {
	char name[64];
	struct op *ops;
	size_t count, room, timed_from;
};

/* The first operation of every sequence resets the machine. */
static int time_sequence(const struct sequence *s, unsigned int rounds)
{
	uint64_t fastest = UINT64_MAX;

	for (size_t i = 0; i < s->count; i++) {
		uint64_t answer = apply(&s->ops[i]);

		if (answer != s->ops[i].answer) {
			fprintf(stderr, "%s, operation %zu (%s): the kernel gave %" PRIx64 ", the model %" PRIx64 "\n",
				s->name, i, names[s->ops[i].code], answer, s->ops[i].answer);
			return 1;
		}
	}
	for (unsigned int round = 0; round < rounds; round++) {
		volatile uint64_t sink;
		uint64_t start;

		for (size_t i = 0; i < s->timed_from; i++)
			apply(&s->ops[i]);
		start = now();
		for (size_t i = s->timed_from; i < s->count; i++)
			sink = apply(&s->ops[i]);
		start = now() - start;
		fastest = start < fastest ? start : fastest;
		(void)sink;
	}
	printf("result %s %zu %" PRIu64 "\n", s->name, s->count - s->timed_from, fastest);
	return 0;
}

static int parse_op(char *line, struct op *op)
{
	char *word = strtok(line, " ");
	int arg = 0;

	for (op->code = 0; op->code < OP_COUNT; op->code++)
		if (word && !strcmp(word, names[op->code]))
			break;
	if (op->code == OP_COUNT)
		return 1;
	while ((word = strtok(NULL, " \n")) && strcmp(word, "=")) {
		if (arg == 6)
			return 1;
		op->arg[arg++] = strtoull(word, NULL, 16);
	}
	word = strtok(NULL, " \n");
	if (!word)
		return 1;
	op->answer = strtoull(word, NULL, 16);
	return 0;
}

int main(int argc, char **argv)
{
	FILE *file = argc == 3 ? fopen(argv[1], "r") : NULL;
	unsigned int rounds = argc == 3 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	struct sequence s = { .count = 0 };
	size_t number = 0;
	char line[512];
	int failed = 0;

	if (!file || !rounds) {
		fprintf(stderr, "usage: peer IN ROUNDS\n");
		return 2;
	}
	while (fgets(line, sizeof(line), file)) {
		number++;
		if (!strncmp(line, "memblock-ops 1", 14))
			continue;
		if (!strncmp(line, "seq ", 4)) {
			s.count = s.timed_from = 0;
			snprintf(s.name, sizeof(s.name), "%.*s", (int)strcspn(line + 4, "\n"), line + 4);
		} else if (!strcmp(line, "timed\n")) {
			s.timed_from = s.count;
		} else if (!strcmp(line, "end\n")) {
			failed |= time_sequence(&s, rounds);
		} else {
			if (s.count == s.room) {
				s.room = s.room ? 2 * s.room : 1024;
				s.ops = realloc(s.ops, s.room * sizeof(*s.ops));
				if (!s.ops)
					return 2;
			}
			if (parse_op(line, &s.ops[s.count])) {
				fprintf(stderr, "%s: line %zu is no operation\n", argv[1], number);
				return 2;
			}
			s.count++;
		}
	}
	return failed;
}
