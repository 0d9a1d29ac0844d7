// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to touch present pages one after the other through a fresh mapping of
 * a node, beside a fresh mapping of a plain memfd with the same pages:
 *
 *	around-read, around-write	all 512 pages of each 2 MiB are present
 *	around-holes-read, -write	64 of them, every eighth, are missing and not touched
 *
 * Prints instructions a page: of the node, of the memfd, and their ratio.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define EXTENT	((size_t)512)		/* pages */
#define EXTENTS	8
#define ROUNDS	9

static bool is_hole(size_t page, bool holes)
{
	return holes && page % 8 == 7;
}

/* Fills all that is present, in the same way for both. */
static size_t fill(unsigned char *view, bool holes)
{
	size_t page, filled = 0;

	for (page = 0; page < EXTENT * EXTENTS; page++) {
		if (is_hole(page, holes))
			continue;
		memset(view + page * page_size, 1, page_size);
		filled++;
	}
	return filled;
}

/* Page tables cover 2 MiB, so that is how mappings are aligned. */
static uint64_t touch_all(int fd, bool holes, bool write)
{
	static unsigned char *area;
	size_t size = EXTENT * EXTENTS * page_size, page;
	unsigned char *map;
	uint64_t start, end;

	if (!area) {
		area = mmap(NULL, size + EXTENT * page_size, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (area == MAP_FAILED)
			tap_bail("address space");
		area += -(uintptr_t)area & (EXTENT * page_size - 1);
	}
	map = mmap(area, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED)
		tap_bail("mapping");
	start = now_ns();
	for (page = 0; page < EXTENT * EXTENTS; page++)
		if (!is_hole(page, holes))
			touch(map + page * page_size, write);
	end = now_ns();
	/* Unmapped here, and not by the next round's mmap(). */
	if (mmap(area, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != area)
		tap_bail("unmapping");
	return end - start;
}

static void compare(const char *name, bool holes, bool write)
{
	size_t size = EXTENT * EXTENTS * page_size, pages, page;
	uint64_t node[ROUNDS], plain[ROUNDS];
	unsigned char *view;
	struct fixture f;
	double ratio;
	int memory;
	size_t i;

	fixture_open(&f, EXTENT * EXTENTS);
	pages = fill(f.view, holes);
	for (page = 0; page < f.pages; page++)
		if (!is_hole(page, holes) && declare(f.pager, page, 1) != 1)
			tap_bail("declare");
	memory = make_memory(size);
	view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (view == MAP_FAILED)
		tap_bail("mmap");
	fill(view, holes);
	for (i = 0; i < ROUNDS; i++) {
		node[i] = touch_all(f.node, holes, write);
		plain[i] = touch_all(memory, holes, write);
	}
	munmap(view, size);
	close(memory);
	fixture_close(&f);
	ratio = (double)median(node, ROUNDS) / median(plain, ROUNDS);
	printf("around-%s %.1f %.1f %.3f %s\n", name, (double)median(node, ROUNDS) / pages,
	       (double)median(plain, ROUNDS) / pages, ratio, ratio <= 1.05 ? "met" : "missed");
}

int main(void)
{
	page_size = sysconf(_SC_PAGESIZE);
	compare("read", false, false);
	compare("write", false, true);
	compare("holes-read", true, false);
	compare("holes-write", true, true);
	return 0;
}
