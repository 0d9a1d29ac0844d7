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
 *	wanted	somebody touched it while it was missing, and the pager was or
 *		will be told; never cleared
 *
 * Both are changed by atomic operations and read without a lock. The order of
 * the two is what keeps a fault from sleeping through its page's arrival:
 *
 *	fault				declaration
 *	set wanted			set present
 *	(full barrier)			(full barrier)
 *	read present, sleep if clear	read wanted, wake if set
 *
 * At least one of the two sees the other's bit.
 */
struct yab_pagemap {
	u64 pages;
	unsigned long *present;
	unsigned long *wanted;
	atomic64_t present_count;
};

int yab_pagemap_init(struct yab_pagemap *map, u64 pages);
void yab_pagemap_destroy(struct yab_pagemap *map);

/* Pairs with the release of yab_pagemap_declare(): the content is visible, too. */
static inline bool yab_pagemap_is_present(const struct yab_pagemap *map, u64 page)
{
	return test_bit_acquire(page, map->present);
}

/* Returns true to the one caller that has to tell the pager. A full barrier. */
static inline bool yab_pagemap_want(struct yab_pagemap *map, u64 page)
{
	if (test_bit(page, map->wanted)) {
		smp_mb(); /* as test_and_set_bit() is one */
		return false;
	}
	return !test_and_set_bit(page, map->wanted);
}

typedef void (*yab_pagemap_wake_fn)(void *arg, u64 page);

u64 yab_pagemap_declare(struct yab_pagemap *map, u64 page, u64 count,
			yab_pagemap_wake_fn wake, void *arg);
bool yab_pagemap_is_complete(const struct yab_pagemap *map);
u64 yab_pagemap_next_wanted(const struct yab_pagemap *map, u64 page, u64 limit);
bool yab_pagemap_are_present(const struct yab_pagemap *map, u64 page, u64 end);

#endif /* YAB_PAGEMAP_H */
