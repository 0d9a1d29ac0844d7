/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_PAGEMAP_H
#define YAB_PAGEMAP_H

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/types.h>

/*
 * What is known of each page of a region, two bits a page:
 *
 *	present	its content is in the memory file; never cleared
 *	marked	of a missing page: it is wanted. Somebody touched it, and the pager
 *		was or will be told.
 *		Of a present page, while writes are tracked: it is dirty. Otherwise
 *		without meaning.
 *
 * Both are changed by atomic operations and read without a lock. The order of
 * the two is what keeps a fault from sleeping through its page's arrival:
 *
 *	fault				declaration
 *	set marked			set present
 *	(full barrier)			(full barrier)
 *	read present, sleep if clear	read marked, wake if set
 *
 * At least one of the two sees the other's bit. Marks of present pages are cleared
 * only where no declaration can be in between its two steps (see struct yab_region),
 * or by a declaration that wakes for what it cleared.
 */
struct yab_pagemap {
	u64 pages;
	unsigned long *present;
	unsigned long *marked;
	atomic64_t present_count;
};

int yab_pagemap_init(struct yab_pagemap *map, u64 pages);
void yab_pagemap_destroy(struct yab_pagemap *map);

/* Are these @count pages, at least one, all of the region's? No sum that could overflow. */
static inline bool yab_pagemap_has(const struct yab_pagemap *map, u64 page, u64 count)
{
	return count && page < map->pages && count <= map->pages - page;
}

/* Pairs with the release of yab_pagemap_declare(): the content is visible, too. */
static inline bool yab_pagemap_is_present(const struct yab_pagemap *map, u64 page)
{
	return test_bit_acquire(page, map->present);
}

/* Returns true to the one caller that has to tell the pager. A full barrier. */
static inline bool yab_pagemap_want(struct yab_pagemap *map, u64 page)
{
	if (test_bit(page, map->marked)) {
		smp_mb(); /* as test_and_set_bit() is one */
		return false;
	}
	return !test_and_set_bit(page, map->marked);
}

/* Does somebody wait for it (or did, when it was touched)? */
static inline bool yab_pagemap_is_wanted(const struct yab_pagemap *map, u64 page)
{
	return test_bit(page, map->marked) && !yab_pagemap_is_present(map, page);
}

/* A missing page will not come: nobody waits for it. */
static inline void yab_pagemap_forget(struct yab_pagemap *map, u64 page)
{
	clear_bit(page, map->marked);
}

/* A present page is written. */
static inline void yab_pagemap_mark(struct yab_pagemap *map, u64 page)
{
	if (!test_bit(page, map->marked))
		set_bit(page, map->marked);
}

typedef void (*yab_pagemap_wake_fn)(void *arg, u64 page);

u64 yab_pagemap_declare(struct yab_pagemap *map, u64 page, u64 count, bool unmark,
			yab_pagemap_wake_fn wake, void *arg);
bool yab_pagemap_is_complete(const struct yab_pagemap *map);
u64 yab_pagemap_next_missing(const struct yab_pagemap *map, u64 page, u64 limit);
u64 yab_pagemap_next_present(const struct yab_pagemap *map, u64 page, u64 limit);
u64 yab_pagemap_next_wanted(const struct yab_pagemap *map, u64 page, u64 limit);
bool yab_pagemap_are_present(const struct yab_pagemap *map, u64 page, u64 end);
void yab_pagemap_copy_present(const struct yab_pagemap *map, u64 page, u64 *bits, u64 count);
void yab_pagemap_take_marks(struct yab_pagemap *map, u64 page, u64 *bits, u64 count);

#endif /* YAB_PAGEMAP_H */
