/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_QUEUE_H
#define YAB_QUEUE_H

#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/yabusame.h>

#include "pagemap.h"

/*
 * Faults on their way to the pager. A ring of fixed size, so that a fault never
 * allocates. What does not fit is not lost, since its page is marked: the
 * queue only notes that the marks have to be gone through ("repeat"), and the
 * reader does that once the ring is empty.
 *
 * A region has several, if its pager wants to read with several threads that do not meet.
 * Each takes care of its own stripes of pages.
 */
#define YAB_QUEUE_SIZE		1024

struct yab_queue {
	wait_queue_head_t readers;
	spinlock_t lock;		/* guards head, tail, ring, repeat, total, closed */
	unsigned int head;
	unsigned int tail;
	bool repeat;			/* a repeat has to start from page 0 */
	bool closed;			/* nobody reads any more: the region has failed */
	u64 total;			/* faults ever pushed */
	struct mutex repeat_lock;	/* guards repeating, next */
	bool repeating;			/* a repeat is under way ... */
	u64 next;			/* ... and goes on at this page */
	struct yab_fault *ring;
	unsigned int index;		/* this queue's place among the region's; set once */
	unsigned int count;		/* the region's queues; set once */
};

static inline unsigned int yab_queue_of(u64 page, unsigned int count)
{
	return count == 1 ? 0 : page / YAB_QUEUE_STRIPE % count;
}

int yab_queue_init(struct yab_queue *queue, unsigned int index, unsigned int count);
void yab_queue_destroy(struct yab_queue *queue);
void yab_queue_push(struct yab_queue *queue, u64 page, u32 flags, u64 now);
ssize_t yab_queue_read(struct yab_queue *queue, const struct yab_pagemap *map,
		       struct yab_fault __user *to, size_t count, bool wait);
__poll_t yab_queue_poll(struct yab_queue *queue);
void yab_queue_restart(struct yab_queue *queue);
void yab_queue_close(struct yab_queue *queue);
u64 yab_queue_total(struct yab_queue *queue);

#endif /* YAB_QUEUE_H */
