// SPDX-License-Identifier: GPL-2.0
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "pagemap.h"

int yab_pagemap_init(struct yab_pagemap *map, u64 pages)
{
	size_t longs = BITS_TO_LONGS(pages);

	/* User space sees the words as they are. */
	BUILD_BUG_ON(BITS_PER_LONG != 64);
	map->present = kvcalloc(longs, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!map->present)
		return -ENOMEM;
	map->marked = kvcalloc(longs, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!map->marked)
		goto err_free_present;
	map->pages = pages;
	atomic64_set(&map->present_count, 0);
	return 0;

err_free_present:
	kvfree(map->present);
	return -ENOMEM;
}

void yab_pagemap_destroy(struct yab_pagemap *map)
{
	kvfree(map->marked);
	kvfree(map->present);
}

static unsigned long yab_pagemap_unmark(struct yab_pagemap *map, u64 word, unsigned long mask)
{
	if (!(READ_ONCE(map->marked[word]) & mask))
		return 0;
	return mask & atomic_long_fetch_andnot(mask, (atomic_long_t *)&map->marked[word]);
}

/*
 * With @unmark wanted pages lose their mark, or they would count as dirty. First, since
 * a mark that comes after a page was made present is its first write's. Pages that another
 * declaration made present in between may have lost just that: they are marked again.
 */
static unsigned long yab_pagemap_declare_word(struct yab_pagemap *map, u64 word,
					      unsigned long mask, bool unmark,
					      unsigned long *wanted)
{
	unsigned long cleared = 0, fresh, late;

	if (unmark)
		cleared = yab_pagemap_unmark(map, word, mask & ~READ_ONCE(map->present[word]));
	/* Fully ordered: content, then present, then the look at marked. */
	fresh = mask & ~atomic_long_fetch_or(mask, (atomic_long_t *)&map->present[word]);
	late = cleared & ~fresh;
	if (late)
		atomic_long_or(late, (atomic_long_t *)&map->marked[word]);
	*wanted = cleared;
	if (fresh)
		*wanted |= fresh & READ_ONCE(map->marked[word]);
	return fresh;
}

/*
 * Makes @count pages from @page present and calls @wake for those of them that
 * were missing and wanted. Returns how many were missing. A word at a time: the
 * pager declares long ranges, and few of their pages have a waiter.
 */
u64 yab_pagemap_declare(struct yab_pagemap *map, u64 page, u64 count, bool unmark,
			yab_pagemap_wake_fn wake, void *arg)
{
	u64 fresh_total = 0;

	while (count) {
		unsigned int shift = page % BITS_PER_LONG;
		unsigned int bits = min_t(u64, count, BITS_PER_LONG - shift);
		unsigned long mask = (~0UL >> (BITS_PER_LONG - bits)) << shift;
		u64 word = BIT_WORD(page);
		unsigned long wanted;

		fresh_total += hweight_long(yab_pagemap_declare_word(map, word, mask, unmark,
								     &wanted));
		for (; wanted; wanted &= wanted - 1)
			wake(arg, word * BITS_PER_LONG + __ffs(wanted));
		page += bits;
		count -= bits;
	}
	atomic64_add(fresh_total, &map->present_count);
	return fresh_total;
}

bool yab_pagemap_is_complete(const struct yab_pagemap *map)
{
	return atomic64_read(&map->present_count) == map->pages;
}

/* The first missing page in [@page, @limit), or @limit. */
u64 yab_pagemap_next_missing(const struct yab_pagemap *map, u64 page, u64 limit)
{
	return find_next_zero_bit(map->present, limit, page);
}

/* The first present page in [@page, @limit), or @limit. */
u64 yab_pagemap_next_present(const struct yab_pagemap *map, u64 page, u64 limit)
{
	return find_next_bit(map->present, limit, page);
}

/*
 * The first page in [@page, @limit) that is wanted and missing, or @limit. The
 * caller bounds the stretch that is looked at in one go.
 */
u64 yab_pagemap_next_wanted(const struct yab_pagemap *map, u64 page, u64 limit)
{
	for (;;) {
		page = find_next_bit(map->marked, limit, page);
		if (page >= limit)
			return limit;
		if (!yab_pagemap_is_present(map, page))
			return page;
		page++;
	}
}

/* Are all pages of [@page, @end) present? Acquires, as yab_pagemap_is_present() does. */
bool yab_pagemap_are_present(const struct yab_pagemap *map, u64 page, u64 end)
{
	bool all = yab_pagemap_next_missing(map, page, end) >= end;

	smp_rmb(); /* the bits before the content */
	return all;
}

/* Leaves of the last word what belongs to @count pages. */
static void yab_pagemap_trim(u64 *bits, u64 count)
{
	if (count % 64)
		bits[count / 64] &= ~0ULL >> (64 - count % 64);
}

/* The present bits of @count pages from @page, a multiple of 64. */
void yab_pagemap_copy_present(const struct yab_pagemap *map, u64 page, u64 *bits, u64 count)
{
	u64 i;

	for (i = 0; i < DIV_ROUND_UP(count, 64); i++)
		bits[i] = READ_ONCE(map->present[page / 64 + i]);
	yab_pagemap_trim(bits, count);
}

/*
 * The same of pages that are present and marked, whose marks are cleared. Not while
 * a declaration is under way.
 */
void yab_pagemap_take_marks(struct yab_pagemap *map, u64 page, u64 *bits, u64 count)
{
	u64 i;

	yab_pagemap_copy_present(map, page, bits, count);
	for (i = 0; i < DIV_ROUND_UP(count, 64); i++)
		bits[i] = yab_pagemap_unmark(map, page / 64 + i, bits[i]);
}
