// SPDX-License-Identifier: GPL-2.0
/*
 * Neighbours: present ones are mapped along with the page that was touched, missing
 * ones never, whether single or inside a huge page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "harness.h"

static long faults_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* 1024 pages, of which the second half of the first 512 is missing at first. */
static void check_around(void)
{
	bool right = true, mapped = false;
	struct fixture f;
	struct toucher t;
	long faults;
	size_t i;

	fixture_open(&f, 1024);
	fill_pages(&f);
	declare(f.pager, 0, 256);
	for (i = 0; i < 256; i++)
		right = right && page_is_filled(f.map + i * page_size, i);
	for (i = 256; i < 512; i++)
		mapped = mapped || is_mapped(f.map + i * page_size);
	tap_ok(right, "present pages beside missing ones are right");
	tap_ok(!mapped, "missing neighbours are not mapped");
	toucher_start(&t, f.map + 256 * page_size, false, 0);
	tap_ok(next_fault(&f).page == 256, "and trap");
	declare(f.pager, 256, 768);
	toucher_join(&t);

	faults = faults_so_far();
	for (i = 512; i < 1024; i++)
		right = right && page_is_filled(f.map + i * page_size, i);
	faults = faults_so_far() - faults;
	tap_ok(right && faults <= 512 / 8,
	       "where all is present, neighbours come with one fault (%ld for 512 pages)", faults);
	fixture_close(&f);
}

/* A memory file with a huge page in it; one page in the middle is missing. */
static void check_huge(void)
{
	size_t first = HUGE_SIZE / page_size, i;
	struct fixture f;
	struct toucher t;
	bool right = true;

	fixture_open_aligned(&f, 3 * first);
	fill_pages(&f);
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

static atomic_bool collapsing;

static void *run_collapse(void *arg)
{
	while (atomic_load(&collapsing)) {
		/* Splits the huge page by a hole beyond the region's, then makes it anew. */
		madvise((unsigned char *)arg + 511 * page_size, page_size, MADV_DONTNEED);
		madvise(arg, HUGE_SIZE, MADV_COLLAPSE);
	}
	return NULL;
}

/*
 * Collapsing empties the trapped view's PMD behind its back, and the next fault must not
 * fill it with the huge page.
 */
static void check_collapse_race(void)
{
	size_t round, i;
	bool mapped = false, right = true;
	pthread_t thread;
	struct fixture f;

	fixture_open_aligned(&f, HUGE_SIZE / page_size);
	fill_pages(&f);
	declare(f.pager, 0, 8);
	atomic_store(&collapsing, true);
	thread_start(&thread, run_collapse, f.view);
	for (round = 0; round < 2000; round++) {
		madvise(f.map, HUGE_SIZE, MADV_DONTNEED);
		for (i = 0; i < 8; i++)
			right = right && page_is_filled(f.map + i * page_size, i);
		mapped = mapped || is_mapped(f.map + 9 * page_size) ||
			 is_mapped(f.map + 300 * page_size);
	}
	atomic_store(&collapsing, false);
	pthread_join(thread, NULL);
	tap_ok(right, "faults while the memory file is collapsed: present pages are right");
	tap_ok(!mapped, "and missing ones are never mapped");
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
	tap_start(4 + 3 + 2 + 4, 120);
	check_around();
	check_huge();
	check_collapse_race();
	check_hole();
	return tap_end();
}
