/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_WAITERS_H
#define YAB_WAITERS_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct mm_struct;
struct task_struct;

/* More buckets than VMs have processors: then a bucket rarely has two waiters. */
#define YAB_BUCKET_BITS		10

/*
 * Tasks that wait for missing pages, hashed by page, so that a declaration
 * looks only at its own page's.
 */
struct yab_bucket {
	spinlock_t lock;	/* guards list */
	struct list_head list;	/* of struct yab_waiter */
};

struct yab_waiters {
	struct yab_bucket *buckets;
};

/*
 * One task's wait. Lives on its stack, until it has left its bucket: it enters the
 * bucket by yab_waiters_enter() and leaves it by yab_waiters_sleep().
 */
struct yab_waiter {
	struct list_head link;	/* guarded by the bucket's lock */
	struct task_struct *task;
	u64 page;
	/* Where the page was touched (compared, never followed), and when. */
	const struct mm_struct *mm;
	unsigned long address;
	u64 since_ns;
};

typedef bool (*yab_waiters_done_fn)(void *arg, u64 page);

int yab_waiters_init(struct yab_waiters *waiters);
void yab_waiters_destroy(struct yab_waiters *waiters);
void yab_waiters_enter(struct yab_waiters *waiters, struct yab_waiter *waiter);
bool yab_waiters_sleep(struct yab_waiters *waiters, struct yab_waiter *waiter,
		       unsigned int task_state, yab_waiters_done_fn done, void *arg);
void yab_waiters_wake(struct yab_waiters *waiters, u64 page);
void yab_waiters_wake_all(struct yab_waiters *waiters);
void yab_waiters_release(struct yab_waiters *waiters, const struct mm_struct *mm,
			 unsigned long start, unsigned long end);

#endif /* YAB_WAITERS_H */
