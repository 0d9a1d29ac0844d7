// SPDX-License-Identifier: GPL-2.0
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "pagemap.h"

int yab_pagemap_init(struct yab_pagemap *map, u64 pages)
{
	size_t longs = BITS_TO_LONGS(pages);

	map->present = kvcalloc(longs, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!map->present)
		return -ENOMEM;
	map->wanted = kvcalloc(longs, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!map->wanted)
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
	kvfree(map->wanted);
	kvfree(map->present);
}

/*
 * Makes @count pages from @page present and calls @wake for those of them that
 * were missing and wanted. Returns how many were missing. A word at a time: the
 * pager declares long ranges, and few of their pages have a waiter.
 */
u64 yab_pagemap_declare(struct yab_pagemap *map, u64 page, u64 count,
			yab_pagemap_wake_fn wake, void *arg)
{
	u64 fresh_total = 0;

	while (count) {
		unsigned int shift = page % BITS_PER_LONG;
		unsigned int bits = min_t(u64, count, BITS_PER_LONG - shift);
		unsigned long mask = (~0UL >> (BITS_PER_LONG - bits)) << shift;
		u64 word = BIT_WORD(page);
		unsigned long fresh;

		/* Fully ordered: content, then present, then the look at wanted. */
		fresh = mask & ~atomic_long_fetch_or(mask, (atomic_long_t *)&map->present[word]);
		if (fresh) {
			unsigned long wanted = fresh & READ_ONCE(map->wanted[word]);

			fresh_total += hweight_long(fresh);
			for (; wanted; wanted &= wanted - 1)
				wake(arg, word * BITS_PER_LONG + __ffs(wanted));
		}
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

/*
 * The first page in [@page, @limit) that is wanted and missing, or @limit. The
 * caller bounds the stretch that is looked at in one go.
 */
u64 yab_pagemap_next_wanted(const struct yab_pagemap *map, u64 page, u64 limit)
{
	for (;;) {
		page = find_next_bit(map->wanted, limit, page);
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
	bool all = find_next_zero_bit(map->present, end, page) >= end;

	smp_rmb(); /* the bits before the content */
	return all;
}
