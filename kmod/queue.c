// SPDX-License-Identifier: GPL-2.0
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#include "queue.h"

/* Faults that go to user space in one copy: few, since kernels may clear the stack for them. */
#define YAB_QUEUE_BATCH		4

/* Pages that a repeat looks through before it lets others run. */
#define YAB_QUEUE_STRETCH	BIT_ULL(20)

int yab_queue_init(struct yab_queue *queue, unsigned int index, unsigned int count)
{
	BUILD_BUG_ON_NOT_POWER_OF_2(YAB_QUEUE_SIZE);

	queue->ring = kvcalloc(YAB_QUEUE_SIZE, sizeof(*queue->ring), GFP_KERNEL_ACCOUNT);
	if (!queue->ring)
		return -ENOMEM;
	init_waitqueue_head(&queue->readers);
	spin_lock_init(&queue->lock);
	mutex_init(&queue->repeat_lock);
	queue->index = index;
	queue->count = count;
	return 0;
}

void yab_queue_destroy(struct yab_queue *queue)
{
	kvfree(queue->ring);
}

static void yab_queue_notify(struct yab_queue *queue)
{
	if (wq_has_sleeper(&queue->readers))
		wake_up_interruptible_poll(&queue->readers, EPOLLIN | EPOLLRDNORM);
}

/* The page is marked already: a repeat that starts now finds it. */
void yab_queue_push(struct yab_queue *queue, u64 page, u32 flags, u64 now)
{
	spin_lock(&queue->lock);
	queue->total++;
	if (queue->head - queue->tail < YAB_QUEUE_SIZE) {
		struct yab_fault *fault = &queue->ring[queue->head % YAB_QUEUE_SIZE];

		*fault = (struct yab_fault){ .page = page, .time_ns = now, .flags = flags };
		WRITE_ONCE(queue->head, queue->head + 1);
	} else {
		WRITE_ONCE(queue->repeat, true);
	}
	spin_unlock(&queue->lock);
	yab_queue_notify(queue);
}

static bool yab_queue_has_some(struct yab_queue *queue)
{
	return READ_ONCE(queue->head) != READ_ONCE(queue->tail) ||
	       READ_ONCE(queue->repeat) || READ_ONCE(queue->repeating);
}

__poll_t yab_queue_poll(struct yab_queue *queue)
{
	if (READ_ONCE(queue->closed))
		return EPOLLERR;
	return yab_queue_has_some(queue) ? EPOLLIN | EPOLLRDNORM : 0;
}

u64 yab_queue_total(struct yab_queue *queue)
{
	u64 total;

	spin_lock(&queue->lock);
	total = queue->total;
	spin_unlock(&queue->lock);
	return total;
}

/* Pages that arrived or failed while their fault was queued are passed over. */
static unsigned int yab_queue_pop(struct yab_queue *queue, const struct yab_pagemap *map,
				  struct yab_fault *faults, unsigned int max)
{
	unsigned int n = 0, tail;

	spin_lock(&queue->lock);
	for (tail = queue->tail; n < max && tail != queue->head; tail++) {
		const struct yab_fault *fault = &queue->ring[tail % YAB_QUEUE_SIZE];

		if (yab_pagemap_is_wanted(map, fault->page))
			faults[n++] = *fault;
	}
	WRITE_ONCE(queue->tail, tail);
	spin_unlock(&queue->lock);
	return n;
}

static void yab_queue_set_repeat(struct yab_queue *queue)
{
	spin_lock(&queue->lock);
	WRITE_ONCE(queue->repeat, true);
	spin_unlock(&queue->lock);
	yab_queue_notify(queue);
}

/* For a new pager: whatever waits is reported again, and once. */
void yab_queue_restart(struct yab_queue *queue)
{
	mutex_lock(&queue->repeat_lock);
	spin_lock(&queue->lock);
	WRITE_ONCE(queue->tail, queue->head);
	WRITE_ONCE(queue->repeat, true);
	spin_unlock(&queue->lock);
	WRITE_ONCE(queue->repeating, false);
	mutex_unlock(&queue->repeat_lock);
}

