/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When missing pages were first touched, and how their way went from there, kept until
 * they are declared. Of fixed size: touches that find no room are simply not timed.
 */
#ifndef YAB_DAEMON_TOUCH_H
#define YAB_DAEMON_TOUCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#define YAB_TOUCH_SETS	1024	/* a power of two */
#define YAB_TOUCH_WAYS	4

/* CLOCK_MONOTONIC, as the kernel tells the time of a touch. */
struct yab_touch {
	uint64_t page;
	uint64_t time_ns;	/* 0: this entry is free */
	uint64_t asked_ns;	/* a request for it was written; 0: not since the touch */
	uint64_t answered_ns;	/* the header of a frame with it was there; 0: not since */
};

struct yab_touches {
	size_t count;
	struct yab_touch sets[YAB_TOUCH_SETS][YAB_TOUCH_WAYS];
};

/*
 * What is measured. The parts add up to a fault's latency. A page that was on its way
 * already when it was touched may come before it was asked for again: it counts as a
 * fault, but has no parts.
 */
enum yab_wait {
	YAB_WAIT_FAULT,		/* from the first touch to the declaration */
	YAB_WAIT_QUEUE,		/* to the request being written to its socket */
	YAB_WAIT_ROUND_TRIP,	/* from there to the header of the answer */
	YAB_WAIT_INSTALL,	/* from there to the declaration */
	YAB_WAITS,
};

/* The first touch of a page counts; false if there was no room. */
bool yab_touches_note(struct yab_touches *touches, uint64_t page, uint64_t time_ns);
/* A request for these pages was written just now. The first one counts. */
void yab_touches_asked(struct yab_touches *touches, uint64_t page, uint64_t count);
/* A frame with these pages begins to arrive just now. The first one counts. */
void yab_touches_answered(struct yab_touches *touches, uint64_t page, uint64_t count);
/* The connection that was to bring these pages is lost: an answer that began does not count. */
void yab_touches_dropped(struct yab_touches *touches, uint64_t page, uint64_t count);
/* Pages were declared just now: records how long their touchers waited, and forgets them. */
void yab_touches_end(struct yab_touches *touches, uint64_t page, uint64_t count,
		     struct yab_histogram waits[YAB_WAITS]);

#endif /* YAB_DAEMON_TOUCH_H */
