// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Runs sequences of mappings, as written by the example `swiotlb_peer`, on the kernel's own swiotlb, and times them.
 * Reads the form that models/benches/swiotlb_ops/text.rs writes.
 *
 * The kernel's file is included here, and not linked, since its pool is its own. It is not part of this repository:
 * compare.sh finds it in an installed linux-source and sets SWIOTLB_C.
 */
#include "shim.h"

#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include SWIOTLB_C

#undef memcpy
#undef memset

#define FULL UINT64_MAX
#define BUFFERS_START 0x100000000ULL
#define BUFFERS_BYTES ((size_t)16 << 20)

struct op {
	bool map;
	unsigned int cpu, id;
	uint64_t addr, size;
	unsigned int align_mask, min_align_mask;
	uint64_t boundary_mask, answer;
};

struct mapped {
	uint64_t at, size;
	unsigned int min_align_mask;
};

struct sequence {
	char name[64];
	uint64_t start;
	unsigned int nslabs, nareas, threads, ids;
	struct op *ops;
	size_t count, room, timed_from;
};

static void make_pool(const struct sequence *s)
{
	struct io_tlb_pool *pool = &io_tlb_default_mem.defpool;

	free(pool->slots);
	free(pool->areas);
	free(peer_pool);
	pool->slots = calloc(s->nslabs, sizeof(*pool->slots));
	pool->areas = calloc(s->nareas, sizeof(*pool->areas));
	peer_pool = calloc(s->nslabs, IO_TLB_SIZE);
	if (!pool->slots || !pool->areas || !peer_pool)
		abort();
	peer_pool_start = s->start;
}

static void reset_pool(const struct sequence *s)
{
	atomic_long_set(&io_tlb_default_mem.total_used, 0);
	atomic_long_set(&io_tlb_default_mem.used_hiwater, 0);
	swiotlb_init_io_tlb_pool(&io_tlb_default_mem.defpool, s->start, peer_pool, s->nslabs, false, s->nareas);
	add_mem_pool(&io_tlb_default_mem, &io_tlb_default_mem.defpool);
}

