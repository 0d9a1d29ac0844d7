// SPDX-License-Identifier: GPL-2.0
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "waiters.h"

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
 * Puts the current task, which sets page, mm and address, among the waiters. Before it gives
 * up the lock under which the page was touched: whoever takes the mapping away after that
 * finds it here.
 */
void yab_waiters_enter(struct yab_waiters *waiters, struct yab_waiter *waiter)
{
	struct yab_bucket *bucket = yab_waiters_bucket(waiters, waiter->page);

	waiter->task = current;
	spin_lock(&bucket->lock);
	list_add_tail(&waiter->link, &bucket->list);
	spin_unlock(&bucket->lock);
}

/*
 * Sleeps until @done says so or the waiter is released. Returns false if a signal that
 * @task_state lets through came first.
 */
bool yab_waiters_sleep(struct yab_waiters *waiters, struct yab_waiter *waiter,
		       unsigned int task_state, yab_waiters_done_fn done, void *arg)
{
	struct yab_bucket *bucket = yab_waiters_bucket(waiters, waiter->page);
	bool is_done;

	for (;;) {
		set_current_state(task_state);
		is_done = list_empty_careful(&waiter->link) || done(arg, waiter->page);
		if (is_done || signal_pending_state(task_state, current))
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);

	/* Off the list means that the waker has let go of the waiter. */
	if (!list_empty_careful(&waiter->link)) {
		spin_lock(&bucket->lock);
		list_del(&waiter->link);
		spin_unlock(&bucket->lock);
	}
	return is_done;
}

/* A waiter whose @done has come true. */
static void yab_waiters_let_go(struct yab_waiter *waiter)
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
			yab_waiters_let_go(waiter);
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

/* A waiter that has only its being unlinked to see that it is done: that comes first. */
static void yab_waiters_send_off(struct yab_waiter *waiter)
{
	struct task_struct *task = get_task_struct(waiter->task);

	list_del_init_careful(&waiter->link);
	wake_up_process(task);
	put_task_struct(task);
}

/* Ends the wait of whoever touched a page at these addresses: they are being unmapped. */
void yab_waiters_release(struct yab_waiters *waiters, const struct mm_struct *mm,
			 unsigned long start, unsigned long end)
{
	struct yab_waiter *waiter, *next;
	unsigned int i;

	for (i = 0; i < 1U << YAB_BUCKET_BITS; i++) {
		struct yab_bucket *bucket = &waiters->buckets[i];

		if (list_empty_careful(&bucket->list))
			continue;
		spin_lock(&bucket->lock);
		list_for_each_entry_safe(waiter, next, &bucket->list, link)
			if (waiter->mm == mm && waiter->address >= start && waiter->address < end)
				yab_waiters_send_off(waiter);
		spin_unlock(&bucket->lock);
	}
}
