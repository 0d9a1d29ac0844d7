// SPDX-License-Identifier: GPL-2.0-or-later
#include "dirty_map.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define YAB_DIRTY_WORD	64

/* Blocks of pages, and how many of them are dirty. */
struct yab_dirty_run {
	struct yab_hint range;	/* without clean pages at its ends */
	uint64_t blocks;
	uint64_t dirty;
};

int yab_dirty_map_init(struct yab_dirty_map *map, uint64_t pages)
{
	memset(map, 0, sizeof(*map));
	map->pages = pages;
	map->bits = calloc((pages + YAB_DIRTY_WORD - 1) / YAB_DIRTY_WORD, sizeof(*map->bits));
	return map->bits ? 0 : -1;
}

void yab_dirty_map_release(struct yab_dirty_map *map)
{
	free(map->bits);
	map->bits = NULL;
}

static uint8_t yab_dirty_map_block(const struct yab_dirty_map *map, uint64_t block)
{
	const uint64_t page = block * YAB_DIRTY_BLOCK;

	return (uint8_t)(map->bits[page / YAB_DIRTY_WORD] >> page % YAB_DIRTY_WORD);
}

static unsigned int yab_dirty_count(uint8_t block)
{
	return (unsigned int)__builtin_popcount(block);
}

void yab_dirty_map_count(struct yab_dirty_map *map, uint64_t page, uint64_t count)
{
	const uint64_t end = (page + count + YAB_DIRTY_BLOCK - 1) / YAB_DIRTY_BLOCK;

	for (uint64_t block = page / YAB_DIRTY_BLOCK; block < end; block++) {
		const unsigned int dirty = yab_dirty_count(yab_dirty_map_block(map, block));

		for (unsigned int least = map->last + 1; least <= dirty; least++)
			map->runs[least]++;
		map->last = dirty;
	}
}

/* The next run of blocks with at least @least dirty pages each, from *block on. */
static bool yab_dirty_map_next(const struct yab_dirty_map *map, unsigned int least,
			       uint64_t *block, struct yab_dirty_run *run)
{
	const uint64_t end = (map->pages + YAB_DIRTY_BLOCK - 1) / YAB_DIRTY_BLOCK;
	const uint64_t word = YAB_DIRTY_WORD / YAB_DIRTY_BLOCK;
	uint64_t at = *block, first;
	uint8_t bits = 0;

	for (; at < end; at++) {
		while (at % word == 0 && at < end && !map->bits[at / word])
			at += word;
		if (at >= end)
			break;
		bits = yab_dirty_map_block(map, at);
		if (yab_dirty_count(bits) >= least)
			break;
	}
	if (at >= end)
		return false;
	first = at;
	run->range.page = at * YAB_DIRTY_BLOCK + (unsigned int)__builtin_ctz(bits);
	run->dirty = 0;
	do {
		run->dirty += yab_dirty_count(bits);
		run->range.count = at * YAB_DIRTY_BLOCK + 32 - (unsigned int)__builtin_clz(bits) -
				   run->range.page;
		if (++at >= end)
			break;
		bits = yab_dirty_map_block(map, at);
	} while (yab_dirty_count(bits) >= least);
	run->blocks = at - first;
	*block = at;
	return true;
}

/* Densest first; of two alike the one with more to bring. No overflow below 2^32 pages. */
static int yab_dirty_run_compare(const void *left, const void *right)
{
	const struct yab_dirty_run *a = left, *b = right;
	const uint64_t a_density = a->dirty * b->blocks, b_density = b->dirty * a->blocks;

	if (a_density != b_density)
		return a_density > b_density ? -1 : 1;
	if (a->dirty != b->dirty)
		return a->dirty > b->dirty ? -1 : 1;
	return a->range.page < b->range.page ? -1 : 1;
}

void yab_dirty_map_hints(const struct yab_dirty_map *map, struct yab_hints *hints)
{
	struct yab_dirty_run runs[YAB_HINTS_MAX], run;
	unsigned int least = 1;
	uint64_t block = 0, seen = 0, every;

	while (least < YAB_DIRTY_BLOCK && map->runs[least] > YAB_HINTS_MAX)
		least++;
	/* More wholly dirty ranges than that: some from everywhere. */
	every = map->runs[least] / YAB_HINTS_MAX + !!(map->runs[least] % YAB_HINTS_MAX);
	hints->count = 0;
	while (hints->count < YAB_HINTS_MAX && yab_dirty_map_next(map, least, &block, &run))
		if (seen++ % every == 0)
			runs[hints->count++] = run;
	qsort(runs, hints->count, sizeof(runs[0]), yab_dirty_run_compare);
	for (unsigned int i = 0; i < hints->count; i++)
		hints->ranges[i] = runs[i].range;
}
