// SPDX-License-Identifier: GPL-2.0
/*
 * What dirty tracking of 256 MiB costs beside the kernel's own two ways, which track
 * a mapping of a plain memfd:
 *
 *	soft-dirty	/proc/self/pagemap is read, 4 is written to clear_refs
 *	uffd-wp		userfaultfd that resolves its write faults by itself, and PAGEMAP_SCAN,
 *			which takes and protects what was written
 *
 * Prints, of the node, of the other, and their ratio, instructions
 *
 *	dirty-round-N	of a round, which takes the N pages, evenly spread, that were
 *			written before it; the calls only, not what is done with the answer
 *	dirty-write-N	of the first write to one of these pages after that
 *	dirty-read-N	of the first read, if it comes before the first write
 *	dirty-rewrite-N	of the first write after such a read
 *	dirty-start	of beginning, when all pages are mapped writable
 *	dirty-stop	of its end (soft-dirty has none)
 *
 * and, of a node where tracking was on and one where it never was, and their ratio,
 *
 *	dirty-off-write	of a write to a page that is mapped
 *	dirty-off-fault	of a write to a page of a fresh mapping
 *
 * Every round must report what was written and nothing else, or all of this is void.
 * What an emptied TLB costs is not in the figures: it costs no instructions.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/* Newer than the headers may be. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef PAGEMAP_SCAN
#define PAGE_IS_WRITTEN (1 << 1)
#define PM_SCAN_WP_MATCHING (1 << 0)
#define PM_SCAN_CHECK_WPASYNC (1 << 1)

struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct pm_scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

#define PAGES			((size_t)1 << 16)
#define WORDS			(PAGES / 64)
#define ROUNDS			7
#define PAGEMAP_SOFT_DIRTY	(1ULL << 55)

static const size_t spreads[] = { 64, 4096, PAGES };	/* pages written in a round */

struct mechanism {
	const char *name;
	const char *missing;		/* says why it is not there, if probe() says so */
	bool (*probe)(void);
	void (*open)(void);		/* all pages are present, none is mapped */
	void (*start)(void);
	void (*round)(void);
	void (*report)(uint64_t *bits);	/* what the last round found; @bits are 0 */
	void (*stop)(void);		/* NULL: there is no such thing */
	void (*close)(void);
};

/* Instructions: of a round, and a page. */
struct costs {
	double round, write, read, rewrite;
};

struct figures {
	bool there;
	double start, stop;
	struct costs costs[ARRAY_SIZE(spreads)];
};

static unsigned char *map;		/* what is tracked */

/* --- yabusame ---------------------------------------------------------------------- */

static struct fixture fixture;
static uint64_t yab_bits[WORDS];

static bool yab_probe(void)
{
	return true;
}

/* The pager's view stays empty, as if it sent pages with sendfile(). */
static void yab_open(void)
{
	fixture_open(&fixture, PAGES);
	if (declare(fixture.pager, 0, PAGES) != PAGES)
		tap_bail("declare");
	map = fixture.map;
}

static void yab_start(void)
{
	if (track(fixture.pager, true))
		tap_bail("YAB_IOC_TRACK");
}

static void yab_round(void)
{
	if (get_bitmap(fixture.pager, YAB_IOC_DIRTY, 0, PAGES, yab_bits) < 0)
		tap_bail("YAB_IOC_DIRTY");
}

static void yab_report(uint64_t *bits)
{
	memcpy(bits, yab_bits, sizeof(yab_bits));
}

static void yab_stop(void)
{
	if (track(fixture.pager, false))
		tap_bail("YAB_IOC_TRACK");
}

static void yab_close(void)
{
	fixture_close(&fixture);
}

/* --- a plain memfd ----------------------------------------------------------------- */

static int memory, pagemap;

static void plain_open(void)
{
	memory = make_memory(PAGES * page_size);
	map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (map == MAP_FAILED)
		tap_bail("mmap");
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		tap_bail("/proc/self/pagemap");
}

static void plain_close(void)
{
	close(pagemap);
	munmap(map, PAGES * page_size);
	close(memory);
}

/* --- soft-dirty ---------------------------------------------------------------------- */

static uint64_t soft_entries[PAGES];
static int soft_clear = -1;

static void soft_read(const void *at, uint64_t *entries, size_t count)
{
	size_t size = count * sizeof(*entries);
	off_t offset = (uintptr_t)at / page_size * sizeof(*entries);

	if (pread(pagemap, entries, size, offset) != (ssize_t)size)
		tap_bail("/proc/self/pagemap");
}

/* What was just mapped counts as written, where there is such a bit. */
static bool soft_probe(void)
{
	uint64_t entry;

	plain_open();
	touch(map, true);
	soft_read(map, &entry, 1);
	plain_close();
	return entry & PAGEMAP_SOFT_DIRTY;
}