/* Readers get an error from now on, those that wait as well. */
void yab_queue_close(struct yab_queue *queue)
{
	spin_lock(&queue->lock);
	WRITE_ONCE(queue->closed, true);
	spin_unlock(&queue->lock);
	wake_up_all(&queue->readers);
}

/*
 * How far a repeat looks from @page on in one go: to the end of the stripe. Sets @page
 * to the next stripe of this queue if it is in none.
 */
static u64 yab_queue_limit(const struct yab_queue *queue, const struct yab_pagemap *map, u64 *page)
{
	u64 stripe;

	if (queue->count == 1)
		return min(map->pages, *page + YAB_QUEUE_STRETCH);
	stripe = *page / YAB_QUEUE_STRIPE;
	if (stripe % queue->count != queue->index) {
		stripe += (queue->index + queue->count - stripe % queue->count) % queue->count;
		*page = min(map->pages, stripe * YAB_QUEUE_STRIPE);
	}
	return min(map->pages, (stripe + 1) * YAB_QUEUE_STRIPE);
}

static unsigned int yab_queue_repeat(struct yab_queue *queue, const struct yab_pagemap *map,
				     struct yab_fault *faults, unsigned int max)
{
	unsigned int n = 0;
	u64 page;

	mutex_lock(&queue->repeat_lock);
	if (!queue->repeating) {
		/* Cleared before the bits are read, so that none slips between. */
		spin_lock(&queue->lock);
		WRITE_ONCE(queue->repeating, queue->repeat);
		WRITE_ONCE(queue->repeat, false);
		spin_unlock(&queue->lock);
		if (!queue->repeating)
			goto out_unlock;
		queue->next = 0;
	}
	page = queue->next;
	while (n < max && page < map->pages && !signal_pending(current)) {
		u64 limit = yab_queue_limit(queue, map, &page);

		page = yab_pagemap_next_wanted(map, page, limit);
		if (page < limit)
			faults[n++] = (struct yab_fault){
				.page = page++,
				.time_ns = ktime_get_ns(),
				.flags = YAB_FAULT_REPEAT,
			};
		cond_resched();
	}
	queue->next = page;
	WRITE_ONCE(queue->repeating, page < map->pages);
out_unlock:
	mutex_unlock(&queue->repeat_lock);
	/* What a signal has left undone is for another reader. */
	if (READ_ONCE(queue->repeating))
		yab_queue_notify(queue);
	return n;
}

/* Up to @count faults, or 0 when nothing is queued. Does not wait. */
static ssize_t yab_queue_take(struct yab_queue *queue, const struct yab_pagemap *map,
			      struct yab_fault __user *to, size_t count)
{
	struct yab_fault faults[YAB_QUEUE_BATCH];
	size_t done = 0;

	while (done < count) {
		unsigned int max = min_t(size_t, count - done, YAB_QUEUE_BATCH);
		unsigned int n = yab_queue_pop(queue, map, faults, max);

		if (!n && (READ_ONCE(queue->repeat) || READ_ONCE(queue->repeating)))
			n = yab_queue_repeat(queue, map, faults, max);
		if (!n)
			break;
		if (copy_to_user(to + done, faults, n * sizeof(*faults))) {
			/* Somebody waits for them: they come again. */
			yab_queue_set_repeat(queue);
			return done ?: -EFAULT;
		}
		done += n;
		if (n < max && !yab_queue_has_some(queue))
			break;
	}
	return done;
}

/*
 * Fills @to with up to @count faults and returns how many there were: at least one. -EAGAIN
 * if there is none and the caller does not want to wait, -EIO when the queue is closed.
 */
ssize_t yab_queue_read(struct yab_queue *queue, const struct yab_pagemap *map,
		       struct yab_fault __user *to, size_t count, bool wait)
{
	ssize_t n;
	int ret;

	for (;;) {
		if (READ_ONCE(queue->closed))
			return -EIO;
		n = yab_queue_take(queue, map, to, count);
		if (n)
			return n;
		if (!wait)
			return -EAGAIN;
		/* A repeat that a signal has stopped still counts as something to read. */
		if (signal_pending(current))
			return -ERESTARTSYS;
		ret = wait_event_interruptible(queue->readers, yab_queue_poll(queue));
		if (ret)
			return ret;
	}
}
