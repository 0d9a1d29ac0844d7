// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to resolve a fault, from the touch until the toucher goes on:
 *
 *	copy		userfaultfd, UFFDIO_COPY into shmem
 *	continue	userfaultfd, UFFDIO_CONTINUE: the page is in shmem already
 *	declare		yabusame, the page is in the memory file already
 *	memcpy, pwrite	yabusame, the pager puts it there first, in one of two ways
 *	populated	as memcpy, but the memory file's pages were allocated before
 *
 * All pagers are alike: one thread takes as many faults as there are with a read()
 * that blocks, and resolves them. Each toucher walks pages of its own, so that
 * no two faults of a batch are neighbours.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define BATCH	256	/* faults in one read() */
#define STACK	((size_t)64 << 10)

struct variant {
	const char *name;
	bool filled;			/* before anybody touches */
	void (*open)(const struct variant *variant);
	size_t (*serve)(const struct variant *variant);	/* one batch; its size */
	void (*store)(uint64_t page);
	unsigned long features;		/* userfaultfd only */
	unsigned long mode;
};

static struct fixture fixture;		/* of userfaultfd only memory, view, pager, and map */
static unsigned char *source;
static size_t faults;
static unsigned int threads;

static void uffd_open(const struct variant *variant)
{
	struct uffdio_api api = { .api = UFFD_API, .features = variant->features };
	struct uffdio_register area = { .mode = variant->mode };
	struct fixture *f = &fixture;

	f->pages = faults;
	f->memory = make_memory(faults * page_size);
	f->view = mmap(NULL, faults * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory, 0);
	f->map = mmap(NULL, faults * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory, 0);
	f->pager = syscall(SYS_userfaultfd, O_CLOEXEC);
	area.range.start = (uintptr_t)f->map;
	area.range.len = faults * page_size;
	if (f->view == MAP_FAILED || f->map == MAP_FAILED || f->pager < 0 ||
	    ioctl(f->pager, UFFDIO_API, &api) || ioctl(f->pager, UFFDIO_REGISTER, &area))
		tap_bail("userfaultfd");
	f->node = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void yab_open(const struct variant *variant)
{
	(void)variant;
	fixture_open(&fixture, faults);
}

static size_t uffd_serve(const struct variant *variant)
{
	static struct uffd_msg messages[BATCH];
	ssize_t size = read(fixture.pager, messages, sizeof(messages));
	size_t count = size / sizeof(*messages), i;

	if (size <= 0)
		tap_bail("read from userfaultfd");
	for (i = 0; i < count; i++) {
		uint64_t address = messages[i].arg.pagefault.address & -page_size;
		struct uffdio_copy copy = {
			.dst = address,
			.src = (uintptr_t)source,
			.len = page_size,
		};
		struct uffdio_continue cont = { .range = { .start = address, .len = page_size } };

		if (variant->mode == UFFDIO_REGISTER_MODE_MINOR ?
		    ioctl(fixture.pager, UFFDIO_CONTINUE, &cont) :
		    ioctl(fixture.pager, UFFDIO_COPY, &copy))
			tap_bail("UFFDIO of a page");
	}
	return count;
}

static size_t yab_serve(const struct variant *variant)
{
	static struct yab_fault batch[BATCH];
	static struct yab_range ranges[BATCH];
	struct yab_declare request = { .ranges = (uintptr_t)ranges };
	ssize_t size = read(fixture.pager, batch, sizeof(batch));
	size_t i;

	if (size <= 0)
		tap_bail("read from the pager fd");
	request.count = size / sizeof(*batch);
	for (i = 0; i < request.count; i++) {
		if (variant->store)
			variant->store(batch[i].page);
		ranges[i] = (struct yab_range){ .page = batch[i].page, .count = 1 };
	}
	if (ioctl(fixture.pager, YAB_IOC_DECLARE, &request))
		tap_bail("YAB_IOC_DECLARE");
	return request.count;
}

static void store_memcpy(uint64_t page)
{
	memcpy(fixture.view + page * page_size, source, page_size);
}

static void store_pwrite(uint64_t page)
{
	if (pwrite(fixture.memory, source, page_size, page * page_size) != (ssize_t)page_size)
		tap_bail("pwrite");
}

static const struct variant variants[] = {
	{ "copy", false, uffd_open, uffd_serve, NULL,
	  UFFD_FEATURE_MISSING_SHMEM, UFFDIO_REGISTER_MODE_MISSING },
	{ "continue", true, uffd_open, uffd_serve, NULL,
	  UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR },
	{ "declare", true, yab_open, yab_serve, NULL, 0, 0 },
	{ "memcpy", false, yab_open, yab_serve, store_memcpy, 0, 0 },
	{ "pwrite", false, yab_open, yab_serve, store_pwrite, 0, 0 },
	{ "populated", true, yab_open, yab_serve, store_memcpy, 0, 0 },
};

static pthread_barrier_t barrier;

struct walker {
	pthread_t thread;
	size_t first, end;	/* pages */
	uint64_t done_ns;
};

static void *walk(void *arg)
{
	struct walker *w = arg;
	size_t page;

	pthread_barrier_wait(&barrier);
	for (page = w->first; page < w->end; page++)
		touch(fixture.map + page * page_size, false);
	w->done_ns = now_ns();
	/* Nobody exits while others are measured. */
	pthread_barrier_wait(&barrier);
	return NULL;
}

static uint64_t run(const struct variant *variant)
{
	struct walker *walkers = calloc(threads, sizeof(*walkers));
	uint64_t start, end = 0;
	pthread_attr_t attr;
	char *stacks;
	unsigned int i;
	size_t served;

	variant->open(variant);
	if (variant->filled)
		memset(fixture.view, 1, faults * page_size);
	pthread_barrier_init(&barrier, NULL, threads + 1);
	pthread_attr_init(&attr);
	/* All in one mapping: their number must not be that of the process's mappings. */
	stacks = mmap(NULL, threads * STACK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stacks == MAP_FAILED)
		tap_bail("stacks");
	for (i = 0; i < threads; i++) {
		struct walker *w = &walkers[i];

		w->first = faults * i / threads;
		w->end = faults * (i + 1) / threads;
		pthread_attr_setstack(&attr, stacks + i * STACK, STACK);
		if (pthread_create(&w->thread, &attr, walk, w))
			tap_bail("pthread_create");
	}
	/* Until all of them are at the barrier. */
	usleep(100000);
	start = now_ns();
	pthread_barrier_wait(&barrier);
	for (served = 0; served < faults;)
		served += variant->serve(variant);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < threads; i++) {
		pthread_join(walkers[i].thread, NULL);
		end = walkers[i].done_ns > end ? walkers[i].done_ns : end;
	}
	fixture_close(&fixture);
	munmap(stacks, threads * STACK);
	free(walkers);
	return end - start;
}

int main(int argc, char **argv)
{
	const struct variant *variant = NULL;
	uint64_t results[9];
	unsigned int i, rounds;

	if (argc != 5) {
		fprintf(stderr, "usage: fault VARIANT THREADS FAULTS ROUNDS\n");
		return 2;
	}
	threads = atoi(argv[2]);
	faults = atoi(argv[3]);
	rounds = atoi(argv[4]);
	for (i = 0; i < ARRAY_SIZE(variants); i++)
		if (!strcmp(variants[i].name, argv[1]))
			variant = &variants[i];
	if (!variant || !threads || threads > faults || !rounds || rounds > ARRAY_SIZE(results)) {
		fprintf(stderr, "fault: no such variant, or a number that makes no sense\n");
		return 2;
	}
	page_size = sysconf(_SC_PAGESIZE);
	source = aligned_alloc(page_size, page_size);
	memset(source, 1, page_size);
	for (i = 0; i < rounds; i++)
		results[i] = run(variant) / faults;
	printf("%s %u %lu\n", variant->name, threads, (unsigned long)median(results, rounds));
	return 0;
}
