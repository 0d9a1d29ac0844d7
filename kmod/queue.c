// SPDX-License-Identifier: GPL-2.0
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#include "queue.h"

/* Faults that go to user space in one copy. */
#define YAB_QUEUE_BATCH		16

/* Pages that a repeat looks through before it lets others run. */
#define YAB_QUEUE_STRETCH	BIT_ULL(20)

int yab_queue_init(struct yab_queue *queue)
{
	BUILD_BUG_ON_NOT_POWER_OF_2(YAB_QUEUE_SIZE);

	queue->ring = kvcalloc(YAB_QUEUE_SIZE, sizeof(*queue->ring), GFP_KERNEL_ACCOUNT);
	if (!queue->ring)
		return -ENOMEM;
	init_waitqueue_head(&queue->readers);
	spin_lock_init(&queue->lock);
	mutex_init(&queue->repeat_lock);
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

/* The page's wanted bit is set already: a repeat that starts now finds it. */
void yab_queue_push(struct yab_queue *queue, u64 page, u32 flags)
{
	u64 now = ktime_get_ns();

	spin_lock(&queue->lock);
	queue->total++;
	if (queue->head - queue->tail < YAB_QUEUE_SIZE) {
		struct yab_fault *fault = &queue->ring[queue->head++ % YAB_QUEUE_SIZE];

		*fault = (struct yab_fault){ .page = page, .time_ns = now, .flags = flags };
	} else {
		queue->repeat = true;
	}
	spin_unlock(&queue->lock);
	yab_queue_notify(queue);
}

bool yab_queue_has_some(struct yab_queue *queue)
{
	return READ_ONCE(queue->head) != READ_ONCE(queue->tail) ||
	       READ_ONCE(queue->repeat) || READ_ONCE(queue->repeating);
}

u64 yab_queue_total(struct yab_queue *queue)
{
	u64 total;

	spin_lock(&queue->lock);
	total = queue->total;
	spin_unlock(&queue->lock);
	return total;
}

/* Pages that arrived while their fault was queued are passed over. */
static unsigned int yab_queue_pop(struct yab_queue *queue, const struct yab_pagemap *map,
				  struct yab_fault *faults, unsigned int max)
{
	unsigned int n = 0;

	spin_lock(&queue->lock);
	while (n < max && queue->tail != queue->head) {
		const struct yab_fault *fault = &queue->ring[queue->tail++ % YAB_QUEUE_SIZE];

		if (!yab_pagemap_is_present(map, fault->page))
			faults[n++] = *fault;
	}
	spin_unlock(&queue->lock);
	return n;
}

static void yab_queue_set_repeat(struct yab_queue *queue)
{
	spin_lock(&queue->lock);
	queue->repeat = true;
	spin_unlock(&queue->lock);
	yab_queue_notify(queue);
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
		queue->repeat = false;
		spin_unlock(&queue->lock);
		if (!queue->repeating)
			goto out_unlock;
		queue->next = 0;
	}
	page = queue->next;
	while (n < max && page < map->pages && !signal_pending(current)) {
		u64 limit = min(map->pages, page + YAB_QUEUE_STRETCH);

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

/*
 * Fills @to with up to @count faults and returns how many there were, which is
 * 0 when nothing is queued. Does not wait.
 */
ssize_t yab_queue_read(struct yab_queue *queue, const struct yab_pagemap *map,
		       struct yab_fault __user *to, size_t count)
{
	struct yab_fault faults[YAB_QUEUE_BATCH];
	size_t done = 0;

	while (done < count) {
		unsigned int max = min_t(size_t, count - done, YAB_QUEUE_BATCH);
		unsigned int n = yab_queue_pop(queue, map, faults, max);

		if (!n)
			n = yab_queue_repeat(queue, map, faults, max);
		if (!n)
			break;
		if (copy_to_user(to + done, faults, n * sizeof(*faults))) {
			/* Somebody waits for them: they come again. */
			yab_queue_set_repeat(queue);
			return done ?: -EFAULT;
		}
		done += n;
	}
	return done;
}
