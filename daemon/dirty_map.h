/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages of a region were written, one bit a page, and where they are densest.
 *
 * Pages are judged in blocks of 8 (32 KiB). Where there are more ranges of blocks that have
 * a dirty page than hints can tell of, those count that have two, and so on up to blocks
 * that are wholly dirty: so a few single pages cost no room that a busy buffer needs. How
 * many ranges there would be for each of these is counted while the bits come in, so that
 * one more walk over them finds the ranges.
 */
#ifndef YAB_DAEMON_DIRTY_MAP_H
#define YAB_DAEMON_DIRTY_MAP_H

#include <stdint.h>

#include "hints.h"

#define YAB_DIRTY_BLOCK	8

struct yab_dirty_map {
	uint64_t pages;
	uint64_t *bits;		/* of page N: bit N % 64 of word N / 64 */
	unsigned int last;	/* dirty pages of the block that was counted last */
	/* Runs of blocks of which each has so many dirty pages or more. */
	uint64_t runs[YAB_DIRTY_BLOCK + 1];
};

/* 0, or -1 with errno. */
int yab_dirty_map_init(struct yab_dirty_map *map, uint64_t pages);
void yab_dirty_map_release(struct yab_dirty_map *map);
/*
 * The bits of these pages are known now; @page, a multiple of 64, is the first one that was
 * not. Bits beyond the region must be 0.
 */
void yab_dirty_map_count(struct yab_dirty_map *map, uint64_t page, uint64_t count);
/*
 * All bits were counted: the ranges, densest first. Takes 0.1 ms a GiB at most, and next to
 * nothing where nothing was written.
 */
void yab_dirty_map_hints(const struct yab_dirty_map *map, struct yab_hints *hints);

#endif /* YAB_DAEMON_DIRTY_MAP_H */
