// SPDX-License-Identifier: GPL-2.0
/*
 * Neighbours: present ones are mapped along with the page that was touched, missing
 * ones never, whether single or inside a huge page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

#define HUGE_SIZE (2UL << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static bool is_mapped(const unsigned char *at)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)at / page_size * 8) != 8)
		tap_bail("/proc/self/pagemap");
	close(fd);
	return entry >> 63;
}

static long faults_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static void check_around(void)
{
	struct fixture f;
	struct toucher t;
	size_t i, base;
	long faults;
	bool right = true;

	fixture_open(&f, 64);
	/* Fault-around looks at an aligned window of addresses, so pick one whole. */
	base = (16 - (uintptr_t)f.map / page_size % 16) % 16 + 16;
	for (i = 0; i < 64; i++)
		fill_page(f.view + i * page_size, i);
	for (i = 0; i < 16; i++)
		if (i != 5 && i != 11)
			declare(f.pager, base + i, 1);
	/* The first fault puts the page table in place, the second may map around. */
	right = page_is_filled(f.map + (base + 15) * page_size, base + 15);
	faults = faults_so_far();
	for (i = 6; i < 11; i++)
		right = right && page_is_filled(f.map + (base + i) * page_size, base + i);
	faults = faults_so_far() - faults;
	tap_ok(right, "present pages between missing ones are right");
	tap_ok(faults <= 2, "five present neighbours take one fault (%ld)", faults);
	tap_ok(!is_mapped(f.map + (base + 5) * page_size) &&
	       !is_mapped(f.map + (base + 11) * page_size), "missing neighbours are not mapped");
	toucher_start(&t, f.map + (base + 5) * page_size, false, 0);
	tap_ok(next_fault(&f).page == base + 5, "and still trap");
	declare(f.pager, base + 5, 1);
	toucher_join(&t);
	fixture_close(&f);
}

/* A memory file with a huge page in it; one page in the middle is missing. */
static void check_huge(void)
{
	size_t pages = 3 * HUGE_SIZE / page_size;
	unsigned char *aligned;
	struct fixture f;
	struct toucher t;
	size_t first, i;
	bool right = true;

	fixture_open(&f, pages);
	munmap(f.map, pages * page_size);
	munmap(f.view, pages * page_size);
	/* Both views where a huge page could be mapped. */
	aligned = mmap(NULL, 9 * HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	aligned = (void *)(((uintptr_t)aligned + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	f.view = mmap(aligned, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		      f.memory, 0);
	f.map = mmap(aligned + 4 * HUGE_SIZE, pages * page_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED, f.node, 0);
	if (f.view == MAP_FAILED || f.map == MAP_FAILED)
		tap_bail("aligned mappings");
	first = HUGE_SIZE / page_size;
	for (i = 0; i < pages; i++)
		fill_page(f.view + i * page_size, i);
	if (madvise(f.view, 3 * HUGE_SIZE, MADV_COLLAPSE)) {
		tap_skip("huge page in the memory file: no MADV_COLLAPSE here");
		tap_skip("missing page inside it");
		tap_skip("collapse of the trapped view");
		fixture_close(&f);
		return;
	}
	/* All of the middle huge page but one. */
	declare(f.pager, first, 100);
	declare(f.pager, first + 101, first - 101);
	for (i = 0; i < first; i++)
		if (i != 100)
			right = right && page_is_filled(f.map + (first + i) * page_size, first + i);
	tap_ok(right && no_fault(&f), "present pages inside a huge page are right");
	madvise(f.map + HUGE_SIZE, HUGE_SIZE, MADV_HUGEPAGE);
	madvise(f.map + HUGE_SIZE, HUGE_SIZE, MADV_COLLAPSE);
	tap_ok(!is_mapped(f.map + (first + 100) * page_size),
	       "the missing one is not mapped, not even after MADV_COLLAPSE");
	toucher_start(&t, f.map + (first + 100) * page_size, false, 0);
	tap_ok(next_fault(&f).page == first + 100, "and still traps");
	declare(f.pager, first + 100, 1);
	toucher_join(&t);
	fixture_close(&f);
}

/* A hole punched through the mapping: zero if present, asked for if missing. */
static void check_hole(void)
{
	struct fixture f;
	struct toucher t;

	fixture_open(&f, 4);
	memset(f.view, 7, 4 * page_size);
	declare(f.pager, 0, 1);
	tap_ok(f.map[0] == 7, "a page is present");
	tap_ok(!madvise(f.map, 2 * page_size, MADV_REMOVE) && f.map[0] == 0 && no_fault(&f),
	       "its hole reads as zero");
	toucher_start(&t, f.map + page_size, false, 0);
	tap_ok(next_fault(&f).page == 1, "the hole of a missing page is asked for");
	f.view[page_size] = 8;
	declare(f.pager, 1, 1);
	toucher_join(&t);
	tap_ok(t.value == 8, "and filled as ever");
	fixture_close(&f);
}

int main(void)
{
	tap_start(4 + 3 + 4, 60);
	check_around();
	check_huge();
	check_hole();
	return tap_end();
}