static inline uint64_t apply(const struct op *op, struct mapped *mapped, uint64_t start)
{
	struct device dev = { .dma_io_tlb_mem = &io_tlb_default_mem };
	struct mapped *one = &mapped[op->id];

	if (op->map) {
		dev.min_align_mask = op->min_align_mask;
		dev.boundary_mask = op->boundary_mask;
		one->at = swiotlb_tbl_map_single(&dev, op->addr, op->size, op->align_mask, DMA_BIDIRECTIONAL, 0);
		one->size = op->size;
		one->min_align_mask = op->min_align_mask;
		return one->at == FULL ? FULL : one->at - start;
	}
	if (one->at != FULL) {
		dev.min_align_mask = one->min_align_mask;
		dev.boundary_mask = UINT64_MAX;
		swiotlb_tbl_unmap_single(&dev, one->at, one->size, DMA_BIDIRECTIONAL, 0);
	}
	return 0;
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static int check(const struct sequence *s, struct mapped *mapped, uint64_t *sum)
{
	*sum = 0;
	reset_pool(s);
	for (size_t i = 0; i < s->count; i++) {
		const struct op *op = &s->ops[i];
		uint64_t answer;

		peer_cpu = (int)op->cpu;
		answer = apply(op, mapped, s->start);
		if (!op->map)
			continue;
		*sum = *sum * 31 + answer;
		if (answer != op->answer) {
			fprintf(stderr, "%s, operation %zu: the kernel gave %" PRIx64 ", the model %" PRIx64 "\n",
				s->name, i, answer, op->answer);
			return 1;
		}
	}
	return 0;
}

#ifdef PEER_THREADS
struct worker {
	const struct sequence *s;
	struct mapped *mapped;
	pthread_barrier_t *gate;
	unsigned int cpu;
	bool wrong;
	uint64_t began, ended;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	volatile uint64_t sink;

	peer_cpu = (int)w->cpu;
	pthread_barrier_wait(w->gate);
	w->began = now();
	for (size_t i = w->s->timed_from; i < w->s->count; i++) {
		const struct op *op = &w->s->ops[i];

		if (op->cpu != w->cpu)
			continue;
		sink = apply(op, w->mapped, w->s->start);
		w->wrong |= op->map && sink != op->answer;
	}
	w->ended = now();
	return NULL;
}

/* From when the first thread began to when the last one ended. */
static uint64_t round_of(const struct sequence *s, struct mapped *mapped, bool *wrong)
{
	pthread_t threads[8];
	struct worker workers[8];
	pthread_barrier_t gate;
	uint64_t began = UINT64_MAX, ended = 0;

	(void)mapped;
	if (s->threads > 8 || pthread_barrier_init(&gate, NULL, s->threads))
		abort();
	for (unsigned int cpu = 0; cpu < s->threads; cpu++) {
		workers[cpu] = (struct worker){ .s = s, .gate = &gate, .cpu = cpu };
		workers[cpu].mapped = calloc(s->ids, sizeof(*mapped));
		if (!workers[cpu].mapped || pthread_create(&threads[cpu], NULL, work, &workers[cpu]))
			abort();
	}
	for (unsigned int cpu = 0; cpu < s->threads; cpu++) {
		pthread_join(threads[cpu], NULL);
		free(workers[cpu].mapped);
		*wrong |= workers[cpu].wrong;
		began = workers[cpu].began < began ? workers[cpu].began : began;
		ended = workers[cpu].ended > ended ? workers[cpu].ended : ended;
	}
	pthread_barrier_destroy(&gate);
	return ended - began;
}
#else
static uint64_t round_of(const struct sequence *s, struct mapped *mapped, bool *wrong)
{
	volatile uint64_t sink = 0;
	uint64_t start;

	(void)wrong;
	for (size_t i = 0; i < s->timed_from; i++) {
		peer_cpu = (int)s->ops[i].cpu;
		sink = apply(&s->ops[i], mapped, s->start);
	}
	start = now();
	for (size_t i = s->timed_from; i < s->count; i++) {
		peer_cpu = (int)s->ops[i].cpu;
		sink = apply(&s->ops[i], mapped, s->start);
	}
	(void)sink;
	return now() - start;
}
#endif

static int time_sequence(const struct sequence *s, unsigned int rounds)
{
	struct mapped *mapped = calloc(s->ids, sizeof(*mapped));
	uint64_t fastest = UINT64_MAX, sum;
	bool wrong = false;
	size_t pairs = 0;

	if (!mapped)
		abort();
	make_pool(s);
	if (check(s, mapped, &sum))
		return 1;
	for (size_t i = s->timed_from; i < s->count; i++)
		pairs += s->ops[i].map;
	for (unsigned int round = 0; round < rounds; round++) {
		uint64_t nanos;

		reset_pool(s);
		nanos = round_of(s, mapped, &wrong);
		fastest = nanos < fastest ? nanos : fastest;
	}
	free(mapped);
	if (wrong) {
		fprintf(stderr, "%s: a thread got other slots\n", s->name);
		return 1;
	}
	printf("result %s %zu %" PRIu64 " %" PRIx64 "\n", s->name, pairs, fastest, sum);
	return 0;
}

static int parse_op(const char *line, struct op *op)
{
	int got = sscanf(line, "map %x %x %" SCNx64 " %" SCNx64 " %x %x %" SCNx64 " = %" SCNx64, &op->cpu, &op->id,
			 &op->addr, &op->size, &op->align_mask, &op->min_align_mask, &op->boundary_mask, &op->answer);

	op->map = got == 8;
	return op->map ? 0 : sscanf(line, "unmap %x %x", &op->cpu, &op->id) != 2;
}

/* Whether this build and this run are for the sequence. */
static bool wanted(const struct sequence *s)
{
	bool threaded = !strncmp(s->name, "threads-", 8);

#ifdef PEER_THREADS
	return threaded;
#else
	return !threaded && !(peer_copies && !strncmp(s->name, "recorded-", 9));
#endif
}

int main(int argc, char **argv)
{
	FILE *file = argc >= 3 ? fopen(argv[1], "r") : NULL;
	unsigned int rounds = argc >= 3 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	struct sequence s = { .count = 0 };
	size_t number = 0;
	char line[512];
	int failed = 0;

	if (!file || !rounds) {
		fprintf(stderr, "usage: peer IN ROUNDS [copying]\n");
		return 2;
	}
	peer_copies = argc == 4 && !strcmp(argv[3], "copying");
	peer_buffers_start = BUFFERS_START;
	peer_buffers = calloc(1, BUFFERS_BYTES);
	while (fgets(line, sizeof(line), file)) {
		number++;
		if (!strncmp(line, "swiotlb-ops 1", 13))
			continue;
		if (!strncmp(line, "seq ", 4)) {
			s.count = s.timed_from = s.ids = 0;
			if (sscanf(line, "seq %63s %" SCNx64 " %x %x %x", s.name, &s.start, &s.nslabs, &s.nareas,
				   &s.threads) != 5) {
				fprintf(stderr, "%s: line %zu begins no sequence\n", argv[1], number);
				return 2;
			}
		} else if (!strcmp(line, "timed\n")) {
			s.timed_from = s.count;
		} else if (!strcmp(line, "end\n")) {
			if (wanted(&s))
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
			if (s.ops[s.count].id >= s.ids)
				s.ids = s.ops[s.count].id + 1;
			s.count++;
		}
	}
	return failed;
}
