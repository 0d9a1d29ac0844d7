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
 * allocates. What does not fit is not lost, since its wanted bit is set: the
 * queue only notes that the bits have to be gone through ("repeat"), and the
 * reader does that once the ring is empty.
 */
#define YAB_QUEUE_SIZE		1024

struct yab_queue {
	wait_queue_head_t readers;
	spinlock_t lock;		/* guards head, tail, ring, repeat, total */
	unsigned int head;
	unsigned int tail;
	bool repeat;			/* a repeat has to start from page 0 */
	u64 total;			/* faults ever pushed */
	struct mutex repeat_lock;	/* guards repeating, next */
	bool repeating;			/* a repeat is under way ... */
	u64 next;			/* ... and goes on at this page */
	struct yab_fault *ring;
};

int yab_queue_init(struct yab_queue *queue);
void yab_queue_destroy(struct yab_queue *queue);
void yab_queue_push(struct yab_queue *queue, u64 page, u32 flags);
ssize_t yab_queue_read(struct yab_queue *queue, const struct yab_pagemap *map,
		       struct yab_fault __user *to, size_t count);
bool yab_queue_has_some(struct yab_queue *queue);
u64 yab_queue_total(struct yab_queue *queue);

#endif /* YAB_QUEUE_H */