static void soft_open(void)
{
	plain_open();
	soft_clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (soft_clear < 0)
		tap_bail("/proc/self/clear_refs");
}

static void soft_start(void)
{
	if (write(soft_clear, "4", 1) != 1)
		tap_bail("/proc/self/clear_refs");
}

static void soft_round(void)
{
	soft_read(map, soft_entries, PAGES);
	soft_start();
}

static void soft_report(uint64_t *bits)
{
	size_t page;

	for (page = 0; page < PAGES; page++)
		if (soft_entries[page] & PAGEMAP_SOFT_DIRTY)
			bits[page / 64] |= 1ULL << page % 64;
}

static void soft_close(void)
{
	close(soft_clear);
	plain_close();
}

/* --- userfaultfd --------------------------------------------------------------------- */

static struct page_region uffd_regions[PAGES / 2];
static long uffd_count;			/* regions of the last round */
static int uffd;

static bool uffd_try(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	return uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api);
}

static bool uffd_probe(void)
{
	bool there = uffd_try();

	close(uffd);
	return there;
}

static void uffd_open(void)
{
	plain_open();
	if (!uffd_try())
		tap_bail("userfaultfd");
}

static struct uffdio_range uffd_range(void)
{
	return (struct uffdio_range){ .start = (uintptr_t)map, .len = PAGES * page_size };
}

static void uffd_start(void)
{
	struct uffdio_register area = { .range = uffd_range(), .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = {
		.range = uffd_range(),
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &area) || ioctl(uffd, UFFDIO_WRITEPROTECT, &protect))
		tap_bail("userfaultfd");
}

static void uffd_round(void)
{
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)map,
		.end = (uintptr_t)map + PAGES * page_size,
		.vec = (uintptr_t)uffd_regions,
		.vec_len = ARRAY_SIZE(uffd_regions),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	/* check() finds what is missing: walk_end lags behind after more than 512 regions. */
	uffd_count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
	if (uffd_count < 0)
		tap_bail("PAGEMAP_SCAN");
}

static void uffd_report(uint64_t *bits)
{
	long i;

	for (i = 0; i < uffd_count; i++) {
		size_t page = (uffd_regions[i].start - (uintptr_t)map) / page_size;
		size_t end = (uffd_regions[i].end - (uintptr_t)map) / page_size;

		for (; page < end; page++)
			bits[page / 64] |= 1ULL << page % 64;
	}
}

static void uffd_stop(void)
{
	struct uffdio_range range = uffd_range();

	if (ioctl(uffd, UFFDIO_UNREGISTER, &range))
		tap_bail("UFFDIO_UNREGISTER");
}

static void uffd_close(void)
{
	close(uffd);
	plain_close();
}

/* --- the measurement ----------------------------------------------------------------- */

/* The first is the one that the others are compared with. */
static const struct mechanism mechanisms[] = {
	{ "yabusame", "", yab_probe, yab_open, yab_start, yab_round, yab_report, yab_stop,
	  yab_close },
	{ "soft-dirty", "CONFIG_MEM_SOFT_DIRTY is not set", soft_probe, soft_open, soft_start,
	  soft_round, soft_report, NULL, soft_close },
	{ "uffd-wp", "no UFFD_FEATURE_WP_ASYNC before Linux 6.7", uffd_probe, uffd_open, uffd_start,
	  uffd_round, uffd_report, uffd_stop, uffd_close },
};

static uint64_t timed(void (*run)(void))
{
	uint64_t start = now_ns();

	run();
	return now_ns() - start;
}

/* Touches this many pages, evenly spread. */
static uint64_t walk(unsigned char *at, size_t count, bool write)
{
	size_t step = PAGES / count * page_size;
	uint64_t start = now_ns();
	size_t i;

	for (i = 0; i < count; i++, at += step)
		touch(at, write);
	return now_ns() - start;
}

static void check(const struct mechanism *m, size_t count)
{
	static uint64_t bits[WORDS];
	size_t step = PAGES / count, page, set = 0, wrong = 0;

	memset(bits, 0, sizeof(bits));
	m->report(bits);
	for (page = 0; page < PAGES; page++) {
		bool dirty = bits[page / 64] >> page % 64 & 1;

		set += dirty;
		wrong += dirty != (page % step == 0);
	}
	if (wrong) {
		printf("%s: %zu pages reported, %zu written, %zu wrong\n", m->name, set, count,
		       wrong);
		exit(1);
	}
}

static struct costs measure_rounds(const struct mechanism *m, size_t count)
{
	uint64_t round[ROUNDS], write[ROUNDS], read[ROUNDS], rewrite[ROUNDS];
	size_t i;

