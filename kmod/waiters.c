// SPDX-License-Identifier: GPL-2.0
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "waiters.h"

/* Lives on the stack of the task that waits, until it has left its bucket. */
struct yab_waiter {
	struct list_head link;
	struct task_struct *task;
	u64 page;
};

int yab_waiters_init(struct yab_waiters *waiters)
{
	unsigned int i;

	waiters->buckets = kvcalloc(1U << YAB_BUCKET_BITS, sizeof(*waiters->buckets),
				    GFP_KERNEL_ACCOUNT);
	if (!waiters->buckets)
		return -ENOMEM;
	for (i = 0; i < 1U << YAB_BUCKET_BITS; i++) {
		spin_lock_init(&waiters->buckets[i].lock);
		INIT_LIST_HEAD(&waiters->buckets[i].list);
	}
	return 0;
}

void yab_waiters_destroy(struct yab_waiters *waiters)
{
	kvfree(waiters->buckets);
}

static struct yab_bucket *yab_waiters_bucket(struct yab_waiters *waiters, u64 page)
{
	return &waiters->buckets[hash_64(page, YAB_BUCKET_BITS)];
}

/*
 * Sleeps until @done says so. Returns false if a signal that @task_state lets
 * through came first.
 */
bool yab_waiters_sleep(struct yab_waiters *waiters, u64 page, unsigned int task_state,
		       yab_waiters_done_fn done, void *arg)
{
	struct yab_bucket *bucket = yab_waiters_bucket(waiters, page);
	struct yab_waiter waiter = { .task = current, .page = page };
	bool is_done;

	spin_lock(&bucket->lock);
	list_add_tail(&waiter.link, &bucket->list);
	spin_unlock(&bucket->lock);

	for (;;) {
		set_current_state(task_state);
		is_done = done(arg, page);
		if (is_done || signal_pending_state(task_state, current))
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);

	/* Off the list means that the waker has let go of the waiter. */
	if (!list_empty_careful(&waiter.link)) {
		spin_lock(&bucket->lock);
		list_del(&waiter.link);
		spin_unlock(&bucket->lock);
	}
	return is_done;
}

static void yab_waiters_release(struct yab_waiter *waiter)
{
	/* In this order: unlinked, the waiter's stack may be gone. */
	wake_up_process(waiter->task);
	list_del_init_careful(&waiter->link);
}

/* Called after whatever @done looks at has changed. */
void yab_waiters_wake(struct yab_waiters *waiters, u64 page)
{
	struct yab_bucket *bucket = yab_waiters_bucket(waiters, page);
	struct yab_waiter *waiter, *next;

	spin_lock(&bucket->lock);
	list_for_each_entry_safe(waiter, next, &bucket->list, link)
		if (waiter->page == page)
			yab_waiters_release(waiter);
	spin_unlock(&bucket->lock);
}

/* Has every waiter ask @done again. They stay, so that a later wake-up finds them. */
void yab_waiters_wake_all(struct yab_waiters *waiters)
{
	struct yab_waiter *waiter;
	unsigned int i;

	for (i = 0; i < 1U << YAB_BUCKET_BITS; i++) {
		struct yab_bucket *bucket = &waiters->buckets[i];

		spin_lock(&bucket->lock);
		list_for_each_entry(waiter, &bucket->list, link)
			wake_up_process(waiter->task);
		spin_unlock(&bucket->lock);
	}
}
