/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the destination knows of each page of one region.
 *
 * A page goes missing -> asked for -> present and never back from present. It
 * may be asked for on both roles at once (on one connection of each), and a lost
 * connection takes its asks with it (the page is then missing again). Independently of that, a page
 * that is not present may be wanted: somebody waits for it.
 */
#ifndef YAB_DAEMON_PAGEMAP_H
#define YAB_DAEMON_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "yabusame/wire.h"

/* The two roles that pages are asked for on: YAB_WIRE_URGENT and YAB_WIRE_BULK. */
#define YAB_PAGEMAP_ROLES	2

struct yab_pagemap {
	uint64_t pages;
	uint64_t present;	/* pages present */
	uint64_t idle;		/* pages neither present nor asked for */
	/* by role: pages wanted, but not asked for on it */
	uint64_t unmet[YAB_PAGEMAP_ROLES];
	/* by role: no page before this one is unmet; spares searches the way */
	uint64_t unmet_from[YAB_PAGEMAP_ROLES];

	/* Bitmaps. A bit is set in present_bits or in the others, never in both. */
	uint64_t *present_bits;
	uint64_t *wanted_bits;
	uint64_t *asked_bits[YAB_PAGEMAP_ROLES];
	uint64_t *idle_words;	/* which words of these hold idle pages */
};

/* All pages missing. 0, or -1 with errno; all memory is allocated here. */
int yab_pagemap_init(struct yab_pagemap *map, uint64_t pages);
void yab_pagemap_release(struct yab_pagemap *map);

/*
 * Of a new map: @bits (bit N of word M is page @page + 64 * M + N, @page a multiple of 64)
 * says which of @count pages are present.
 */
void yab_pagemap_load_present(struct yab_pagemap *map, uint64_t page, const uint64_t *bits,
			      uint64_t count);

bool yab_pagemap_is_present(const struct yab_pagemap *map, uint64_t page);
bool yab_pagemap_is_asked(const struct yab_pagemap *map, uint64_t page, enum yab_wire_role role);

/* Marks [page, page + count) present; returns how many of them were not. */
uint64_t yab_pagemap_mark_present(struct yab_pagemap *map, uint64_t page, uint64_t count);
/* Marks those of [page, page + count) that are not present as asked for. */
void yab_pagemap_ask(struct yab_pagemap *map, uint64_t page, uint64_t count,
		     enum yab_wire_role role);
/* Marks @page as wanted; false if it is present. */
bool yab_pagemap_want(struct yab_pagemap *map, uint64_t page);
/* A connection is lost: what was asked for on it, on @role, is not any more. */
void yab_pagemap_forget(struct yab_pagemap *map, uint64_t page, uint64_t count,
			enum yab_wire_role role);

/*
 * The next run of idle pages at or after @cursor, going on from the region's
 * start behind its end; at most @limit pages. False if no page is idle.
 */
bool yab_pagemap_next_idle(const struct yab_pagemap *map, uint64_t cursor, uint64_t limit,
			   uint64_t *page, uint64_t *count);
/* The first run of pages in [page, end) that are not present; all of it within @end. */
bool yab_pagemap_next_missing(const struct yab_pagemap *map, uint64_t page, uint64_t end,
			      uint64_t *run, uint64_t *count);
/*
 * The first and the last run of idle pages in [page, end), @end not beyond the region; of
 * a run longer than @limit its beginning, or its end. The last one is searched word by
 * word: for ranges, not for regions.
 */
bool yab_pagemap_first_idle(const struct yab_pagemap *map, uint64_t page, uint64_t end,
			    uint64_t limit, uint64_t *run, uint64_t *count);
bool yab_pagemap_last_idle(const struct yab_pagemap *map, uint64_t page, uint64_t end,
			   uint64_t limit, uint64_t *run, uint64_t *count);
/* The first run of wanted pages that are not asked for on @role. */
bool yab_pagemap_next_unmet(struct yab_pagemap *map, enum yab_wire_role role, uint64_t limit,
			    uint64_t *page, uint64_t *count);

#endif /* YAB_DAEMON_PAGEMAP_H */