	walk(map, count, true);
	m->round();
	check(m, count);
	for (i = 0; i < ROUNDS; i++) {
		write[i] = walk(map, count, true);
		round[i] = timed(m->round);
		check(m, count);
		read[i] = walk(map, count, false);
		rewrite[i] = walk(map, count, true);
		m->round();
		check(m, count);
	}
	return (struct costs){
		.round = median(round, ROUNDS),
		.write = (double)median(write, ROUNDS) / count,
		.read = (double)median(read, ROUNDS) / count,
		.rewrite = (double)median(rewrite, ROUNDS) / count,
	};
}

static void measure(const struct mechanism *m, struct figures *figures)
{
	uint64_t start[ROUNDS], stop[ROUNDS] = { 0 };
	size_t i;

	figures->there = m->probe();
	if (!figures->there)
		return;
	m->open();
	for (i = 0; i < ROUNDS; i++) {
		walk(map, PAGES, true);
		start[i] = timed(m->start);
		if (m->stop)
			stop[i] = timed(m->stop);
	}
	figures->start = median(start, ROUNDS);
	figures->stop = median(stop, ROUNDS);
	walk(map, PAGES, true);
	m->start();
	/* What is not written is mapped nevertheless. */
	walk(map, PAGES, false);
	for (i = 0; i < ARRAY_SIZE(spreads); i++)
		figures->costs[i] = measure_rounds(m, spreads[i]);
	m->close();
}

/* Where it was never on, and where it is not any more. */
static void compare_off(void)
{
	uint64_t write[2][ROUNDS], fault[2][ROUNDS];
	struct fixture f[2];
	size_t i, which;

	for (which = 0; which < 2; which++) {
		yab_open();
		walk(map, PAGES, true);
		if (which) {
			yab_start();
			walk(map, PAGES, true);
			yab_round();
			check(&mechanisms[0], PAGES);
			yab_stop();
			walk(map, PAGES, true);
		}
		f[which] = fixture;
	}
	for (i = 0; i < ROUNDS; i++) {
		for (which = 0; which < 2; which++) {
			void *fresh = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE,
					   MAP_SHARED, f[which].node, 0);

			if (fresh == MAP_FAILED)
				tap_bail("mmap");
			write[which][i] = walk(f[which].map, PAGES, true);
			fault[which][i] = walk(fresh, PAGES, true);
			munmap(fresh, PAGES * page_size);
		}
	}
	for (which = 0; which < 2; which++)
		fixture_close(&f[which]);
	printf("dirty-off-write %.2f %.2f %.3f\n", (double)median(write[1], ROUNDS) / PAGES,
	       (double)median(write[0], ROUNDS) / PAGES,
	       (double)median(write[1], ROUNDS) / median(write[0], ROUNDS));
	printf("dirty-off-fault %.1f %.1f %.3f\n", (double)median(fault[1], ROUNDS) / PAGES,
	       (double)median(fault[0], ROUNDS) / PAGES,
	       (double)median(fault[1], ROUNDS) / median(fault[0], ROUNDS));
}

static void print(const char *what, size_t count, const struct mechanism *m, bool there,
		  double ours, double theirs)
{
	printf("dirty-%s", what);
	if (count)
		printf("-%zu", count);
	printf("-%s %.1f ", m->name, ours);
	if (there)
		printf("%.1f %.3f\n", theirs, ours / theirs);
	else
		printf("- - (%s)\n", m->missing);
}

int main(void)
{
	static struct figures figures[ARRAY_SIZE(mechanisms)];
	const struct figures *ours = &figures[0];
	size_t i, j;

	page_size = sysconf(_SC_PAGESIZE);
	for (i = 0; i < ARRAY_SIZE(mechanisms); i++)
		measure(&mechanisms[i], &figures[i]);
	for (i = 1; i < ARRAY_SIZE(mechanisms); i++) {
		const struct mechanism *m = &mechanisms[i];
		const struct figures *theirs = &figures[i];

		for (j = 0; j < ARRAY_SIZE(spreads); j++)
			print("round", spreads[j], m, theirs->there, ours->costs[j].round,
			      theirs->costs[j].round);
		for (j = 0; j < ARRAY_SIZE(spreads); j++)
			print("write", spreads[j], m, theirs->there, ours->costs[j].write,
			      theirs->costs[j].write);
		for (j = 0; j < ARRAY_SIZE(spreads); j++)
			print("read", spreads[j], m, theirs->there, ours->costs[j].read,
			      theirs->costs[j].read);
		for (j = 0; j < ARRAY_SIZE(spreads); j++)
			print("rewrite", spreads[j], m, theirs->there, ours->costs[j].rewrite,
			      theirs->costs[j].rewrite);
		print("start", 0, m, theirs->there, ours->start, theirs->start);
		if (m->stop)
			print("stop", 0, m, theirs->there, ours->stop, theirs->stop);
	}
	compare_off();
	return 0;
}
