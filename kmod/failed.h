/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_FAILED_H
#define YAB_FAILED_H

#include <linux/spinlock.h>
#include <linux/yabusame.h>

struct yab_failed_span {
	u64 page;
	u64 count;
};

/*
 * The pages that are not to be had: few, since each is a piece of broken memory
 * on the source. Sorted spans that neither overlap nor touch.
 */
struct yab_failed {
	rwlock_t lock;			/* guards all below */
	unsigned int used;		/* read without the lock to see whether there are any */
	u64 pages;
	struct yab_failed_span *spans;	/* room for YAB_FAILED_MAX; set once */
};

int yab_failed_init(struct yab_failed *failed);
void yab_failed_destroy(struct yab_failed *failed);
int yab_failed_add(struct yab_failed *failed, u64 page, u64 count, u64 *fresh);
bool yab_failed_has(struct yab_failed *failed, u64 page);
u64 yab_failed_pages(struct yab_failed *failed);

#endif /* YAB_FAILED_H */
